"""`ivories setup` on a camera that is dazzled: what it keeps is what `ivories run` will see."""

import numpy as np
import pytest
from rich.console import Console

from ivories import setup_camera
from ivories.config import Config, VideoSection
from ivories.datatypes import VideoFrame
from ivories.vision import calibration as calibrations
from mounted_keyboards import View, draw


class Camera:
    """Before a keyboard in too much light; three pictures that differ by their noise, ten per second."""

    width, height, exposure_means = 640, 480, "bias"

    def __init__(self):
        self.view, self.stops, self.closed, self.shots = View(elevation=62), [0.0], False, {}

    def __iter__(self):
        for n in range(1000):
            light = 3.0 * 2.0 ** self.stops[-1]
            if (light, n % 3) not in self.shots:
                self.shots[light, n % 3] = draw(self.view, np.random.default_rng(n % 3), light=light)
            yield VideoFrame(self.shots[light, n % 3], n * 100_000_000, 0, n)

    def correct_exposure(self, stops):
        self.stops.append(stops)
        return True

    def close(self):
        self.closed = True


@pytest.mark.parametrize(("exposure", "plain"), [("auto", False), ("camera", True)])
def test_the_rest_image_has_the_shades_that_the_camera_can_be_asked_for(
    monkeypatch, tmp_path, exposure, plain
):
    camera = Camera()
    monkeypatch.setattr(setup_camera, "open_camera", lambda _: camera)
    kept = tmp_path / "calibration.json"
    config = Config(video=VideoSection(calibration=str(kept), exposure=exposure))
    setup_camera.run(config, None, None, None, None, Console(quiet=True))
    assert camera.closed
    assert (camera.stops[-1] == 0) == plain
    rest = calibrations.load(kept).rest.image()
    assert (np.percentile(rest, 75) > 250) == plain
