"""One note event as JSON: the lines of ``JsonLinesSink`` and the messages on the MQTT topic ``note``.

| field      | unit         | meaning                                                                    |
|------------|--------------|----------------------------------------------------------------------------|
| kind       |              | ``onset``, ``offset`` (the key is let go) or ``pedal``                     |
| key        | 0..87        | A0..C8; null for the pedal                                                 |
| pitch      | 21..108      | MIDI pitch; null for the pedal                                             |
| name       |              | scientific pitch name, for example ``F#4``; ``pedal`` for the pedal        |
| velocity   | 1..127       | of an onset; release velocity 0..127; controller value 0..127 of the pedal |
| t_s        | seconds      | when it happened in the room, from the start of the take                   |
| decided_s  | seconds      | when the tracker was sure                                                  |
| delay_ms   | milliseconds | decided_s - t_s                                                            |
| confidence | 0..1         |                                                                            |
| retracts   |              | true: this offset takes back an onset that was a mistake                   |
"""

import msgspec

from ivories import clock
from ivories.datatypes import NoteEvent, NoteKind
from ivories.keyboard import key_name, pitch_of_key


class NoteRecord(msgspec.Struct, frozen=True):
    """The JSON form of one ``NoteEvent``; the fields are described above."""

    kind: str
    key: int | None
    pitch: int | None
    name: str
    velocity: int
    t_s: float
    decided_s: float
    delay_ms: float
    confidence: float
    retracts: bool

    @classmethod
    def of(cls, event: NoteEvent, origin_ns: int = 0) -> "NoteRecord":
        """Return the record of ``event`` with times counted from ``origin_ns``, rounded to microseconds."""
        pedal = event.kind is NoteKind.PEDAL
        return cls(
            kind=str(event.kind),
            key=None if pedal else event.key,
            pitch=None if pedal else pitch_of_key(event.key),
            name=event_name(event),
            velocity=event.velocity,
            t_s=round(clock.seconds(event.t_ns - origin_ns), 6),
            decided_s=round(clock.seconds(event.decided_ns - origin_ns), 6),
            delay_ms=round((event.decided_ns - event.t_ns) / clock.MILLISECOND, 3),
            confidence=round(event.confidence, 4),
            retracts=event.retracts,
        )


def event_name(event: NoteEvent) -> str:
    """Return the pitch name of the event's key, or ``pedal``."""
    return "pedal" if event.kind is NoteKind.PEDAL else key_name(event.key)
