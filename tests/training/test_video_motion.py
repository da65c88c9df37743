"""Key motion: physical, and labelled to the frame."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from ivories.keyboard import KEYS
from ivories_training.invention import invent
from ivories_training.performances import NOTE
from ivories_training.video.motion import depth, onset_grid, pressed, strokes_of, travel_s


def notes(*rows):
    return np.array([(on, off, off, key, velocity) for on, off, key, velocity in rows], NOTE)


def test_loud_keys_move_fast_and_soft_keys_slowly():
    assert np.isclose(travel_s(np.array([110]))[0], 0.025)
    assert travel_s(np.array([15]))[0] > 0.1
    assert (np.diff(travel_s(np.arange(21, 110))) < 0).all()


@given(st.integers(0, 1000))
@settings(max_examples=15, deadline=None)
def test_a_key_reaches_the_bottom_at_its_onset(seed):
    strokes = strokes_of(invent(seed, 10.0).notes, np.random.default_rng(seed))
    travel = depth(strokes, strokes.onset_s)
    at_onset = travel[np.arange(len(strokes)), strokes.key]
    assert (at_onset >= 0.79).all()
    assert (travel >= 0).all()
    assert (travel <= 1).all()
    assert (strokes.start_s < strokes.onset_s).all()
    assert (strokes.onset_s < strokes.offset_s).all()


def test_a_repeated_key_comes_back_in_between():
    strokes = strokes_of(notes((1.0, 1.2, 30, 80), (1.2, 1.4, 30, 80)), np.random.default_rng(0))
    between = depth(strokes, np.linspace(1.0, 1.2, 200))[:, 30]
    assert between.min() < 0.4


def test_a_doubled_note_is_one_stroke():
    strokes = strokes_of(notes((1.0, 1.5, 30, 80), (1.02, 1.9, 30, 80)), np.random.default_rng(0))
    assert len(strokes) == 1
    assert strokes.offset_s[0] == 1.9


def test_labels_stand_in_the_right_frame():
    strokes = strokes_of(notes((1.05, 1.5, 10, 64)), np.random.default_rng(0))
    times = np.array([0.9, 1.0, 1.1, 1.2])
    grid = onset_grid(strokes, times)
    assert grid.shape == (3, KEYS)
    assert grid[1, 10] == 64
    assert np.count_nonzero(grid) == 1
    assert pressed(strokes, times)[:, 10].tolist() == [False, False, True, True]
