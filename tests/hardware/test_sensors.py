"""The sensors of this very machine: two seconds of each, where there is one."""

from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from ivories.clock import SECOND, now_ns
from ivories.inference.edgetpu import EdgeTpuRuntime, probe

SECONDS = 2.0
TINY = Path(__file__).parents[1] / "data" / "tiny_audio.tflite"
CARDS = Path("/proc/asound/pcm")

pytestmark = pytest.mark.hardware


def watch(source):
    """Return what comes in SECONDS, each item with its age at arrival in seconds."""
    items = []
    end_ns = now_ns() + SECONDS * SECOND
    for item in source:
        items.append((item, (now_ns() - item.t_ns) / SECOND))
        if now_ns() > end_ns:
            source.close()
    return items


@pytest.mark.skipif(
    not CARDS.exists() or "capture" not in CARDS.read_text(), reason="no sound card that records"
)
def test_the_microphone_gives_all_its_samples_in_time():
    alsa = pytest.importorskip("ivories.sources.alsa", reason="pyalsaaudio is not installed")
    source = alsa.AlsaSource()
    items = watch(source)
    assert source.gaps == 0
    received = sum(len(block.samples) for block, _ in items)
    assert received / source.rate == pytest.approx(SECONDS, abs=0.2)
    assert np.median([age for _, age in items]) < 0.03


def check_frames(source):
    items = watch(source)
    frames = [frame for frame, _ in items]
    assert len(frames) >= 0.8 * SECONDS * source.fps
    assert all(after.t_ns > before.t_ns for before, after in pairwise(frames))
    assert np.median([age for _, age in items]) < 0.1
    assert frames[-1].luma.shape == (source.height, source.width)


@pytest.mark.skipif(not Path("/dev/video0").exists(), reason="no V4L2 camera at /dev/video0")
def test_the_usb_camera_gives_frames_in_time():
    from ivories.sources.v4l2 import V4l2Source

    check_frames(V4l2Source(fps=30.0))


@pytest.mark.skipif(find_spec("picamera2") is None, reason="picamera2 is not installed")
def test_the_raspberry_pi_camera_gives_frames_in_time():
    from ivories.sources.picamera2 import Picamera2Source

    check_frames(Picamera2Source(fps=60.0))


def test_the_edge_tpu_runs_a_network():
    if (refusal := probe(TINY)) is not None:
        pytest.skip(refusal)
    EdgeTpuRuntime(TINY).close()
