"""Notes matched with notes: as many as mir_eval matches, by its rule."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ivories.notes import NOTE_DTYPE, matched_pairs

transcription = pytest.importorskip("mir_eval.transcription")

NOTES = st.lists(st.tuples(st.integers(0, 400), st.integers(60, 62)), max_size=25)


def notes_of(pairs, step_s=0.01):
    onsets = [(start * step_s, start * step_s + 0.1, pitch, 64) for start, pitch in pairs]
    return np.array(sorted(onsets), NOTE_DTYPE)


@given(NOTES, NOTES, st.sampled_from([0.025, 0.05, 0.1]))
def test_as_many_pairs_as_mir_eval_finds_and_each_within_the_tolerance(reference, estimate, tolerance):
    reference, estimate = notes_of(reference), notes_of(estimate)
    pairs = matched_pairs(reference, estimate, tolerance)
    for column in pairs.T:
        assert len(np.unique(column)) == len(column)
    left, right = reference[pairs[:, 0]], estimate[pairs[:, 1]]
    assert np.array_equal(left["pitch"], right["pitch"])
    assert (np.abs(left["onset_s"] - right["onset_s"]) <= tolerance + 5e-5).all()
    if len(reference) and len(estimate):
        spans = [np.stack([n["onset_s"], n["offset_s"]], axis=1) for n in (reference, estimate)]
        hertz = [440 * 2 ** ((n["pitch"] - 69) / 12) for n in (reference, estimate)]
        found = transcription.match_notes(
            spans[0], hertz[0], spans[1], hertz[1], onset_tolerance=tolerance, offset_ratio=None
        )
        assert len(pairs) == len(found)


def test_nothing_matches_nothing():
    assert matched_pairs(notes_of([]), notes_of([(1, 60)])).shape == (0, 2)
