"""Note events as MIDI 1.0 bytes, and the ledger that keeps a live MIDI receiver free of hanging notes.

Pitches 21..108; note-on with velocity 1..127, note-off with release velocity, sustain pedal as controller 64.
"""

from collections import deque
from collections.abc import Callable
from typing import Final

from ivories.datatypes import NoteEvent, NoteKind
from ivories.keyboard import KEYS, pitch_of_key

NOTE_OFF: Final = 0x80
NOTE_ON: Final = 0x90
CONTROL_CHANGE: Final = 0xB0
SUSTAIN_PEDAL: Final = 64
ALL_NOTES_OFF: Final = 123
RELEASE_VELOCITY: Final = 64
"""What MIDI says to send when the speed of the release is not known."""


def event_bytes(event: NoteEvent, *, channel: int = 0) -> bytes:
    """Return the three bytes of ``event`` on MIDI ``channel`` 0..15.

    An onset never gets velocity 0, which MIDI reads as a note-off.
    """
    if event.kind is NoteKind.ONSET:
        return note_on(event.key, event.velocity, channel=channel)
    if event.kind is NoteKind.OFFSET:
        return note_off(event.key, event.velocity, channel=channel)
    return control(SUSTAIN_PEDAL, event.velocity, channel=channel)


def note_on(key: int, velocity: int, *, channel: int = 0) -> bytes:
    """Return a note-on of ``key`` 0..87 with ``velocity`` limited to 1..127."""
    return bytes((NOTE_ON | channel, pitch_of_key(key), min(127, max(1, velocity))))


def note_off(key: int, velocity: int = RELEASE_VELOCITY, *, channel: int = 0) -> bytes:
    """Return a note-off of ``key`` 0..87 with release ``velocity`` limited to 0..127."""
    return bytes((NOTE_OFF | channel, pitch_of_key(key), min(127, max(0, velocity))))


def control(controller: int, value: int, *, channel: int = 0) -> bytes:
    """Return a control change with ``value`` limited to 0..127."""
    return bytes((CONTROL_CHANGE | channel, controller, min(127, max(0, value))))


def silence(*, channel: int = 0) -> list[bytes]:
    """Return the messages after which no receiver sounds, whatever it was sent.

    Pedal up and all notes off, each key's offset for receivers that know no better, and the first two again:
    a USB host that has just opened its port may miss the first bytes.
    """
    everything = [control(SUSTAIN_PEDAL, 0, channel=channel), control(ALL_NOTES_OFF, 0, channel=channel)]
    return everything + [note_off(key, channel=channel) for key in range(KEYS)] + everything


class PortLedger:
    """What a live port has been told, and what it still has to be told.

    The tracker's events change what is *wanted*; messages that the port took change what is *told*; ``drain``
    sends the difference. While a port takes nothing, events therefore coalesce into at most one offset, one
    pedal value and one onset per key: memory stays bounded, a note that began and ended meanwhile is never
    heard (and is counted), and an offset of a note that did sound is never lost and goes first.
    """

    def __init__(self, *, channel: int = 0) -> None:
        """Start with a silent receiver on MIDI ``channel`` 0..15."""
        self._channel = channel
        self._pressed: dict[int, int] = {}  # wanted: key -> velocity
        self._sounding: set[int] = set()  # told
        self._offsets: dict[int, int] = {}  # owed before anything else: key -> release velocity
        self._pedal = 0  # wanted
        self._pedal_told = 0
        self._first: deque[bytes] = deque()  # a clean start, if one is under way
        self.swallowed = 0
        """Notes that began and ended while the port took nothing"""

    def record(self, event: NoteEvent) -> None:
        """Let ``event`` change what the receiver should hear."""
        key = event.key
        if event.kind is NoteKind.PEDAL:
            self._pedal = event.velocity
        elif event.kind is NoteKind.ONSET:
            if key in self._sounding:  # struck again: end the old note, or two note-ons need two note-offs
                self._offsets.setdefault(key, RELEASE_VELOCITY)
            elif key in self._pressed:
                self.swallowed += 1
            self._pressed[key] = event.velocity
        else:
            was_pressed = self._pressed.pop(key, None) is not None
            if key in self._sounding and key not in self._offsets:
                self._offsets[key] = event.velocity
            elif was_pressed:
                self.swallowed += 1

    def release_all(self) -> None:
        """Want silence."""
        for key in self._sounding:
            self._offsets.setdefault(key, RELEASE_VELOCITY)
        self._pressed.clear()
        self._pedal = 0

    def start_clean(self) -> None:
        """Believe nothing of what the receiver was told: silence it first, then the keys as they are."""
        self._first = deque(silence(channel=self._channel))
        self._sounding.clear()
        self._offsets.clear()
        self._pedal_told = 0

    def drain(self, write: Callable[[bytes], bool]) -> bool:
        """Send what is due through ``write`` until all is told (True) or it refuses a message (False)."""
        while self._first:
            if not write(self._first[0]):
                return False
            self._first.popleft()
        for key, velocity in list(self._offsets.items()):
            if not write(note_off(key, velocity, channel=self._channel)):
                return False
            del self._offsets[key]
            self._sounding.discard(key)
        if self._pedal != self._pedal_told:
            if not write(control(SUSTAIN_PEDAL, self._pedal, channel=self._channel)):
                return False
            self._pedal_told = self._pedal
        for key in self._pressed.keys() - self._sounding:
            if not write(note_on(key, self._pressed[key], channel=self._channel)):
                return False
            self._sounding.add(key)
        return True

    @property
    def sounding(self) -> frozenset[int]:
        """The keys that the receiver was told to sound."""
        return frozenset(self._sounding)
