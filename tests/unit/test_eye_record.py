"""What the ear finds out about the eye, and what the tracker makes of it."""

from dataclasses import replace

import msgspec
import numpy as np
import pytest

from ivories.clock import MILLISECOND
from ivories.datatypes import NoteKind, Origin
from ivories.fusion.evidence_grid import BLIND, EvidenceGrid, believed
from ivories.fusion.eye_record import EyeRecord
from ivories.fusion.onset_peaks import OnsetPeaks
from ivories.fusion.touch import USUAL, TouchScale
from ivories.fusion.tracker import Tracker, TrackerSettings
from ivories.keyboard import KEYS
from support import AUDIO_HORIZONS, FRAME_NS, HOP_NS, audio_evidence, video_evidence

SETTINGS = TrackerSettings(audio_thresholds=(2.0, 1.0, 0.0), video_thresholds=(3.0, 2.0, 1.0, 0.0))
EARLY = msgspec.structs.replace(SETTINGS, wait_ms=0.0)
LOW, HIGH = 20, 70
NONE_DOWN = np.full(KEYS, 1 << 60, np.int64)


def both(hops, heard, seen, ear=(9, 9, 9), eye=6.0, visible=None):
    """Yield the evidence of ear and eye in turn; ``heard``: (key, hop, hop), ``seen``: (key, ns, ns) each."""
    frame = 0
    for hop in range(hops):
        while frame * FRAME_NS <= hop * HOP_NS:
            yield video_evidence(frame, seen, strength=eye, visible=visible)
            frame += 1
        yield audio_evidence(hop, heard, strength=ear)


def strokes(keys, every=30):
    return [(key, 20 + every * i, 30 + every * i) for i, key in enumerate(keys)]


def in_ns(notes):
    return [(key, first * HOP_NS + HOP_NS // 2, last * HOP_NS) for key, first, last in notes]


def onsets(tracker, evidence):
    return [e for one in evidence for e in tracker.push(one) if e.kind is NoteKind.ONSET]


def test_an_eye_is_blind_where_it_denies_what_is_plainly_heard_and_only_there():
    grid, peaks, record = EvidenceGrid(), OnsetPeaks(), EyeRecord()
    heard = strokes([LOW + i % 3 if i % 2 else HIGH - i % 3 for i in range(30)])
    seen = [note for note in in_ns(heard) if note[0] > 44]
    assert record.blind == pytest.approx(np.full(KEYS, BLIND[Origin.VIDEO]))
    for one in both(950, heard, seen):
        grid.put(one)
        if one.origin is Origin.AUDIO:
            record.hear(peaks.push(one), grid, NONE_DOWN)
    assert record.blind[LOW] > 0.5
    assert record.blind[HIGH] < BLIND[Origin.VIDEO]


def test_covered_keys_are_not_held_against_the_eye():
    grid, peaks, record = EvidenceGrid(), OnsetPeaks(), EyeRecord()
    for one in both(950, strokes([LOW] * 30), [], visible=np.arange(KEYS) > 44):
        grid.put(one)
        if one.origin is Origin.AUDIO:
            record.hear(peaks.push(one), grid, NONE_DOWN)
    assert record.blind == pytest.approx(np.full(KEYS, BLIND[Origin.VIDEO]))


def test_a_string_that_beats_while_its_key_is_down_proves_no_eye_blind():
    grid, peaks, record = EvidenceGrid(), OnsetPeaks(), EyeRecord()
    for one in both(950, strokes([LOW] * 30), []):
        grid.put(one)
        if one.origin is Origin.AUDIO:
            record.hear(peaks.push(one), grid, np.zeros(KEYS, np.int64))
    assert record.blind == pytest.approx(np.full(KEYS, BLIND[Origin.VIDEO]))


def test_an_eye_whose_early_notes_are_taken_back_has_to_be_surer():
    record = EyeRecord()
    assert record.caution == pytest.approx(0, abs=1e-6)
    for _ in range(20):
        record.judge_early(taken_back=True)
    assert record.caution > 2
    for _ in range(250):
        record.judge_early(taken_back=False)
    assert record.caution < 0.1


def test_a_blind_eye_costs_the_ear_a_few_notes_at_most():
    """What the ear is just sure enough of, an eye that denies all silences only until it is found out."""
    heard = strokes([LOW + i % 5 for i in range(30)])
    barely, plainly = (6.9, 6.9, 6.9), (9, 9, 9)
    assert not onsets(Tracker(SETTINGS), both(170, heard[:5], [], barely))  # the eye is taken at its word
    tracker = Tracker(SETTINGS)
    loud, soft = heard[:15], heard[15:]
    evidence = [
        replace(one, onset=np.maximum(one.onset, two.onset)) if one.origin is Origin.AUDIO else one
        for one, two in zip(both(950, loud, [], plainly), both(950, soft, [], barely), strict=True)
    ]
    told = onsets(tracker, evidence)
    assert len([e for e in told if e.t_ns > soft[0][1] * HOP_NS]) == len(soft)


def test_a_key_that_the_eye_cannot_see_is_told_as_by_ear_alone():
    heard = strokes([LOW, LOW + 5, LOW + 9])
    strength = (8.1, 8.1, 8.1)
    alone = onsets(Tracker(SETTINGS), (audio_evidence(hop, heard, strength=strength) for hop in range(150)))
    unseen = onsets(Tracker(SETTINGS), both(150, heard, [], strength, visible=np.arange(KEYS) > 44))
    assert [(e.key, e.decided_ns) for e in unseen] == [(e.key, e.decided_ns) for e in alone]
    assert [e.t_ns for e in unseen] == pytest.approx([e.t_ns for e in alone], abs=MILLISECOND)
    assert len(alone) == 3


@pytest.mark.parametrize(
    ("settings", "frame_ns", "early"),
    [(EARLY, FRAME_NS, True), (SETTINGS, FRAME_NS, False), (SETTINGS, 17 * MILLISECOND, True)],
    ids=["early", "faithful", "quick camera"],
)
def test_a_note_that_is_seen_first_waits_for_its_sound_where_that_is_wanted(settings, frame_ns, early):
    """The sound is loud, which shows in the velocity of a note that waited."""
    heard, tracker, told = [(60, 60, 90)], Tracker(settings, touch=TouchScale.even(-40.0, 1000)), []
    for one in both(100, heard, in_ns(heard), eye=14.0):
        if one.origin is Origin.VIDEO:
            told += onsets(tracker, [replace(one, step_ns=frame_ns)])
        else:
            level = -25.0 if one.t_ns > 60 * HOP_NS else -90.0
            loudness = np.full((len(AUDIO_HORIZONS), KEYS), level, np.float32)
            told += onsets(tracker, [replace(one, loudness=loudness)])
    [onset] = told
    late_ns = onset.decided_ns - in_ns(heard)[0][1]
    assert late_ns < 0 if early else 20 * MILLISECOND <= late_ns <= 40 * MILLISECOND
    assert (onset.velocity > USUAL + 15) == (not early)


@pytest.mark.parametrize(("settings", "early"), [(EARLY, True), (SETTINGS, False)], ids=["early", "faithful"])
def test_notes_that_both_are_sure_of_at_once_wait_as_long_as_those_that_are_seen_first(settings, early):
    heard = strokes([50, 57, 62])
    told = onsets(Tracker(settings), both(150, heard, in_ns(heard), ear=(12, 12, 12)))
    late_ns = [e.decided_ns - at_ns for e, (_, at_ns, _) in zip(told, in_ns(heard), strict=True)]
    assert [late < 26 * MILLISECOND for late in late_ns] == [early] * 3
    assert max(late_ns) < 40 * MILLISECOND


def test_a_sensor_that_fell_silent_holds_no_note_back():
    heard = strokes([50, 55])
    later = [(60, 1200 * MILLISECOND, 1500 * MILLISECOND)]
    tracker = Tracker(SETTINGS)
    told = onsets(tracker, both(90, heard, in_ns(heard)))
    first = 90 * HOP_NS // FRAME_NS + 1
    told += onsets(tracker, (video_evidence(f, later, strength=14.0) for f in range(first, first + 20)))
    assert [e.key for e in told] == [50, 55, 60]
    assert told[-1].decided_ns < later[0][1]


def test_beside_an_ear_the_looks_of_the_eye_are_averaged():
    grid, key, period = EvidenceGrid(), 40, 100 * MILLISECOND
    for t_ns, row in ((10 * period, 0), (11 * period, 1)):  # two horizons speak of the same interval
        onset = np.zeros((2, KEYS), np.float32)
        onset[row, key] = (8.0, 2.0)[row]
        one = replace(video_evidence(0, []), t_ns=t_ns, step_ns=period, horizon_ns=(-period, 0), onset=onset)
        grid.put(one)
    bins, weights = range(105, 106), dict.fromkeys(Origin, 1.0)
    keys = np.array([key])
    alone = believed(grid.told(bins, keys, weights, beside=False))[0].item()
    beside = believed(grid.told(bins, keys, weights, beside=True), np.zeros(1, np.float32))[0].item()
    assert alone == pytest.approx(np.log(0.9 * np.exp(2) + 0.1))
    assert beside == pytest.approx(5.0)
