"""``ivories run``: the instrument itself. Sensors in threads of their own, notes out of the main thread.

ears:  sound source -> AudioPath -> evidence mailbox
eyes:  camera -> newest-frame mailbox;  sight: newest frame -> VideoPath -> evidence mailbox
main:  evidence mailbox -> fusion, tracker, sinks

A sensor that is missing or lost is tried again every second while the other goes on. Any other failure
releases every key on every sink and ends the program, so that its supervisor starts it afresh.
"""

import logging
import signal
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import msgspec

from ivories.app import Application
from ivories.backends import BACKENDS, FAKES, load
from ivories.clock import MILLISECOND
from ivories.config import Config
from ivories.datatypes import KeyEvidence, VideoFrame
from ivories.errors import BackendError, IvoriesError, SourceError
from ivories.instrument import Instrument
from ivories.outputs import build_sinks
from ivories.runtime.mailbox import Mailbox, Overflow
from ivories.runtime.notify import NOTES, Supervision
from ivories.runtime.priority import raise_priority
from ivories.runtime.worker import Worker, pump
from ivories.sources.base import AudioSource, VideoSource
from ivories.vision import calibration as calibrations
from ivories.vision.calibration import Calibration

_log = logging.getLogger(__name__)

_RETRY_S: Final = 1.0
_WAIT_S: Final = 0.05  # without evidence: how soon a stop request is seen; how often the loop beats
_EVIDENCE_KEPT: Final = 64
_SAME_SKEW_NS: Final = 2 * MILLISECOND


def open_microphone(config: Config) -> AudioSource:
    """Return the configured source of sound; raises SourceError or BackendError."""
    audio = config.audio
    name = "alsa" if audio.source == "auto" else audio.source
    source = load("audio", name)
    if name == "alsa":
        opened: AudioSource = source(device=audio.device, period_ms=audio.period_ms)
    elif name == "file":
        opened = source(Path(audio.device), realtime=True)
    else:
        opened = source(realtime=True)
    return opened


def open_camera(config: Config) -> VideoSource:
    """Return the configured source of pictures; ``auto`` walks the real cameras and says why each refused.

    Raises:
        SourceError: no camera could be opened.
        BackendError: the back-end named needs a library that is not installed.
    """
    video = config.video
    if video.source != "auto":
        return _camera(config, video.source)
    reasons = []
    for name in BACKENDS["video"]:
        if name in FAKES or name in {"file", "images"}:
            continue
        try:
            return _camera(config, name)
        except IvoriesError as error:
            reasons.append(f"{name}: {error}")
            _log.debug("camera %s refused: %s", name, error)
    raise SourceError("no camera: " + "; ".join(reasons))


def _camera(config: Config, name: str) -> VideoSource:
    video = config.video
    source = load("video", name)
    size = {"width": video.width, "height": video.height, "fps": video.fps}
    if name == "v4l2":
        opened: VideoSource = source(device=video.device, **size)
    elif name == "picamera2":
        opened = source(**size)
    elif name == "file":
        opened = source(Path(video.device), realtime=True)
    elif name == "images":
        opened = source(Path(video.device), fps=video.fps, realtime=True)
    else:
        opened = source(realtime=True)
    return opened


class Live:
    """The running instrument.

    Args:
        app: with the networks loaded.
        instrument: what stands behind them.
        microphone: opens the source of sound; None when it is switched off.
        camera: the same for pictures.
        calibration: where the keyboard is; None to search for it.
        keep: called with every position found.
    """

    def __init__(
        self,
        app: Application,
        instrument: Instrument,
        microphone: Callable[[], AudioSource] | None,
        camera: Callable[[], VideoSource] | None,
        calibration: Calibration | None = None,
        keep: Callable[[Calibration], None] = lambda _: None,
    ) -> None:
        self._app = app
        self._instrument = instrument
        self._calibration = calibration
        self._keep = keep
        self._evidence: Mailbox[KeyEvidence] = Mailbox("evidence", _EVIDENCE_KEPT, Overflow.KEEP_LATEST)
        self._frames: Mailbox[VideoFrame] = Mailbox("frames", 1, Overflow.KEEP_LATEST)
        self._stop = threading.Event()
        opened = {"microphone": microphone, "camera": camera}
        self._supervision = Supervision(name for name, sensor in opened.items() if sensor is not None)
        self._sources: dict[str, Any] = {}
        self._workers: list[Worker] = []
        if microphone is not None:
            self._add("ears", lambda: self._sense("microphone", microphone, self._hear))
        if camera is not None:
            self._add("eyes", lambda: self._sense("camera", camera, self._look), self._frames.close)
            self._add("sight", self._see)

    def run(self) -> None:
        """Play until ``stop`` is called or every source has ended; raises what made a thread fail."""
        for worker in self._workers:
            worker.start()
        try:
            while not self._stop.is_set():
                evidence = self._evidence.get(timeout=_WAIT_S)
                self._check()
                self._supervision.progress(NOTES)
                for name, source in list(self._sources.items()):
                    self._supervision.look_at(name, source)
                if evidence is not None:
                    self._instrument.push(evidence)
                elif not any(worker.alive for worker in self._workers):
                    break
                self._instrument.beat()
            self._check()
            self._instrument.finish()
        except BaseException:
            self._instrument.abandon()
            raise
        finally:
            self._end()

    def stop(self) -> None:
        """End ``run`` soon; may be called from any thread and from a signal handler."""
        self._stop.set()

    def _check(self) -> None:
        for worker in self._workers:
            worker.check()

    def _end(self) -> None:
        self._stop.set()
        self._supervision.stopping()
        for source in list(self._sources.values()):
            source.close()
        self._frames.close()
        self._evidence.close()
        for worker in self._workers:
            worker.join(timeout=2.0)

    def _add(self, name: str, work: Callable[[], None], after: Callable[[], None] = lambda: None) -> None:
        def ended(worker: Worker) -> None:
            after()
            if worker.failure is not None:
                _log.error("the %s thread failed", name, exc_info=worker.failure)

        self._workers.append(Worker(name, work, ended))

    def _sense(self, name: str, open_source: Callable[[], Any], consume: Callable[[Any], None]) -> None:
        """Open a sensor and use it until it ends; one that is missing or breaks is opened again."""
        told = ""
        while not self._stop.is_set():
            try:
                source = open_source()
                self._sources[name] = source
                _log.info("%s: %r", name, source)
                told = ""
                consume(source)
            except (SourceError, BackendError) as error:
                self._supervision.waiting(name, str(error))
                if str(error) != told:
                    _log.warning("%s: %s; trying again every %.0f s", name, error, _RETRY_S)
                    told = str(error)
            else:
                return
            finally:
                source = self._sources.pop(name, None)
                if source is not None:
                    source.close()
            self._stop.wait(_RETRY_S)

    def _hear(self, source: AudioSource) -> None:
        blocks = self._supervision.watched("microphone", source)
        pump(blocks, self._app.audio_path(source.rate), self._evidence)

    def _look(self, source: VideoSource) -> None:
        for frame in source:
            self._frames.put(frame)

    def _see(self) -> None:
        frames = self._supervision.watched("camera", self._frames)
        pump(frames, self._app.video_path(self._calibration, self._keep), self._evidence)


def run(config: Config, *, view: bool = False) -> None:
    """Be the instrument until SIGINT or SIGTERM.

    Raises:
        IvoriesError: nothing to hear or see with, no way out, or a model that does not fit.
    """
    hears, sees = config.audio.source != "off", config.video.source != "off"
    if not hears and not sees:
        raise BackendError("both senses are switched off: set audio.source or video.source to auto")
    raise_priority(realtime_priority=config.runtime.realtime_priority, lock_memory=config.runtime.lock_memory)
    app = Application(config, audio=hears, video=sees)
    path = Path(config.video.calibration)
    calibration = calibrations.load(path) if sees and path.exists() else None
    instrument = app.instrument(build_sinks(config, app.models, view=view), calibration)
    live = Live(
        app,
        instrument,
        (lambda: open_microphone(config)) if hears else None,
        (lambda: open_camera(config)) if sees else None,
        calibration,
        keep=lambda found: _keep(found, path),
    )
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: live.stop())
    live.run()
    app.close()
    if sees and instrument.measured_skew_ns is not None:
        keep_skew(path, instrument.measured_skew_ns)


def keep_skew(path: Path, skew_ns: int) -> None:
    """Write a skew that differs by more than 2 ms into the calibration at ``path``, if there is one."""
    try:
        if not path.exists():
            return
        known = calibrations.load(path)
        if abs(known.audio_video_skew_ns - skew_ns) <= _SAME_SKEW_NS:
            return
        calibrations.save(msgspec.structs.replace(known, audio_video_skew_ns=skew_ns), path)
        _log.info("audio-video skew: %+.1f ms, kept in %s", skew_ns / MILLISECOND, path)
    except IvoriesError as error:
        _log.warning("%s", error)


def _keep(found: Calibration, path: Path) -> None:
    try:
        calibrations.save(found, path)
    except IvoriesError as error:
        _log.warning("%s", error)
