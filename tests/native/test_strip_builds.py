"""Every build of the strip's C code gives the bytes that the Python extension gives."""

import struct
from functools import cache

import numpy as np
import pytest

from ivories.vision.calibration import from_corners
from ivories.vision.strip import StripFrontEnd, StripSpec, table
from keyboard_pictures import frame, picture

SPEC = StripSpec()
CALIBRATIONS = {
    "wide": from_corners([(13, 22), (498, 20), (509, 95), (4, 99)], 512, 119),
    "narrow": from_corners([(-20, 12), (170, 10), (181, 42), (-31, 44)], 173, 61),
}
SECOND = 1_000_000_000


def spec_bytes(spec):
    values = spec.native()
    return struct.pack("<5i3q12i", *values[:5], *values[5:8], *values[8:])


def scenes(calibration):
    """Pictures and times: start-up, a press, a hand, an exposure step, a lamp, noise, uneven times."""
    pictures = [picture(calibration, noise=2, seed=i) for i in range(24)]
    pictures += [picture(calibration, pressed=[50]), picture(calibration, hand=(12, 20, 0.2, 1.2))] * 3
    pictures += [picture(calibration, light=0.6, noise=4, seed=i) for i in range(6)]
    pictures += [picture(calibration, light=lambda x: 1.3 - 0.02 * x)] * 12
    rng = np.random.default_rng(7)
    pictures += list(rng.integers(0, 256, (4, calibration.height, calibration.width), np.uint8))
    steps = rng.integers(60, 140, len(pictures)) * 1_000_000
    steps[30] = 3 * SECOND
    return pictures, np.cumsum(steps)


@cache
def job_and_result(name, given_rest):
    """What is replayed, and the bytes the extension makes of it."""
    calibration = CALIBRATIONS[name]
    pictures, times = scenes(calibration)
    made = table(SPEC, calibration)
    front_end = StripFrontEnd(SPEC, calibration)
    stride = calibration.width + 5
    job = [spec_bytes(SPEC), struct.pack("<2i", calibration.width, calibration.height)]
    job += [made.corner.tobytes(), made.weights.tobytes(), struct.pack("<i", given_rest)]
    if given_rest:
        rest = front_end.rectify(picture(calibration, light=1.2))
        front_end.set_rest(rest)
        job.append(rest.tobytes())
    job.append(struct.pack("<2i", stride, len(pictures)))
    expected = []
    for luma, t_ns in zip(pictures, times, strict=True):
        padded = np.full((calibration.height, stride), 200, np.uint8)
        padded[:, : calibration.width] = luma
        job += [struct.pack("<q", t_ns), padded.tobytes()[: -(stride - calibration.width)]]
        expected += [s.pixels.tobytes() for s in front_end.push(frame(luma, int(t_ns)))]
    assert len(expected) > 20
    return b"".join(job), b"".join([*expected, front_end.rest.tobytes()])


@pytest.mark.parametrize("name", CALIBRATIONS)
def test_strips(replay, name):
    job, expected = job_and_result(name, name == "narrow")
    assert replay("strip", job) == expected
