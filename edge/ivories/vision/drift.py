"""Watches whether the keyboard still lies where the calibration says: notices a bumped camera."""

import warnings
from collections import deque
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from ivories.datatypes import VideoFrame
from ivories.keyboard import BLACK_KEY_LENGTH, IS_BLACK, KEY_CENTRE, WHITE_KEYS
from ivories.vision.calibration import Calibration
from ivories.vision.homography import Float64
from ivories.vision.plane_fit import PlaneMap
from ivories.vision.viewpoint import black_sides

LOST: Final = float("inf")
"""What `DriftWatch.push` returns when the keyboard is nowhere near its place."""

_PER_WHITE: Final = 8
_COLUMNS: Final = WHITE_KEYS * _PER_WHITE
_WINDOWS: Final = 13  # of four white keys
_BACK_ROWS: Final = np.linspace(0.15, 0.5, 6)
# Also sampled so many white-key lengths off: a turned camera shows half the keys in place, the others there.
_ASIDE: Final = np.arange(-3, 4) * 0.28
_HOME_ROWS: Final = slice(3 * len(_BACK_ROWS), 4 * len(_BACK_ROWS))
_FRONT_ROWS: Final = BLACK_KEY_LENGTH + np.linspace(-0.16, 0.16, 17)
_STEP: Final = 0.0625  # white-key widths
_NEAR: Final = 10  # steps either way in which a shift is measured
_FAR: Final = 74  # steps: groups of two and three black keys look alike some keys away, so look there too
_SHIFTS: Final = np.arange(-_FAR, _FAR + 1) * _STEP
_AWAY: Final = 2.0  # groups more that a far place must explain
_BLACK_HALF: Final = 0.28  # white-key widths
_FARTHEST_LEAN: Final = 1.2  # white-key widths; black keys beyond the picture may seem to lean anywhere
_SURE: Final = 0.75  # correlation of a window that plainly shows its keys
_GONE: Final = 0.6  # correlation of a window that does not
_CHAIN: Final = 3  # neighbouring windows whose keys are seen elsewhere
_LENGTH_IN_WIDTHS: Final = 6.4  # a white key's length over its width
_MEMORY: Final = 3  # looks that must agree
_PATIENCE: Final = 4  # looks without any sight of keys in a bright picture; one that moves counts half
_DOUBT: Final = 1  # such looks that raise a doubt
_LEARNING: Final = 3  # looks that set the zero: a calibration is never perfect
# White-key widths to the side; a calibration farther off is of another position. Corners set by hand, others.
_IMPERFECT: Final = (0.3, 0.15)


class DriftWatch:
    """Compares the pattern of black keys with its place, a few rows of pixels at a time.

    Each group of four white keys votes where its black keys are, by normalized correlation, which no change
    of light alters. A group covered by a hand correlates badly and has no vote; one that is plainly seen
    elsewhere, beside its like, tells of a camera that was turned. Two looks a second are enough.
    """

    def __init__(self, calibration: Calibration) -> None:
        x = (np.arange(_COLUMNS) + 0.5) / _PER_WHITE
        rows = np.concatenate([(_BACK_ROWS + _ASIDE[:, None]).ravel(), _FRONT_ROWS])
        pixels = calibration.to_pixels(np.stack(np.meshgrid(x, rows), -1))
        self._x, self._y = (np.ascontiguousarray(pixels[..., i], np.float32) for i in (0, 1))
        limit = [calibration.width - 1, calibration.height - 1]
        in_picture = np.asarray(((pixels >= 0) & (pixels <= limit)).all(-1))
        self._inside = in_picture[_HOME_ROWS].all(0).reshape(_WINDOWS, -1).all(1)
        self._imperfect = _IMPERFECT[0 if calibration.quality >= 1 else 1]
        self._shape = (calibration.height, calibration.width)
        black = _BlackKeys(calibration)
        self._templates = _normalized(
            np.stack([black.at(x - shift).reshape(_WINDOWS, -1) for shift in _SHIFTS], 1)
        )  # (windows, shifts, columns)
        self._black = black.at(x) < 0
        self._zero: list[Float64] = []
        self._place = np.zeros((_WINDOWS, 2))
        self._recent: deque[float] = deque(maxlen=_MEMORY)
        self._unseen = 0.0
        self._before: Float64 | None = None
        self.newest = 0.0
        """What the newest look alone says, white-key widths: a doubt before it is sure"""

    def push(self, frame: VideoFrame) -> float:
        """Return how far a part of the keyboard has moved since the first looks, in white-key widths.

        The smallest of the last three looks, so that one bad look is no alarm; `LOST` when the keys have been
        out of sight in a bright picture for several looks; 0 while nothing can be said. Where the
        first looks already show the keys far off, the calibration is of an earlier position, and the
        distance is the one from it.
        """
        if frame.luma.shape != self._shape:
            self.newest = LOST
            return LOST
        strip = cv2.remap(frame.luma, self._x, self._y, cv2.INTER_LINEAR).astype(np.float64)
        found = self._look(strip)
        if found is None:
            return self._without_sight(strip)
        self._unseen, self._before = 0.0, None
        if len(self._zero) < _LEARNING:
            self._zero.append(found)
            self._place = self._learnt()
            return 0.0
        self.newest = _third(found - self._place)
        self._recent.append(self.newest)
        return min(self._recent) if len(self._recent) == _MEMORY else 0.0

    def _learnt(self) -> Float64:
        """Return where the keys were in the first looks, as from `_look`; their due place if far from it."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # a group that was never seen
            place = np.nanmedian(self._zero, 0)
            common = np.nan_to_num(np.nanmedian(place, 0))
        place = np.where(np.isfinite(place), place, common)
        to_side = place * (1.0, 0.0)
        if abs(np.median(place[:, 0])) > self._imperfect or _third(to_side) > _IMPERFECT[0]:
            return np.zeros_like(place)
        return place

    def _look(self, strip: Float64) -> Float64 | None:
        """Return (windows, 2) how far each group of keys is to the side and along the keys; NaN: not seen."""
        bands = strip[: -len(_FRONT_ROWS)].reshape(len(_ASIDE), len(_BACK_ROWS), _WINDOWS, -1).mean(1)
        everywhere = self._templates @ _normalized(bands).transpose(1, 2, 0)  # (windows, shifts, bands)
        likeness = np.ascontiguousarray(everywhere[..., len(_ASIDE) // 2].T)  # (shifts, windows)
        strayed = _strayed(everywhere, likeness)
        if strayed is not None:
            return np.tile(strayed, (_WINDOWS, 1))
        likeness[:, ~self._inside] = -1
        votes = np.where(likeness > _SURE, likeness, 0).sum(1)
        near = slice(_FAR - _NEAR, _FAR + _NEAR + 1)
        best = float(_SHIFTS[votes.argmax()])
        alike = abs(best) > 1  # farther off than a key only other keys can look like those expected
        if abs(best) >= _NEAR * _STEP and votes.max() > votes[near][1:-1].max() + (_AWAY if alike else 0):
            return np.tile((best, 0.0), (_WINDOWS, 1))
        likeness, shifts = likeness[near], _SHIFTS[near]
        peak = likeness.argmax(0)
        window = np.arange(_WINDOWS)
        inner = np.clip(peak, 1, len(shifts) - 2)
        sure = (likeness[peak, window] > _SURE) & (peak == inner)
        if sure.sum() < 3:
            return None
        below, top, above = (likeness[inner + step, window] for step in (-1, 0, 1))
        bend = np.minimum(below - 2 * top + above, -1e-9)
        shift = shifts[inner] - 0.5 * (above - below) / bend * _STEP
        return np.stack([np.where(sure, shift, np.nan), self._front_shift(strip, sure)], 1)

    def _front_shift(self, strip: Float64, sure: NDArray[np.bool_]) -> Float64:
        """Return how far off its place each group's black keys end, white-key widths; NaN: not seen."""
        step = np.diff(strip[-len(_FRONT_ROWS) :], axis=0)
        # per column of a black key: the middle of its brightening
        rise = np.clip(step, 0, None)
        total = rise.sum(0)
        clear = self._black & (total > 0.3 * max(1.0, float(np.ptp(strip[-len(_FRONT_ROWS) :]))))
        middles = (_FRONT_ROWS[1:] + _FRONT_ROWS[:-1]) / 2
        place = np.where(clear, (middles[:, None] * rise).sum(0) / np.maximum(total, 1e-6), np.nan)
        place = place.reshape(_WINDOWS, -1)
        known = sure & (clear.reshape(_WINDOWS, -1).sum(1) > _PER_WHITE // 2)
        along = np.full(_WINDOWS, np.nan)
        along[known] = (np.nanmedian(place[known], 1) - BLACK_KEY_LENGTH) * _LENGTH_IN_WIDTHS
        return along

    def _without_sight(self, strip: Float64) -> float:
        before, self._before = self._before, strip
        bright = float(np.percentile(strip, 95)) > 40
        still = before is not None and float(np.median(np.abs(strip - before))) < 6
        # where all is in motion it may be hands, but not for long
        self._unseen = self._unseen + (1.0 if still else 0.5) if bright else 0.0
        self.newest = LOST if self._unseen >= _DOUBT else 0.0
        return LOST if self._unseen >= _PATIENCE else 0.0


def _third(off: Float64) -> float:
    """Return the third-largest length of ``off`` (windows, 2): how far a part of the keyboard has moved."""
    seen = np.nan_to_num(off[np.isfinite(off[:, 0])]) * (1.0, 0.5)  # less depends on the place along the keys
    return float(np.sort(np.hypot(*seen.T))[-3])


def _strayed(everywhere: Float64, home: Float64) -> tuple[float, float] | None:
    """Return where neighbouring groups of keys are seen that are not in their place, white-key widths.

    Args:
        everywhere: (windows, shifts, bands) likeness.
        home: (shifts, windows) that of the band where the keys belong.
    """
    flat = everywhere.reshape(_WINDOWS, -1)
    nearer = 0.1 * np.abs(_ASIDE) + 0.005 * np.abs(_SHIFTS)[:, None]  # of places that look the same
    shift, band = np.unravel_index((everywhere - nearer).reshape(_WINDOWS, -1).argmax(1), nearer.shape)
    place = np.stack([_SHIFTS[shift], _ASIDE[band]], 1)
    gone = (flat.max(1) > _SURE) & (home[_FAR - _NEAR : _FAR + _NEAR + 1].max(0) < _GONE)
    together = gone[1:] & gone[:-1] & (np.abs(np.diff(place, axis=0)) < (0.75, 0.3)).all(1)
    for start in range(_WINDOWS - _CHAIN + 1):
        if together[start : start + _CHAIN - 1].all():
            across, along = np.median(place[start : start + _CHAIN], axis=0)
            return float(across), float(along * _LENGTH_IN_WIDTHS)
    return None


class _BlackKeys:
    """Where black keys look dark from this camera: they stand up, and so seem to lean away from it."""

    def __init__(self, calibration: Calibration) -> None:
        found = PlaneMap(
            np.asarray(calibration.homography, np.float64),
            calibration.k1,
            calibration.width,
            calibration.height,
        )
        centre = KEY_CENTRE[IS_BLACK]
        left, right = black_sides(found, centre, float(_BACK_ROWS.mean()), _BLACK_HALF)
        self._left = centre + np.clip(left, -_FARTHEST_LEAN, 0)
        self._right = centre + np.clip(right, 0, _FARTHEST_LEAN)

    def at(self, x: Float64) -> Float64:
        """Return (n,) -1 where ``x`` (n,) is on a black key and 1 elsewhere, softened over one column."""
        outside = np.maximum(self._left - x[:, None], x[:, None] - self._right).min(1)
        return np.asarray(np.clip(outside * _PER_WHITE, -1, 1))


def _normalized(profile: Float64) -> Float64:
    """Return ``profile`` (..., n) with mean 0 and norm 1 over its last axis."""
    centred = profile - profile.mean(-1, keepdims=True)
    return np.asarray(centred / np.maximum(np.sqrt((centred**2).sum(-1, keepdims=True)), 1e-6))
