"""Does the camera leave white keys their shades? If not, by how many stops should it expose less.

A camera exposes for its whole picture. Where much of that is dark, white keys come out plain white, and with
their edges and shadows goes all that shows a key in motion. What is plain cannot be mended afterwards, but
every camera can be asked for less light.
"""

import math
from typing import Final

import numpy as np

from ivories.clock import MILLISECOND, SECOND
from ivories.datatypes import UInt8, VideoFrame
from ivories.keyboard import BLACK_KEY_LENGTH, IS_BLACK, KEY_CENTRE, WHITE_KEYS
from ivories.vision.calibration import Calibration
from ivories.vision.homography import Float64

LOWEST: Final = -5.0
"""Stops; a camera is never asked for less than this"""
PLAIN: Final = 234
"""Luma from which a pixel counts as plain white: cameras of limited range end at 235"""

_LOOK_NS: Final = SECOND // 4
_LOOKS: Final = 3  # that a decision is made of
# A camera takes some frames to obey, and its own automatic exposure some more to settle.
_SETTLE_NS: Final = 500 * MILLISECOND
_MOVED: Final = 16  # levels from one look to the next by which something moved there
_MUCH: Final = 0.25  # share of the points: more than two hands that play
_MOSTLY: Final = 0.5  # share of plain points from which nothing is to be seen anyway
_SOME: Final = 0.08  # share from which the correction grows, by a small step
_BIG_STEP, _SMALL_STEP = 1.0, 1 / 3  # stops
_BRIGHTEST: Final = 98  # percentile of the points
_DIM: Final = 150.0  # where the brightest are below this, a small step back makes none of them plain
_DARK: Final = 60.0  # where they are below this, something else than the correction is wrong: end it
# A room whose light comes and goes must not make the camera hunt: every turn doubles the wait for the next.
_WAIT_NS: Final = 10 * SECOND
_LONGEST_WAIT_NS: Final = 600 * SECOND


class ExposureWatch:
    """Stage VideoFrame -> stops to expose by, at the moments when they change.

    It starts at 0, the camera's own choice, asks for less while white keys are plain white, and comes back
    when they have become dim. It decides on three looks within half a second, and only while little moves.

    Args:
        calibration: where the keyboard is.
    """

    def __init__(self, calibration: Calibration) -> None:
        self.stops = 0.0
        """Asked for now, at most 0"""
        self.aim(calibration)

    def aim(self, calibration: Calibration) -> None:
        """Look elsewhere, begin afresh; the camera stays as it was asked to be."""
        self._at = _white_points(calibration)
        self._size = (calibration.height, calibration.width)
        self._looks: list[UInt8] = []
        self._due_ns = -1
        self._way = 0  # of the newest change: -1 darker, 1 brighter
        self._turned_ns = 0
        self._wait_ns = _WAIT_NS
        self.plain = 0.0
        """Share of the white keys that is plain white, at the newest look"""

    def push(self, frame: VideoFrame) -> float | None:
        """Take one frame; return the stops to expose by from now on, or None where nothing changes."""
        if frame.t_ns < self._due_ns or frame.luma.shape != self._size or not len(self._at):
            return None
        self._due_ns = frame.t_ns + _LOOK_NS
        look = np.ascontiguousarray(frame.luma[self._at[:, 1], self._at[:, 0]])
        if self._looks and _share(_apart(look, self._looks[-1]) > _MOVED) > _MUCH:
            self._looks.clear()
        self._looks.append(look)
        self.plain = _share(look >= PLAIN)
        if len(self._looks) < _LOOKS:
            return None
        # What a hand passed in one of three looks stands as the other two saw it.
        seen = np.median(self._looks[-_LOOKS:], axis=0)
        del self._looks[0]
        wanted = self._wanted(seen, frame.t_ns)
        if wanted == self.stops:
            return None
        self.stops = wanted
        self._looks.clear()
        self._due_ns = frame.t_ns + _SETTLE_NS
        return wanted

    def _wanted(self, seen: Float64, t_ns: int) -> float:
        plain = _share(seen >= PLAIN)
        if plain > _SOME and self.stops > LOWEST and self._may_go(-1, t_ns):
            return max(LOWEST, _step(self.stops, -(_BIG_STEP if plain > _MOSTLY else _SMALL_STEP)))
        brightest = float(np.percentile(seen, _BRIGHTEST))
        if self.stops < 0 and brightest < _DIM and self._may_go(1, t_ns):
            return 0.0 if brightest < _DARK else min(0.0, _step(self.stops, _SMALL_STEP))
        return self.stops

    def _may_go(self, way: int, t_ns: int) -> bool:
        """Return whether the correction may change this ``way`` now; it does so, where it may."""
        if self._way not in (0, way):
            since_ns = t_ns - self._turned_ns
            if since_ns < self._wait_ns:
                return False
            soon = since_ns < 2 * self._wait_ns
            self._wait_ns = min(_LONGEST_WAIT_NS, 2 * self._wait_ns) if soon else _WAIT_NS
        self._way, self._turned_ns = way, t_ns
        return True


def _white_points(calibration: Calibration) -> np.ndarray[tuple[int, int], np.dtype[np.intp]]:
    """Return (n, 2) whole pixels x, y on white keys, away from gaps and black keys, within the picture."""
    front, back = BLACK_KEY_LENGTH + np.array([0.1, 0.18, 0.26]), np.array([0.2, 0.35, 0.5])
    x = np.arange(WHITE_KEYS)[:, None] + np.array([0.2, 0.4, 0.6, 0.8])
    black = np.abs(x.reshape(-1, 1) - KEY_CENTRE[IS_BLACK]).min(1)
    between = x.reshape(-1)[black > 0.42]
    plane = np.concatenate([
        np.stack(np.meshgrid(x.reshape(-1), front), -1).reshape(-1, 2),
        np.stack(np.meshgrid(between, back), -1).reshape(-1, 2),
    ])  # fmt: skip
    pixels = np.round(calibration.to_pixels(plane))
    inside = ((pixels >= 0) & (pixels <= [calibration.width - 1, calibration.height - 1])).all(1)
    return pixels[inside].astype(np.intp)


def _apart(one: UInt8, other: UInt8) -> np.ndarray[tuple[int], np.dtype[np.int16]]:
    return np.abs(one.astype(np.int16) - other.astype(np.int16))


def _share(which: np.ndarray[tuple[int], np.dtype[np.bool_]]) -> float:
    return float(np.count_nonzero(which) / max(1, which.size))


def _step(stops: float, by: float) -> float:
    """Return ``stops`` + ``by`` on the ladder of thirds, so that steps back end at 0."""
    return math.floor(3 * (stops + by) + 0.5) / 3
