"""White keys that come out plain white: the camera is asked for less light, and never in haste."""

from itertools import pairwise

import numpy as np
import pytest

from ivories.clock import MILLISECOND, SECOND
from ivories.datatypes import VideoFrame
from ivories.vision.calibration import from_corners
from ivories.vision.exposure import LOWEST, PLAIN, ExposureWatch

WIDTH, HEIGHT = 640, 160
CALIBRATION = from_corners(
    [(10, 10), (WIDTH - 10, 10), (WIDTH - 10, HEIGHT - 10), (10, HEIGHT - 10)], WIDTH, HEIGHT
)
FRAME_NS = SECOND // 30


class Room:
    """A camera before a keyboard whose light falls off to one side; ``light`` 1.0 just fills its range."""

    def __init__(self, light, *, obeys=True):
        self.light, self.obeys, self.stops, self.t_ns = light, obeys, 0.0, 0
        self.watch = ExposureWatch(CALIBRATION)
        self.asked = []

    def film(self, seconds, hands=None):
        across = np.linspace(1.0, 0.7, WIDTH)[None] * np.ones((HEIGHT, 1))
        for _ in range(round(seconds * SECOND / FRAME_NS)):
            luma = 255 * np.clip(self.light * 2.0 ** (self.stops if self.obeys else 0) * across, 0, 1) ** 0.5
            if hands is not None:
                hands(luma, self.t_ns)
            asked = self.watch.push(VideoFrame(luma.astype(np.uint8), self.t_ns, 0, 0))
            if asked is not None:
                self.stops = asked
                self.asked.append((self.t_ns, asked))
            self.t_ns += FRAME_NS
        return self.stops


@pytest.mark.parametrize("light", [0.3, 0.6, 0.8])
def test_a_keyboard_with_its_shades_is_left_alone(light):
    room = Room(light)
    room.film(20)
    assert room.asked == []
    assert room.watch.plain < 0.05


@pytest.mark.parametrize("light", [1.3, 2.0, 4.0])
def test_plain_white_keys_get_their_shades_back_within_seconds_and_then_there_is_peace(light):
    room = Room(light)
    reached = room.film(5)
    assert room.watch.plain < 0.1
    assert light * 2.0**reached > 0.3, "not darker than needed"
    assert room.film(60) == reached
    times_ns = [t_ns for t_ns, _ in room.asked]
    assert all(later - before >= 500 * MILLISECOND for before, later in pairwise(times_ns))


def test_the_camera_is_left_alone_again_when_the_light_is_gone():
    room = Room(3.0)
    assert room.film(10) < -0.5
    room.light = 0.35
    assert room.film(60) == 0
    room.film(20)
    assert room.stops == 0


def test_there_is_an_end_to_what_is_asked():
    room = Room(4.0, obeys=False)
    room.film(30)
    assert room.stops == LOWEST
    assert len(room.asked) == -LOWEST


def test_a_lamp_that_comes_and_goes_is_followed_less_and_less():
    room, turns = Room(2.0), []
    for i in range(60):
        room.light = 2.0 if i % 2 == 0 else 0.25
        before = len(room.asked)
        room.film(20)
        turns.append(len(room.asked) - before)
    assert sum(turns[:10]) >= 2 * sum(turns[-30:])


def test_nothing_is_asked_while_much_moves():
    rng = np.random.default_rng(0)

    def turmoil(luma, t_ns):
        left = int(rng.integers(0, WIDTH // 2))
        luma[:, left : left + WIDTH // 2] = rng.integers(40, 200)

    room = Room(2.0)
    room.film(10, turmoil)
    assert room.asked == []
    assert room.film(3) < 0


def test_hands_that_play_are_no_hindrance():
    def hands(luma, t_ns):
        for place in (0.2, 0.6):
            left = int(WIDTH * (place + 0.05 * np.sin(t_ns / 2e8)))
            luma[HEIGHT // 2 :, left : left + WIDTH // 8] = 120

    room = Room(2.0)
    assert room.film(5, hands) < 0


def test_a_picture_of_another_size_is_not_looked_at():
    watch = ExposureWatch(CALIBRATION)
    for i in range(100):
        assert watch.push(VideoFrame(np.full((48, 64), 255, np.uint8), i * FRAME_NS, 0, i)) is None


def test_cameras_of_limited_range_end_below_255():
    assert PLAIN <= 235
