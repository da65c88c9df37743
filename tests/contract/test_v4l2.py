"""The camera source on a V4L2 device that is preloaded into the process: no kernel module is needed."""

import json
import os
import shutil
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
import pytest

from ivories.errors import SourceError
from ivories.sources.v4l2 import V4l2Source

CAMERA = Path(__file__).parents[1] / "data" / "v4l2" / "counting_camera.c"
WATCH = """
import json, os, pathlib, sys, threading, time
from ivories.clock import now_ns
from ivories.sources import v4l2_nodes
from ivories.sources.v4l2 import V4l2Source
device, word = sys.argv[1:3]
fps, seconds, lost = map(float, sys.argv[3:])
v4l2_nodes._NODES = pathlib.Path(device).parent
v4l2_nodes._LISTED = v4l2_nodes._NODES / "listed"
source = V4l2Source(device, 160, 120, fps)
end = time.monotonic() + seconds
frames = []
mended = []
def trouble(content):
    with open(device, "w") as file:
        file.write(content)
def mend():
    mended.append(now_ns())
    trouble("")
def move():
    mended.append(now_ns())
    os.remove(device)
    (v4l2_nodes._LISTED / "video0").rename(v4l2_nodes._LISTED / "video3")
    os.environ["IVORIES_TEST_CAMERA"] = str(v4l2_nodes._NODES / "video3")
    (v4l2_nodes._NODES / "video3").touch()
def closed():
    source.close()
if word == "expose":
    threading.Timer(0.2, lambda: mended.append(source.correct_exposure(-1.0))).start()
    threading.Timer(0.3, lambda: mended.append(source.correct_exposure(-2.0))).start()
elif word:
    threading.Timer(0.3, trouble, ["gone" if word == "moved" else word]).start()
    threading.Timer(0.3 + lost, move if word == "moved" else mend).start()
threading.Timer(seconds, closed).start()
for frame in source:
    age_ns = now_ns() - frame.t_ns
    shape = [*frame.luma.shape, frame.luma.strides[1], bool(frame.luma.flags.writeable)]
    frames.append([frame.sequence, frame.t_ns, age_ns, int(frame.luma.mean()), shape])
late = time.monotonic() - end
print(json.dumps({"frames": frames, "mended": mended, "fps": source.fps, "late": late, "name": repr(source),
                  "means": source.exposure_means}))
"""


@pytest.fixture(scope="module")
def library(tmp_path_factory):
    compiler = shutil.which("cc") or shutil.which("gcc")
    assert compiler, "a C compiler is needed to build Ivories at all"
    library = tmp_path_factory.mktemp("v4l2") / "libcounting_camera.so"
    flags = ["-shared", "-fPIC", "-Wall", "-Wextra", "-Werror"]
    subprocess.run([compiler, *flags, "-o", str(library), str(CAMERA), "-ldl"], check=True)
    return library


@pytest.fixture
def watch(library, tmp_path):
    """Return a function that watches the camera for some seconds and tells what was seen."""
    device, picture = tmp_path / "video0", tmp_path / "picture.jpg"
    device.write_text("")
    kernel = tmp_path / "listed" / "video0"
    kernel.mkdir(parents=True)
    (kernel / "name").write_text("Counting camera\n")
    (kernel / "index").write_text("0\n")
    cv2.imwrite(str(picture), np.full((120, 160), 77, np.uint8))
    environment = {
        "LD_PRELOAD": str(library),
        "IVORIES_TEST_CAMERA": str(device),
        "IVORIES_TEST_JPEG": str(picture),
        "PYTHONPATH": os.pathsep.join(sys.path),
    }

    def run(fps, seconds=0.7, trouble="", lost=0.6):
        command = [sys.executable, "-c", WATCH, str(device), trouble, str(fps), str(seconds), str(lost)]
        whole = {**os.environ, **environment}
        done = subprocess.run(command, env=whole, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, done.stderr
        assert all(line.startswith("camera ") for line in done.stderr.splitlines()), done.stderr
        return json.loads(done.stdout)

    return run


def test_frames_come_at_the_kernels_times(watch):
    seen = watch(30)
    assert seen["fps"] == 30
    assert "160 x 120" in seen["name"]
    frames = seen["frames"]
    assert 17 <= len(frames) <= 22
    assert [frame[0] for frame in frames] == list(range(len(frames)))
    for before, after in pairwise(frames):
        assert after[1] - before[1] == pytest.approx(1e9 / 30, abs=2000)
        assert after[3] == before[3] + 1  # luma is the camera's own count: none was lost or doubled
    assert all(frame[4] == [120, 160, 1, False] for frame in frames)
    ages_ms = np.array([frame[2] for frame in frames[5:]]) / 1e6
    assert ages_ms.min() >= 0
    assert np.median(ages_ms) < 5


def test_of_a_camera_that_gives_too_many_frames_some_are_left_out_evenly(watch):
    seen = watch(14)
    assert seen["fps"] == 15
    frames = seen["frames"]
    assert 8 <= len(frames) <= 11
    assert [frame[0] for frame in frames] == list(range(len(frames)))
    for before, after in pairwise(frames):
        assert after[1] - before[1] == pytest.approx(1e9 / 15, abs=2000)
        assert after[3] == before[3] + 2
    assert np.median([frame[2] for frame in frames[3:]]) < 5e6
    assert watch(25)["fps"] == 30  # half of it would be too few


def test_jpeg_is_taken_where_only_it_reaches_the_rate(watch):
    seen = watch(60)
    assert seen["fps"] == 60
    assert len(seen["frames"]) >= 35
    assert {frame[3] for frame in seen["frames"]} <= {76, 77, 78}


@pytest.mark.parametrize(("trouble", "lost"), [("gone", 0.5), ("mute", 1.3), ("moved", 0.5)])
def test_a_camera_that_is_lost_is_seen_again_within_two_seconds_of_its_return(watch, trouble, lost):
    seen = watch(30, lost + 1.2, trouble, lost)
    frames = seen["frames"]
    hole = max(range(1, len(frames)), key=lambda index: frames[index][1] - frames[index - 1][1])
    assert frames[hole][1] - frames[hole - 1][1] >= lost * 1e9
    assert frames[hole][1] - seen["mended"][0] < 2e9
    assert ("video3" in seen["name"]) is (trouble == "moved")
    for before, after in pairwise(frames):
        assert after[0] > before[0]
        assert after[0] - before[0] == pytest.approx((after[1] - before[1]) * 30 / 1e9, abs=0.6)


def test_close_is_obeyed_while_the_camera_stands_still(watch):
    seen = watch(30, 0.8, "mute")
    assert len(seen["frames"]) > 5
    assert seen["late"] < 0.5


AUTO, TIME, BIAS = "009a0901", "009a0902", "009a0913"


@pytest.mark.parametrize(
    ("means", "said"),
    [
        ("manual", [(AUTO, 1), (TIME, 78), (AUTO, 1), (TIME, 39), (AUTO, 3)]),  # 15.6 ms were chosen by it
        ("bias", [(BIAS, 2), (BIAS, 0), (BIAS, 4)]),
    ],
)
def test_the_exposure_is_corrected_and_given_back(watch, tmp_path, monkeypatch, means, said):
    monkeypatch.setenv("IVORIES_TEST_EXPOSURE", means)
    monkeypatch.setenv("IVORIES_TEST_CONTROLS", str(tmp_path / "controls"))
    seen = watch(30, 0.7, "expose")
    assert (seen["means"], seen["mended"]) == (means, [True, True])
    lines = (tmp_path / "controls").read_text().splitlines()
    assert [(line.split()[0], int(line.split()[1])) for line in lines] == said
    assert len(seen["frames"]) >= 17, "it films on meanwhile"


def test_a_camera_without_such_controls_says_so(watch):
    seen = watch(30, 0.7, "expose")
    assert (seen["means"], seen["mended"]) == ("", [False, False])


def test_a_camera_that_is_not_there_is_named(tmp_path):
    with pytest.raises(SourceError, match="there is no camera"):
        V4l2Source(str(tmp_path / "video7"))
    (tmp_path / "video8").write_text("not a camera")
    with pytest.raises(SourceError, match="cannot be opened"):
        V4l2Source(str(tmp_path / "video8"))
