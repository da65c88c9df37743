"""A sink that remembers everything: the tests' receiver."""

from dataclasses import dataclass, field

from ivories.clock import now_ns
from ivories.datatypes import KeyState, NoteEvent
from ivories.errors import SinkError
from ivories.sinks.held import HeldNotes


@dataclass(repr=False)
class MemorySink:
    """Records what it is sent; ``held`` is what still sounds."""

    name: str = "memory"
    events: list[NoteEvent] = field(default_factory=list)
    """Everything sent, and the offsets that ``release_all`` made of it, in order"""
    states: list[KeyState] = field(default_factory=list)
    """The state that came with each sent event"""
    releases: int = 0
    """Calls of ``release_all``"""
    closed: bool = False
    held: HeldNotes = field(default_factory=HeldNotes)

    def __repr__(self) -> str:
        """Show the state and how much was recorded."""
        return f"<MemorySink {'closed' if self.closed else 'open'}, {len(self.events)} events>"

    def send(self, event: NoteEvent, state: KeyState) -> None:
        """Remember ``event`` and ``state``; raises ``SinkError`` after ``close``."""
        if self.closed:
            raise SinkError("this memory sink is closed: make a new one")
        self.held.apply(event)
        self.events.append(event)
        self.states.append(state)
        event.left_ns[self.name] = now_ns()

    def release_all(self) -> None:
        """Remember an offset of every held key."""
        self.releases += 1
        self.events += self.held.release()

    def close(self) -> None:
        """Release all; what was recorded stays readable."""
        if not self.closed:
            self.release_all()
            self.closed = True
