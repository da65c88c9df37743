"""When does a key that went down come up? Told by an eye, by an ear, and by both."""

from dataclasses import replace

import numpy as np
import pytest

from ivories.clock import MILLISECOND, SECOND
from ivories.datatypes import NoteKind
from ivories.fusion.tracker import Tracker, TrackerSettings
from ivories.keyboard import KEYS
from support import FRAME_NS, HOP_NS, audio_evidence, video_evidence

SETTINGS = TrackerSettings(audio_thresholds=(2.0, 1.0, 0.0), video_thresholds=(3.0, 2.0, 1.0, 0.0))
KEY = 39


def look(tracker, frames, note, hidden_ns=(0, 0)):
    """Push frames of an eye that loses sight of the key in the interval ``hidden_ns``; return all events."""
    events = []
    for frame in frames:
        visible = np.ones(KEYS, bool)
        visible[KEY] = not hidden_ns[0] <= frame * FRAME_NS < hidden_ns[1]
        events += tracker.push(video_evidence(frame, [note], strength=9.5, visible=visible))
    return events


def offsets(events):
    return [e for e in events if e.kind is NoteKind.OFFSET]


def test_what_the_eye_sees_come_up_is_up_within_two_frames_however_long_it_was_down():
    for held_ms in (110, 300, 3000):
        note = (KEY, SECOND, SECOND + held_ms * MILLISECOND)
        (end,) = offsets(look(Tracker(SETTINGS), range(150), note))
        assert 0 <= end.decided_ns - note[2] <= 2 * FRAME_NS
        assert abs(end.t_ns - note[2]) <= FRAME_NS


def test_a_key_that_a_hand_covers_stays_down_until_it_is_seen_up():
    note = (KEY, SECOND, 2 * SECOND)
    hidden = (SECOND + 300 * MILLISECOND, SECOND + 900 * MILLISECOND)
    tracker = Tracker(SETTINGS)
    assert not offsets(look(tracker, range(55), note, hidden))
    assert tracker.state.pressed[KEY]
    (end,) = offsets(look(tracker, range(55, 90), note, hidden))
    assert abs(end.t_ns - note[2]) <= FRAME_NS


def test_a_key_that_the_eye_never_sees_again_is_let_go_after_some_seconds():
    note = (KEY, SECOND, 9 * SECOND)
    (end,) = offsets(look(Tracker(SETTINGS), range(240), note, (1300 * MILLISECOND, 9 * SECOND)))
    assert 2 * SECOND < end.t_ns - SECOND < 4 * SECOND


def test_a_note_that_only_the_ear_noticed_ends_by_the_ear():
    """An eye that saw nothing of a stroke says "up" all along; that ends nothing."""
    tracker, events, frame = Tracker(SETTINGS), [], 0
    for hop in range(200):
        while frame * FRAME_NS <= hop * HOP_NS:
            events += tracker.push(video_evidence(frame, []))
            frame += 1
        events += tracker.push(audio_evidence(hop, [(KEY, 50, 130)], strength=(12, 12, 12)))
    assert [e.kind for e in events] == [NoteKind.ONSET, NoteKind.OFFSET]
    assert abs(events[1].t_ns - 130 * HOP_NS) < 12 * HOP_NS


def test_one_stroke_is_told_once_by_an_eye_that_is_in_doubt_when_it_was():
    note = (KEY, SECOND, 2 * SECOND)
    tracker, events = Tracker(SETTINGS), []
    for frame in range(60):
        evidence = video_evidence(frame, [note], strength=9.5)
        if abs(frame * FRAME_NS - SECOND - 120 * MILLISECOND) < FRAME_NS:  # a second peak, while it is down
            onset = evidence.onset.copy()
            onset[:, KEY] = 7.0
            evidence = type(evidence)(
                evidence.origin, evidence.t_ns, evidence.step_ns, evidence.horizon_ns, onset, evidence.frame,
                evidence.offset, evidence.velocity, evidence.visible,
            )  # fmt: skip
        events += tracker.push(evidence)
    assert sum(e.kind is NoteKind.ONSET for e in events) == 1


@pytest.mark.parametrize("away_s", [0.6, 3.0, 6.0])
def test_a_camera_that_was_away_leaves_no_key_hanging_and_presses_none(away_s):
    tracker, note = Tracker(SETTINGS), (KEY, SECOND, 2 * SECOND)
    look(tracker, range(45), note)
    assert tracker.state.pressed[KEY]
    first = 45 + round(away_s * SECOND / FRAME_NS)
    back = replace(video_evidence(first, [note]), step_ns=round(away_s * SECOND))
    events = tracker.push(back)
    assert np.isfinite(tracker.posterior(back.t_ns).pressed).all()
    assert not np.delete(tracker.posterior(back.t_ns).pressed > 0.5, KEY).any()
    events += look(tracker, range(first + 1, first + 60), note)
    assert len(offsets(events)) == 1
    assert not tracker.state.pressed.any()
