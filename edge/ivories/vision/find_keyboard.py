"""Finds the keyboard in a picture: dark bars, the two-and-three pattern, the edges."""

from collections.abc import Sequence
from typing import Final

import cv2
import numpy as np

from ivories.datatypes import UInt8, VideoFrame
from ivories.errors import CalibrationError
from ivories.keyboard import BLACK_KEY_LENGTH, IS_BLACK, KEY_CENTRE
from ivories.vision import calibration as calibrations
from ivories.vision.black_keys import Bars, Row, find_bars, find_rows
from ivories.vision.calibration import Calibration
from ivories.vision.homography import Float64
from ivories.vision.key_edges import Kind
from ivories.vision.key_layout import Layout, Reading, best_layout, full_size_score, read_pattern
from ivories.vision.key_pattern import PATTERN, PatternMatch, match_pattern
from ivories.vision.plane_fit import PlaneMap
from ivories.vision.refine import refine
from ivories.vision.row_fit import fit_row

_SEARCH_WIDTH: Final = 640  # pixels; black keys of an 88-key keyboard are then 5 to 8 pixels wide
_LEAST_BARS: Final = 7
_STEP: Final = 7  # white keys further at a time
# Size as a share of the picture's width, more than a black key; for bars that stand, that lie.
_SPANS: Final = (
    (1 / 45, True, False),
    (1 / 45, True, True),
    (1 / 20, True, False),
    (1 / 20, True, True),
    (1 / 20, False, True),
)
_CONTRASTS: Final = (0.65, 0.45, 0.8, 0.3)
_ENOUGH: Final = 34.0  # black keys of 36


def find_keyboard(frames: Sequence[UInt8], hint: Calibration | None = None) -> Calibration:
    """Find the keyboard in pictures from one camera position.

    Args:
        frames: one or more (H, W) pictures of one size; their median is searched, so that hands that move
            between them vanish. 15 to 25 over a second or two are plenty.
        hint: an earlier position of the same camera; where the keyboard shows too little to tell the octave,
            the octave nearest to the hint's is taken.

    Raises:
        CalibrationError: no keyboard; the message says what was seen and what to do.
    """
    if not frames:
        raise CalibrationError("There is no picture to look for a keyboard in; check that the camera works.")
    luma = median_picture(frames)
    height, width = luma.shape
    _require_light(luma)
    small, scale = _shrink(luma)
    pattern, places = _search(small)
    found, layout = _orient(small, [_extend(small, pattern, places), (pattern, places)])
    black = KEY_CENTRE[IS_BLACK]
    refined = refine(small, found, black, 0, 52, lens=True)
    found = refined.found
    # k1 counts radii in half picture widths, so it stays when the picture is scaled
    to_full = np.array([[scale, 0, (scale - 1) / 2], [0, scale, (scale - 1) / 2], [0, 0, 1.0]])
    return calibrations.from_homography(to_full @ found.matrix, width, height, k1=found.k1, quality=0.5)


def median_picture(frames: Sequence[UInt8]) -> UInt8:
    """Return the per-pixel median of ``frames``, (H, W) each; raises ``CalibrationError`` where sizes differ."""
    if len({frame.shape for frame in frames}) > 1:
        raise CalibrationError("The pictures differ in size; give pictures of one camera in one mode.")
    if len(frames) == 1:
        return np.ascontiguousarray(frames[0])
    return np.median(np.stack(list(frames)), axis=0).astype(np.uint8)


def _require_light(luma: UInt8) -> None:
    bright = float(np.percentile(luma, 99))
    if bright < 20:
        raise CalibrationError(
            f"The picture is too dark to find a keyboard in (its brightest parts reach {bright:.0f} of 255): "
            "switch a lamp on, or take the cover off the lens."
        )


def _shrink(luma: UInt8) -> tuple[UInt8, float]:
    scale = max(1.0, max(luma.shape) / _SEARCH_WIDTH)
    if scale > 1:
        size = (round(luma.shape[1] / scale), round(luma.shape[0] / scale))
        luma = np.asarray(cv2.resize(luma, size, interpolation=cv2.INTER_AREA), np.uint8)
    bright = float(np.percentile(luma, 99.5))
    if bright < 160:
        luma = np.asarray(cv2.convertScaleAbs(luma, alpha=160 / bright), np.uint8)
    return luma, scale


def _search(luma: UInt8) -> tuple[PlaneMap, Float64]:
    """Return the map pattern plane -> pixels and the pattern places of the black keys that it rests on."""
    rng = np.random.default_rng(0)
    height, width = luma.shape
    pool: Bars | None = None
    best: tuple[Row, PatternMatch] | None = None
    most = 0
    for contrast in _CONTRASTS:
        for share, upright, lying in _SPANS:
            size = round(max(luma.shape) * share) | 1
            bars = find_bars(luma, (size if lying else 1, size if upright else 1), contrast)
            pool = bars if pool is None else pool.join(bars)
            for row in find_rows(bars, _LEAST_BARS, rng):
                most = max(most, len(row.bars))
                match = match_pattern(row.position)
                if match is not None and (best is None or match.score > best[1].score):
                    best = row, match
            if best is not None and best[1].score >= _ENOUGH:
                return fit_row(*best, pool, width, height)
    if best is None or pool is None:
        raise CalibrationError(_nothing_found(most))
    return fit_row(*best, pool, width, height)


def _nothing_found(most: int) -> str:
    if most == 0:
        seen = "No row of black keys was seen"
    else:
        seen = f"Only {most} dark bars in a row were seen, and they are not spaced like black keys"
    return (
        f"{seen}: point the camera so that the whole keyboard fills the picture's width, with even light and "
        "hands off the keys, or mark the corners by hand."
    )


def _extend(luma: UInt8, pattern: PlaneMap, places: Float64) -> tuple[PlaneMap, Float64]:
    """Return ``pattern`` fitted outwards from the ``places`` of known black keys, and all places then known."""
    low, high = places.min(), places.max()
    for _ in range(8):
        begin, end = int(np.floor(low)) - _STEP, int(np.ceil(high)) + _STEP
        lens = high - low > 30
        refined = refine(luma, pattern, PATTERN, begin, end, lens=lens, rounds=2, only=(Kind.BLACK_X,))
        if not np.isfinite(refined.low) or not refined.low < refined.high:
            break
        pattern = refined.found
        if refined.low > low - 1 and refined.high < high + 1:
            break
        low, high = min(low, refined.low), max(high, refined.high)
    return pattern, PATTERN[(low - 1 <= PATTERN) & (high + 1 >= PATTERN)]


def _orient(luma: UInt8, candidates: list[tuple[PlaneMap, Float64]]) -> tuple[PlaneMap, Layout]:
    """Return keyboard plane -> pixels, and the layout, of the candidate and the way round that fit best.

    Args:
        luma: (H, W).
        candidates: pattern plane -> pixels, and the places of black keys known from it.
    """
    # half a turn about the middle of a D's black keys maps the pattern to itself
    half_turn = np.array([[-1.0, 0, 3.0], [0, -1.0, BLACK_KEY_LENGTH], [0, 0, 1.0]])
    best: tuple[float, PlaneMap, Layout] | None = None
    for pattern, places in candidates:
        maps = [pattern, pattern.moved(half_turn)]
        readings = [read_pattern(luma, maps[0], places), read_pattern(luma, maps[1], 3.0 - places)]
        chosen = _way_round(readings)
        layout = best_layout(readings[chosen].seen)
        if best is None or layout.score > best[0]:
            best = layout.score, maps[chosen], layout
    assert best is not None  # noqa: S101 - there is always a candidate
    _, pattern, layout = best
    shift = np.array([[1.0, 0, -layout.shift], [0, 1, 0], [0, 0, 1]])
    return pattern.moved(shift), layout


def _way_round(readings: list[Reading]) -> int:
    """Return which of the two readings is right: white keys go on in front, A is the lowest key."""
    first, second = readings
    scores = [full_size_score(reading.seen) for reading in readings]
    ends = scores[0] - scores[1]
    fronts = 5 * (first.front_bright - second.front_bright) + 20 * (first.front_gaps - second.front_gaps)
    if fronts * ends < 0 and abs(fronts) > 8 and abs(ends) > 3 and max(scores) > 32:
        raise CalibrationError(
            "The picture is mirrored: its black keys run from treble to bass. Switch off the mirror (flip) "
            "setting of the camera."
        )
    return 0 if ends + fronts >= 0 else 1


class KeyboardFinder:
    """Collects pictures over a moment and finds the keyboard in their median; tries again until it does."""

    def __init__(self, pictures: int = 15, every_ns: int = 100_000_000) -> None:
        self._pictures, self._every_ns = pictures, every_ns
        self._collected: list[UInt8] = []
        self._due_ns: int | None = None
        self.problem: str | None = None

    def push(self, frame: VideoFrame) -> Calibration | None:
        """Take one frame; return the calibration once the keyboard is found, else None.

        `problem` says why the last attempt failed.
        """
        if self._due_ns is not None and frame.t_ns < self._due_ns:
            return None
        self._due_ns = frame.t_ns + self._every_ns
        self._collected.append(np.array(frame.luma))
        if len(self._collected) < self._pictures:
            return None
        frames, self._collected = self._collected, []
        try:
            found = find_keyboard(frames)
        except CalibrationError as error:
            self.problem = str(error)
            return None
        self.problem = None
        return found
