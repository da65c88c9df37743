"""Lays the keyboard over a row of black keys: which octave, which way round, as far as the keys are seen."""

from dataclasses import dataclass
from typing import Final

import numpy as np

from ivories.datatypes import UInt8
from ivories.keyboard import BLACK_KEY_LENGTH
from ivories.vision.homography import Float64
from ivories.vision.key_edges import Kind
from ivories.vision.key_layout import Layout, best_layout, full_size_score, read_pattern
from ivories.vision.key_pattern import PATTERN
from ivories.vision.plane_fit import PlaneMap
from ivories.vision.refine import refine

_STEP: Final = 7  # white keys further at a time
_LENS_FROM: Final = 30  # white keys that fix the lens
# What the player's side is worth, in black keys: by brightness, by the gaps between white keys.
_BRIGHT_WORTH: Final = 5.0
_GAPS_WORTH: Final = 20.0


@dataclass(frozen=True, slots=True)
class Placed:
    """A keyboard in a picture."""

    found: PlaneMap
    """keyboard plane -> pixels"""
    layout: Layout
    mirrored: bool
    """the ends are those of a keyboard seen in a mirror"""


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
    scores = [max(full_size_score(pair[way].seen) for pair in readings) for way in (0, 1)]
    ends = scores[0] - scores[1]
    way = 0 if fronts + ends >= 0 else 1
    mirrored = fronts * ends < 0 and abs(fronts) > max(8, abs(ends)) and abs(ends) > 3 and max(scores) > 32
    layouts = [best_layout(pair[way].seen) for pair in readings]
    best = max((0, 1), key=lambda i: layouts[i].score)
    shift = np.array([[1.0, 0, -layouts[best].shift], [0, 1, 0], [0, 0, 1]])
    return Placed(maps[best][way].moved(shift), layouts[best], mirrored)


def _follow(luma: UInt8, pattern: PlaneMap, places: Float64) -> tuple[PlaneMap, Float64]:
    """Return ``pattern`` fitted outwards from the known ``places`` by the keys' edges, and all places then known."""
    low, high = places.min(), places.max()
    for _ in range(8):
        begin, end = int(np.floor(low)) - _STEP, int(np.ceil(high)) + _STEP
        lens = high - low > _LENS_FROM
        refined = refine(luma, pattern, PATTERN, begin, end, lens=lens, rounds=2, only=(Kind.BLACK_X,))
        if not np.isfinite(refined.low) or not refined.low < refined.high:
            break
        pattern = refined.found
        if refined.low > low - 1 and refined.high < high + 1:
            break
        low, high = min(low, refined.low), max(high, refined.high)
    return pattern, PATTERN[(low - 1 <= PATTERN) & (high + 1 >= PATTERN)]
