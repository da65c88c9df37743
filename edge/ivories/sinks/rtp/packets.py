"""What travels between participants of an RTP-MIDI session, as bytes.

Session packets are those of Apple's MIDI network protocol, version 2; notes travel in RTP with the payload
of RFC 6295. All numbers are big-endian. Times are counted in 0.1 ms.
"""

import struct
from collections.abc import Iterable
from typing import Final, NamedTuple

TICKS_PER_SECOND: Final = 10_000
"""Of the clock that both participants compare, and of RTP's timestamps"""
LONGEST_NAME: Final = 63
"""Letters of a participant's name that are kept"""

INVITATION: Final = b"IN"
ACCEPTED: Final = b"OK"
REJECTED: Final = b"NO"
END: Final = b"BY"
_CLOCK: Final = b"CK"
_FEEDBACK: Final = b"RS"

_SIGNATURE: Final = b"\xff\xff"
_PROTOCOL: Final = 2
_RTP_VERSION: Final = 0x80
_PAYLOAD_TYPE: Final = 97
_MARKER: Final = 0x80
_LONG_LENGTH: Final = 0x80
_HAS_JOURNAL: Final = 0x40
_LARGEST_SHORT_LIST: Final = 15

_EXCHANGE: Final = struct.Struct(">2s2sIII")
_CLOCK_FORM: Final = struct.Struct(">2s2sIBxxxQQQ")
_FEEDBACK_FORM: Final = struct.Struct(">2s2sII")
_RTP: Final = struct.Struct(">BBHII")


class Exchange(NamedTuple):
    """An invitation, the answer to one, or a good-bye."""

    command: bytes
    token: int
    """Chosen by who invites, the same through one session"""
    ssrc: int
    """Of its sender"""
    name: str = ""

    def encode(self) -> bytes:
        """Return the packet."""
        head = _EXCHANGE.pack(_SIGNATURE, self.command, _PROTOCOL, self.token, self.ssrc)
        return head if self.command == END else head + self.name.encode() + b"\0"


class Clock(NamedTuple):
    """One of the three packets by which two clocks are compared: question 0, answer 1, confirmation 2."""

    ssrc: int
    step: int
    stamps: tuple[int, int, int]
    """Times of sending the three, each by its sender's clock; those to come are 0"""

    def encode(self) -> bytes:
        """Return the packet."""
        return _CLOCK_FORM.pack(_SIGNATURE, _CLOCK, self.ssrc, self.step, *self.stamps)


class Feedback(NamedTuple):
    """A receiver tells how far it got."""

    ssrc: int
    number: int
    """32 bits; some put the RTP sequence number into the upper 16, some into the lower"""


class Notes(NamedTuple):
    """An RTP packet of a participant that plays; what it plays is not read."""

    ssrc: int


Packet = Exchange | Clock | Feedback | Notes


def decode(data: bytes) -> Packet | None:
    """Return what ``data`` says; None when it is nothing that matters here. Never raises."""
    if data[:2] != _SIGNATURE:
        is_rtp = len(data) > _RTP.size and data[0] & 0xC0 == _RTP_VERSION
        return Notes(_RTP.unpack_from(data)[4]) if is_rtp and data[1] & 0x7F == _PAYLOAD_TYPE else None
    command = data[2:4]
    if command in {INVITATION, ACCEPTED, REJECTED, END} and len(data) >= _EXCHANGE.size:
        _, _, version, token, ssrc = _EXCHANGE.unpack_from(data)
        name = _printable(data[_EXCHANGE.size :])
        return Exchange(command, token, ssrc, name) if version == _PROTOCOL else None
    if command == _CLOCK and len(data) >= _CLOCK_FORM.size:
        _, _, ssrc, step, *stamps = _CLOCK_FORM.unpack_from(data)
        return Clock(ssrc, step, (stamps[0], stamps[1], stamps[2])) if step <= 2 else None
    if command == _FEEDBACK and len(data) >= _FEEDBACK_FORM.size:
        _, _, ssrc, number = _FEEDBACK_FORM.unpack_from(data)
        return Feedback(ssrc, number)
    return None


def notes(sequence: int, ticks: int, ssrc: int, messages: Iterable[bytes], journal: bytes) -> bytes:
    """Return an RTP packet with ``messages``, which all happen at ``ticks``, and a recovery journal.

    Args:
        sequence: number of the packet; its lower 16 bits count.
        ticks: time of the messages; its lower 32 bits count.
        ssrc: of this sender.
        messages: whole MIDI messages, together less than 4 KiB; there may be none.
        journal: the section that follows the messages, not empty.
    """
    listed = b"\0".join(messages)  # a delta time of 0 before each but the first
    head = _RTP.pack(
        _RTP_VERSION, _PAYLOAD_TYPE | (_MARKER if listed else 0), sequence & 0xFFFF, ticks & 0xFFFFFFFF, ssrc
    )
    if len(listed) <= _LARGEST_SHORT_LIST:
        length = bytes((_HAS_JOURNAL | len(listed),))
    else:
        length = bytes((_LONG_LENGTH | _HAS_JOURNAL | len(listed) >> 8, len(listed) & 0xFF))
    return head + length + listed + journal


def _printable(raw: bytes) -> str:
    """Return the text before the first zero byte of ``raw``, fit for a log."""
    text = raw[: 4 * LONGEST_NAME].split(b"\0")[0].decode(errors="replace")[:LONGEST_NAME]
    return "".join(letter if letter.isprintable() else "?" for letter in text)
