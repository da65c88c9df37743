"""Evidence of ears and eyes becomes notes: once, in time, and never hanging."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ivories.clock import MILLISECOND
from ivories.datatypes import KeyEvidence, NoteKind, Origin
from ivories.fusion.tracker import Tracker, TrackerSettings
from ivories.keyboard import KEYS
from support import AUDIO_HORIZONS, FRAME_NS, HOP_NS, audio_evidence, video_evidence

SETTINGS = TrackerSettings(audio_thresholds=(2.0, 1.0, 0.0), video_thresholds=(3.0, 2.0, 1.0, 0.0))


def listen(tracker, notes, hops, **strength):
    return [e for hop in range(hops) for e in tracker.push(audio_evidence(hop, notes, **strength))]


def onsets(events):
    return [e for e in events if e.kind is NoteKind.ONSET]


def test_a_heard_note_starts_and_ends_once():
    tracker = Tracker(SETTINGS)
    events = listen(tracker, [(39, 50, 90)], 150, strength=(9, 9, 9))
    assert [e.kind for e in events] == [NoteKind.ONSET, NoteKind.OFFSET]
    onset, offset = events
    assert abs(onset.t_ns - 50.5 * HOP_NS) <= HOP_NS
    assert onset.decided_ns == (50 + AUDIO_HORIZONS[0] + 1) * HOP_NS
    assert 85 * HOP_NS < offset.t_ns < 110 * HOP_NS
    assert not tracker.state.pressed.any()


def test_weak_evidence_waits_for_a_later_horizon():
    early = onsets(listen(Tracker(SETTINGS), [(39, 50, 90)], 100, strength=(9, 9, 9)))[0]
    late = onsets(listen(Tracker(SETTINGS), [(39, 50, 90)], 100, strength=(4, 5, 9)))[0]
    assert late.decided_ns - early.decided_ns == (AUDIO_HORIZONS[2] - AUDIO_HORIZONS[0]) * HOP_NS
    assert abs(late.t_ns - early.t_ns) < HOP_NS  # back-dated to the same moment


def test_a_note_that_the_last_horizon_denies_is_taken_back():
    events = listen(Tracker(SETTINGS), [(39, 50, 90)], 120, strength=(9, 3, -3))
    assert [e.kind for e in events] == [NoteKind.ONSET, NoteKind.OFFSET]
    assert events[1].retracts
    assert events[1].t_ns - events[0].decided_ns <= 120 * MILLISECOND


def test_repeated_notes_are_separate_and_offsets_come_first():
    events = listen(Tracker(SETTINGS), [(39, 50, 65), (39, 65, 80)], 120, strength=(9, 9, 9))
    assert [e.kind for e in events] == [NoteKind.ONSET, NoteKind.OFFSET] * 2
    assert events[1].t_ns < events[2].t_ns


def test_a_trill_seen_ahead_of_its_sound_is_told_once_each():
    """What the grid still holds of the stroke before must not start the key again."""
    strokes = [(39, (500 + 130 * i) * MILLISECOND, (570 + 130 * i) * MILLISECOND) for i in range(6)]
    tracker = Tracker(SETTINGS)
    events = [e for f in range(90) for e in tracker.push(video_evidence(f, strokes, strength=9.5))]
    told = [e.t_ns for e in onsets(events)]
    assert len(told) == len(strokes)
    assert np.abs(np.array(told) - [s[1] for s in strokes]).max() < FRAME_NS


@pytest.mark.parametrize(("again_hop", "told"), [(80, 2), (110, 1)])
def test_a_quick_repeat_is_believed_and_the_beating_of_a_held_string_is_not(again_hop, told):
    notes, hardly_sure = [(39, 50, 200), (39, again_hop, 200)], (-9, -9, 6.3)
    assert len(onsets(listen(Tracker(SETTINGS), notes, 150, strength=hardly_sure))) == told


def test_a_key_that_stayed_down_is_not_struck_again():
    """The ear alone takes a wobbling string for a second stroke; an eye that sees the key knows better."""
    wobble = [(39, 50, 120), (39, 80, 120)]
    strength = (8.5, 8.5, 10.0)
    alone = listen(Tracker(SETTINGS), wobble, 110, strength=strength)
    assert len(onsets(alone)) == 2
    tracker, events, frame = Tracker(SETTINGS), [], 0
    for hop in range(110):
        while frame * FRAME_NS <= hop * HOP_NS:
            stroke = (39, 500 * MILLISECOND, 1200 * MILLISECOND)
            events += tracker.push(video_evidence(frame, [stroke], strength=4.5))
            frame += 1
        events += tracker.push(audio_evidence(hop, wobble, strength=strength))
    assert len(onsets(events)) == 1


def test_eye_and_ear_together_are_surer_than_each():
    notes_ns = [(39, 500 * MILLISECOND, 900 * MILLISECOND)]
    tracker = Tracker(SETTINGS)
    events = []
    frame = 0
    for hop in range(100):
        while frame * FRAME_NS <= hop * HOP_NS:
            events += tracker.push(video_evidence(frame, notes_ns, strength=4.5))
            frame += 1
        events += tracker.push(audio_evidence(hop, [(39, 50, 90)], strength=(4.5, 4.5, 4.5)))
    assert len(onsets(events)) == 1
    assert not onsets(listen(Tracker(SETTINGS), [(39, 50, 90)], 100, strength=(4.5, 4.5, 4.5)))
    eye_alone = Tracker(SETTINGS)
    assert not [e for f in range(40) for e in eye_alone.push(video_evidence(f, notes_ns, strength=4.5))]


def test_a_sure_eye_sends_the_note_before_its_sound():
    onset_ns = 600 * MILLISECOND
    tracker = Tracker(SETTINGS)
    events = [
        e
        for f in range(40)
        for e in tracker.push(video_evidence(f, [(39, onset_ns, 2 * onset_ns)], strength=9.5))
    ]
    first = onsets(events)[0]
    assert first.decided_ns < onset_ns
    assert abs(first.t_ns - onset_ns) < FRAME_NS


def test_an_invisible_key_is_left_to_the_ear():
    visible = np.ones(KEYS, bool)
    visible[39] = False
    tracker = Tracker(SETTINGS)
    frame = 0
    events = []
    for hop in range(160):
        while frame * FRAME_NS <= hop * HOP_NS:
            events += tracker.push(video_evidence(frame, [], visible=visible))
            frame += 1
        events += tracker.push(audio_evidence(hop, [(39, 50, 90)], strength=(9, 9, 9)))
    assert [e.kind for e in events] == [NoteKind.ONSET, NoteKind.OFFSET]


def test_skew_moves_the_eye():
    skew = 40 * MILLISECOND
    plain, moved = Tracker(SETTINGS), Tracker(SETTINGS, audio_video_skew_ns=skew)
    notes = [(10, 600 * MILLISECOND, 900 * MILLISECOND)]
    first = [
        onsets([e for f in range(40) for e in t.push(video_evidence(f, notes, strength=9))])[0]
        for t in (plain, moved)
    ]
    assert abs(first[1].t_ns - first[0].t_ns - skew) <= HOP_NS


def test_pedal_has_hysteresis():
    tracker = Tracker(SETTINGS)
    base = audio_evidence(0, [])
    levels = [-3, 0.5, 2, 0.5, -0.5, 0.5, -3, -3]
    events = []
    for i, level in enumerate(levels):
        evidence = KeyEvidence(
            Origin.AUDIO, (i + 1) * HOP_NS, HOP_NS, base.horizon_ns, base.onset, base.frame, None,
            base.velocity, base.visible, float(level),
        )  # fmt: skip
        events += tracker.push(evidence)
    assert [(e.kind, e.velocity) for e in events] == [(NoteKind.PEDAL, 127), (NoteKind.PEDAL, 0)]


def test_release_all_ends_everything():
    tracker = Tracker(SETTINGS)
    listen(tracker, [(39, 50, 900), (43, 52, 900)], 80, strength=(9, 9, 9))
    assert tracker.state.pressed.sum() == 2
    assert {e.key for e in tracker.release_all(80 * HOP_NS)} == {39, 43}
    assert not tracker.state.pressed.any()
    assert tracker.release_all(80 * HOP_NS) == []


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32 - 1), st.floats(0.5, 8.0))
def test_no_key_ever_starts_twice_or_ends_twice(seed, spread):
    rng = np.random.default_rng(seed)
    tracker = Tracker(SETTINGS)
    down: set[int] = set()
    last_t = dict.fromkeys(range(KEYS), -1)
    last_onset = dict.fromkeys(range(KEYS), -10 * HOP_NS)
    for hop in range(60):
        evidence = KeyEvidence(
            Origin.AUDIO, (hop + 1) * HOP_NS, HOP_NS, tuple(h * HOP_NS for h in AUDIO_HORIZONS),
            rng.normal(0, spread, (3, KEYS)).astype(np.float32),
            rng.normal(0, spread, KEYS).astype(np.float32),
            rng.normal(-2, spread, KEYS).astype(np.float32), rng.uniform(0, 1, KEYS).astype(np.float32),
            np.ones(KEYS, bool),
        )  # fmt: skip
        for event in tracker.push(evidence):
            assert event.t_ns >= last_t[event.key]
            last_t[event.key] = event.t_ns
            if event.kind is NoteKind.ONSET:
                assert event.key not in down
                assert event.t_ns - last_onset[event.key] >= 3 * HOP_NS, "one onset is told once"
                last_onset[event.key] = event.t_ns
                assert 1 <= event.velocity <= 127
                down.add(event.key)
            else:
                assert event.key in down
                down.remove(event.key)
    assert set(np.flatnonzero(tracker.state.pressed)) == down


@pytest.mark.parametrize("delay_hops", [0, 5, 30])
def test_a_late_camera_starts_nothing_twice(delay_hops):
    tracker = Tracker(SETTINGS)
    events = []
    frame = 0
    for hop in range(150):
        while frame * FRAME_NS + delay_hops * HOP_NS <= hop * HOP_NS:
            events += tracker.push(video_evidence(frame, [(39, 500 * MILLISECOND, 900 * MILLISECOND)]))
            frame += 1
        events += tracker.push(audio_evidence(hop, [(39, 50, 90)], strength=(9, 9, 9)))
    assert [e.kind for e in events] == [NoteKind.ONSET, NoteKind.OFFSET]
