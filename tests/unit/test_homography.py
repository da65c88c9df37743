"""Homographies and lens distortion."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ivories.errors import CalibrationError
from ivories.vision import homography

CORNERS = np.array([(45.5, 202.1), (597.0, 207.4), (609.7, 273.2), (30.0, 265.1)])


def test_corners_are_met_exactly():
    matrix = homography.from_corners(CORNERS)
    np.testing.assert_allclose(homography.apply(matrix, homography.KEYBOARD_CORNERS), CORNERS, atol=1e-9)
    assert matrix[2, 2] == 1


@given(st.integers(0, 10_000))
def test_least_squares_over_many_points_and_inverse(seed):
    rng = np.random.default_rng(seed)
    truth = homography.from_corners(CORNERS + rng.uniform(-20, 20, (4, 2)))
    plane = rng.uniform((0, 0), (52, 1), (30, 2))
    seen = homography.apply(truth, plane)
    found = homography.from_points(plane, seen + rng.normal(0, 0.1, seen.shape))
    assert np.abs(homography.apply(found, plane) - seen).max() < 0.6
    back = homography.apply(homography.invert(truth), seen)
    np.testing.assert_allclose(back, plane, atol=1e-8)


@given(st.floats(-0.15, 0.15), st.floats(0, 639), st.floats(0, 479))
def test_distortion_is_undone(k1, x, y):
    seen = homography.distort([x, y], k1, 640, 480)
    np.testing.assert_allclose(homography.undistort(seen, k1, 640, 480), [x, y], atol=0.02)


def test_barrel_pulls_corners_in_and_leaves_the_middle():
    assert (homography.distort([0.0, 0.0], -0.1, 640, 480) > 0).all()
    np.testing.assert_allclose(homography.distort([319.5, 239.5], -0.1, 640, 480), [319.5, 239.5])


@pytest.mark.parametrize(
    "points", [CORNERS[:3], np.array([(0, 0), (1, 1), (2, 2), (3, 3)]), np.zeros((4, 2)), np.zeros((4, 3))]
)
def test_impossible_points_are_a_sentence(points):
    plane = np.array(homography.KEYBOARD_CORNERS)[: len(points)]
    with pytest.raises(CalibrationError, match=r"again|four"):
        homography.from_points(plane, points)
