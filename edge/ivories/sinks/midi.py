"""Note events as MIDI 1.0 bytes.

Pitches 21..108; note-on with velocity 1..127, note-off with release velocity, sustain pedal as controller 64.
"""

from ivories.datatypes import NoteEvent, NoteKind
from ivories.keyboard import pitch_of_key
from ivories.sinks.port.ledger import CONTROL_CHANGE, NOTE_OFF, NOTE_ON, SUSTAIN_PEDAL


def event_bytes(event: NoteEvent, *, channel: int = 0) -> bytes:
    """Return the three bytes of ``event`` on MIDI ``channel`` 0..15.

    An onset never gets velocity 0, which MIDI reads as a note-off.
    """
    if event.kind is NoteKind.ONSET:
        return note_on(event.key, event.velocity, channel=channel)
    if event.kind is NoteKind.OFFSET:
        return bytes((NOTE_OFF | channel, pitch_of_key(event.key), min(127, max(0, event.velocity))))
    return sustain(event.velocity, channel=channel)


def note_on(key: int, velocity: int, *, channel: int = 0) -> bytes:
    """Return a note-on of ``key`` 0..87 with ``velocity`` limited to 1..127."""
    return bytes((NOTE_ON | channel, pitch_of_key(key), min(127, max(1, velocity))))


def sustain(value: int, *, channel: int = 0) -> bytes:
    """Return the sustain pedal's controller with ``value`` limited to 0..127."""
    return bytes((CONTROL_CHANGE | channel, SUSTAIN_PEDAL, min(127, max(0, value))))
