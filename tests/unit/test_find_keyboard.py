"""Finding the keyboard under random cameras, and saying why when there is none to be found."""

import cv2
import numpy as np
import pytest

from ivories.datatypes import VideoFrame
from ivories.errors import CalibrationError
from ivories.keyboard import IS_BLACK, KEY_CENTRE
from ivories.vision.find_keyboard import KeyboardFinder, find_keyboard
from ivories.vision.overlay import draw_overlay
from mounted_keyboards import View, draw, random_view

CENTRES = np.stack([KEY_CENTRE, np.where(IS_BLACK, 0.32, 0.8)], 1)


def centre_error(found, view, keys=slice(None)):
    """Largest distance of a key's centre from the truth: across in white-key widths, along in lengths."""
    error = np.abs(found.to_plane(view.to_pixels(CENTRES)) - CENTRES)[keys]
    return error.max(0)


@pytest.mark.parametrize("seed", range(12))
def test_all_keys_of_a_random_mount(seed):
    rng = np.random.default_rng(seed)
    view = random_view(rng)
    found = find_keyboard([draw(view, rng)])
    across, along = centre_error(found, view)
    assert across < 0.15
    assert along < 0.08
    assert found.quality > 0.7
    assert not found.octave_uncertain
    assert (found.width, found.height) == (640, 480)


@pytest.mark.parametrize("roll", [35.0, 90.0, 150.0, 180.0, -75.0])
def test_a_camera_turned_by_any_angle(roll):
    rng = np.random.default_rng(3)
    view = View(640, 640, elevation=72, roll=roll, centre=(0.5, 0.5), fill=0.85)
    assert view.all_visible()
    assert centre_error(find_keyboard([draw(view, rng)]), view)[0] < 0.15


def test_a_camera_on_the_far_side_sees_the_bass_on_the_right():
    rng = np.random.default_rng(4)
    view = View(elevation=65, azimuth=180)
    found = find_keyboard([draw(view, rng)])
    corners = found.corners()
    assert corners[0, 0] > corners[1, 0]  # A0 right of C8
    assert corners[0, 1] > corners[3, 1]  # fallboard below the front edge
    assert centre_error(found, view)[0] < 0.15


def test_seen_askew_the_far_black_keys_hide_white_ones_but_the_octave_stays():
    rng = np.random.default_rng(145)
    keys = {"white": 171, "black": 14.5, "black_half": 6.2, "black_length": 93, "black_height": 12, "gap": 85}
    case = {"case": 8, "cheek": 68, "felt": 26, "felt_mm": 4, "front": 0.95, "floor": 12}
    mount = {"elevation": 40.5, "azimuth": -23.7, "roll": 0.9, "fill": 0.913, "centre": (0.514, 0.6015)}
    view = View(**mount, field_of_view=62.8, instrument=keys | case)
    found = find_keyboard([draw(view, rng, light=0.4)])
    assert centre_error(found, view)[0] < 0.15
    assert not found.octave_uncertain


@pytest.mark.parametrize("side", ["left", "right"])
def test_shining_black_keys_do_not_end_the_keyboard(side):
    """A window mirrored in a third of the black keys makes them as bright as the white ones."""
    rng = np.random.default_rng(90)
    view = View(elevation=65, instrument={"gap": 40.0, "gap_mm": 1.3})
    picture = draw(view, rng)
    keys = slice(0, 30) if side == "left" else slice(58, 88)
    for key in np.flatnonzero(IS_BLACK[keys]) + keys.start:
        x = KEY_CENTRE[key]
        top = view.to_pixels([[x - 0.35, -0.15], [x + 0.35, -0.15], [x + 0.35, 0.66], [x - 0.35, 0.66]])
        cv2.fillConvexPoly(picture, np.round(top).astype(np.int32), 215)
    found = find_keyboard([picture])
    assert centre_error(found, view)[0] < 0.15
    assert (found.lowest, found.highest) == (0, 87)
    assert not found.octave_uncertain


def test_black_keys_that_shine_beside_their_shadows_leave_the_octave_sure():
    """Half of the black keys mirror a window: what is dark there are their shadows, off their places."""
    rng = np.random.default_rng(91)
    view = View(elevation=65, instrument={"gap": 40.0, "gap_mm": 1.3})
    picture = draw(view, rng)

    def fill(left, right, back, front, value):
        corners = view.to_pixels([[left, back], [right, back], [right, front], [left, front]])
        cv2.fillConvexPoly(picture, np.round(corners).astype(np.int32), value)

    for x in KEY_CENTRE[:44][IS_BLACK[:44]]:
        fill(x - 0.35, x + 0.35, -0.1, 0.6, 215)
        fill(x - 0.3, x + 0.3, 0.6, 0.66, 50)
        fill(x + 0.2, x + 0.42, -0.1, 0.66, 20)
    found = find_keyboard([picture])
    assert centre_error(found, view)[0] < 0.25
    assert (found.lowest, found.highest) == (0, 87)
    assert not found.octave_uncertain


def test_the_lens_is_estimated():
    rng = np.random.default_rng(5)
    view = random_view(rng, k1=-0.06, fill=0.95)
    found = find_keyboard([draw(view, rng)])
    assert found.k1 == pytest.approx(-0.06, abs=0.015)
    assert centre_error(found, view)[0] < 0.15


def test_dim_and_noisy():
    rng = np.random.default_rng(6)
    view = View(elevation=60)
    frames = [draw(view, rng, light=0.15, noise=4) for _ in range(9)]
    assert centre_error(find_keyboard(frames), view)[0] < 0.15


def test_nearly_dark():
    rng = np.random.default_rng(6)
    view = View(elevation=60)
    frames = [draw(view, rng, light=0.06, noise=1) for _ in range(5)]
    assert np.percentile(frames[0], 99) < 15
    assert centre_error(find_keyboard(frames), view)[0] < 0.15


def test_moving_hands_vanish_in_the_median():
    rng = np.random.default_rng(7)
    view = View(elevation=60)
    frames = [draw(view, rng, hands=3) for _ in range(9)]
    assert centre_error(find_keyboard(frames), view)[0] < 0.15


def test_a_large_picture():
    rng = np.random.default_rng(8)
    view = random_view(rng, width=1280, height=720)
    found = find_keyboard([draw(view, rng)])
    assert (found.width, found.height) == (1280, 720)
    assert centre_error(found, view)[0] < 0.15


@pytest.mark.parametrize(("lowest", "highest"), [(7, 82), (15, 75)])
def test_smaller_keyboards(lowest, highest):
    rng = np.random.default_rng(9)
    view = View(elevation=65, lowest=lowest, highest=highest)
    found = find_keyboard([draw(view, rng)])
    assert (found.lowest, found.highest) == (lowest, highest)
    assert centre_error(found, view, slice(lowest, highest + 1))[0] < 0.15


def test_a_part_of_the_keyboard_leaves_the_octave_open_and_a_hint_settles_it():
    rng = np.random.default_rng(10)
    view = View(elevation=65, fill=2.4, centre=(0.2, 0.5))
    picture = draw(view, rng)
    found = find_keyboard([picture])
    off = (found.to_plane(view.to_pixels(CENTRES[40:60])) - CENTRES[40:60])[:, 0]
    assert found.octave_uncertain
    assert found.quality <= 0.5
    assert np.abs(off - off.mean()).max() < 0.15
    assert off.mean() == pytest.approx(7 * round(off.mean() / 7), abs=0.15)  # whole octaves
    near = View(elevation=64, fill=2.38, centre=(0.21, 0.5))
    matrix = near.camera()[0][:, [0, 1, 3]] @ np.diag([23.5, 150.0, 1.0])
    hint = type(found)(640, 480, tuple(map(tuple, (matrix / matrix[2, 2]).tolist())))
    assert centre_error(find_keyboard([picture], hint), view, slice(40, 60))[0] < 0.15


@pytest.mark.parametrize("seed", range(4))
def test_a_mirrored_picture_is_refused(seed):
    rng = np.random.default_rng(seed)
    view = View(elevation=70 - 5 * seed, azimuth=4.0 * seed)
    mirrored = np.ascontiguousarray(draw(view, rng)[:, ::-1])
    with pytest.raises(CalibrationError, match="mirror"):
        find_keyboard([mirrored])


@pytest.mark.parametrize(
    ("picture", "words"),
    [
        (np.full((480, 640), 6, np.uint8), "too dark"),
        (np.full((480, 640), 15, np.uint8), "too dark"),
        (np.full((480, 640), 150, np.uint8), "No row of black keys"),
        (np.tile(np.array([200] * 12 + [30] * 6, np.uint8), (480, 40))[:, :640], "black keys|dark bars"),
        (np.random.default_rng(0).integers(0, 255, (480, 640)).astype(np.uint8), "black keys|dark bars"),
    ],
)
def test_no_keyboard_is_said_in_words(picture, words):
    with pytest.raises(CalibrationError, match=words):
        find_keyboard([picture])


def test_no_pictures_or_unequal_ones_are_refused():
    with pytest.raises(CalibrationError, match="no picture"):
        find_keyboard([])
    with pytest.raises(CalibrationError, match="size"):
        find_keyboard([np.zeros((480, 640), np.uint8), np.zeros((240, 320), np.uint8)])


def test_the_finder_collects_over_a_second_and_tries_again():
    rng = np.random.default_rng(11)
    view = View(elevation=65)
    finder = KeyboardFinder(pictures=5, every_ns=100_000_000)
    pictures = [np.full((480, 640), 90, np.uint8)] * 15 + [draw(view, rng) for _ in range(30)]
    found = [finder.push(VideoFrame(luma, i * 33_333_333, 0, i)) for i, luma in enumerate(pictures)]
    hits = [i for i, calibration in enumerate(found) if calibration is not None]
    assert finder.problem is None
    assert len(hits) == 1
    assert hits[0] > 15
    assert centre_error(found[hits[0]], view)[0] < 0.15


def test_the_finder_says_what_is_wrong():
    finder = KeyboardFinder(pictures=2, every_ns=0)
    for i in range(2):
        assert finder.push(VideoFrame(np.zeros((480, 640), np.uint8), i, 0, i)) is None
    assert "dark" in finder.problem


def test_the_same_pictures_give_the_same_calibration():
    rng = np.random.default_rng(12)
    picture = draw(random_view(rng), rng)
    assert find_keyboard([picture]).id == find_keyboard([picture.copy()]).id


def test_the_overlay_marks_the_keys():
    rng = np.random.default_rng(13)
    view = View(elevation=65)
    picture = draw(view, rng)
    found = find_keyboard([picture])
    shown = draw_overlay(picture, found)
    assert shown.shape == (480, 640, 3)
    changed = (shown != cv2.cvtColor(picture, cv2.COLOR_GRAY2BGR)).any(-1)
    x, y = np.round(view.to_pixels([[0.0, 1.0], [26.0, 1.0], [52.0, 1.0]])).astype(int).T
    near = cv2.dilate(changed.astype(np.uint8), np.ones((5, 5), np.uint8))
    assert near[y, x].all()
    assert changed.mean() < 0.2
