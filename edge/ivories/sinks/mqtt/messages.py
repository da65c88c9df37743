"""The JSON and compact payloads of the MQTT topics, as ``deploy/docs/mqtt.md`` describes them.

Their JSON schemas are made from these types (``mqtt_schema``).
"""

import time
from collections.abc import Mapping
from typing import Annotated, Any, Final

import msgspec
import numpy as np
from msgspec import Meta

from ivories.controls import SavedTake
from ivories.datatypes import KeyState, NoteEvent
from ivories.keyboard import KEYS, LOWEST_PITCH, key_name, pitch_of_key
from ivories.sinks.records import Key, NoteRecord, Pitch, SevenBits

SCHEMA: Final = 1
"""Version of the topic tree and of these payloads"""

Count = Annotated[int, Meta(ge=0)]
WallClock = Annotated[float, Meta(description="seconds since 1970 when the message was made")]


class NoteMessage(NoteRecord, frozen=True, kw_only=True):
    """``note``: one onset, offset or pedal move."""

    sequence: Annotated[int, Meta(ge=1, description="counts all events since the start")]
    unix_s: WallClock


class KeyDown(msgspec.Struct, frozen=True):
    """One key that is down."""

    key: Key
    pitch: Pitch
    name: str
    velocity: SevenBits


class KeysMessage(msgspec.Struct, frozen=True):
    """``keys``: which keys are down."""

    hex: Annotated[str, Meta(pattern="^[0-9a-f]{22}$", description="the first bit is A0, the last C8")]
    pressed: list[KeyDown]
    t_s: Annotated[float, Meta(description="seconds on the piano's clock")]


class PedalMessage(msgspec.Struct, frozen=True):
    """``pedal``: the sustain pedal."""

    value: SevenBits
    down: Annotated[bool, Meta(description="value is 64 or more")]


class InfoMessage(msgspec.Struct, frozen=True):
    """``info``: what this piano is."""

    schema: Annotated[int, Meta(description="version of the topic tree")]
    version: Annotated[str, Meta(description="of Ivories")]
    device: str
    keys: int
    lowest_pitch: int
    models: dict[str, str]
    commands: Annotated[list[str], Meta(description="what it takes below set/")]


class DelaySpread(msgspec.Struct, frozen=True):
    """Delays in milliseconds; a negative one was seen before it sounded."""

    notes: Annotated[int, Meta(ge=1, description="onsets that these figures are of")]
    p50: float
    p95: float
    max: float


class StatsMessage(msgspec.Struct, frozen=True):
    """``stats``: how it goes. Counts run from the start of the program, so a lost message loses nothing."""

    uptime_s: Annotated[float, Meta(ge=0)]
    notes: Annotated[int, Meta(ge=0, description="onsets, those taken back included")]
    retractions: Annotated[int, Meta(ge=0, description="onsets that were taken back")]
    delay_ms: Annotated[DelaySpread | None, Meta(description="of the onsets since the last stats")]
    left_ms: Annotated[
        dict[str, DelaySpread],
        Meta(description="way out -> from the sound of these onsets to their bytes leaving there"),
    ]
    published: Annotated[int, Meta(ge=0, description="events that the broker was given")]
    dropped: Annotated[int, Meta(ge=0, description="events that the broker was away too long to take")]
    connections: Annotated[int, Meta(ge=0, description="to the broker")]
    health: Annotated[
        dict[str, float],
        Meta(description="how much each sensor counts: 1 fully, 0 absent or telling nothing"),
    ]
    lost: Annotated[
        dict[str, Count],
        Meta(description="what came faster than work went: frames, evidence; sound and frames for takes"),
    ]
    unix_s: WallClock


class TakeMessage(msgspec.Struct, frozen=True):
    """``take``: the newest take that was saved."""

    name: Annotated[str, Meta(description="of its folder, and of its files without their ending")]
    length_s: Annotated[float, Meta(ge=0)]
    notes: Annotated[int, Meta(ge=0)]
    files: list[str]
    bytes: Annotated[int, Meta(ge=0, description="of all its files")]
    unix_s: Annotated[float, Meta(description="seconds since 1970 at its end")]


class RequestMessage(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``set/NAME`` or ``get/NAME`` in its JSON form; the value alone as plain text does as well."""

    value: Annotated[str, Meta(description="what to set; empty for get")] = ""
    id: Annotated[str | int | None, Meta(description="comes back in the reply")] = None


class ReplyMessage(msgspec.Struct, frozen=True, omit_defaults=True):
    """``reply``, or the topic that the request asked for: what became of one command or question."""

    command: Annotated[str, Meta(description="NAME of set/NAME, or get/NAME")]
    ok: bool
    value: Annotated[str, Meta(description="as it was understood")]
    error: Annotated[str | None, Meta(description="one sentence; null when ok")]
    id: Annotated[str | int | None, Meta(description="that of the request")]
    state: Annotated[Any, Meta(description="of get/NAME: what the topic NAME holds")] = msgspec.UNSET


MESSAGES: Final[Mapping[str, type[msgspec.Struct]]] = {
    "note": NoteMessage,
    "keys": KeysMessage,
    "pedal": PedalMessage,
    "info": InfoMessage,
    "stats": StatsMessage,
    "take": TakeMessage,
    "set": RequestMessage,
    "get": RequestMessage,
    "reply": ReplyMessage,
}
"""Topic below ``PREFIX/DEVICE/`` -> what its JSON holds"""


def unix_s() -> float:
    """Return the wall clock, in seconds rounded to microseconds."""
    return round(time.time(), 6)


def note_message(event: NoteEvent, origin_ns: int, sequence: int, *, one_clock: bool = False) -> NoteMessage:
    """Return the record of ``event`` with its number (a gap tells of drops) and the wall clock."""
    record = msgspec.structs.asdict(NoteRecord.of(event, origin_ns, one_clock=one_clock))
    return NoteMessage(**record, sequence=sequence, unix_s=unix_s())


def keys_hex(state: KeyState | None) -> str:
    """Return 22 hexadecimal digits that read like the keyboard: the first bit is A0, the last C8."""
    return bytes(np.packbits(np.zeros(KEYS, bool) if state is None else state.pressed)).hex()


def keys_message(state: KeyState | None, t_s: float) -> KeysMessage:
    """Return the keys that are down in ``state`` (None: none) at ``t_s`` seconds."""
    down = [] if state is None else np.flatnonzero(state.pressed).tolist()
    velocity = np.zeros(KEYS, np.uint8) if state is None else state.velocity
    pressed = [KeyDown(key, pitch_of_key(key), key_name(key), int(velocity[key])) for key in down]
    return KeysMessage(keys_hex(state), pressed, round(t_s, 6))


def pedal_message(value: int) -> PedalMessage:
    """Return the sustain pedal's controller ``value`` 0..127; MIDI counts 64 and more as down."""
    return PedalMessage(value, value >= 64)


def take_message(take: SavedTake) -> TakeMessage:
    """Return what there is to know of ``take``."""
    return TakeMessage(
        take.name, round(take.length_s, 3), take.notes, list(take.files), take.nbytes, round(take.unix_s, 3)
    )


def info_message(
    device: str, version: str, models: Mapping[str, str], commands: tuple[str, ...] = ()
) -> InfoMessage:
    """Return what this piano is and which version of the topic tree it speaks."""
    return InfoMessage(SCHEMA, version, device, KEYS, LOWEST_PITCH, dict(models), list(commands))
