"""The Raspberry Pi camera's source, on a stand-in that reuses its buffers as the real one does."""

import sys
import threading
import time
from itertools import pairwise

import numpy as np
import pytest

import picamera2_stand_in
from ivories.clock import now_ns
from ivories.errors import BackendError, SourceError
from ivories.sources.base import Exposing
from ivories.sources.picamera2 import BUFFERS, LOANS, Picamera2Source


@pytest.fixture
def library(monkeypatch):
    monkeypatch.setitem(sys.modules, "picamera2", picamera2_stand_in)
    monkeypatch.setattr(picamera2_stand_in.Picamera2, "missing", False)
    monkeypatch.setattr(picamera2_stand_in.Picamera2, "created", [])
    return picamera2_stand_in.Picamera2


def take(source, count):
    for frame in source:
        yield frame
        count -= 1
        if count == 0:
            source.close()


def test_frames_are_the_luma_plane_at_mid_exposure(library):
    source = Picamera2Source(width=96, height=64, fps=200.0)
    assert (source.width, source.height) == (96, 64)
    stamps = []
    for frame in take(source, 10):
        assert frame.luma.shape == (64, 96)
        assert frame.luma.strides == (96 + picamera2_stand_in.PADDING, 1)
        assert np.ptp(frame.luma) == 0
        assert not frame.luma.flags.writeable
        assert frame.exposure_ns == 4_000_000
        assert 2_000_000 <= now_ns() - frame.t_ns < 100_000_000
        stamps.append((frame.t_ns, frame.sequence))
    assert stamps[0][1] == 0
    assert all(b[0] > a[0] and b[1] > a[1] for a, b in pairwise(stamps))
    camera = library.created[0]
    assert camera.config["controls"]["FrameDurationLimits"] == (5000, 5000)
    assert camera.config["buffer_count"] >= 4
    assert camera.closed


def test_a_frame_is_not_overwritten_while_it_is_held_and_lent_no_longer(library):
    source = Picamera2Source(width=96, height=64, fps=200.0)
    camera = library.created[0]
    frames = iter(source)
    held = next(frames)
    value = int(held.luma[0, 0])
    for _ in range(3 * BUFFERS):
        frame = next(frames)
        assert int(frame.luma[5, 5]) == int(frame.luma[60, 90])
    assert np.all(held.luma == value)
    assert camera.lent == 2
    del frame, held
    next(frames)
    assert camera.lent <= 1
    frames.close()
    assert camera.closed


def test_whoever_keeps_everything_is_given_copies(library):
    frames = list(take(Picamera2Source(width=96, height=64, fps=200.0), 4 * BUFFERS))
    values = [int(frame.luma[0, 0]) for frame in frames]
    assert len(set(values)) == len(values)
    assert all(np.all(frame.luma == value) for frame, value in zip(frames, values, strict=True))
    assert library.created[0].lent <= LOANS


def test_lost_frames_show_in_the_sequence(library):
    source = Picamera2Source(width=96, height=64, fps=100.0)
    frames = iter(source)
    first = next(frames)
    time.sleep(0.1)
    late = next(frames)
    assert late.sequence - first.sequence == pytest.approx((late.t_ns - first.t_ns) / 1e7, abs=1)
    assert late.sequence - first.sequence > 5
    frames.close()


def test_a_camera_that_stands_still_is_started_again(library):
    source = Picamera2Source(width=96, height=64, fps=100.0)
    frames = iter(source)
    next(frames)
    library.created[0].frozen.set()
    began = time.monotonic()
    before = next(frames)
    while before.t_ns < began * 1e9:
        before = next(frames)
    assert time.monotonic() - began < 2.0
    assert len(library.created) == 2
    assert library.created[0].closed
    frames.close()


def test_a_correction_of_the_exposure_outlives_a_camera_that_is_started_again(library):
    source = Picamera2Source(width=96, height=64, fps=100.0)
    assert isinstance(source, Exposing)
    assert source.exposure_means == "ExposureValue"
    frames = iter(source)
    next(frames)
    assert source.correct_exposure(-1.5)
    library.created[0].frozen.set()
    while len(library.created) == 1:
        next(frames)
    next(frames)
    assert [camera.asked for camera in library.created] == [[{"ExposureValue": -1.5}]] * 2
    frames.close()


def test_close_ends_it_while_nothing_comes(library):
    source = Picamera2Source(width=96, height=64, fps=100.0)
    library.created[0].frozen.set()
    thread = threading.Thread(target=lambda: list(source))
    thread.start()
    time.sleep(0.1)
    source.close()
    thread.join(1.0)
    assert not thread.is_alive()


def test_a_source_that_was_never_read_frees_the_camera(library):
    source = Picamera2Source()
    source.close()
    source.close()
    assert library.created[0].closed


def test_without_a_camera_or_the_library_it_says_so(library, monkeypatch):
    monkeypatch.setattr(library, "missing", True)
    with pytest.raises(SourceError, match="camera 0 cannot be opened"):
        Picamera2Source()
    monkeypatch.setitem(sys.modules, "picamera2", None)
    with pytest.raises(BackendError, match="apt install python3-picamera2"):
        Picamera2Source()
