"""Calibration files: exact, atomic, and clear about what is wrong."""

import json

import numpy as np
import pytest

from ivories.errors import CalibrationError
from ivories.resources import bundled_take
from ivories.survey import calibration_from
from ivories.vision.calibration import FORMAT, Calibration, from_corners, load, save

CORNERS = [(45.5, 202.1), (597.0, 207.4), (609.7, 273.2), (30.0, 265.1)]


def test_file_gives_back_the_calibration(tmp_path):
    image = np.random.default_rng(0).integers(0, 256, (48, 1056), np.uint8)
    made = from_corners(CORNERS, 640, 480, k1=-0.05, quality=0.8).with_rest(image)
    path = tmp_path / "new folder" / "calibration.json"
    save(made, path)
    found = load(path)
    assert found == made
    assert found.id == made.id
    np.testing.assert_array_equal(found.rest.image(), image)
    assert [p.name for p in path.parent.iterdir()] == ["calibration.json"]


def test_corners_are_where_they_were_marked():
    for k1 in (0, -0.08):
        np.testing.assert_allclose(from_corners(CORNERS, 640, 480, k1=k1).corners(), CORNERS, atol=1e-3)


def test_plane_and_pixels_are_inverse():
    made = from_corners(CORNERS, 640, 480, k1=0.04)
    plane = np.random.default_rng(0).uniform((0, 0), (52, 1), (50, 2))
    np.testing.assert_allclose(made.to_plane(made.to_pixels(plane)), plane, atol=1e-4)


def test_id_is_of_the_geometry_alone():
    made = from_corners(CORNERS, 640, 480)
    assert made.id == from_corners(CORNERS, 640, 480, quality=0.1).id
    assert made.id == made.with_rest(np.zeros((48, 1056), np.uint8)).id
    moved = [(x + 1, y) for x, y in CORNERS]
    assert len({made.id, from_corners(moved, 640, 480).id, from_corners(CORNERS, 640, 481).id}) == 3


def test_upside_down_camera_is_a_keyboard_too():
    turned = [(640 - x, 480 - y) for x, y in CORNERS]
    np.testing.assert_allclose(from_corners(turned, 640, 480).corners(), turned, atol=1e-6)


@pytest.mark.parametrize(
    "corners",
    [
        CORNERS[:3],
        [CORNERS[0], CORNERS[2], CORNERS[1], CORNERS[3]],
        [(0, 0), (1, 0), (2, 0), (3, 0)],
        [*CORNERS[:3], (float("nan"), 0)],
    ],
)
def test_wrong_corners_are_a_sentence(corners):
    with pytest.raises(CalibrationError, match="A0 back, C8 back, C8 front, A0 front"):
        from_corners(corners, 640, 480)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda _: "not json", "not a calibration"),
        (lambda _: '{"notes": []}', "not a calibration"),
        (lambda d: json.dumps(d | {"colour": "red"}), "not a calibration"),
        (lambda d: json.dumps(d | {"homography": [[0] * 3] * 3}), "impossible"),
        (lambda d: json.dumps(d | {"width": 0}), "impossible"),
        (lambda d: json.dumps(d | {"format": "ivories-calibration-9"}), "format"),
        (lambda d: json.dumps(d | {"width": "wide"}), "not a calibration"),
    ],
)
def test_foreign_and_damaged_files_are_a_sentence(tmp_path, change, sentence):
    path = tmp_path / "calibration.json"
    save(from_corners(CORNERS, 640, 480), path)
    path.write_text(change(json.loads(path.read_text())))
    with pytest.raises(CalibrationError, match=sentence) as caught:
        load(path)
    assert str(path) in str(caught.value)
    assert "ivories setup" in str(caught.value)


def test_missing_file_and_unwritable_place_are_a_sentence(tmp_path):
    with pytest.raises(CalibrationError, match="cannot be read"):
        load(tmp_path / "none.json")
    (tmp_path / "file").write_text("")
    with pytest.raises(CalibrationError, match="cannot be written"):
        save(from_corners(CORNERS, 640, 480), tmp_path / "file" / "calibration.json")


def test_damaged_rest_image_is_a_sentence():
    made = from_corners(CORNERS, 640, 480).with_rest(np.zeros((4, 4), np.uint8))
    for data in ("%%%", "AAAA", made.rest.data):
        picture = type(made.rest)(4, 5, data)
        with pytest.raises(CalibrationError, match="damaged"):
            picture.image()


def test_a_file_says_its_format(tmp_path):
    path = tmp_path / "calibration.json"
    save(from_corners(CORNERS, 640, 480), path)
    assert FORMAT in path.read_text()
    assert isinstance(load(path), Calibration)


def test_one_for_another_picture_size_is_refused_before_a_recording_is_read(tmp_path):
    path = tmp_path / "calibration.json"
    save(from_corners(CORNERS, 800, 600).with_rest(np.zeros((48, 1056), np.uint8)), path)
    with pytest.raises(
        CalibrationError, match=r"made for pictures of 800 x 600, but those of .*leave --calib"
    ):
        calibration_from(None, path, bundled_take())
