"""Notes that wait for the MQTT broker: not too many, not too long, and every loss counted."""

import time
from collections import deque
from dataclasses import dataclass
from typing import Final

from ivories.datatypes import NoteEvent

WAITING: Final = 1000
"""Notes that may wait for the broker; the oldest are dropped and counted"""
LATE_S: Final = 5.0
"""A note that waited longer is dropped and counted: the retained state tells what still matters"""


@dataclass(frozen=True, slots=True)
class Waiting:
    """One note on its way."""

    sequence: int
    """Counts all events since the start, from 1"""
    event: NoteEvent
    since_s: float


class NoteQueue:
    """First in, first out; ``dropped`` counts what nobody will get. Not for several threads at once."""

    def __init__(self) -> None:
        """Start empty."""
        self.dropped = 0
        self._notes: deque[Waiting] = deque()
        self._sequence = 0

    def __len__(self) -> int:
        """Return how many wait."""
        return len(self._notes)

    def put(self, event: NoteEvent) -> None:
        """Let ``event`` wait; the oldest goes when there are too many."""
        if len(self._notes) >= WAITING:
            self._notes.popleft()
            self.dropped += 1
        self._sequence += 1
        self._notes.append(Waiting(self._sequence, event, time.monotonic()))

    def get(self) -> Waiting | None:
        """Take out the oldest that is not too late; None when none waits."""
        while self._notes:
            note = self._notes.popleft()
            if time.monotonic() - note.since_s <= LATE_S:
                return note
            self.dropped += 1
        return None

    def put_back(self, note: Waiting) -> None:
        """Let ``note``, just taken out, be the next again."""
        self._notes.appendleft(note)
