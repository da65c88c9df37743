"""MIDI bytes of events, and the ledger: whatever a port refuses, no offset is lost."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ivories.datatypes import NoteKind
from ivories.keyboard import KEYS, pitch_of_key
from ivories.sinks.midi import event_bytes
from ivories.sinks.port.ledger import PITCHES, PortLedger, silence
from played import MidiReceiver, offset, onset, pedal


@pytest.mark.parametrize(
    ("event", "expected"),
    [
        (onset(0, velocity=1), (0x90, 21, 1)),
        (onset(87, velocity=127), (0x90, 108, 127)),
        (onset(39, velocity=0), (0x90, 60, 1)),
        (onset(39, velocity=200), (0x90, 60, 127)),
        (offset(39, velocity=0), (0x80, 60, 0)),
        (offset(39, velocity=99), (0x80, 60, 99)),
        (pedal(127), (0xB0, 64, 127)),
        (pedal(0), (0xB0, 64, 0)),
    ],
)
def test_events_become_three_midi_bytes(event, expected):
    assert event_bytes(event) == bytes(expected)
    assert event_bytes(event, channel=9) == bytes((expected[0] | 9, *expected[1:]))


def test_silence_ends_whatever_sounds():
    receiver = MidiReceiver()
    receiver.feed(bytes((0x90, 21, 5, 0x90, 108, 5, 0x90, 60, 5, 0xB0, 64, 127)))
    receiver.feed(b"".join(silence()))
    assert receiver.silent
    assert len(silence()) == 92
    assert [pitch_of_key(key) for key in range(KEYS)] == list(PITCHES)


@pytest.mark.parametrize("missed", range(10))
def test_silence_bears_the_loss_of_its_beginning(missed):
    receiver = MidiReceiver()
    receiver.feed(bytes((0x90, 21, 5, 0x90, 108, 5, 0xB0, 64, 127)))
    receiver.feed(b"".join(silence()[missed:]))
    assert receiver.silent


class FlakyPort:
    """Takes or refuses messages as a list of booleans says, then takes all."""

    def __init__(self, takes=()):
        self.takes = list(takes)
        self.receiver = MidiReceiver()

    def write(self, message):
        if self.takes and not self.takes.pop(0):
            return False
        self.receiver.feed(message)
        return True


def test_an_open_port_hears_each_event_at_once_and_in_order():
    ledger, port = PortLedger(), FlakyPort()
    events = [
        onset(39),
        onset(43),
        pedal(127),
        offset(39),
        onset(39, velocity=90),
        pedal(0),
        offset(39),
        offset(43),
    ]
    for event in events:
        ledger.record(event_bytes(event))
        assert ledger.drain(port.write)
    assert [tuple(m.bytes()) for m in port.receiver.messages] == [tuple(event_bytes(e)) for e in events]
    assert ledger.swallowed == 0


def test_an_owed_offset_goes_before_newer_onsets():
    ledger, port = PortLedger(), FlakyPort()
    ledger.record(event_bytes(onset(39)))
    assert ledger.drain(port.write)
    port.takes = [False]
    ledger.record(event_bytes(offset(39)))
    assert not ledger.drain(port.write)
    ledger.record(event_bytes(onset(43)))
    assert ledger.drain(port.write)
    assert [(m.type, m.note) for m in port.receiver.messages] == [
        ("note_on", 60), ("note_off", 60), ("note_on", 64),
    ]  # fmt: skip


def test_a_key_struck_again_ends_its_former_note_first():
    ledger, port = PortLedger(), FlakyPort()
    for event in (onset(39), onset(39, velocity=100), offset(39)):
        ledger.record(event_bytes(event))
        assert ledger.drain(port.write)
    assert port.receiver.silent
    assert [m.type for m in port.receiver.messages] == ["note_on", "note_off", "note_on", "note_off"]


def test_a_note_that_came_and_went_while_the_port_was_full_is_counted_and_never_heard():
    ledger, port = PortLedger(), FlakyPort([False])
    ledger.record(event_bytes(onset(39)))
    assert not ledger.drain(port.write)
    ledger.record(event_bytes(offset(39)))
    assert ledger.drain(port.write)
    assert port.receiver.messages == []
    assert ledger.swallowed == 1


def test_an_offset_of_a_key_that_never_sounded_is_not_sent():
    ledger, port = PortLedger(), FlakyPort()
    ledger.record(event_bytes(offset(39)))
    assert ledger.drain(port.write)
    assert port.receiver.messages == []


EVENTS = st.one_of(
    st.builds(onset, st.integers(0, 87), velocity=st.integers(1, 127)),
    st.builds(offset, st.integers(0, 87)),
    # few keys, so that they meet again
    st.builds(onset, st.integers(0, 3)),
    st.builds(offset, st.integers(0, 3)),
    st.builds(pedal, st.integers(0, 127)),
    st.sampled_from(["clean", "release"]),
)


@given(st.lists(EVENTS, max_size=60), st.lists(st.booleans(), max_size=200))
def test_once_the_port_takes_all_the_receiver_holds_exactly_the_pressed_keys(events, takes):
    ledger, port = PortLedger(), FlakyPort(takes)
    pressed, value = set(), 0
    for event in events:
        if event == "clean":
            ledger.start_clean()
        elif event == "release":
            ledger.release_all()
            pressed.clear()
            value = 0
        else:
            ledger.record(event_bytes(event))
            if event.kind is NoteKind.ONSET:
                pressed.add(pitch_of_key(event.key))
            elif event.kind is NoteKind.OFFSET:
                pressed.discard(pitch_of_key(event.key))
            else:
                value = event.velocity
        ledger.drain(port.write)
        assert all(count == 1 for count in port.receiver.sounding.values())
    port.takes = []
    assert ledger.drain(port.write)
    assert port.receiver.sounding.keys() == pressed
    assert port.receiver.pedal == value
    ledger.release_all()
    assert ledger.drain(port.write)
    assert port.receiver.silent
