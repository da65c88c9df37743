"""Watches whether the keyboard still lies where the calibration says: notices a bumped camera."""

from collections import deque
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from ivories.datatypes import VideoFrame
from ivories.keyboard import BLACK_KEY_LENGTH, IS_BLACK, KEY_CENTRE, WHITE_KEYS
from ivories.vision.calibration import Calibration
from ivories.vision.homography import Float64

LOST: Final = 1.0
"""What `DriftWatch.push` returns when the keyboard is nowhere near its place."""

_PER_WHITE: Final = 8
_COLUMNS: Final = WHITE_KEYS * _PER_WHITE
_WINDOWS: Final = 13  # of four white keys
_BACK_ROWS: Final = np.linspace(0.15, 0.5, 6)
_FRONT_ROWS: Final = BLACK_KEY_LENGTH + np.linspace(-0.16, 0.16, 17)
_SHIFTS: Final = np.linspace(-0.625, 0.625, 21)  # white-key widths
_BLACK_HALF: Final = 0.28  # white-key widths
_SURE: Final = 0.75  # correlation of a window that plainly shows its keys
_LENGTH_IN_WIDTHS: Final = 6.4  # a white key's length over its width
_MEMORY: Final = 3  # looks that must agree
_PATIENCE: Final = 6  # looks without any sight of keys, in an unmoving bright picture
_LEARNING: Final = 3  # looks that set the zero: a calibration is never perfect


class DriftWatch:
    """Compares the pattern of black keys with its place, a few rows of pixels at a time.

    Each group of four white keys votes where its black keys are, by normalized correlation, which no change
    of light alters. A group covered by a hand correlates badly and has no vote. One look takes well under a
    millisecond; two looks a second are enough.
    """

    def __init__(self, calibration: Calibration) -> None:
        x = (np.arange(_COLUMNS) + 0.5) / _PER_WHITE
        rows = np.concatenate([_BACK_ROWS, _FRONT_ROWS])
        pixels = calibration.to_pixels(np.stack(np.meshgrid(x, rows), -1))
        self._x, self._y = (np.ascontiguousarray(pixels[..., i], np.float32) for i in (0, 1))
        self._inside = (
            ((pixels >= 0) & (pixels <= [calibration.width - 1, calibration.height - 1])).all((0, 2))
        ).reshape(_WINDOWS, -1)
        self._shape = (calibration.height, calibration.width)
        self._templates = _normalized(
            np.stack([_black(x - shift).reshape(_WINDOWS, -1) for shift in _SHIFTS])
        )  # (shifts, windows, columns)
        self._black = _black(x) < 0
        self._zero: list[tuple[float, float]] = []
        self._recent: deque[float] = deque(maxlen=_MEMORY)
        self._unseen = 0
        self._before: Float64 | None = None

    def push(self, frame: VideoFrame) -> float:
        """Return how far the keyboard has moved since the first looks, in white-key widths.

        The smallest of the last three looks, so that one bad look is no alarm; `LOST` when the keys have been
        out of sight in a bright unmoving picture for several looks; 0 while nothing can be said.
        """
        if frame.luma.shape != self._shape:
            return LOST
        strip = cv2.remap(frame.luma, self._x, self._y, cv2.INTER_LINEAR).astype(np.float64)
        found = self._look(strip)
        if found is None:
            return self._without_sight(strip)
        self._unseen, self._before = 0, None
        if len(self._zero) < _LEARNING:
            self._zero.append(found)
            return 0.0
        zero = np.median(self._zero, axis=0)
        self._recent.append(float(np.hypot(found[0] - zero[0], found[1] - zero[1])))
        return min(self._recent) if len(self._recent) == _MEMORY else 0.0

    def _look(self, strip: Float64) -> tuple[float, float] | None:
        profile = _normalized(strip[: len(_BACK_ROWS)].mean(0).reshape(_WINDOWS, -1))
        likeness = (self._templates * profile).sum(-1)  # (shifts, windows)
        peak = likeness.argmax(0)
        window = np.arange(_WINDOWS)
        inner = np.clip(peak, 1, len(_SHIFTS) - 2)
        sure = (likeness[peak, window] > _SURE) & self._inside.all(1) & (peak == inner)
        if sure.sum() < 3:
            return None
        below, top, above = (likeness[inner + step, window] for step in (-1, 0, 1))
        bend = np.minimum(below - 2 * top + above, -1e-9)
        shift = _SHIFTS[inner] - 0.5 * (above - below) / bend * (_SHIFTS[1] - _SHIFTS[0])
        return float(np.median(shift[sure])), self._front_shift(strip, sure)

    def _front_shift(self, strip: Float64, sure: NDArray[np.bool_]) -> float:
        """Return where black keys end, off its place, in white-key widths."""
        columns = np.repeat(sure, _COLUMNS // _WINDOWS) & self._black
        step = np.diff(strip[len(_BACK_ROWS) :, columns], axis=0)
        # per black column: the middle of its brightening
        rise = np.clip(step, 0, None)
        total = rise.sum(0)
        clear = total > 0.3 * max(1.0, float(np.ptp(strip)))
        if not clear.any():
            return 0.0
        middles = (_FRONT_ROWS[1:] + _FRONT_ROWS[:-1]) / 2
        place = (middles[:, None] * rise).sum(0)[clear] / total[clear]
        return float(np.median(place) - BLACK_KEY_LENGTH) * _LENGTH_IN_WIDTHS

    def _without_sight(self, strip: Float64) -> float:
        before, self._before = self._before, strip
        bright = float(np.percentile(strip, 95)) > 40
        still = before is not None and float(np.median(np.abs(strip - before))) < 6
        self._unseen = self._unseen + 1 if bright and still else 0
        return LOST if self._unseen >= _PATIENCE else 0.0


def _black(x: Float64) -> Float64:
    """Return -1 where a black key is and 1 elsewhere, softened over one column."""
    off = np.abs(x[:, None] - KEY_CENTRE[IS_BLACK][None]).min(1)
    return np.asarray(np.clip((off - _BLACK_HALF) * _PER_WHITE, -1, 1))


def _normalized(profile: Float64) -> Float64:
    """Return ``profile`` (..., n) with mean 0 and norm 1 over its last axis."""
    centred = profile - profile.mean(-1, keepdims=True)
    return np.asarray(centred / np.maximum(np.sqrt((centred**2).sum(-1, keepdims=True)), 1e-6))
