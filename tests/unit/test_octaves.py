"""A ghost an octave from a struck key must not be told; keys struck in octaves must."""

import numpy as np
import pytest

from ivories.audio.octaves import MOST, OCTAVES, OctaveDoubt
from ivories.datatypes import ONSET_PRIOR, NoteKind
from ivories.fusion.tracker import Tracker, TrackerSettings
from ivories.keyboard import KEYS
from support import audio_evidence

SETTINGS = TrackerSettings(audio_thresholds=(1.0, 0.5, 0.0), video_thresholds=(1e9,))


def sure(hop, log_odds):
    """Evidence with these posterior log-odds of an onset at every horizon: {key: log-odds}."""
    evidence = audio_evidence(hop, [], silence=-3.0)
    for key, value in log_odds.items():
        evidence.onset[:, key] = value - ONSET_PRIOR
    return evidence


def taken_off(doubt, evidence):
    return evidence.onset - doubt.push(evidence).onset


@pytest.mark.parametrize("apart", OCTAVES)
def test_a_key_must_be_surer_where_its_octave_is_surer_still(apart) -> None:
    evidence = sure(0, {40: 5.0, 40 + apart: 1.0, 47: 1.0})
    evidence.onset.flags.writeable = False
    off = taken_off(OctaveDoubt(share=0.5, margin=1.0), evidence)
    np.testing.assert_allclose(off[:, 40 + apart], 0.5 * (5 - 1 - 1), rtol=1e-6)
    assert not off[:, [40, 47]].any()


def test_keys_that_are_sure_alike_lose_nothing_and_none_loses_more_than_the_most() -> None:
    off = taken_off(OctaveDoubt(share=0.5, margin=0.0), sure(0, {40: 6.0, 52: 6.0, 28: -3.0, 64: 0.0}))
    assert not off[:, [40, 52]].any()
    np.testing.assert_allclose(off[:, [28, 64]], 3.0, rtol=1e-6)
    assert taken_off(OctaveDoubt(), sure(0, {40: 30.0}))[:, 52].max() == pytest.approx(MOST)


def test_the_keyboard_has_two_ends() -> None:
    for end in (0, KEYS - 1):
        off = taken_off(OctaveDoubt(), sure(0, {end: 8.0}))
        inside = [end + o for o in OCTAVES if 0 <= end + o < KEYS]
        assert (off[:, inside] > 0).all()
        assert np.count_nonzero(off.any(axis=0)) == len(inside)


def test_what_was_struck_a_moment_ago_counts_until_it_is_forgotten() -> None:
    doubt = OctaveDoubt()
    doubt.push(sure(0, {40: 6.0}))
    for hop in range(1, 8):
        off = taken_off(doubt, sure(hop, {52: 1.0}))[:, 52]
        assert (off > 0).all() == off.any() == (hop < 5)
    doubt.push(sure(8, {40: 6.0}))
    doubt.reset()
    assert not taken_off(doubt, sure(9, {52: 1.0}))[:, 52].any()
    doubt.push(sure(10, {40: 6.0}))
    assert not taken_off(doubt, sure(30, {52: 1.0}))[:, 52].any(), "sound was lost in between"


def test_the_ghost_of_an_octave_is_not_told_and_an_octave_is() -> None:
    def told(octave):
        tracker, doubt, keys = Tracker(SETTINGS), OctaveDoubt(), []
        for hop in range(60):
            heard = audio_evidence(hop, [(40, 20, 50)], strength=(9.0, 10.0, 11.0))
            for row, horizon in enumerate((2, 5, 9)):
                if hop - horizon == 20:
                    heard.onset[row, 52] = octave[row]
            for evidence in doubt.enter([heard]):
                keys += [e.key for e in tracker.push(evidence) if e.kind is NoteKind.ONSET]
        return keys

    half_sure, surely = (6.5, 7.0, 7.0), (8.0, 9.0, 10.0)
    assert told(half_sure) == [40]
    assert sorted(told(surely)) == [40, 52]
