"""One note event as JSON: the lines of ``JsonLinesSink`` and the messages on the MQTT topic ``note``."""

from typing import Annotated

import msgspec
from msgspec import Meta

from ivories import clock
from ivories.datatypes import NoteEvent, NoteKind
from ivories.keyboard import key_name, pitch_of_key

Key = Annotated[int, Meta(ge=0, le=87)]
Pitch = Annotated[int, Meta(ge=21, le=108)]
SevenBits = Annotated[int, Meta(ge=0, le=127)]


class NoteRecord(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The JSON form of one ``NoteEvent``."""

    kind: Annotated[NoteKind, Meta(description="onset, offset (the key is let go) or pedal")]
    key: Annotated[Key | None, Meta(description="A0..C8; null for the pedal")]
    pitch: Annotated[Pitch | None, Meta(description="MIDI pitch; null for the pedal")]
    name: Annotated[str, Meta(description="scientific pitch name, for example F#4; pedal for the pedal")]
    velocity: Annotated[
        SevenBits, Meta(description="of an onset 1..127; release velocity; controller value of the pedal")
    ]
    t_s: Annotated[float, Meta(description="seconds on the piano's clock: when it happened in the room")]
    decided_s: Annotated[float, Meta(description="seconds on the same clock: when Ivories was sure")]
    delay_ms: Annotated[float, Meta(description="decided_s - t_s in milliseconds")]
    confidence: Annotated[float, Meta(ge=0, le=1)]
    retracts: Annotated[bool, Meta(description="this offset takes back an onset that was a mistake")]
    left_s: Annotated[
        dict[str, float],
        Meta(description="way out -> seconds on the same clock when its bytes left, where known by now"),
    ] = msgspec.field(default_factory=dict)

    @classmethod
    def of(cls, event: NoteEvent, origin_ns: int = 0, *, one_clock: bool = False) -> "NoteRecord":
        """Return the record of ``event`` with times counted from ``origin_ns``, rounded to microseconds.

        ``one_clock``: tell when it left; its own times are CLOCK_MONOTONIC too, not those of a recording.
        """
        left_ns = dict(event.left_ns) if one_clock else {}  # another thread may enter more meanwhile
        pedal = event.kind is NoteKind.PEDAL
        return cls(
            kind=event.kind,
            key=None if pedal else event.key,
            pitch=None if pedal else pitch_of_key(event.key),
            name=event_name(event),
            velocity=event.velocity,
            t_s=round(clock.seconds(event.t_ns - origin_ns), 6),
            decided_s=round(clock.seconds(event.decided_ns - origin_ns), 6),
            delay_ms=round((event.decided_ns - event.t_ns) / clock.MILLISECOND, 3),
            confidence=round(event.confidence, 4),
            retracts=event.retracts,
            left_s={sink: round(clock.seconds(t_ns - origin_ns), 6) for sink, t_ns in left_ns.items()},
        )


def event_name(event: NoteEvent) -> str:
    """Return the pitch name of the event's key, or ``pedal``."""
    return "pedal" if event.kind is NoteKind.PEDAL else key_name(event.key)
