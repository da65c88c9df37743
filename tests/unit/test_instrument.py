"""Behind the networks: failing sinks, the end of a take, notes and delays out of events."""

from typing import get_args

import numpy as np
import pytest

from ivories.app import Application
from ivories.config import Config, DecodingSection, Policy
from ivories.controls import Request
from ivories.datatypes import NoteEvent, NoteKind
from ivories.errors import SinkError
from ivories.fusion.tracker import Tracker, TrackerSettings
from ivories.instrument import Instrument
from ivories.notes import NOTE_DTYPE
from ivories.report import decision_delays, notes_of_events
from ivories.runtime.timing import StageTimes
from ivories.scoring import score_notes
from ivories.sinks.memory import MemorySink
from support import audio_evidence

SETTINGS = TrackerSettings(audio_thresholds=(2.0, 1.0, 0.0), video_thresholds=(3.0, 2.0, 1.0, 0.0))


class Breaking(MemorySink):
    name = "breaking"

    def __init__(self):
        super().__init__()
        self.calls = []

    def send(self, event, state):
        raise SinkError("the disk is full")

    def release_all(self):
        self.calls.append("release")

    def discard(self):
        self.calls.append("discard")


def play(instrument, hops=120):
    return [
        event
        for hop in range(hops)
        for event in instrument.push(audio_evidence(hop, [(39, 50, 90)], strength=(9, 9, 9)))
    ]


def test_a_failing_sink_is_left_out_and_told_at_the_end():
    good, bad = MemorySink(), Breaking()
    instrument = Instrument(Tracker(SETTINGS), [bad, good], StageTimes())
    play(instrument)
    assert len(good.events) == 2
    with pytest.raises(SinkError, match="disk is full"):
        instrument.finish()


def test_finish_ends_a_note_that_still_sounds():
    sink = MemorySink()
    instrument = Instrument(Tracker(SETTINGS), [sink], StageTimes())
    play(instrument, hops=70)
    instrument.finish()
    assert [e.kind for e in sink.events] == [NoteKind.ONSET, NoteKind.OFFSET]


def test_abandon_discards_what_is_not_complete():
    bad = Breaking()
    Instrument(Tracker(SETTINGS), [bad], StageTimes()).abandon()
    assert bad.calls == ["release", "discard"]


def test_panic_lets_go_on_every_sink_and_leaves_a_broken_one_out():
    class Deaf(Breaking):
        def send(self, event, state):
            pass

        def release_all(self):
            raise SinkError("the cable is out")

    good, bad = MemorySink(), Deaf()
    instrument = Instrument(Tracker(SETTINGS), [bad, good], StageTimes())
    play(instrument, hops=70)
    assert good.held.keys
    done = []
    assert instrument.controls.ask(Request("panic", "", done.append))
    instrument.beat()
    assert done == [""]
    assert not good.held.keys
    assert good.releases == 1
    assert instrument.failed == ["the cable is out"]
    assert bad.calls == ["discard"]


def test_a_policy_that_is_not_there_is_refused_with_those_that_are():
    choices = {("surest", "auto"): SETTINGS}
    instrument = Instrument(Tracker(SETTINGS), [], StageTimes(), choices, "surest", "auto")
    done = []
    for value in ("surest", "earliest"):
        instrument.controls.ask(Request("policy", value, done.append))
    instrument.beat()
    assert done == ["", "no policy 'earliest' for the networks that are loaded (known: surest)"]
    assert instrument.controls.policy == "surest"


def test_dynamics_can_be_chosen_where_there_are_several_and_the_policy_stays():
    choices = {
        (policy, dynamics): SETTINGS for policy in ("surest", "earliest") for dynamics in ("auto", "early")
    }
    instrument = Instrument(Tracker(SETTINGS), [], StageTimes(), choices, "earliest", "auto")
    assert instrument.controls.commands == ("policy", "dynamics", "panic")
    done = []
    for name, value in (("dynamics", "early"), ("policy", "surest"), ("dynamics", "faithful")):
        instrument.controls.ask(Request(name, value, done.append))
    instrument.beat()
    assert done == ["", "", "no dynamics 'faithful' to choose here (known: auto, early)"]
    assert (instrument.controls.policy, instrument.controls.dynamics) == ("surest", "early")


def test_one_sense_has_no_dynamics_to_choose():
    app = Application(Config(decoding=DecodingSection(dynamics="early")), video=False)
    instrument = app.instrument([])
    app.close()
    assert instrument.controls.commands == ("policy", "panic")
    done = []
    instrument.controls.ask(Request("dynamics", "early", done.append))
    instrument.beat()
    assert done == ["no dynamics 'early' to choose here (known: none, as they take both senses)"]


def test_with_both_senses_a_command_changes_how_long_notes_wait(monkeypatch):
    app = Application(Config())
    instrument = app.instrument([])
    app.close()
    used = []
    monkeypatch.setattr(Tracker, "decide_by", lambda self, settings: used.append(settings))
    done = []
    for name, value in (("dynamics", "faithful"), ("dynamics", "auto"), ("policy", "earliest")):
        instrument.controls.ask(Request(name, value, done.append))
    instrument.beat()
    assert done == ["", "", ""]
    waits = [(settings.wait_ms > 0, settings.quick_wait_ms > 0) for settings in used]
    assert waits == [(True, True), (True, False), (False, False)]
    assert used[2].audio_thresholds != used[1].audio_thresholds


def test_a_take_is_refused_where_nothing_is_recorded():
    instrument = Instrument(Tracker(SETTINGS), [], StageTimes())
    assert "take" not in instrument.controls.commands
    done = []
    instrument.controls.ask(Request("take", "", done.append))
    instrument.beat()
    assert done == ["nothing is recorded here: set recorder.minutes above 0 and restart Ivories"]


def test_the_shipped_ears_know_every_policy():
    app = Application(Config(), video=False)
    instrument = app.instrument([])
    assert instrument.controls.policies == get_args(Policy)
    assert instrument.controls.policy == "balanced"
    assert app.tracker_settings("surest") != app.tracker_settings("earliest")
    app.close()


@pytest.mark.parametrize(
    ("dynamics", "policy", "waits"),
    [
        ("auto", "balanced", (True, False)),
        ("auto", "surest", (True, False)),
        ("auto", "earliest", (False, False)),
        ("early", "surest", (False, False)),
        ("faithful", "earliest", (True, True)),
    ],
)
def test_dynamics_say_whether_notes_wait_for_their_sound(dynamics, policy, waits):
    config = Config(decoding=DecodingSection(dynamics=dynamics, policy=policy))
    app = Application(config, audio=False, video=False)
    settings = app.tracker_settings()
    assert (settings.wait_ms > 0, settings.quick_wait_ms > 0) == waits


def event(kind, key, t_s, decided_s=None, *, retracts=False):
    t_ns = round(t_s * 1e9)
    return NoteEvent(
        kind, key, 70, t_ns, t_ns if decided_s is None else round(decided_s * 1e9), 1.0, retracts
    )


def test_notes_of_events_leaves_out_ghosts():
    notes = notes_of_events(
        [
            event(NoteKind.ONSET, 10, 1.0, 1.04),
            event(NoteKind.ONSET, 11, 1.1, 1.12),
            event(NoteKind.OFFSET, 11, 1.15, retracts=True),
            event(NoteKind.OFFSET, 10, 2.0),
        ]
    )
    assert notes["pitch"].tolist() == [31]
    assert notes["decided_s"][0] == pytest.approx(1.04)


def test_decision_delay_counts_from_the_true_onset():
    truth = np.array([(0.99, 2.0, 31, 70)], NOTE_DTYPE)
    notes = notes_of_events([event(NoteKind.ONSET, 10, 1.0, 1.04), event(NoteKind.OFFSET, 10, 2.0)])
    assert decision_delays(truth, notes).median == pytest.approx(50.0)
    assert decision_delays(truth[:0], notes) is None


def test_scores_follow_the_50_ms_rule():
    truth = np.array([(1.0, 2.0, 60, 64), (3.0, 4.0, 62, 64)], NOTE_DTYPE)
    found = np.array([(1.049, 2.0, 60, 64), (3.051, 4.0, 62, 64)], NOTE_DTYPE)
    scores = score_notes(truth, found)
    assert scores.f1 == pytest.approx(0.5)
    assert scores.onset_bias_ms == pytest.approx(49.0)
    assert score_notes(truth[:0], found).f1 == 0.0
    assert score_notes(truth[:0], found[:0]).f1 == 1.0


def test_stage_times_add_up():
    ticks = iter([0, 1000, 5000, 8000])
    times = StageTimes(clock=lambda: next(ticks))
    for _ in range(2):
        with times.measure("network"):
            pass
    (row,) = times.summary()
    assert (row.calls, row.median_us, row.max_us) == (2, 2.0, 3.0)
