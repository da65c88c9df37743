"""The recovery journal of RFC 6295, as far as a piano needs it: a lost packet leaves no note hanging.

Every packet carries the journal: how the notes and controllers stand that the packets before it changed,
back to the last that the receiver is known to have. A receiver that missed some of them puts itself right
by it. Of the chapters there are N (notes on and off) and C (controllers: the sustain pedal by its value, all
notes off by its count); not E: notes of one key never overlap here, and a recovered note-off has no velocity.
"""

import struct
from collections.abc import Iterable
from typing import Final

from ivories.sinks.port.ledger import ALL_NOTES_OFF, CONTROL_CHANGE, NOTE_OFF, NOTE_ON

DEEPEST: Final = 16_384
"""Packets that a journal reaches back at most: half of what their 16-bit numbers could tell apart"""
PLAYABLE_S: Final = 0.15
"""A lost note that is still held is struck that late; one that is older is left out"""

_CHANNEL_JOURNALS: Final = 0x20
_SINGLE: Final = 0x80  # "says nothing of the packet just before": of use to who lost only that
_CHAPTER_C: Final = 0x40
_CHAPTER_N: Final = 0x08
_COUNTED: Final = 0xC0
_PLAY: Final = 0x80
_NO_NOTE_OFFS: Final = 0xF1


class Journal:
    """Of one sender for one receiver; packets are known by their unwrapped sequence numbers.

    Args:
        first: number of the first packet.
        channel: MIDI channel 0..15, the only one.
    """

    def __init__(self, first: int, *, channel: int = 0) -> None:
        self._channel = channel
        self._checkpoint = first  # oldest packet that the receiver may lack
        self._ended_in = first - 1  # the last packet with a note-off
        self._count = 0
        # The most recent last: pitch -> velocity or 0, packet, time; number -> packet, byte that tells how
        self._notes: dict[int, tuple[int, int, float]] = {}
        self._controllers: dict[int, tuple[int, int]] = {}

    @property
    def empty(self) -> bool:
        """Whether the receiver is known to have heard everything."""
        return not self._notes and not self._controllers

    def sent(self, sequence: int, messages: Iterable[bytes], now: float) -> None:
        """Take note that packet ``sequence`` left at ``now`` seconds with ``messages`` of three bytes."""
        for status, number, value in messages:
            kind = status & 0xF0
            if kind == CONTROL_CHANGE:
                self._control(sequence, number, value)
            elif kind in {NOTE_ON, NOTE_OFF}:
                velocity = value if kind == NOTE_ON else 0
                self._notes.pop(number, None)
                self._notes[number] = velocity, sequence, now
                if velocity == 0:
                    self._ended_in = sequence

    def received(self, sequence: int) -> None:
        """Forget what packet ``sequence`` and those before it told: the receiver knows it."""
        if sequence >= self._checkpoint:
            self._checkpoint = sequence + 1
            for pitch in [p for p, (_, told_in, _) in self._notes.items() if told_in <= sequence]:
                del self._notes[pitch]
            for number in [n for n, (told_in, _) in self._controllers.items() if told_in <= sequence]:
                del self._controllers[number]

    @property
    def checkpoint(self) -> int:
        """The oldest packet that the receiver may lack."""
        return self._checkpoint

    def encode(self, sequence: int, now: float) -> bytes:
        """Return the journal for packet ``sequence``, the next one, which leaves at ``now`` seconds."""
        self.received(sequence - DEEPEST - 1)
        chapters, contents, before = b"", 0, sequence - 1
        old = True  # nothing in it is of the packet just before
        if self._controllers:
            contents |= _CHAPTER_C
            old = all(told_in != before for told_in, _ in self._controllers.values())
            chapters += bytes(((_SINGLE if old else 0) | len(self._controllers) - 1,))
            for number, (told_in, how) in self._controllers.items():
                chapters += _log(told_in != before, number, how)
        if self._notes:
            contents |= _CHAPTER_N
            old = old and self._ended_in != before
            old = old and all(told_in != before for _, told_in, _ in self._notes.values())
            chapters += self._chapter_n(before, now)
        head = _SINGLE if old else 0
        if not contents:
            return struct.pack(">BH", head, self._checkpoint & 0xFFFF)
        length = 3 + len(chapters)
        return (
            struct.pack(">BH", head | _CHANNEL_JOURNALS, self._checkpoint & 0xFFFF)
            + bytes((head | self._channel << 3 | length >> 8, length & 0xFF, contents))
            + chapters
        )

    def _control(self, sequence: int, number: int, value: int) -> None:
        if number == ALL_NOTES_OFF:
            self._notes.clear()  # what came before it is no longer true
            self._count += 1
            value = _COUNTED | self._count & 0x3F
        self._controllers.pop(number, None)
        self._controllers[number] = sequence, value

    def _chapter_n(self, before: int, now: float) -> bytes:
        logs, ended = [], []
        for pitch, (velocity, told_in, struck_at) in self._notes.items():
            if velocity == 0:
                ended.append(pitch)
            else:
                play = _PLAY if now - struck_at <= PLAYABLE_S else 0
                logs.append(_log(told_in != before, pitch, play | velocity))
        count = (0 if self._ended_in == before else _SINGLE) | len(logs)
        if not ended:
            return bytes((count, _NO_NOTE_OFFS)) + b"".join(logs)
        low, high = min(ended) >> 3, max(ended) >> 3
        bits = bytearray(high - low + 1)
        for pitch in ended:
            bits[(pitch >> 3) - low] |= 0x80 >> (pitch & 7)
        return bytes((count, low << 4 | high)) + b"".join(logs) + bits


def _log(old: bool, number: int, how: int) -> bytes:
    return bytes(((_SINGLE if old else 0) | number, how))
