"""Lays the keyboard over a row of black keys: which octave, which way round, as far as the keys are seen."""

from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from ivories.datatypes import UInt8
from ivories.keyboard import BLACK_KEY_LENGTH, IS_BLACK, KEY_CENTRE
from ivories.vision.homography import Float64
from ivories.vision.key_layout import SURE_MARGIN, Layout, best_layout, full_size_score, read_pattern
from ivories.vision.key_pattern import PATTERN
from ivories.vision.plane_fit import PlaneMap
from ivories.vision.refine import refine

_POOR: Final = 0.08  # residual of a poor fit, white-key widths
_STEP: Final = 7  # white keys further at a time
_LENS_FROM: Final = 30  # white keys that fix the lens
# What the player's side is worth, in black keys: by brightness, by the gaps between white keys.
_BRIGHT_WORTH: Final = 5.0
_GAPS_WORTH: Final = 20.0
_DECIDED: Final = 10.0  # evidence, in black keys, that needs no second look


@dataclass(frozen=True, slots=True)
class Placed:
    """A keyboard in a picture."""

    found: PlaneMap
    """keyboard plane -> pixels"""
    layout: Layout
    mirrored: bool
    """the ends are those of a keyboard seen in a mirror"""
    residual: float = np.inf
    """white-key widths, the edges' median distance from their places"""
    support: float = 0.0
    """0..1: share of the keyboard where edges were seen"""
    front: float = 0.0
    """for this way round: how plainly the white keys go on in front, in black keys"""
    turned: "Placed | None" = None
    """the keyboard the other way round, where that is nearly as likely"""

    @property
    def quality(self) -> float:
        """0..1: nearly 1 where all keys are seen in their places, at most 1/2 where the octave is open."""
        seen = self.layout.present / max(1, self.layout.expected)
        close = float(np.exp(-((self.residual / _POOR) ** 2)))
        sure = 1.0 if self.octave_sure else 0.5
        return float(np.clip(seen * close * np.sqrt(self.support) * sure, 0.0, 1.0))

    @property
    def octave_sure(self) -> bool:
        """Whether the ends of the keyboard fix the octave."""
        return self.layout.margin >= SURE_MARGIN

    def shifted(self, layout: Layout) -> "Placed":
        """Return this keyboard read as ``layout``, which shares its pattern plane."""
        move = np.array([[1.0, 0, self.layout.shift - layout.shift], [0, 1, 0], [0, 0, 1]])
        return replace(self, found=self.found.moved(move), layout=layout)


def place_keyboard(luma: UInt8, pattern: PlaneMap, places: Float64) -> Placed:
    """Return the keyboard that lies where a row of black keys was found.

    Args:
        luma: (H, W).
        pattern: pattern plane -> pixels as fitted to dark bars, either way round.
        places: (m,) pattern x of these bars.
    """
    # half a turn about the middle of a D's black keys maps the pattern to itself
    half_turn = np.array([[-1.0, 0, 3.0], [0, -1.0, BLACK_KEY_LENGTH], [0, 0, 1.0]])
    followed, further = _follow(luma, pattern, places)
    maps, readings = [], []
    for found, known, raised in ((followed, further, True), (pattern, places, False)):
        turned = found.moved(half_turn)
        maps.append((found, turned))
        readings.append(
            (
                read_pattern(luma, found, known, raised=raised),
                read_pattern(luma, turned, 3.0 - known, raised=raised),
            )
        )
    # for: the picture is right as it is; against: it wants half a turn
    bright = float(np.mean([a.front_bright - b.front_bright for a, b in readings]))
    gaps = float(np.mean([a.front_gaps - b.front_gaps for a, b in readings]))
    fronts = _BRIGHT_WORTH * bright + _GAPS_WORTH * gaps
    scores = [max(full_size_score(pair[way]) for pair in readings) for way in (0, 1)]
    ends = scores[0] - scores[1]
    way = 0 if fronts + ends >= 0 else 1
    mirrored = fronts * ends < 0 and abs(fronts) > max(8, abs(ends)) and abs(ends) > 3 and max(scores) > 32
    layouts = [best_layout(pair[way]) for pair in readings]
    best = max((0, 1), key=lambda i: layouts[i].score)
    chosen = _laid(maps[best][way], layouts[best], mirrored=mirrored)
    if abs(fronts + ends) > _DECIDED:
        return chosen
    layouts = [best_layout(pair[1 - way]) for pair in readings]
    best = max((0, 1), key=lambda i: layouts[i].score)
    return replace(chosen, turned=_laid(maps[best][1 - way], layouts[best], mirrored=mirrored))


def _laid(pattern: PlaneMap, layout: Layout, *, mirrored: bool) -> Placed:
    shift = np.array([[1.0, 0, -layout.shift], [0, 1, 0], [0, 0, 1]])
    return Placed(pattern.moved(shift), layout, mirrored)


def settle(luma: UInt8, placed: Placed) -> Placed:
    """Return ``placed`` refined and, where it is open which way round it lies, the better of the two.

    Where the octave stays open, the white keys are followed to where they end: black keys that shine like
    white ones may have ended the row too early.
    """
    settled = _settle(luma, placed)
    if placed.turned is not None:
        turned = _settle(luma, placed.turned)
        settled = max(settled, turned, key=lambda way: way.layout.score + way.front)
    if settled.octave_sure:
        return settled
    try:
        further = _settle(luma, _follow_whites(luma, settled))
    except np.linalg.LinAlgError:
        return settled
    return further if further.octave_sure else settled


def _settle(luma: UInt8, placed: Placed, rounds: int = 4) -> Placed:
    """Return ``placed`` refined against all edges, and read again now that its place is better known."""
    for _ in range(rounds):
        low, high = white_span(placed.layout)
        refined = refine(luma, placed.found, KEY_CENTRE[IS_BLACK], low, high, lens=True)
        shift = placed.layout.shift
        known = PATTERN[(PATTERN + shift > low) & (PATTERN + shift < high)]
        reading = read_pattern(luma, _unshifted(refined.found, shift), known, raised=True)
        layout = best_layout(reading)
        placed = replace(
            placed,
            found=refined.found,
            residual=refined.residual,
            support=refined.support,
            front=_BRIGHT_WORTH * reading.front_bright + _GAPS_WORTH * reading.front_gaps,
        )
        if layout.score < placed.layout.score - 2:
            return placed  # refining has lost the keys: the reading before was better
        same = white_span(layout) == (low, high) and layout.shift == shift
        placed = placed.shifted(layout)
        if same:
            break
    return placed


def _unshifted(found: PlaneMap, shift: float) -> PlaneMap:
    """Return the map of the pattern plane for that of a keyboard laid over it at ``shift``."""
    return found.moved(np.array([[1.0, 0, shift], [0, 1, 0], [0, 0, 1]]))


def white_span(layout: Layout) -> tuple[int, int]:
    """Return the x, 0..52, of the left and right side of the keyboard."""
    whites = KEY_CENTRE[layout.lowest : layout.highest + 1][~IS_BLACK[layout.lowest : layout.highest + 1]]
    return round(whites[0] - 0.5), round(whites[-1] + 0.5)


def _follow_whites(luma: UInt8, placed: Placed) -> Placed:
    """Return ``placed`` fitted outwards as far as the gaps between white keys go on, and read again."""
    found, layout = placed.found, placed.layout
    blacks = PATTERN + layout.shift
    low, high = white_span(layout)
    known = PATTERN[(blacks > low) & (blacks < high)]
    for _ in range(8):
        refined = refine(luma, found, blacks, low - _STEP, high + _STEP, lens=high - low > _LENS_FROM)
        if not np.isfinite(refined.low):
            break
        found = refined.found
        further = min(low, round(refined.low)), max(high, round(refined.high))
        if further == (low, high):
            break
        low, high = further
    reading = read_pattern(luma, _unshifted(found, layout.shift), known, raised=True)
    return replace(placed, found=found).shifted(best_layout(reading))


def _follow(luma: UInt8, pattern: PlaneMap, places: Float64) -> tuple[PlaneMap, Float64]:
    """Return ``pattern`` fitted outwards from ``places`` by the keys' edges, and all places then known."""
    low, high = places.min(), places.max()
    for _ in range(8):
        begin, end = int(np.floor(low)) - _STEP, int(np.ceil(high)) + _STEP
        lens = high - low > _LENS_FROM
        refined = refine(luma, pattern, PATTERN, begin, end, lens=lens, rounds=2, blacks_only=True)
        if not np.isfinite(refined.low) or not refined.low < refined.high:
            break
        pattern = refined.found
        if refined.low > low - 1 and refined.high < high + 1:
            break
        low, high = min(low, refined.low), max(high, refined.high)
    return pattern, PATTERN[(low - 1 <= PATTERN) & (high + 1 >= PATTERN)]
