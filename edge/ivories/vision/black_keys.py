"""Dark bars between bright ones: candidates for black keys, and the straight row that most of them form."""

from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from ivories.datatypes import UInt8
from ivories.vision.homography import Float64

_MOST_BARS: Final = 400
_DRAWS: Final = 12000
_PAIRS: Final = 1000
_TALLEST: Final = 14.0  # length over width of a black key seen from straight above is 7
_SQUATTEST: Final = 1.5


@dataclass(frozen=True, slots=True)
class Bars:
    """n dark bars."""

    centre: Float64
    """(n, 2) pixels"""
    axis: Float64
    """(n, 2) unit vector along the bar, either way round"""
    length: Float64
    """(n,) pixels"""
    width: Float64
    """(n,) pixels"""

    def __len__(self) -> int:
        return len(self.length)

    def take(self, which: NDArray[np.bool_] | NDArray[np.intp]) -> "Bars":
        """Return the bars picked by a mask or by indices, in that order."""
        return Bars(self.centre[which], self.axis[which], self.length[which], self.width[which])

    def join(self, other: "Bars") -> "Bars":
        """Return these bars and then the ``other`` ones."""
        return Bars(
            np.concatenate([self.centre, other.centre]),
            np.concatenate([self.axis, other.axis]),
            np.concatenate([self.length, other.length]),
            np.concatenate([self.width, other.width]),
        )


@dataclass(frozen=True, slots=True)
class Row:
    """Bars side by side on a line."""

    bars: Bars
    """ordered along `direction`"""
    direction: Float64
    """(2,) unit vector"""

    @property
    def position(self) -> Float64:
        """(n,) pixels along the line."""
        return self.bars.centre @ self.direction


def find_bars(luma: UInt8, span: tuple[int, int], contrast: float) -> Bars:
    """Return the dark bars that are narrower than ``span``.

    Brightness is judged against its own neighbourhood: a grey closing fills whatever is darker than its
    surroundings and narrower than ``span``, and so gives the white keys' light everywhere, lamp or no lamp. A
    span of one row keeps a dark felt behind upright bars out of it; a square one fills bars of any direction.

    Args:
        luma: (H, W).
        span: rows and columns, one of them more than a black key's width.
        contrast: how much darker than the white keys a bar must be, 0..1.
    """
    closed = cv2.morphologyEx(luma, cv2.MORPH_CLOSE, np.ones(span, np.uint8))
    depth = closed.astype(np.int16) - luma
    dark = ((depth > contrast * closed) & (depth > 10)).astype(np.uint8)
    # the gaps between white keys are dark lines that would tie the bars together
    dark = np.asarray(cv2.morphologyEx(dark, cv2.MORPH_OPEN, np.ones((3, 3), np.uint8)), np.uint8)
    count, labels = cv2.connectedComponents(dark, connectivity=4)
    y, x = np.nonzero(dark)
    label = labels[y, x]

    def total(weight: NDArray[np.int64] | None = None) -> Float64:
        return np.bincount(label, weight, minlength=count)[1:].astype(np.float64)

    area = total()
    safe = np.maximum(area, 1)
    mx, my = total(x) / safe, total(y) / safe
    # 1/12: a pixel is a square, not a point
    xx = total(x * x) / safe - mx * mx + 1 / 12
    yy = total(y * y) / safe - my * my + 1 / 12
    xy = total(x * y) / safe - mx * my
    middle, spread = (xx + yy) / 2, np.hypot((xx - yy) / 2, xy)
    length, width = np.sqrt(12 * (middle + spread)), np.sqrt(12 * np.maximum(middle - spread, 1e-3))
    angle = np.arctan2(2 * xy, xx - yy) / 2
    shape = length / width
    good = (
        (area >= 12)
        & (shape > _SQUATTEST)
        & (shape < _TALLEST)
        & (area > 0.65 * length * width)
        & (width < 1.5 * max(span))
        & (length < 0.4 * max(luma.shape))
    )
    chosen = np.flatnonzero(good)
    chosen = np.sort(chosen[np.argsort(-area[chosen])[:_MOST_BARS]])
    axis = np.stack([np.cos(angle), np.sin(angle)], 1)
    return Bars(np.stack([mx, my], 1), axis, length, width).take(chosen)


def find_rows(bars: Bars, least: int, rng: np.random.Generator, most: int = 2) -> list[Row]:
    """Return up to ``most`` rows of at least ``least`` bars, the fullest first.

    Random pairs propose a line (RANSAC, Fischler and Bolles 1981); a bar agrees when it lies on the line, is
    as long as the pair's interpolated length, and points where the pair's axes say.
    """
    rows: list[Row] = []
    left = bars
    while len(left) >= least and len(rows) < most:
        row, member = _best_row(left, rng)
        if row is None or len(row.bars) < least:
            break
        rows.append(row)
        left = left.take(~member)
    return rows


def _best_row(bars: Bars, rng: np.random.Generator) -> tuple[Row | None, NDArray[np.bool_]]:
    count = len(bars)
    first, second = _pairs(bars, rng)
    if not len(first):
        return None, np.zeros(count, bool)
    step = bars.centre[second] - bars.centre[first]
    # (pairs, bars): place along and across the line through the first bar of each pair; 0 and 1 are the pair
    squared = (step**2).sum(1)[:, None]
    x = bars.centre[:, 0] - bars.centre[first, 0][:, None]
    y = bars.centre[:, 1] - bars.centre[first, 1][:, None]
    place = (x * step[:, :1] + y * step[:, 1:]) / squared
    across = np.abs(y * step[:, :1] - x * step[:, 1:]) / np.sqrt(squared)
    length = bars.length[first][:, None] * (1 - place) + bars.length[second][:, None] * place
    agree = (across < 0.22 * length) & (bars.length > 0.7 * length) & (bars.length < 1.4 * length)
    start = bars.axis[first]
    end = bars.axis[second] * np.sign((start * bars.axis[second]).sum(1))[:, None]
    axis_x = start[:, :1] * (1 - place) + end[:, :1] * place
    axis_y = start[:, 1:] * (1 - place) + end[:, 1:] * place
    agree &= np.abs(axis_x * bars.axis[:, 0] + axis_y * bars.axis[:, 1]) > 0.96 * np.hypot(axis_x, axis_y)
    member = agree[int(agree.sum(1).argmax())]
    chosen = bars.take(member)
    if len(chosen) < 2:
        return None, member
    # the line through all its members, by total least squares
    direction = np.linalg.svd(chosen.centre - chosen.centre.mean(0), full_matrices=False)[2][0]
    order = np.argsort(chosen.centre @ direction)
    return Row(chosen.take(order), direction), member


def _pairs(bars: Bars, rng: np.random.Generator) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Return pairs that might stand in one row: alike, apart, and not lying along their line."""
    first, second = np.triu_indices(len(bars), 1)
    if len(first) > _DRAWS:
        draw = rng.choice(len(first), _DRAWS, replace=False)
        first, second = first[draw], second[draw]
    step = bars.centre[second] - bars.centre[first]
    distance = np.hypot(step[:, 0], step[:, 1])
    longer = np.maximum(bars.length[first], bars.length[second])
    shorter = np.minimum(bars.length[first], bars.length[second])
    lean = np.maximum(np.abs((step * bars.axis[first]).sum(1)), np.abs((step * bars.axis[second]).sum(1)))
    fit = np.flatnonzero((distance > longer) & (longer < 1.8 * shorter) & (lean < 0.8 * distance))
    if len(fit) > _PAIRS:
        fit = rng.choice(fit, _PAIRS, replace=False)
    return first[fit], second[fit]
