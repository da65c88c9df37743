"""The drift watch: bumps are noticed; hands and light are not taken for one."""

import numpy as np
import pytest

from ivories.datatypes import VideoFrame
from ivories.vision.calibration import from_corners
from ivories.vision.drift import LOST, DriftWatch
from ivories.vision.homography import KEYBOARD_CORNERS
from mounted_keyboards import View, draw

BUMPED = 0.15
VIEW = View(elevation=62)
WHITE_KEY = 640 * 0.9 / 52  # pixels, about


def look(watch, picture, count=1):
    for _ in range(count):
        moved = watch.push(VideoFrame(picture, 0, 0, 0))
    return moved


def moved_picture(rng, right=0.0, down=0.0, **how):
    centre = (VIEW.centre[0] + right * WHITE_KEY / 640, VIEW.centre[1] + down * WHITE_KEY / 480)
    return draw(View(elevation=62, centre=centre), rng, **how)


@pytest.fixture
def watch():
    calibration = from_corners(VIEW.to_pixels(KEYBOARD_CORNERS), 640, 480)
    watch = DriftWatch(calibration)
    rng = np.random.default_rng(0)
    for _ in range(4):
        assert look(watch, moved_picture(rng)) < BUMPED
    return watch


@pytest.mark.parametrize("right", [-0.4, -0.25, 0.25, 0.4])
def test_a_sideways_bump_is_measured(watch, right):
    rng = np.random.default_rng(1)
    assert look(watch, moved_picture(rng, right=right), 4) == pytest.approx(abs(right), abs=0.06)


@pytest.mark.parametrize("right", [-4.0, -3.0, 0.62, 0.7, 1.4, 3.0, 4.0])
def test_a_bump_of_some_keys_is_noticed_though_the_groups_look_alike(watch, right):
    rng = np.random.default_rng(1)
    assert look(watch, moved_picture(rng, right=right), 3) > BUMPED
    assert watch.newest == pytest.approx(abs(right), abs=0.2)


@pytest.mark.parametrize("change", [{"fill": 0.875}, {"roll": 2.0}, {"azimuth": 5.0}])
def test_a_bump_that_leaves_the_middle_in_place_is_noticed(watch, change):
    rng = np.random.default_rng(9)
    assert look(watch, draw(View(**{"elevation": 62, **change}), rng, hands=1), 6) > BUMPED


def test_keys_out_of_sight_in_a_restless_picture_raise_a_doubt(watch):
    rng = np.random.default_rng(10)
    for _ in range(8):
        moved = look(watch, rng.integers(90, 160, (480, 640)).astype(np.uint8))
    assert watch.newest == LOST
    assert moved == LOST


def test_a_calibration_of_an_earlier_position_is_not_taken_for_the_zero():
    calibration = from_corners(VIEW.to_pixels(KEYBOARD_CORNERS), 640, 480)
    rng = np.random.default_rng(7)
    for right in (0.5, 3.0):
        watch = DriftWatch(calibration)
        assert look(watch, moved_picture(rng, right=right), 6) > BUMPED
    watch = DriftWatch(calibration)
    assert look(watch, moved_picture(rng, right=0.1), 6) < BUMPED, "a small error of the calibration"


def test_a_camera_at_an_angle_sees_the_black_keys_lean_and_that_is_no_bump():
    view = View(elevation=45, azimuth=25)
    watch = DriftWatch(from_corners(view.to_pixels(KEYBOARD_CORNERS), 640, 480))
    rng = np.random.default_rng(8)
    assert max(look(watch, draw(view, rng)) for _ in range(8)) < 0.05


def test_a_lasting_loss_of_sight_raises_a_doubt_before_it_is_sure(watch):
    desk = np.random.default_rng(6).integers(90, 160, (480, 640)).astype(np.uint8)
    assert look(watch, desk, 4) == 0
    assert watch.newest == LOST


@pytest.mark.parametrize("down", [-0.5, 0.5])
def test_a_bump_along_the_keys_is_noticed(watch, down):
    rng = np.random.default_rng(2)
    assert look(watch, moved_picture(rng, down=down), 4) > BUMPED


def test_one_bad_look_is_no_alarm(watch):
    rng = np.random.default_rng(3)
    assert look(watch, moved_picture(rng, right=0.4)) < BUMPED
    assert look(watch, moved_picture(rng)) < BUMPED


def test_hands_are_no_bump(watch):
    rng = np.random.default_rng(4)
    assert max(look(watch, moved_picture(rng, hands=4)) for _ in range(20)) < BUMPED


@pytest.mark.parametrize("light", [0.3, 0.6, 1.15])
def test_light_is_no_bump(watch, light):
    rng = np.random.default_rng(5)
    assert max(look(watch, moved_picture(rng, light=light, shade=0.6)) for _ in range(6)) < BUMPED


def test_darkness_says_nothing(watch):
    assert look(watch, np.zeros((480, 640), np.uint8), 20) == 0


def test_a_camera_that_looks_elsewhere_has_lost_the_keyboard(watch):
    desk = np.random.default_rng(6).integers(90, 160, (480, 640)).astype(np.uint8)
    assert look(watch, desk, 20) == LOST


def test_another_picture_size_is_lost(watch):
    assert look(watch, np.zeros((240, 320), np.uint8)) == LOST
