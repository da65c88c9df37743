"""Finds the keyboard in a picture: dark bars, the two-and-three pattern, the edges."""

from collections.abc import Sequence
from typing import Final

import cv2
import msgspec
import numpy as np

from ivories.datatypes import UInt8, VideoFrame
from ivories.errors import CalibrationError
from ivories.vision import calibration as calibrations
from ivories.vision.black_keys import Bars, Row, find_bars, find_rows
from ivories.vision.calibration import Calibration
from ivories.vision.key_pattern import PatternMatch, match_pattern
from ivories.vision.placement import Placed, place_keyboard, settle
from ivories.vision.row_fit import fit_row

_SEARCH_WIDTH: Final = 640  # pixels; black keys of an 88-key keyboard are then 5 to 8 pixels wide
_LEAST_BARS: Final = 7
# Size as a share of the picture's width, more than a black key; for bars that stand, that lie.
_SPANS: Final = (
    (1 / 45, True, False),
    (1 / 45, True, True),
    (1 / 20, True, False),
    (1 / 20, True, True),
    (1 / 20, False, True),
)
_CONTRASTS: Final = (0.65, 0.45, 0.8, 0.3, 0.15)
_ENOUGH: Final = 34.0  # black keys of 36, matched
_FITS: Final = 32.0  # score of a layout with hardly a key in doubt
_SURE: Final = 28.0  # score of a layout that needs no rival
_LEAST_QUALITY: Final = 0.1
_TRIES: Final = 4
# Luma of the brightest parts: below the first a picture is not searched, and where nothing is found below the
# second, the dark is to blame.
_BLACK: Final = 8
_DIM: Final = 20


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
    return find_in_two_steps(frames, hint)[1]


def find_in_two_steps(
    frames: Sequence[UInt8], hint: Calibration | None = None
) -> tuple[Calibration, Calibration]:
    """Find the keyboard as `find_keyboard` does; return what the dark bars tell, then the refined result.

    Raises:
        CalibrationError: as `find_keyboard`.
    """
    if not frames:
        raise CalibrationError("There is no picture to look for a keyboard in; check that the camera works.")
    luma = median_picture(frames)
    bright = float(np.percentile(luma, 99))
    if bright < _BLACK:
        raise CalibrationError(_too_dark(bright))
    try:
        return _found(luma, hint)
    except CalibrationError as error:
        if bright < _DIM:
            raise CalibrationError(_too_dark(bright)) from error
        raise


def _found(luma: UInt8, hint: Calibration | None) -> tuple[Calibration, Calibration]:
    height, width = luma.shape
    small, scale = _shrink(luma)
    first = _search(small)
    try:
        placed = settle(small, first)
    except np.linalg.LinAlgError:
        placed = first  # without a measured residual its quality is 0
    if placed.mirrored and placed.layout.score < _FITS:
        raise CalibrationError(
            "The picture is mirrored: its black keys run from treble to bass. Switch off the mirror (flip) "
            "setting of the camera."
        )
    if not placed.octave_sure and hint is not None:
        placed = _nearest(placed, hint, scale)
    if placed.layout.present < _LEAST_BARS or placed.quality < _LEAST_QUALITY:
        raise CalibrationError(
            f"A row of {placed.layout.present} black keys was seen, but not clearly enough to place the "
            "keyboard: move the camera so that all keys are in the picture, with even light and no hands, or "
            "mark the corners by hand."
        )
    return _calibration(first, scale, width, height), _calibration(placed, scale, width, height)


def _calibration(placed: Placed, scale: float, width: int, height: int) -> Calibration:
    found = placed.found
    # k1 counts radii in half picture widths, so it stays when the picture is scaled
    to_full = np.array([[scale, 0, (scale - 1) / 2], [0, scale, (scale - 1) / 2], [0, 0, 1.0]])
    calibration = calibrations.from_homography(
        to_full @ found.matrix, width, height, k1=found.k1, quality=placed.quality
    )
    return msgspec.structs.replace(
        calibration,
        lowest=placed.layout.lowest,
        highest=placed.layout.highest,
        octave_uncertain=not placed.octave_sure,
    )


def _nearest(placed: Placed, hint: Calibration, scale: float) -> Placed:
    """Return the reading whose middle lies nearest to the hint's."""
    middle = np.array([26.0, 0.5])
    there = hint.to_pixels(middle)
    readings = [placed, *(placed.shifted(rival) for rival in placed.layout.rivals)]
    return min(readings, key=lambda r: float(np.hypot(*(r.found.to_pixels(middle) * scale - there))))


def median_picture(frames: Sequence[UInt8]) -> UInt8:
    """Return the per-pixel median of ``frames``, (H, W) each.

    Raises:
        CalibrationError: the sizes differ.
    """
    if len({frame.shape for frame in frames}) > 1:
        raise CalibrationError("The pictures differ in size; give pictures of one camera in one mode.")
    if len(frames) == 1:
        return np.ascontiguousarray(frames[0])
    return np.asarray(np.median(np.stack(list(frames)), axis=0), np.uint8)


def _too_dark(bright: float) -> str:
    return (
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


def _search(luma: UInt8) -> Placed:
    """Return the keyboard as the best row of dark bars tells."""
    rng = np.random.default_rng(0)
    height, width = luma.shape
    pool: Bars | None = None
    matches: list[tuple[float, Row, PatternMatch]] = []
    tried: list[Placed] = []
    most = 0

    def place(row: Row, match: PatternMatch, pool: Bars) -> bool:
        """Try a row; say whether there is no need to look further."""
        try:
            pattern, places = fit_row(row, match, pool, width, height)
            tried.append(place_keyboard(luma, pattern, places))
        except np.linalg.LinAlgError:
            return False  # these bars lie in no plane
        return tried[-1].layout.score > _SURE

    for contrast in _CONTRASTS:
        for share, upright, lying in _SPANS:
            size = round(max(luma.shape) * share) | 1
            bars = find_bars(luma, (size if lying else 1, size if upright else 1), contrast)
            pool = bars if pool is None else pool.join(bars)
            for row in find_rows(bars, _LEAST_BARS, rng):
                most = max(most, len(row.bars))
                match = match_pattern(row.position)
                if match is None:
                    continue
                if match.score < _ENOUGH:
                    matches.append((match.score, row, match))
                    continue
                if place(row, match, pool):
                    return tried[-1]
    matches.sort(key=lambda entry: -entry[0])
    for _, row, match in matches[:_TRIES]:
        if pool is not None and place(row, match, pool):
            break
    if not tried:
        raise CalibrationError(_nothing_found(most))
    return max(tried, key=lambda placed: placed.layout.score)


def _nothing_found(most: int) -> str:
    if most == 0:
        seen = "No row of black keys was seen"
    else:
        seen = f"Only {most} dark bars in a row were seen, and they are not spaced like black keys"
    return (
        f"{seen}: point the camera so that the whole keyboard fills the picture's width, with even light and "
        "hands off the keys, or mark the corners by hand."
    )


class KeyboardFinder:
    """Collects pictures over a moment and finds the keyboard in their median; tries again until it does.

    Args:
        pictures: how many are searched at a time.
        every_ns: time between them.
        hint: where the keyboard was before the camera moved, see `find_keyboard`.
    """

    def __init__(
        self, pictures: int = 15, every_ns: int = 100_000_000, hint: Calibration | None = None
    ) -> None:
        self._pictures, self._every_ns, self._hint = pictures, every_ns, hint
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
            found = find_keyboard(frames, self._hint)
        except CalibrationError as error:
            self.problem = str(error)
            return None
        self.problem = None
        return found
