"""One participant that an RTP-MIDI session is open with: what it is sent, and when. No sockets, no clock.

A packet may be lost, and the last one before a silence too. So after notes, packets without new notes follow:
their journal tells a receiver that reads it what it missed. One that gives no feedback may not read it; for
those, note-offs and pedal are said again a few times, which does no harm where they had arrived.
"""

from collections.abc import Sequence
from typing import Final, NamedTuple

from ivories.sinks.port.ledger import CONTROL_CHANGE, NOTE_ON, SUSTAIN_PEDAL, silence
from ivories.sinks.rtp import packets
from ivories.sinks.rtp.journal import Journal
from ivories.sinks.rtp.packets import TICKS_PER_SECOND, Clock

SILENT_S: Final = 60.0
"""A participant that says nothing for so long is gone"""
FIRST_GUARD_S: Final = 0.02
LONGEST_GUARD_S: Final = 1.0
"""Pauses before packets that only guard against loss: from the first they double up to the longest"""
REPEATS: Final = 4
"""How often an end is said again to a receiver without feedback"""
_FIRST_CLOCKS: Final = 5
_FIRST_CLOCK_S: Final = 1.0
_CLOCK_S: Final = 10.0  # between comparisons of the clocks, after the first ones

Address = tuple[str | int, ...]
"""As ``socket`` has it: host, port, for IPv6 flow and scope"""


class Participant(NamedTuple):
    """Who is at the other end."""

    name: str
    ssrc: int
    token: int
    control: Address
    data: Address
    invited: bool
    """By us: then the clocks are ours to compare"""


class Session:
    """All methods return the packets to be sent to the participant's data port, in order.

    Args:
        participant: the other side.
        ssrc: of this side.
        first: number of the first packet, at random unless a stream of this SSRC goes on.
        now: seconds of the monotonic clock.
        channel: MIDI channel 0..15.
    """

    def __init__(
        self, participant: Participant, *, ssrc: int, first: int, now: float, channel: int = 0
    ) -> None:
        self.participant = participant
        self.ssrc = ssrc
        """Of this side"""
        self._channel = channel
        self.sequence = first
        """Number of the next packet"""
        self._journal = Journal(first, channel=channel)
        self._heard_at = now
        self._feedback = False  # the receiver gives some
        self._guard_at: float | None = None
        self._guard_s = FIRST_GUARD_S
        self._again: dict[int, tuple[bytes, int]] = {}  # pitch, or -1 for the pedal -> end, times to say it
        self._clock_at = now if participant.invited else None
        self._clocks = 0

    def start(self, held: Sequence[bytes], now: float) -> list[bytes]:
        """Silence the receiver, then tell it the keys and the pedal as they are."""
        up, off, *ends = silence(channel=self._channel)[:-2]
        clean = self.send([up, off, *ends], now)
        return [clean, self.send(held, now)] if held else [clean]

    def send(self, messages: Sequence[bytes], now: float) -> bytes:
        """Return the packet for ``messages`` of three bytes each, which happen now."""
        for message in messages:
            self._note_end(message)
        if self._guard_at is None or self._feedback:  # who reads journals is served by this packet's
            self._guard_at = now + FIRST_GUARD_S
        self._guard_s = FIRST_GUARD_S
        return self._packet(messages, now)

    def clock(self, clock: Clock, now: float) -> list[bytes]:
        """Answer one packet of a comparison of clocks."""
        self.heard(now)
        first, second, _ = clock.stamps
        if clock.step == 0:
            return [Clock(self.ssrc, 1, (first, _ticks(now), 0)).encode()]
        if clock.step == 1:
            return [Clock(self.ssrc, 2, (first, second, _ticks(now))).encode()]
        return []

    def feedback(self, number: int, now: float) -> None:
        """Learn how far the receiver got.

        Both ways to write it are tried. If both name a packet that it may have got, the older one holds: then
        the journal is a little longer than it had to be.
        """
        self.heard(now)
        self._feedback = True
        latest = self.sequence - 1
        possible = [latest - ((latest - half) & 0xFFFF) for half in (number & 0xFFFF, number >> 16)]
        sent = [sequence for sequence in possible if self._journal.checkpoint <= sequence <= latest]
        if sent:
            self._journal.received(min(sent))

    def heard(self, now: float) -> None:
        """Take note that the participant is alive."""
        self._heard_at = now

    def lost(self, now: float) -> bool:
        """Return whether the participant has not been heard of for too long."""
        return now - self._heard_at >= SILENT_S

    @property
    def settled(self) -> bool:
        """Whether all ends arrived, or were said as often as ends are."""
        return not self._again or self._journal.empty

    def due(self) -> float:
        """Return when ``tick`` wants to be called next."""
        times = (self._heard_at + SILENT_S, self._guard_at, self._clock_at)
        return min(time for time in times if time is not None)

    def tick(self, now: float) -> list[bytes]:
        """Return what is due: a packet that guards against loss, a comparison of clocks."""
        packets = []
        if self._guard_at is not None and now >= self._guard_at:
            packets = self._guard(now)
        if self._clock_at is not None and now >= self._clock_at:
            packets.append(Clock(self.ssrc, 0, (_ticks(now), 0, 0)).encode())
            self._clocks += 1
            self._clock_at = now + (_FIRST_CLOCK_S if self._clocks < _FIRST_CLOCKS else _CLOCK_S)
        return packets

    def _guard(self, now: float) -> list[bytes]:
        if self._journal.empty:
            self._again.clear()
        ends = [] if self._feedback else [end for end, _ in self._again.values()]
        if self._journal.empty or not (ends or self._feedback):
            self._guard_at = None
            return []
        self._again = {of: (end, times - 1) for of, (end, times) in self._again.items() if times > 1}
        self._guard_at = now + self._guard_s
        self._guard_s = min(2 * self._guard_s, LONGEST_GUARD_S)
        return [self._packet(ends, now)]

    def _note_end(self, message: bytes) -> None:
        status, number, _ = message
        if status & 0xF0 == NOTE_ON:
            self._again.pop(number, None)
        elif status & 0xF0 != CONTROL_CHANGE:
            self._again[number] = message, REPEATS
        elif number == SUSTAIN_PEDAL:
            self._again[-1] = message, REPEATS

    def _packet(self, messages: Sequence[bytes], now: float) -> bytes:
        sequence = self.sequence
        journal = self._journal.encode(sequence, now)
        self._journal.sent(sequence, messages, now)
        self.sequence += 1
        return packets.notes(sequence, _ticks(now), self.ssrc, messages, journal)


def _ticks(now: float) -> int:
    return int(now * TICKS_PER_SECOND)
