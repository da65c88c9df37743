"""From matched bars to the pattern plane: fit it, look for further black keys where it says, repeat."""

from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from ivories.keyboard import BLACK_KEY_LENGTH
from ivories.vision import homography as plane
from ivories.vision.black_keys import Bars, Row
from ivories.vision.homography import Float64
from ivories.vision.key_pattern import PATTERN, PatternMatch
from ivories.vision.plane_fit import PlaneMap, fit_plane

_LENS_FROM: Final = 20  # black keys that fix the lens
_REACH: Final = 4.5  # white keys beyond the last black key found


def fit_row(row: Row, match: PatternMatch, pool: Bars, width: int, height: int) -> tuple[PlaneMap, Float64]:
    """Return the map pattern plane -> pixels, and the pattern places (m,) of all black keys found.

    The bass side and the fallboard side may both be wrong: the pattern is its own mirror image.

    Args:
        row: bars on a line.
        match: which of them are which black keys.
        pool: all bars seen, of the row or not, repeated or not.
        width: pixels.
        height: pixels.
    """
    bars, x = row.bars.take(match.bar), match.x
    towards = np.array([-row.direction[1], row.direction[0]])
    found = _start(bars, x, towards, width, height)
    for _ in range(12):
        found = _fit(bars, x, towards, found)
        chosen, places = _look(found, pool, x)
        if len(places) < len(x) or np.array_equal(places, x):
            break
        bars, x = pool.take(chosen), places
    return found, x


def _ends(bars: Bars, towards: Float64) -> Float64:
    """Return (2n, 2): all back ends, then all front ends."""
    half = bars.axis * (np.sign(bars.axis @ towards) * bars.length / 2)[:, None]
    return np.concatenate([bars.centre - half, bars.centre + half])


def _places(x: Float64) -> Float64:
    return np.stack([np.tile(x, 2), np.repeat([0.0, BLACK_KEY_LENGTH], len(x))], 1)


def _start(bars: Bars, x: Float64, towards: Float64, width: int, height: int) -> PlaneMap:
    ends, place = _ends(bars, towards), _places(x)
    matrix, _ = cv2.findHomography(place, ends, cv2.RANSAC, max(2.0, 0.1 * float(bars.length.mean())))
    if matrix is None:
        matrix = plane.from_points(place, ends)
    return PlaneMap(np.asarray(matrix, np.float64), 0.0, width, height)


def _fit(bars: Bars, x: Float64, towards: Float64, start: PlaneMap) -> PlaneMap:
    scale = max(0.8, 0.04 * float(np.median(bars.length)))
    lens = len(x) >= _LENS_FROM
    return fit_plane(_places(x), _ends(bars, towards), start, scale=scale, lens=lens)


def _look(found: PlaneMap, pool: Bars, x: Float64) -> tuple[NDArray[np.intp], Float64]:
    """Return bars of ``pool`` that lie where black keys should, and their places, ascending."""
    near = PATTERN[(x.min() - _REACH <= PATTERN) & (x.max() + _REACH >= PATTERN)]
    middle = np.stack([near, np.full(len(near), BLACK_KEY_LENGTH / 2)], 1)
    ahead = found.depth(middle) > 0.1 * np.median(found.depth(middle))
    near, middle = near[ahead], middle[ahead]
    centre = found.to_pixels(middle)
    grid = found.jacobian(middle)
    off = pool.centre[None] - centre[:, None]
    in_plane = np.linalg.solve(grid[:, None], off[..., None])[..., 0]  # (places, bars, 2)
    expected = np.hypot(grid[:, 0, 1], grid[:, 1, 1]) * BLACK_KEY_LENGTH
    ratio = pool.length[None] / np.maximum(expected[:, None], 1)
    cost = np.abs(in_plane[..., 0]) + 2 * np.abs(in_plane[..., 1]) + np.abs(np.log(np.maximum(ratio, 1e-3)))
    fits = (
        (np.abs(in_plane[..., 0]) < 0.3) & (np.abs(in_plane[..., 1]) < 0.12) & (ratio > 0.72) & (ratio < 1.4)
    )
    cost = np.where(fits, cost, np.inf)
    best = cost.argmin(1) if len(pool) else np.zeros(len(near), np.intp)
    hit = np.isfinite(cost[np.arange(len(near)), best]) if len(pool) else np.zeros(len(near), bool)
    return best[hit], near[hit]
