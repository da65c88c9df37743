"""The sequencer port against a stand-in for libasound that takes, refuses and breaks as told."""

import errno

import pytest

from ivories.errors import BackendError, SinkError
from ivories.sinks import alsa_seq
from ivories.sinks.alsa_seq import AlsaSequencerSink, sequencer_event
from played import Player, SequencerLibrary, offset, onset, pedal


@pytest.fixture
def library(monkeypatch):
    library = SequencerLibrary()
    monkeypatch.setattr(alsa_seq, "_load", lambda: library)
    return library


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        # made with the macros of <alsa/seqmid.h> for port 3, channel 2
        ((0x92, 60, 77), "060000fd00000000000000000003fefd023c4d000000000000000000"),
        ((0x82, 60, 64), "070000fd00000000000000000003fefd023c40000000000000000000"),
        ((0xB2, 64, 127), "0a0000fd00000000000000000003fefd02000000400000007f000000"),
    ],
)
def test_events_have_the_layout_of_the_sequencer(message, expected):
    assert sequencer_event(bytes(message), 3).hex() == expected


def test_notes_go_out_of_a_port_with_its_name(library):
    sink = AlsaSequencerSink(port="Ivories")
    Player(sink).play(onset(39, velocity=80), pedal(127), offset(39, velocity=33))
    assert library.port_name == b"Ivories"
    assert [tuple(m.bytes()) for m in library.receiver.messages] == [
        (0x90, 60, 80), (0xB0, 64, 127), (0x80, 60, 33),
    ]  # fmt: skip
    sink.close()
    assert library.receiver.silent
    assert library.calls[-1] == "snd_seq_close"


def test_what_a_hanging_program_lost_of_ends_is_repeated_until_taken(library):
    sink = AlsaSequencerSink()
    player = Player(sink)
    player.play(onset(39), onset(43), pedal(127))
    library.status = -errno.EAGAIN
    player.play(offset(39), pedal(0), onset(50))
    assert sink.refused > 0
    library.status = 0
    player.play(onset(51))
    # the note-on of key 50 is not repeated: other programs had it in time
    assert library.receiver.sounding == {64: 1, 72: 1}
    assert library.receiver.pedal == 0
    player.play(offset(43), offset(50), offset(51))
    assert library.receiver.silent


def test_a_repeated_end_never_cuts_a_newer_note(library):
    sink = AlsaSequencerSink()
    player = Player(sink)
    player.play(onset(39))
    library.status = -errno.EAGAIN
    player.play(offset(39))
    library.status = 0
    player.play(onset(39, velocity=99))
    assert [m.type for m in library.receiver.messages][-1] == "note_on"


def test_a_sequencer_that_breaks_is_told(library):
    sink = AlsaSequencerSink()
    library.status = -errno.ENODEV
    with pytest.raises(SinkError, match="No such device"):
        Player(sink).play(onset(39))


def test_a_computer_without_a_sequencer_is_told_how_to_get_one(library, monkeypatch):
    monkeypatch.setattr(library, "snd_seq_open", lambda *_: -errno.ENOENT, raising=False)
    with pytest.raises(BackendError, match="modprobe snd-seq"):
        AlsaSequencerSink()


def test_a_computer_without_the_library_is_told_what_to_install(monkeypatch):
    def missing(name):
        raise OSError(f"{name}: cannot open shared object file")

    monkeypatch.setattr(alsa_seq.ctypes, "CDLL", missing)
    with pytest.raises(BackendError, match="apt-get install libasound2"):
        AlsaSequencerSink()
