"""The strip front end beside the same strip made with OpenCV, and beside a plain copy of the frame.

One thread. OpenCV's way: remap (bilinear, fixed-point maps), averaging two samples along each axis where the
picture is finer than the strip, difference from the rest image, stack five of them and the luma channel-last,
limit to int8. It keeps no rest image and follows no light, which the C path does besides. "Single" takes one
sample per pixel and so aliases. Every third frame closes a tick of the rest image, which a median hides: the
mean is printed too.
"""

import cv2
import numpy as np
import pytest

from ivories import native
from ivories.datatypes import VideoFrame
from ivories.vision.calibration import from_corners
from ivories.vision.strip import FRAMES, StripFrontEnd, StripSpec

SPEC = StripSpec()
CALIBRATIONS = {
    "640x480": from_corners([(20, 200), (620, 205), (630, 285), (10, 280)], 640, 480),
    "1280x720": from_corners([(40, 300), (1240, 305), (1260, 465), (20, 460)], 1280, 720),
}
means = {}
STEP_NS = 1_000_000_000 // 30
GOAL = 3.0


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)
    yield
    cv2.setNumThreads(threads)


@pytest.fixture(scope="module")
def medians(request):
    """(size, way) -> median seconds per frame; printed with their ratios when the module is done."""
    found = {}
    yield found
    terminal = request.config.get_terminal_writer()
    terminal.line(f"\nstrip of one frame on one core ({native.simd()}):")
    for size in CALIBRATIONS:
        here = {way: found[size, way] for way in WAYS if (size, way) in found}
        for way, median in here.items():
            ratio = f"{median / here['ivories']:5.2f} x ivories" if "ivories" in here else ""
            mean = f"mean {1e6 * means[size, way]:6.0f} us"
            terminal.line(f"  {size:9} {way:14} {1e6 * median:8.0f} us {ratio:16} {mean}")


def frames(size):
    calibration = CALIBRATIONS[size]
    rng = np.random.default_rng(0)
    quiet = rng.integers(40, 216, (calibration.height, calibration.width))
    noisy = [np.clip(quiet + rng.normal(0, 2, quiet.shape), 0, 255).astype(np.uint8) for _ in range(8)]
    return calibration, noisy


def maps(calibration, across, down):
    """OpenCV's fixed-point maps of a strip with ``across`` x ``down`` samples per strip pixel."""
    dx, dy = SPEC.block_width / SPEC.columns, (SPEC.bottom - SPEC.top) / SPEC.rows
    right = (np.arange(across) + 0.5) / across - 0.5
    lower = (np.arange(down) + 0.5) / down - 0.5
    x = (SPEC.plane_x()[:, None] + right * dx).reshape(-1)
    y = (SPEC.plane_y()[:, None] + lower * dy).reshape(-1)
    points = np.stack(np.broadcast_arrays(x, y[:, None]), -1)
    return cv2.convertMaps(calibration.to_pixels(points).astype(np.float32), None, cv2.CV_16SC2)


class OpenCvStrip:
    def __init__(self, calibration, samples):
        self.maps = maps(calibration, *samples)
        self.samples = samples
        self.rest = None
        self.ring = []

    def rectify(self, luma):
        strip = cv2.remap(luma, *self.maps, cv2.INTER_LINEAR)
        if self.samples != (1, 1):
            strip = cv2.resize(strip, (SPEC.width, SPEC.rows), interpolation=cv2.INTER_AREA)
        return strip

    def push(self, luma):
        strip = self.rectify(luma)
        if self.rest is None:
            self.rest = strip
        self.ring.append(cv2.subtract(strip, self.rest, dtype=cv2.CV_16S))
        self.ring = self.ring[-FRAMES:]
        if len(self.ring) < FRAMES:
            return None
        newest = cv2.subtract(strip, 128, dtype=cv2.CV_16S)
        return np.clip(np.stack([*self.ring, newest], axis=-1), -128, 127).astype(np.int8)


def ivories(size):
    calibration, lumas = frames(size)
    front_end = StripFrontEnd(SPEC, calibration)
    front_end.set_rest(front_end.rectify(lumas[0]))
    count = [0]

    def work():
        count[0] += 1
        return front_end.push(VideoFrame(lumas[count[0] % 8], count[0] * STEP_NS, 0, count[0]))

    return work


def opencv(size, samples):
    calibration, lumas = frames(size)
    strip = OpenCvStrip(calibration, samples)
    count = [0]

    def work():
        count[0] += 1
        return strip.push(lumas[count[0] % 8])

    return work


def copy(size):
    _, lumas = frames(size)
    target, count = np.empty_like(lumas[0]), [0]

    def work():
        count[0] += 1
        np.copyto(target, lumas[count[0] % 8])

    return work


WAYS = {
    "ivories": ivories,
    "opencv": lambda size: opencv(size, (1, 2) if size == "640x480" else (2, 2)),
    "opencv single": lambda size: opencv(size, (1, 1)),
    "copy of frame": copy,
}


@pytest.mark.parametrize("size", CALIBRATIONS)
@pytest.mark.parametrize("way", WAYS)
def test_frame(benchmark, medians, size, way):
    work = WAYS[way](size)
    for _ in range(2 * FRAMES):
        work()
    benchmark(work)
    if benchmark.stats is not None:  # absent under --benchmark-disable
        medians[size, way] = benchmark.stats.stats.median
        means[size, way] = benchmark.stats.stats.mean


@pytest.mark.parametrize("size", CALIBRATIONS)
def test_goal(medians, size):
    """At least three times as fast as OpenCV, in one run."""
    if (size, "opencv") not in medians or (size, "ivories") not in medians:
        pytest.skip("nothing was measured")
    assert medians[size, "opencv"] >= GOAL * medians[size, "ivories"]


@pytest.mark.parametrize("size", CALIBRATIONS)
def test_both_make_the_same_picture(size):
    calibration, _ = frames(size)
    row, column = np.mgrid[: calibration.height, : calibration.width]
    smooth = (127 + 60 * np.sin(column / 23) + 60 * np.cos(row / 17)).astype(np.uint8)
    theirs = OpenCvStrip(calibration, (1, 1)).rectify(smooth).astype(int)
    assert np.abs(StripFrontEnd(SPEC, calibration).rectify(smooth) - theirs).max() <= 4
