"""The notes of the last minutes, and how a piece of them is cut out so that every note in it ends."""

from collections import deque
from dataclasses import replace
from typing import Final

from ivories.clock import SECOND
from ivories.datatypes import NoteEvent, NoteKind
from ivories.sinks.held import HeldNotes

PER_SECOND: Final = 100
"""Events kept per second at most, on average; a virtuoso makes 40"""
_LATE_NS: Final = 5 * SECOND  # an event may be told later than others that happened after it


class NoteRing:
    """Keeps the events of the newest ``seconds``; not for several threads at once."""

    def __init__(self, seconds: float) -> None:
        self._span_ns = round(seconds * SECOND) + _LATE_NS
        self._events: deque[NoteEvent] = deque()
        self._most = max(1, round(seconds * PER_SECOND))
        self._newest_ns = 0
        self._pedal = 0  # before the oldest event
        self.dropped = 0
        """Events forgotten before their time, for there were too many"""

    def __len__(self) -> int:
        """Return the number of events kept."""
        return len(self._events)

    def push(self, event: NoteEvent) -> None:
        """Keep ``event``, and forget what is too old."""
        self._newest_ns = max(self._newest_ns, event.t_ns)
        self._events.append(event)
        while len(self._events) > self._most:
            self._forget_one()
            self.dropped += 1
        while self._events[0].t_ns < self._newest_ns - self._span_ns:
            self._forget_one()

    def cut(self, start_ns: int, end_ns: int) -> list[NoteEvent]:
        """Return the events between two times, in the order in which they were told.

        Only notes that begin there are in it. What still sounds at the end is let go there, and a pedal that
        was down at the start goes down there.
        """
        pedal = self._pedal
        inside: list[NoteEvent] = []
        held = HeldNotes()
        for event in self._events:
            if event.kind is NoteKind.PEDAL and event.t_ns < start_ns:
                pedal = event.velocity
            elif event.kind is NoteKind.OFFSET:
                if event.key in held.keys:
                    inside.append(_by(event, end_ns))
                    held.apply(event)
            elif start_ns <= event.t_ns <= end_ns:
                inside.append(_by(event, end_ns))
                held.apply(event)
        if pedal:
            down = NoteEvent(NoteKind.PEDAL, -1, pedal, start_ns, start_ns, 1.0)
            inside.insert(0, down)
            if not any(event.kind is NoteKind.PEDAL for event in inside[1:]):
                held.apply(down)
        held.latest_ns = end_ns
        return inside + held.release()

    def _forget_one(self) -> None:
        event = self._events.popleft()
        if event.kind is NoteKind.PEDAL:
            self._pedal = event.velocity


def _by(event: NoteEvent, end_ns: int) -> NoteEvent:
    return replace(event, t_ns=min(event.t_ns, end_ns))
