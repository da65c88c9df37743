"""A camera in the device's care: the stage that watches for plain white keys corrects its exposure."""

from collections.abc import Iterator
from typing import Final

import numpy as np

from ivories.clock import SECOND
from ivories.datatypes import VideoFrame
from ivories.vision.calibration import Calibration
from ivories.vision.exposure import ExposureWatch
from ivories_training.video.camera import Float64
from ivories_training.video.film import Film, UInt8

_BEFORE_S: Final = 8.0
"""How long the device has run before the film begins"""
_STEP_S: Final = 0.1


class HeldExposure:
    """Exposes a film as `ivories run` has its camera do.

    Args:
        film: whose sensor is corrected.
        calibration: where the device takes the keyboard to be.
        seed: of the noise before the film begins; the film's own is that of a camera left alone.
    """

    def __init__(self, film: Film, calibration: Calibration, seed: int) -> None:
        self._film = film
        self._watch = ExposureWatch(calibration)
        self._sensor = film.sensor
        self._rng = np.random.default_rng([seed, 0xE4])
        self.stops: list[float] = []
        """What the camera was asked for, one after the other"""

    def exposures(self, times_s: Float64) -> Iterator[UInt8]:
        """Yield what ``film.exposures`` does; ``times_s`` (F,) from 0 on."""
        for i in range(round(_BEFORE_S / _STEP_S)):
            rest = self._film.rest(self._film.sensor, self._rng)
            self._look(rest, i * _STEP_S - _BEFORE_S)
        for t_s, picture in zip(times_s, self._film.exposures(), strict=True):
            yield picture
            self._look(picture, float(t_s))

    def _look(self, picture: UInt8, t_s: float) -> None:
        """Let the device look at ``picture``, uncompressed, and the sensor obey with the next one."""
        whole = self._film.frame.paste(picture)
        stops = self._watch.push(VideoFrame(whole, round((t_s + _BEFORE_S) * SECOND), 0, 0))
        if stops is not None:
            self.stops.append(stops)
            self._film.sensor = self._sensor.corrected(stops)
