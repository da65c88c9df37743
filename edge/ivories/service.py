"""``ivories run``: the instrument as a program, from its configuration to SIGINT or SIGTERM."""

import importlib
import logging
import signal
from pathlib import Path

from ivories.app import Application
from ivories.calibration_store import CalibrationStore
from ivories.config import Config
from ivories.controls import Request
from ivories.errors import BackendError, CalibrationError
from ivories.live import Live
from ivories.outputs import build_sinks
from ivories.recorder.recorder import Recorder
from ivories.runtime.priority import raise_priority
from ivories.sensors import open_camera, open_microphone
from ivories.touch_store import TouchStore
from ivories.vision.calibration import Calibration

_log = logging.getLogger(__name__)


def run(config: Config, *, view: bool = False) -> None:
    """Be the instrument until SIGINT or SIGTERM; SIGUSR1 saves a take.

    Raises:
        IvoriesError: nothing to hear or see with, no way out, or a model that does not fit.
    """
    hears, sees = config.audio.source != "off", config.video.source != "off"
    if not hears and not sees:
        raise BackendError("both senses are switched off: set audio.source or video.source to auto")
    raise_priority(realtime_priority=config.runtime.realtime_priority, lock_memory=config.runtime.lock_memory)
    app = Application(config, audio=hears, video=sees)
    store = CalibrationStore(Path(config.video.calibration))
    calibration = _kept(store) if sees else None
    if sees:
        importlib.import_module("ivories.video_path")  # now, not while music plays: it takes OpenCV its time
    touches = TouchStore(Path(config.video.calibration).with_name("touch.json"))
    sinks = build_sinks(config, app.models, view=view)
    recorder = Recorder(config.recorder, sees=sees) if config.recorder.minutes else None
    if recorder is not None:
        sinks.insert(0, recorder)  # the sinks after it can tell of it from the first
    instrument = app.instrument(sinks, calibration, touches.load() if hears else None)
    live = Live(
        app,
        instrument,
        (lambda: open_microphone(config)) if hears else None,
        (lambda: open_camera(config)) if sees else None,
        calibration,
        store.keep_position,
        store.offer_skew,
        recorder,
        touches.offer,
    )
    signal.signal(signal.SIGUSR1, lambda *_: _save_take(recorder))
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: live.stop())
    try:
        live.run()
    finally:
        store.close()
        touches.close()
    app.close()
    touches.keep(instrument.touch)
    if sees and instrument.measured_skew_ns is not None:
        store.keep_skew(instrument.measured_skew_ns)


def _save_take(recorder: Recorder | None) -> None:
    if recorder is None:
        _log.warning("no take is saved: nothing is recorded; set recorder.minutes above 0 and start anew")
    elif not recorder.ask(Request("take", "", lambda _: None)):
        _log.warning("no take is saved: too many wait already")


def _kept(store: CalibrationStore) -> Calibration | None:
    """Return the position that is kept; None, with a warning, where the file is of no use."""
    try:
        return store.load()
    except CalibrationError as error:
        _log.warning("%s Until then the keyboard is searched for in the pictures.", error)
        return None
