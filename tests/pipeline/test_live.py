"""The running instrument: threads, lost sensors, failures; the paths are scripted, the rest is real."""

import itertools
import threading
import time
from typing import ClassVar

import numpy as np
import pytest

from ivories.datatypes import AudioBlock, NoteKind, VideoFrame
from ivories.errors import SourceError
from ivories.fusion.tracker import Tracker, TrackerSettings
from ivories.instrument import Instrument
from ivories.live import Live
from ivories.runtime.timing import StageTimes
from ivories.sinks.memory import MemorySink
from support import audio_evidence, video_evidence

SETTINGS = TrackerSettings(audio_thresholds=(2.0, 1.0, 0.0), video_thresholds=(3.0, 2.0, 1.0, 0.0))
NOTES = [(39, 20, 60), (43, 30, 70)]


def paced(items, period_s):
    """Yield ``items``, each at its time after the first: who is late does not make all that follow late."""
    begin = time.monotonic()
    for n in items:
        time.sleep(max(0.0, begin + n * period_s - time.monotonic()))
        yield n


class Sound:
    """Blocks of 10 ms, ``speed`` times as fast as real; may break once."""

    rate = 16_000

    def __init__(self, blocks=100, breaks_at=None, forever=False, speed=5):
        self.blocks, self.breaks_at, self.forever, self.speed = blocks, breaks_at, forever, speed
        self.stopped = threading.Event()

    def __iter__(self):
        for n in paced(itertools.count() if self.forever else range(self.blocks), 0.01 / self.speed):
            if self.stopped.is_set():
                return
            if n == self.breaks_at:
                raise SourceError("the cable was pulled")
            yield AudioBlock(np.zeros(160, np.float32), self.rate, n * 160, n * 10_000_000)

    def close(self):
        self.stopped.set()


class Pictures(Sound):
    width = height = 8

    def __iter__(self):
        for n in paced(range(self.blocks), 1 / 30 / self.speed):
            if self.stopped.is_set():
                return
            yield VideoFrame(np.zeros((8, 8), np.uint8), n * 33_333_333, 0, n)


class ScriptedApp:
    """Paths that know the notes."""

    def __init__(self, fails_at=None):
        self.fails_at = fails_at

    def audio_path(self, rate):
        app = self

        class Path:
            def push(self, block):
                hop = block.first_sample // 160
                if hop == app.fails_at:
                    raise ZeroDivisionError("a bug")
                return [audio_evidence(hop, NOTES, strength=(9, 9, 9))]

        return Path()

    def video_path(self, calibration, keep, expose=None):
        class Path:
            def push(self, frame):
                return [video_evidence(frame.sequence, [], doubt=-1.0)]  # sees little, denies little

        return Path()


def instrument(sink):
    return Instrument(Tracker(SETTINGS), [sink], StageTimes())


def onsets(sink):
    return [e.key for e in sink.events if e.kind is NoteKind.ONSET]


def test_both_sensors_run_to_the_end_and_no_note_is_left():
    sink = MemorySink()
    Live(ScriptedApp(), instrument(sink), Sound, Pictures).run()
    assert sorted(set(onsets(sink))) == [39, 43]
    assert not sink.states[-1].pressed.any()


def test_a_missing_camera_does_not_stop_the_ears():
    sink = MemorySink()

    def no_camera():
        raise SourceError("no camera")

    live = Live(ScriptedApp(), instrument(sink), lambda: Sound(forever=True), no_camera)
    threading.Timer(0.6, live.stop).start()
    live.run()
    assert sorted(set(onsets(sink))) == [39, 43]


def test_a_lost_microphone_is_opened_again():
    sources = [Sound(breaks_at=25), Sound()]
    opened = []

    def microphone():
        opened.append(sources[len(opened)])
        return opened[-1]

    sink = MemorySink()
    live = Live(ScriptedApp(), instrument(sink), microphone, None)
    live.run()
    assert len(opened) == 2
    assert 43 in onsets(sink)


def test_a_bug_releases_every_key_and_is_raised():
    sink = MemorySink()
    live = Live(ScriptedApp(fails_at=45), instrument(sink), Sound, None)
    with pytest.raises(ZeroDivisionError):
        live.run()
    held = set()
    for event in sink.events:
        (held.add if event.kind is NoteKind.ONSET else held.discard)(event.key)
    assert held == set()


def test_stop_is_obeyed_at_once():
    sink = MemorySink()
    live = Live(ScriptedApp(), instrument(sink), lambda: Sound(forever=True), None)
    threading.Timer(0.3, live.stop).start()
    start = time.monotonic()
    live.run()
    assert time.monotonic() - start < 3.0


def test_every_step_of_both_ways_is_timed():
    live = Live(ScriptedApp(), instrument(MemorySink()), Sound, Pictures)
    live.run()
    times = live.passage.newest_ms()
    assert set(times) == {
        "audio: capture", "audio: front end and network", "audio: waits for fusion",
        "video: capture", "video: waits for the network", "video: front end and network",
        "video: waits for fusion",
    }  # fmt: skip
    assert len(times["audio: waits for fusion"]) == 100 - live.dropped["evidence"]
    assert len(times["video: capture"]) == 100
    assert len(times["video: waits for the network"]) == 100 - live.dropped["frames"]
    assert min(times["audio: waits for fusion"]) >= 0


def test_a_slow_eye_delays_no_ear_and_loses_only_pictures():
    class SlowEye(ScriptedApp):
        def video_path(self, calibration, keep, expose=None):
            class Path:
                def push(self, frame):
                    time.sleep(0.1)
                    return []

            return Path()

    live = Live(SlowEye(), instrument(MemorySink()), Sound, Pictures)
    live.run()
    waits = live.passage.newest_ms()
    assert live.dropped["frames"] > 50
    assert live.dropped["evidence"] == 0
    assert np.median(waits["audio: waits for fusion"]) < 5.0


def test_a_position_found_is_used_again_when_the_camera_comes_back():
    given = []

    class Finding(ScriptedApp):
        def video_path(self, calibration, keep, expose=None):
            given.append(calibration)
            keep("here")
            return super().video_path(calibration, keep)

    kept = []
    live = Live(Finding(), instrument(MemorySink()), None, Pictures, keep=kept.append)
    live.run()
    assert (given, kept, live._calibration) == ([None], ["here"], "here")


def test_a_camera_that_comes_back_is_asked_for_less_light_again():
    cameras = []

    class Exposing(Pictures):
        exposure_means = "manual"

        def __init__(self):
            super().__init__(blocks=40)
            self.asked = []
            cameras.append(self)

        def __iter__(self):
            yield from super().__iter__()
            if len(cameras) == 1:
                raise SourceError("the cable was pulled")

        def correct_exposure(self, stops):
            self.asked.append(stops)
            return True

    class Dazzled(ScriptedApp):
        def video_path(self, calibration, keep, expose=None):
            class Path:
                stops = 0.0

                def push(self, frame):
                    if frame.sequence == 10 and len(cameras) == 1:
                        self.stops = -1.0
                        assert expose(self.stops)
                    return []

            return Path()

    Live(Dazzled(), instrument(MemorySink()), None, Exposing).run()
    assert [camera.asked for camera in cameras] == [[-1.0], [-1.0]]


def test_the_measured_skew_is_offered_while_it_plays():
    offered = []
    box = instrument(MemorySink())
    Live(ScriptedApp(), box, Sound, None, keep_skew=offered.append).run()
    assert len(offered) > 50
    assert set(offered) == {None}  # one sensor alone knows of no skew


def test_the_recorder_gets_every_block_and_frame_after_the_music():
    class Recorder:
        dropped: ClassVar = {"take_sound": 7}

        def __init__(self):
            self.blocks, self.frames = [], []

        def hear(self, block):
            self.blocks.append((block.first_sample, len(pushed)))

        def see(self, frame):
            self.frames.append(frame.sequence)

    pushed = []

    class Counting(ScriptedApp):
        def audio_path(self, rate):
            path = super().audio_path(rate)
            push = path.push
            path.push = lambda block: pushed.append(block) or push(block)
            return path

    recorder = Recorder()
    live = Live(Counting(), instrument(MemorySink()), Sound, Pictures, recorder=recorder)
    live.run()
    assert recorder.blocks == [(160 * n, n + 1) for n in range(100)]
    assert recorder.frames == list(range(100))
    assert live.dropped["take_sound"] == 7
    assert {"frames", "evidence"} < live.dropped.keys()
