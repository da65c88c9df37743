"""What one run learns of the time between eyes and ears, the next one begins with, and the doctor tells."""

import io

import pytest
from rich.console import Console
from test_live import Pictures, Sound

from ivories import doctor, service
from ivories.clock import MILLISECOND, SECOND
from ivories.config import Config, VideoSection
from ivories.fusion.tracker import Tracker, TrackerSettings
from ivories.instrument import Instrument
from ivories.runtime.timing import StageTimes
from ivories.sinks.memory import MemorySink
from ivories.vision import calibration as calibrations
from support import FRAME_NS, HOP_NS, audio_evidence, video_evidence

SETTINGS = TrackerSettings(audio_thresholds=(2.0, 1.0, 0.0), video_thresholds=(3.0, 2.0, 1.0, 0.0))
HERE = calibrations.from_corners([[10, 10], [630, 12], [628, 90], [9, 88]], 640, 480)
SKEW_NS = 45 * MILLISECOND
SECONDS = 11
SPEED = 2  # a computer that has other things to do keeps up with it
ONSETS_NS = [round((0.3 + 0.413 * n) * SECOND) for n in range(25)]  # at every phase of a frame


class EarlyEye:
    """Paths that know the notes; the camera stamps its pictures too early."""

    def __init__(self, config, *, audio, video):
        self.models = {}
        self.begun_with = []

    def instrument(self, sinks, calibration, touch=None):
        self.begun_with.append(calibration and calibration.audio_video_skew_ns)
        return Instrument(Tracker(SETTINGS, self.begun_with[-1] or 0, touch), sinks, StageTimes())

    def close(self):
        pass

    def audio_path(self, rate):
        notes = [(30 + n, t // HOP_NS, t // HOP_NS + 25) for n, t in enumerate(ONSETS_NS)]

        class Path:
            def push(self, block):
                return [audio_evidence(block.first_sample // 160, notes)]

        return Path()

    def video_path(self, calibration, keep, expose=None):
        notes = [(30 + n, t - SKEW_NS, t - SKEW_NS + SECOND // 4) for n, t in enumerate(ONSETS_NS)]

        class Path:
            def push(self, frame):
                return [video_evidence(frame.sequence, notes)]

        return Path()


@pytest.fixture
def config(tmp_path, monkeypatch):
    path = tmp_path / "calibration.json"
    calibrations.save(HERE, path)
    apps = []
    monkeypatch.setattr(service, "Application", lambda *a, **k: apps.append(EarlyEye(*a, **k)) or apps[-1])
    monkeypatch.setattr(service, "build_sinks", lambda *_, **__: [MemorySink()])
    monkeypatch.setattr(service, "open_microphone", lambda _: Sound(SECONDS * SECOND // HOP_NS, speed=SPEED))
    monkeypatch.setattr(service, "open_camera", lambda _: Pictures(SECONDS * SECOND // FRAME_NS, speed=SPEED))
    monkeypatch.setattr(service.signal, "signal", lambda *_: None)
    config = Config(video=VideoSection(calibration=str(path)))
    return config, path, apps


def test_the_next_run_begins_with_what_the_last_one_learnt(config):
    config, path, apps = config
    service.run(config)
    kept = calibrations.load(path)
    assert abs(kept.audio_video_skew_ns - SKEW_NS) <= 8 * MILLISECOND
    assert kept.id == HERE.id
    service.run(config)
    assert [app.begun_with for app in apps] == [[0], [kept.audio_video_skew_ns]]
    told = io.StringIO()
    doctor.run(config, Console(file=told, width=140))
    assert f"{kept.audio_video_skew_ns / MILLISECOND:+.1f} ms" in told.getvalue()


def test_a_file_that_is_no_calibration_stops_nothing(config, caplog):
    config, path, apps = config
    path.write_text("{}")
    service.run(config)
    assert [app.begun_with for app in apps] == [[None]]
    (told,) = (
        r.getMessage()
        for r in caplog.records
        if "calibration" in r.getMessage() and r.name == service.__name__
    )
    assert "is not a calibration" in told
    assert "the keyboard is searched for" in told
