"""RTP-MIDI packets: ours byte for byte, and whatever else may arrive at the ports."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ivories.sinks.rtp import packets
from ivories.sinks.rtp.door import Door
from ivories.sinks.rtp.invitation import split_peer
from ivories.sinks.rtp.journal import Journal
from ivories.sinks.rtp.packets import Clock, Exchange, Feedback, Notes, decode, notes
from ivories.sinks.rtp_midi import address_mistakes

INVITATION, ACCEPTED = packets.INVITATION, packets.ACCEPTED
REJECTED, END = packets.REJECTED, packets.END
NUMBER = st.integers(0, 2**32 - 1)
TIME = st.integers(0, 2**64 - 1)


def octets(text):
    return bytes.fromhex(text)


def test_packets_of_the_session_protocol_byte_for_byte():
    asked = Exchange(INVITATION, 0x01020304, 0xA0B0C0D0, "Piano")
    assert asked.encode() == octets("ffff 494e 00000002 01020304 a0b0c0d0 5069616e6f 00")
    assert Exchange(END, 1, 2, "Piano").encode() == octets("ffff 4259 00000002 00000001 00000002")
    clock = Clock(0xA0B0C0D0, 1, (1, 2, 0))
    assert clock.encode() == octets("ffff 434b a0b0c0d0 01 000000") + struct.pack(">QQQ", 1, 2, 0)


def test_notes_byte_for_byte():
    one = notes(0x10001, 0x1_0000_0002, 5, [octets("903c40")], octets("800001"))
    assert one == octets("80 e1 0001 00000002 00000005 43 903c40 800001")
    two = notes(1, 2, 5, [octets("903c40"), octets("803c00")], octets("800001"))
    assert two[12:] == octets("47 903c40 00 803c00 800001")
    many = notes(1, 2, 5, [octets("903c40")] * 5, octets("800001"))
    assert many[12:14] == octets("c0 13")
    assert notes(1, 2, 5, [], octets("800001")) == octets("80 61 0001 00000002 00000005 40 800001")


def test_the_journal_byte_for_byte():
    journal = Journal(0x00FFFE, channel=2)
    assert journal.encode(0x00FFFE, 0.0) == octets("80 fffe")
    journal.sent(0x00FFFE, [octets("b27b00"), octets("823c40"), octets("b2407f"), octets("92474d")], 0.0)
    # Just before: every S and B is 0, the note is worth playing.
    assert journal.encode(0x00FFFF, 0.1) == octets("20 fffe 100d 48 01 7bc1 407f 01 77 47cd 08")
    journal.sent(0x00FFFF, [], 0.2)
    # One packet on, and too late for the note.
    assert journal.encode(0x010000, 0.3) == octets("a0 fffe 900d 48 81 fbc1 c07f 81 77 c74d 08")
    journal.received(0x00FFFE)
    assert journal.encode(0x010000, 0.3) == octets("80 ffff")


def test_the_journal_has_what_is_oldest_first():
    journal = Journal(1)
    for sequence, message in enumerate(["903c01", "b07b00", "b04001", "904101", "904001", "904102"], 1):
        journal.sent(sequence, [octets(message)], 0.0)
    assert journal.encode(7, 0.0)[6:] == octets("81 fbc1 c001 82f1 c081 4182")
    journal.sent(7, [octets("804140")], 0.0)
    journal.sent(8, [octets("b07b00")], 0.0)
    assert journal.encode(9, 0.0)[6:] == octets("01 c001 7bc2"), "all that sounded before is out of date"


@given(
    st.sampled_from([INVITATION, ACCEPTED, REJECTED]), NUMBER, NUMBER,
    st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=63),
)  # fmt: skip
def test_what_is_sent_can_be_read(command, token, ssrc, name):
    exchange = Exchange(command, token, ssrc, name)
    assert decode(exchange.encode()) == exchange


@given(NUMBER, st.integers(0, 2), st.tuples(TIME, TIME, TIME))
def test_clocks_can_be_read(ssrc, step, stamps):
    assert decode(Clock(ssrc, step, stamps).encode()) == Clock(ssrc, step, stamps)


def test_feedback_notes_and_good_byes_are_read():
    assert decode(octets("ffff 5253 0000002a 12340000")) == Feedback(42, 0x12340000)
    assert decode(octets("80 61 0001 00000002 0000002a 40 800001")) == Notes(42)
    assert decode(octets("ffff 4259 00000002 00000001 00000002")) == Exchange(END, 1, 2, "")


@pytest.mark.parametrize(
    "data",
    [
        "", "ff", "ffff", "ffff 494e", "ffff 494e 00000003 00000001 00000002", "ffff 434b 00000001",
        "ffff 5253 00000001", "ffff 524c 00000001 00000001", "80 61 0001 00000002 0000002a",
        "80 00 0001 00000002 0000002a 40 800001", "ffff 434b a0b0c0d0 03 000000" + "00" * 24,
    ],
)  # fmt: skip
def test_what_says_nothing_is_nothing(data):
    assert decode(octets(data)) is None


STARTS = [b"", b"\xff\xff", b"\x80\x61", *(b"\xff\xff" + c for c in (b"IN", b"OK", b"BY", b"CK", b"RS"))]


@given(st.sampled_from(STARTS), st.sampled_from([b"", b"\0\0\0\2"]), st.binary(max_size=100))
def test_no_bytes_break_the_reader(start, version, tail):
    packet = decode(start + version + tail)
    if isinstance(packet, Exchange):
        assert packet.name.isprintable()
        assert len(packet.name) <= 63


@given(st.lists(st.tuples(st.sampled_from([INVITATION, END, ACCEPTED]), NUMBER, NUMBER), max_size=40))
def test_a_crowd_at_the_door_is_not_remembered(asked):
    door = Door(["10.0.0.0/8"], lambda _: None)
    for command, token, ssrc in asked:
        door.knocked(Exchange(command, token, ssrc, "x"), ("10.0.0.1", 5004))
    assert len(door._knocking) <= 8


def test_the_door_is_open_to_whom_it_names_in_either_family():
    told = []
    door = Door(["192.168.1.0/24", "fe80::/10"], told.append)
    for host in ("192.168.1.77", "::ffff:192.168.1.77", "fe80::1", "fe80::1%eth0"):
        assert door.open_to((host, 5004))
    for host in ("192.168.2.1", "::ffff:192.168.2.1", "::1", "127.0.0.1"):
        assert not door.open_to((host, 5004))
    assert len(told) == 3, "each stranger is told of once"
    assert "rtp_midi.allow" in told[0]


def test_whoever_enters_has_knocked_from_the_same_place_with_the_same_token():
    door = Door(["10.0.0.0/8"], lambda _: None)
    asked = Exchange(INVITATION, 7, 9, "Studio")
    assert door.entered(asked, ("10.0.0.1", 5005)) is None
    door.knocked(asked, ("10.0.0.1", 5004))
    assert door.entered(asked._replace(token=8), ("10.0.0.1", 5005)) is None
    assert door.entered(asked, ("10.0.0.2", 5005)) is None
    other = door.entered(asked._replace(name=""), ("10.0.0.1", 5005))
    assert other.name == "Studio"
    assert (other.control, other.data) == (("10.0.0.1", 5004), ("10.0.0.1", 5005))
    assert door.entered(asked, ("10.0.0.1", 5005)) is None, "once"


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [
        ("mac.local", "mac.local", 5004), ("mac:5006", "mac", 5006), ("10.0.0.1:7", "10.0.0.1", 7),
        ("fe80::1", "fe80::1", 5004), ("[fe80::1%eth0]:5008", "fe80::1%eth0", 5008), ("[::1]", "::1", 5004),
    ],
)  # fmt: skip
def test_participants_are_named_by_host_and_port(text, host, port):
    assert split_peer(text) == (host, port)


@pytest.mark.parametrize(
    "text", ["", ":5004", "mac:", "mac:0", "mac:65535", "mac:x", "a b", "[::1", "[::1]5004", "[]:1"]
)
def test_what_names_no_participant_is_told(text):
    with pytest.raises(ValueError):  # noqa: PT011  the sentence is made by who knows the setting
        split_peer(text)
    assert len(address_mistakes(["10.0.0.0/33", "::1"], [text, "mac"])) == 2


@given(st.text(max_size=30))
def test_no_text_breaks_the_lists(text):
    assert len(address_mistakes([text], [text])) <= 2
