"""The groups of two and three black keys: which dark bar is which key, up to the octave."""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from ivories.keyboard import IS_BLACK, KEY_CENTRE, pitch_of_key
from ivories.vision.homography import Float64

C_OFFSET: Final = 2.0
"""x of the left side of C1 on the 88-key keyboard; the pattern plane has x = 0 at the left side of some C"""
_RUN: Final = 6
_OCTAVES: Final = 10


def _pattern() -> Float64:
    first = KEY_CENTRE[IS_BLACK]
    octave = first[[pitch_of_key(int(key)) // 12 == 2 for key in np.flatnonzero(IS_BLACK)]] - C_OFFSET
    steps = np.arange(-_OCTAVES, _OCTAVES + 1)
    return np.asarray((octave[None, :] + 7.0 * steps[:, None]).ravel())


PATTERN: Final = _pattern()
"""(105,) black-key centres of many octaves in white-key widths, ascending; 50 is the C sharp at x = 1"""
_START: Final = 5 * _OCTAVES


@dataclass(frozen=True, slots=True)
class PatternMatch:
    """Bars of a row matched to black keys of an endless keyboard."""

    bar: NDArray[np.intp]
    """(m,) which bars, ascending along the row"""
    x: Float64
    """(m,) their place in the pattern plane, white-key widths"""
    score: float
    """matched bars, less the unmatched bars and empty places between them"""


def match_pattern(position: Float64) -> PatternMatch | None:
    """Match the ascending ``position`` (n,) of bars, pixels along their row, to the pattern.

    Short runs of neighbours propose scale and phase; each proposal then grows outwards under a projective map
    x -> (a x + b) / (c x + 1), the picture of a line in perspective. Returns None when nothing fits. The
    pattern is its own mirror image (about D and G sharp), so the direction of the row stays open.
    """
    best: PatternMatch | None = None
    known: set[tuple[int, int]] = set()  # (bar, place within the octave) of what was grown already
    for start, first in _proposals(position):
        if (start, first % 5) in known:
            continue
        match = _grow(position, np.arange(start, start + _RUN), PATTERN[first : first + _RUN])
        if match is None:
            continue
        index = np.searchsorted(PATTERN, match.x) % 5
        known.update(zip(match.bar.tolist(), index.tolist(), strict=True))
        if best is None or match.score > best.score:
            best = match
            if match.score > 0.9 * len(position):
                break
    return best


def _proposals(position: Float64, most: int = 30) -> list[tuple[int, int]]:
    """Return (first bar, first pattern index) of runs that fit an affine map well, the best first."""
    if len(position) < _RUN:
        return []
    runs = np.lib.stride_tricks.sliding_window_view(position, _RUN)
    found: list[tuple[float, int, int]] = []
    for phase in range(5):
        x = PATTERN[_START + phase : _START + phase + _RUN]
        design = np.stack([x, np.ones(_RUN)], 1)
        fit = runs @ np.linalg.pinv(design).T
        error = np.abs(runs - fit @ design.T).max(1) / np.maximum(fit[:, 0], 1e-9)
        # a bar is at least two pixels wide, so a white key is at least four
        good = np.flatnonzero((error < 0.25) & (fit[:, 0] > 4))
        found += [(float(error[start]), int(start), _START + phase) for start in good]
    return [(start, first) for _, start, first in sorted(found)[:most]]


def _grow(position: Float64, bar: NDArray[np.intp], x: Float64) -> PatternMatch | None:
    for _ in range(30):
        centre = x.mean()
        place = _projective(position, x - centre, position[bar])
        if place is None:
            return None
        reach = (x.min() - 4.5 < PATTERN) & (x.max() + 4.5 > PATTERN)
        candidates = PATTERN[reach]
        expected = place(candidates - centre)
        step = place(candidates - centre + 0.5) - place(candidates - centre - 0.5)
        usable = step > 2
        candidates, expected, step = candidates[usable], expected[usable], step[usable]
        if len(candidates) < _RUN:
            return None
        nearest = np.abs(position[None] - expected[:, None]).argmin(1)
        close = np.abs(position[nearest] - expected) < 0.3 * step
        if close.sum() < _RUN:
            return None
        if np.array_equal(nearest[close], bar) and np.array_equal(candidates[close], x):
            break
        bar, x = nearest[close], candidates[close]
    if len(np.unique(bar)) < len(bar):
        return None
    between = (position >= position[bar[0]]) & (position <= position[bar[-1]])
    places = ((x[0] <= PATTERN) & (x[-1] >= PATTERN)).sum()
    strays = between.sum() - len(bar)
    score = len(bar) - 0.7 * strays - 0.35 * (places - len(bar))
    return PatternMatch(bar, x, float(score))


class _Projective:
    """x -> (a x + b) / (c x + 1)."""

    def __init__(self, a: float, b: float, c: float) -> None:
        self._a, self._b, self._c = a, b, c

    def __call__(self, x: Float64) -> Float64:
        under = self._c * x + 1
        return np.asarray((self._a * x + self._b) / np.where(under > 0.05, under, np.nan))


def _projective(position: Float64, x: Float64, y: Float64) -> _Projective | None:
    scale = max(1.0, float(np.abs(position).max()))
    y = y / scale
    # a short run hardly shows its perspective: hold c near zero until there is more to go by
    hold = 0.02 * np.sqrt(len(x)) * max(0.0, 1 - (x.max() - x.min()) / 20)
    design = np.concatenate([np.stack([x, np.ones(len(x)), -x * y], 1), [[0, 0, hold * 100]]])
    solution, _, rank, _ = np.linalg.lstsq(design, np.append(y, 0.0), rcond=None)
    if rank < 3 or solution[0] <= 0:
        return None
    return _Projective(solution[0] * scale, solution[1] * scale, solution[2])
