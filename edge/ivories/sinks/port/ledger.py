"""The ledger that keeps a live MIDI receiver free of hanging notes, whatever its port refuses.

Spoken to and speaking in whole MIDI messages of three bytes, and without an import of weight: the process
that owns the MIDI port runs it, and must start at once.
"""

from collections import deque
from collections.abc import Callable
from typing import Final

NOTE_OFF: Final = 0x80
NOTE_ON: Final = 0x90
CONTROL_CHANGE: Final = 0xB0
SUSTAIN_PEDAL: Final = 64
ALL_NOTES_OFF: Final = 123
RELEASE_VELOCITY: Final = 64
"""What MIDI says to send when the speed of the release is not known."""
PITCHES: Final = range(21, 109)
"""The piano's, as in ``ivories.keyboard``, which is too heavy to import here"""


def silence(*, channel: int = 0) -> list[bytes]:
    """Return the messages after which no receiver sounds, whatever it was sent.

    Pedal up and all notes off, each key's offset for receivers that know no better, and the first two again:
    a USB host that has just opened its port may miss the first bytes.
    """
    all_off = [
        bytes((CONTROL_CHANGE | channel, SUSTAIN_PEDAL, 0)),
        bytes((CONTROL_CHANGE | channel, ALL_NOTES_OFF, 0)),
    ]
    return all_off + [bytes((NOTE_OFF | channel, pitch, RELEASE_VELOCITY)) for pitch in PITCHES] + all_off


class PortLedger:
    """What a live port has been told, and what it still has to be told.

    The messages recorded change what is *wanted*; messages that the port took change what is *told*;
    ``drain`` sends the difference. While a port takes nothing, events therefore coalesce into at most one
    offset, one pedal value and one onset per key: memory stays bounded, a note that began and ended meanwhile
    is never heard (and is counted), and an offset of a note that did sound is never lost and goes first.
    """

    def __init__(self, *, channel: int = 0) -> None:
        """Start with a silent receiver on MIDI ``channel`` 0..15."""
        self._channel = channel
        self._pressed: dict[int, int] = {}  # wanted: pitch -> velocity
        self._sounding: set[int] = set()  # told
        self._offsets: dict[int, int] = {}  # owed before anything else: pitch -> release velocity
        self._pedal = 0  # wanted
        self._pedal_told = 0
        self._first: deque[bytes] = deque()  # a clean start, if one is under way
        self.swallowed = 0
        """Notes that began and ended while the port took nothing"""

    def record(self, message: bytes) -> None:
        """Let a note-on, a note-off, a pedal or an all-notes-off change what the receiver should hear."""
        status, pitch, value = message
        kind = status & 0xF0
        if kind == NOTE_ON:
            if pitch in self._sounding:  # struck again: end the old note, or two note-ons need two note-offs
                self._offsets.setdefault(pitch, RELEASE_VELOCITY)
            elif pitch in self._pressed:
                self.swallowed += 1
            self._pressed[pitch] = value
        elif kind == NOTE_OFF:
            was_pressed = self._pressed.pop(pitch, None) is not None
            if pitch in self._sounding and pitch not in self._offsets:
                self._offsets[pitch] = value
            elif was_pressed:
                self.swallowed += 1
        elif pitch == SUSTAIN_PEDAL:
            self._pedal = value
        elif pitch == ALL_NOTES_OFF:
            self.release_all()

    def release_all(self) -> None:
        """Want silence."""
        for pitch in self._sounding:
            self._offsets.setdefault(pitch, RELEASE_VELOCITY)
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
        channel = self._channel
        while self._first:
            if not write(self._first[0]):
                return False
            self._first.popleft()
        for pitch, velocity in list(self._offsets.items()):
            if not write(bytes((NOTE_OFF | channel, pitch, velocity))):
                return False
            del self._offsets[pitch]
            self._sounding.discard(pitch)
        if self._pedal != self._pedal_told:
            if not write(bytes((CONTROL_CHANGE | channel, SUSTAIN_PEDAL, self._pedal))):
                return False
            self._pedal_told = self._pedal
        for pitch in self._pressed.keys() - self._sounding:
            if not write(bytes((NOTE_ON | channel, pitch, self._pressed[pitch]))):
                return False
            self._sounding.add(pitch)
        return True

    def held(self) -> list[bytes]:
        """Return what tells the pedal and the keys, as they are wanted, to a receiver that is silent."""
        pedal = [bytes((CONTROL_CHANGE | self._channel, SUSTAIN_PEDAL, self._pedal))] if self._pedal else []
        return pedal + [bytes((NOTE_ON | self._channel, *note)) for note in self._pressed.items()]

    @property
    def sounding(self) -> frozenset[int]:
        """The pitches that the receiver was told to sound."""
        return frozenset(self._sounding)
