"""The MIDI file holds what was played, to a fraction of a millisecond, and appears only when complete."""

import mido
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ivories.clock import SECOND
from ivories.errors import SinkError
from ivories.sinks.midi_file import TICK_NS, MidiFileSink
from played import MidiReceiver, Player, offset, onset, pedal


def write(tmp_path, *events, **options):
    path = tmp_path / "take.mid"
    sink = MidiFileSink(path=path, **options)
    Player(sink).play(*events)
    sink.close()
    return mido.MidiFile(path)


def timed(file):
    """Return (seconds, message) of all notes and pedal moves."""
    now, result = 0, []
    for message in file.tracks[0]:
        now += message.time
        if not message.is_meta:
            result.append((now * TICK_NS / SECOND, message))
    return result


def test_times_are_those_of_the_room_within_an_eighth_of_a_millisecond(tmp_path):
    file = write(tmp_path, onset(39, 1.23456), pedal(80, 1.5), offset(39, 2.34567), pedal(0, 2.5))
    assert file.type == 0
    got = timed(file)
    assert [m.type for _, m in got] == ["note_on", "control_change", "note_off", "control_change"]
    assert [t for t, _ in got] == pytest.approx([1.23456, 1.5, 2.34567, 2.5], abs=0.000126)
    assert got[0][1].velocity == 64
    assert got[2][1].velocity == 50
    assert file.length == pytest.approx(2.5, abs=0.001)  # the tempo is written as it is counted


def test_events_told_late_are_sorted_by_when_they_happened(tmp_path):
    got = timed(write(tmp_path, onset(50, 1.0), onset(20, 0.96), offset(20, 1.4), offset(50, 1.3)))
    assert [(m.type, m.note) for _, m in got] == [
        ("note_on", 41), ("note_on", 71), ("note_off", 71), ("note_off", 41),
    ]  # fmt: skip


def test_the_origin_is_the_start_of_the_file(tmp_path):
    got = timed(write(tmp_path, onset(39, 100.5), offset(39, 101.0), origin_ns=100 * SECOND))
    assert [t for t, _ in got] == pytest.approx([0.5, 1.0])


def test_nothing_happens_before_the_file_starts(tmp_path):
    assert timed(write(tmp_path, onset(39, -0.02), offset(39, 1.0)))[0][0] == 0


def test_a_retracted_ghost_leaves_no_trace(tmp_path):
    got = timed(
        write(tmp_path, onset(39, 1.0), onset(51, 1.0), offset(51, 1.05, retracts=True), offset(39, 2.0))
    )
    assert {m.note for _, m in got} == {60}


def test_hanging_notes_and_pedal_end_with_the_take(tmp_path):
    got = timed(write(tmp_path, onset(39, 1.0), pedal(127, 1.1), onset(43, 1.2), offset(43, 3.0)))
    receiver = MidiReceiver()
    for _, message in got:
        receiver.take(message)
    assert receiver.silent
    assert got[-1][0] == pytest.approx(3.03, abs=0.001)


def test_the_pedal_ends_up_even_when_it_moved_at_the_last_moment(tmp_path):
    got = timed(write(tmp_path, onset(39, 0.5), pedal(100, 1.0)))
    assert [m.value for _, m in got if m.type == "control_change"] == [100, 0]


def test_a_key_struck_again_ends_its_former_note_at_that_moment(tmp_path):
    got = timed(write(tmp_path, onset(39, 1.0), onset(39, 1.5, 90), offset(39, 2.0)))
    assert [(m.type, t) for t, m in got] == [
        ("note_on", 1.0), ("note_off", 1.5), ("note_on", 1.5), ("note_off", 2.0),
    ]  # fmt: skip


def test_an_offset_told_after_the_next_onset_does_not_overlap_it(tmp_path):
    got = timed(write(tmp_path, onset(39, 1.0), offset(39, 1.52), onset(39, 1.5), offset(39, 2.0)))
    assert [m.type for _, m in got] == ["note_on", "note_off", "note_on", "note_off"]
    assert got[1][0] == 1.5


MOMENTS = st.floats(-0.1, 5.0, allow_nan=False)
EVENTS = st.one_of(
    st.builds(onset, st.integers(38, 40), MOMENTS, st.integers(1, 127)),
    st.builds(offset, st.integers(38, 40), MOMENTS, retracts=st.booleans()),
    st.builds(pedal, st.integers(0, 127), MOMENTS),
)


@settings(max_examples=60, deadline=None)
@given(st.lists(EVENTS, max_size=30))
def test_any_events_make_a_file_without_hanging_or_double_notes(tmp_path_factory, events):
    receiver = MidiReceiver()
    for _, message in timed(write(tmp_path_factory.mktemp("takes"), *events)):
        receiver.take(message)
        assert all(count == 1 for count in receiver.sounding.values())
    assert not receiver.sounding


def test_nothing_appears_before_close_and_nothing_else_is_left(tmp_path):
    sink = MidiFileSink(path=tmp_path / "take.mid")
    Player(sink).play(onset(39))
    assert list(tmp_path.iterdir()) == []
    sink.close()
    assert [p.name for p in tmp_path.iterdir()] == ["take.mid"]


def test_a_discarded_take_leaves_nothing_and_spares_the_former_file(tmp_path):
    (tmp_path / "take.mid").write_bytes(b"former")
    sink = MidiFileSink(path=tmp_path / "take.mid")
    Player(sink).play(onset(39))
    sink.discard()
    sink.close()
    assert (tmp_path / "take.mid").read_bytes() == b"former"
    assert len(list(tmp_path.iterdir())) == 1


def test_a_failure_while_writing_leaves_nothing(tmp_path, monkeypatch):
    def full(self, file):
        file.write(b"MThd")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(mido.MidiFile, "save", full)
    sink = MidiFileSink(path=tmp_path / "take.mid")
    with pytest.raises(SinkError, match="No space left"):
        sink.close()
    assert list(tmp_path.iterdir()) == []


def test_a_wrong_path_is_told_at_the_start(tmp_path):
    with pytest.raises(SinkError, match="does not exist"):
        MidiFileSink(path=tmp_path / "nowhere" / "take.mid")
    with pytest.raises(SinkError, match="is a folder"):
        MidiFileSink(path=tmp_path)
