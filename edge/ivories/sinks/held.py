"""Which keys and pedal a receiver of notes holds down, so that every one of them can be let go."""

from ivories.datatypes import NoteEvent, NoteKind


class HeldNotes:
    """Follows a stream of events; ``keys`` maps each held key 0..87 to the velocity of its onset."""

    def __init__(self) -> None:
        """Start with nothing held."""
        self.keys: dict[int, int] = {}
        self.pedal = 0
        """Last controller value 0..127"""
        self.latest_ns = 0
        """Latest sensor time that any event spoke of"""

    def apply(self, event: NoteEvent) -> None:
        """Take one event into account."""
        self.latest_ns = max(self.latest_ns, event.t_ns, event.decided_ns)
        if event.kind is NoteKind.ONSET:
            self.keys[event.key] = event.velocity
        elif event.kind is NoteKind.OFFSET:
            self.keys.pop(event.key, None)
        else:
            self.pedal = event.velocity

    def release(self) -> list[NoteEvent]:
        """Return the events that let everything go, and hold nothing any more."""
        t_ns = self.latest_ns
        events = [NoteEvent(NoteKind.OFFSET, key, 64, t_ns, t_ns, 1.0) for key in sorted(self.keys)]
        if self.pedal:
            events.append(NoteEvent(NoteKind.PEDAL, -1, 0, t_ns, t_ns, 1.0))
        self.keys.clear()
        self.pedal = 0
        return events
