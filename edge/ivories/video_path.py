"""The way from the camera to evidence, and the same for the appliance, ``transcribe`` and the scores.

One stage made of stages: only who pushes the frames differs. Whoever only hears does not import it, and so
neither OpenCV.
"""

import logging
from collections.abc import Callable
from typing import Final

from ivories.clock import SECOND
from ivories.datatypes import KeyEvidence, VideoFrame
from ivories.errors import CalibrationError
from ivories.fusion.health import CameraHealth, weighted
from ivories.inference.base import Runtime
from ivories.inference.manifest import Manifest
from ivories.inference.video_model import VideoModel
from ivories.runtime.timing import StageTimes
from ivories.vision.calibration import Calibration
from ivories.vision.drift import LOST, DriftWatch
from ivories.vision.exposure import ExposureWatch
from ivories.vision.find_keyboard import KeyboardFinder
from ivories.vision.strip import StripFrontEnd, StripSpec

_log = logging.getLogger(__name__)

_DRIFT_EVERY_NS: Final = SECOND // 2
PLAIN_REST: Final = 0.5
"""Share of plain white keys from which a picture of them shows nothing to compare a later one with"""
_BUMPED: Final = 0.15  # white-key widths: beyond this the strip's blocks no longer fit their keys


class VideoPath:
    """VideoFrame -> rectified strip -> network -> KeyEvidence, and the search for the keyboard before it.

    Without a calibration the first pictures are used to find the keyboard. A camera that was moved, now or
    since the calibration was made, is noticed: its evidence loses weight at the first doubt, and when three
    looks agree the keyboard is searched for again; so it is where the calibration does not fit the pictures.
    Until a position is known the path says nothing, which is what fusion expects of a sensor that cannot
    judge.

    Where the camera leaves white keys plain white, ``expose`` is called with the stops to expose by from then
    on, and returns whether the camera obeyed. None: the camera is left alone.
    """

    def __init__(
        self,
        runtime: Runtime,
        manifest: Manifest,
        spec: StripSpec,
        times: StageTimes,
        calibration: Calibration | None = None,
        on_calibration: Callable[[Calibration], None] = lambda _: None,
        expose: Callable[[float], bool] | None = None,
    ) -> None:
        self._model = VideoModel(runtime, manifest)
        self._spec = spec
        self._times = times
        self._calibration = calibration
        self._on_calibration = on_calibration
        self._finder = KeyboardFinder()
        self._strip: StripFrontEnd | None = None
        self._drift: DriftWatch | None = None
        self._drift_due_ns = 0
        self._told = ""
        self._health = CameraHealth()
        self._expose = expose
        self._exposure: ExposureWatch | None = None

    @property
    def calibration(self) -> Calibration | None:
        """The position in use; None while it is searched for."""
        return self._calibration

    @property
    def stops(self) -> float:
        """By which the camera has to expose beside what it chooses; at most 0."""
        return 0.0 if self._exposure is None else self._exposure.stops

    @property
    def delay_ns(self) -> int:
        """Front end; the network's horizons are in its evidence."""
        return self._strip.delay_ns if self._strip else 0

    def push(self, frame: VideoFrame) -> list[KeyEvidence]:
        """Take one frame; nothing comes back until the keyboard is found and its rest image is known."""
        if self._strip is not None and not self._strip.fits(frame):
            self._strip = None  # the camera came back in another mode
        if self._strip is None and not self._begin(frame):
            return []
        if self._bumped(frame):
            self._search_again(self._calibration)
            return []
        self._hold_highlights(frame)
        doubt = self._drift.newest if self._drift else 0.0
        evidence: list[KeyEvidence] = []
        assert self._strip is not None  # noqa: S101 - _begin has set it; mypy cannot see that
        with self._times.measure("video strip"):
            strips = self._strip.push(frame)
        for strip in strips:
            with self._times.measure("video network"):
                seen = self._model.push(strip)
            for item in seen:
                evidence += weighted([item], self._health.push(strip, item.visible, doubt))
        return evidence

    def reset(self) -> None:
        """Forget what was seen, keep the keyboard's position."""
        self._strip = None
        self._model.reset()

    def _begin(self, frame: VideoFrame) -> bool:
        if self._calibration is None:
            with self._times.measure("keyboard search"):
                self._calibration = self._finder.push(frame)
            self._tell_search()
            if self._calibration is None:
                return False
            self._on_calibration(self._calibration)
        try:
            self._strip = StripFrontEnd(self._spec, self._calibration, frame.luma.shape)
        except CalibrationError as error:
            _log.warning("%s Until then the keyboard is searched for in the pictures as they are.", error)
            self._search_again(None)
            return False
        self._drift = DriftWatch(self._calibration)
        self._drift_due_ns = frame.t_ns + _DRIFT_EVERY_NS
        if self._exposure is not None:
            self._exposure.aim(self._calibration)
        elif self._expose is not None:
            self._exposure = ExposureWatch(self._calibration)
        return True

    def _hold_highlights(self, frame: VideoFrame) -> None:
        """Ask the camera for less light where it leaves white keys plain white."""
        if self._exposure is None or self._expose is None or self._strip is None:
            return
        before = self._exposure.stops
        with self._times.measure("exposure watch"):
            stops = self._exposure.push(frame)
        if stops is None:
            return
        plain = self._exposure.plain
        if not self._expose(stops):
            _log.warning(
                "%.0f %% of the white keys are plain white in the picture, so that presses hardly show, and "
                "this camera does not let its exposure be corrected: dim or move the lamp, or set the "
                "exposure by hand (`v4l2-ctl -L` lists what it knows)",
                100 * plain,
            )
            self._exposure = self._expose = None
            return
        if stops < before:
            _log.info(
                "%.0f %% of the white keys are plain white: the camera exposes %.1f stops less than it would",
                100 * plain, -stops,
            )  # fmt: skip
        else:
            how = f"{-stops:.1f} stops less than it would" if stops else "as it chooses"
            _log.info("the white keys have become dim: the camera exposes %s", how)
        if plain > PLAIN_REST:
            self._strip.reset()  # what was learnt as the keyboard at rest is plain white

    def _tell_search(self) -> None:
        """Log what the search has come to, each trouble once."""
        if self._calibration is None:
            problem = self._finder.problem or ""
            if problem and problem != self._told:
                _log.warning("no keyboard found yet: %s Trying again as long as it takes.", problem)
            self._told = problem or self._told
            return
        self._told = ""
        _log.info("keyboard found, quality %.2f", self._calibration.quality)
        if self._calibration.octave_uncertain:
            _log.warning(
                "too few keys are in the picture to tell their octave: if notes are an octave off, show the "
                "camera an end of the keyboard, or mark the corners with `ivories setup --corners`"
            )

    def _bumped(self, frame: VideoFrame) -> bool:
        if self._drift is None or frame.t_ns < self._drift_due_ns:
            return False
        self._drift_due_ns = frame.t_ns + _DRIFT_EVERY_NS
        with self._times.measure("drift watch"):
            moved = self._drift.push(frame)
        if moved <= _BUMPED:
            return False
        how = "out of the keyboard's sight" if moved == LOST else f"by about {moved:.1f} white-key widths"
        _log.warning(
            "the camera was moved %s: its notes are left out until the keyboard is found again; keep the "
            "camera still and all keys in the picture",
            how,
        )
        return True

    def _search_again(self, hint: Calibration | None) -> None:
        """Begin to look for the keyboard; ``hint``: where it was in pictures of this size."""
        self._finder = KeyboardFinder(hint=hint)
        self._strip = self._drift = self._calibration = None
        self._model.reset()
        self._health = CameraHealth()
