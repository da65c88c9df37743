"""Which octave, which way round, and how many keys: the pattern plane read against real keyboards."""

from dataclasses import dataclass, replace
from typing import Final

import cv2
import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from ivories.datatypes import UInt8
from ivories.keyboard import KEY_CENTRE, key_of_pitch
from ivories.vision.homography import Float64
from ivories.vision.key_pattern import C_OFFSET, PATTERN
from ivories.vision.plane_fit import PlaneMap
from ivories.vision.viewpoint import black_sides

SURE_MARGIN: Final = 3.0
"""Black keys by which a reading must lead for its octave to be sure."""
_PER_WHITE: Final = 8  # strip columns per white key
_REACH: Final = 60  # white keys to either side
_DARKER: Final = 0.85  # a black key, glossy as it may be, over the white keys beside it
_WHITE: Final = 0.5  # a white key over its like
_PLAIN: Final = 0.6  # correlation of gaps that leave no doubt
_BLACK_HALF: Final = 0.27
_SIDE: Final = 0.31  # from a black key to where the white key beside it shows best
_LEAST_GAP: Final = 0.2  # between black keys, to see a white one
_BACK: Final = -0.5
_ROWS: Final = 48  # strip rows from y = -0.5 to 1.5

# Keys from the lowest pitch of the keyboards people have, the commonest first; what a size more costs.
_SIZES: Final = ((21, 108, 0.0), (28, 103, 2.0), (36, 96, 2.0), (28, 100, 2.5), (24, 96, 2.5), (36, 84, 3.0))


@dataclass(frozen=True, slots=True)
class Layout:
    """A keyboard laid over the pattern plane."""

    shift: float
    """keyboard x = pattern x + shift, white-key widths"""
    lowest: int
    """first key, 0..87, that this keyboard has"""
    highest: int
    score: float
    """black keys seen where they should be, less those missing and those seen beyond the ends"""
    margin: float
    """by how much the best reading with another shift scores less"""
    expected: int
    """black keys that should be in the picture"""
    present: int
    """those of them that were seen"""
    rivals: tuple["Layout", ...] = ()
    """other shifts that score hardly less"""


@dataclass(frozen=True, slots=True)
class Reading:
    """What lies along the endless keyboard of the pattern plane."""

    seen: NDArray[np.int8]
    """(105,) per place of PATTERN: 1 black key, -1 something else, 0 cannot be told"""
    front_bright: float
    """-1..1: the white keys go on in front of the black ones (1) or behind them (-1)"""
    front_gaps: float
    """-1..1: the gaps between white keys are seen in front (1) or behind (-1)"""
    whites: Float64
    """(w,) pattern x in the middle of four white keys with plain gaps"""


def read_pattern(luma: UInt8, found: PlaneMap, matched: Float64, *, raised: bool) -> Reading:
    """Look at every place of the pattern where a black key might be.

    Args:
        luma: (H, W).
        found: pattern plane -> pixels.
        matched: (m,) pattern x of the black keys found, which say what black and white look like here.
        raised: the map is that of the white keys, which black ones stand above; else of black keys as seen.
    """
    centre = float(np.round(matched.mean()))
    x = centre + (np.arange(2 * _REACH * _PER_WHITE) + 0.5) / _PER_WHITE - _REACH
    y = _BACK + (np.arange(_ROWS) + 0.5) * 2.0 / _ROWS
    strip, inside = sample(luma, found, x, y)

    def band(low: float, high: float) -> Float64:
        rows = (y > low) & (y < high)
        valid = inside[rows]
        total = np.where(valid, strip[rows], 0.0).sum(0)
        return np.where(valid.all(0), total / max(1, rows.sum()), np.nan)

    def at(profile: Float64, place: Float64, half: float) -> Float64:
        """Mean of ``profile`` within ``half`` of each ``place``; NaN where any of it is missing."""
        columns = np.round((place[:, None] - x[0] + np.linspace(-half, half, 5)[None]) * _PER_WHITE)
        columns = np.nan_to_num(columns, nan=-1.0).astype(int)
        known = (columns >= 0) & (columns < len(x))
        values = profile[np.clip(columns, 0, len(x) - 1)]
        return np.where(known.all(1), values.mean(1), np.nan)

    back_zone = band(0.12, 0.5)
    # black keys stand high and look shifted; far beyond the picture that would be without meaning
    left, right = (np.clip(side, -1.2, 1.2) for side in black_sides(found, PATTERN, 0.3, _BLACK_HALF))
    if not raised:
        left, right = (left - right) / 2, (right - left) / 2
    # all of a black key's width is dark; the shadow beside a cheek is narrower
    dark = np.stack(
        [at(back_zone, PATTERN + left + (right - left) * part, 0.05) for part in (0.25, 0.5, 0.75)]
    ).max(0)
    # beside it, half-way to the next black key; seen askew, that one may hide all there is between
    gap = (PATTERN + left)[1:] - (PATTERN + right)[:-1]
    off = np.where(gap > _LEAST_GAP, np.minimum(_SIDE, gap / 2), np.nan)
    off_left, off_right = np.append(np.nan, off), np.append(off, np.nan)
    sides = np.stack(
        [at(back_zone, place, 0.05) for place in (PATTERN + left - off_left, PATTERN + right + off_right)]
    )
    darkest, brightest = np.fmin(*sides), np.fmax(*sides)
    front_zone = band(0.7, 0.9)
    front, back = at(front_zone, PATTERN, 0.5), at(band(-0.28, -0.08), PATTERN, 0.5)
    visible = np.isfinite(dark) & np.isfinite(brightest)
    known = np.isin(PATTERN, matched) & visible
    if known.sum() < 3:
        return Reading(np.zeros(len(PATTERN), np.int8), 0.0, 0.0, np.zeros(0))
    # light varies along the keyboard: judge by the nearest known keys
    near = np.argsort(np.abs(PATTERN[:, None] - PATTERN[known][None]), axis=1)[:, :5]
    white = np.median(brightest[known][near], 1)
    with np.errstate(invalid="ignore"):
        is_key = (dark < _DARKER * darkest) & (darkest > _WHITE * white)
    seen = np.where(visible, np.where(is_key, 1, -1), 0).astype(np.int8)
    place, plain = _comb(band(0.7, 0.94), x)
    among = (place > matched.min()) & (place < matched.max())
    behind = _comb(band(-0.3, -0.06), x)[1]
    gaps = float(np.median(plain[among]) - np.median(behind[among])) if among.sum() > 2 else 0.0
    near = np.abs(place[:, None] - PATTERN[known][None]).argmin(1)
    bright = at(front_zone, place, 1.5) > _WHITE * brightest[known][near]
    whites = place[(plain > _PLAIN) & bright]
    # with white keys to both sides, what is not dark is no end of the keyboard but a shining or covered key
    near_left = np.abs(whites[:, None] - PATTERN + 0.5).min(0, initial=np.inf) <= 0.5
    near_right = np.abs(whites[:, None] - PATTERN - 0.5).min(0, initial=np.inf) <= 0.5
    seen[(seen == -1) & near_left & near_right] = 0
    return Reading(seen, _front_bright(front[known], back[known], brightest[known]), gaps, whites)


def _comb(profile: Float64, x: Float64) -> tuple[Float64, Float64]:
    """Return how plainly ``profile`` shows dark gaps at whole ``x``: places, and correlations -1..1."""
    template = np.clip((np.abs(x - np.round(x)) - 0.08) * 8, -1, 1)
    size = 4 * _PER_WHITE
    reach = _PER_WHITE // 3
    starts = np.arange(reach, len(x) - size - reach, _PER_WHITE)
    shifts = np.arange(-reach, reach + 1)
    seen = normalized(sliding_window_view(profile, size)[starts[:, None] + shifts[None]])
    pattern = normalized(sliding_window_view(template, size)[starts])
    likeness = np.einsum("wsi,wi->ws", seen, pattern)
    likeness = np.where(np.isfinite(likeness).all(1), likeness.max(1), 0.0)
    return x[starts] + (size - 1) / 2 / _PER_WHITE, likeness


def normalized(rows: Float64) -> Float64:
    """Return ``rows`` (..., n) less their straight-line trend, with norm 1."""
    ramp = np.linspace(-1, 1, rows.shape[-1])
    flat = rows - rows.mean(-1, keepdims=True)
    flat = flat - (flat @ ramp)[..., None] / (ramp @ ramp) * ramp
    return np.asarray(flat / np.maximum(np.sqrt((flat * flat).sum(-1, keepdims=True)), 1e-6))


def _front_bright(front: Float64, back: Float64, white: Float64) -> float:
    with np.errstate(invalid="ignore", divide="ignore"):
        off_front = np.abs(np.log((front + 4) / (white + 4)))
        off_back = np.abs(np.log((back + 4) / (white + 4)))
    # a side outside the picture says nothing
    votes = np.where(np.isfinite(off_front) & np.isfinite(off_back), np.sign(off_back - off_front), 0)
    return float(votes.mean())


def sample(
    luma: UInt8, found: PlaneMap, x: Float64, y: Float64
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Return the (len(y), len(x)) picture over a grid of plane points, and which points it shows."""
    points = np.stack(np.meshgrid(x, y), -1)
    inside = found.inside(points)
    pixels = np.where(inside[..., None], found.to_pixels(points), -10.0).astype(np.float32)
    picture = cv2.remap(luma, pixels[..., 0], pixels[..., 1], cv2.INTER_LINEAR)
    return np.asarray(picture, np.float32), inside


def best_layout(reading: Reading, sizes: tuple[tuple[int, int, float], ...] = _SIZES) -> Layout:
    """Return the keyboard that explains best where black keys and gaps are seen and where not."""
    seen = reading.seen
    best: dict[float, Layout] = {}
    found = np.flatnonzero(seen == 1)
    middle = PATTERN[found].mean() if len(found) else 0.0
    for low, high, cost in sizes:
        lowest, highest = key_of_pitch(low), key_of_pitch(high)
        for octave in range(-9, 10):
            shift = C_OFFSET + 7.0 * octave
            x = PATTERN + shift
            has = (x > KEY_CENTRE[lowest]) & (x < KEY_CENTRE[highest])  # every size ends with white keys
            present = int((has & (seen == 1)).sum())
            missing, beyond = (has & (seen == -1)).sum(), (~has & (seen == 1)).sum()
            hidden = (has & (seen == 0)).sum()
            whites = reading.whites + shift
            stray = (whites < KEY_CENTRE[lowest] - 1.5) | (whites > KEY_CENTRE[highest] + 1.5)
            # where nothing else decides, the part seen is the middle of the keyboard
            aside = 0.01 * abs(middle + shift - 26.0)
            score = float(present - missing - 1.5 * beyond - 0.2 * hidden - stray.sum() - cost - aside)
            if shift not in best or score > best[shift].score:
                best[shift] = Layout(shift, lowest, highest, score, 0.0, present + int(missing), present)
    first, *others = sorted(best.values(), key=lambda layout: -layout.score)
    rivals = tuple(layout for layout in others if layout.score > first.score - SURE_MARGIN)
    return replace(first, margin=first.score - others[0].score, rivals=rivals)


def full_size_score(reading: Reading) -> float:
    """Return the score of the best way to see 88 keys in it."""
    return best_layout(reading, _SIZES[:1]).score
