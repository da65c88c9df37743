"""The JSON and compact payloads of the MQTT topics, as ``deploy/docs/mqtt.md`` describes them."""

import time
from collections.abc import Mapping
from typing import Any, Final

import msgspec
import numpy as np

from ivories.datatypes import KeyState, NoteEvent
from ivories.keyboard import KEYS, LOWEST_PITCH, key_name, pitch_of_key
from ivories.sinks.records import NoteRecord

SCHEMA: Final = 1
"""Version of the topic tree and of these payloads"""


def note_message(event: NoteEvent, origin_ns: int, sequence: int) -> dict[str, Any]:
    """Return the record of ``event`` with its number (a gap tells of drops) and the wall clock."""
    record = msgspec.structs.asdict(NoteRecord.of(event, origin_ns))
    return record | {"sequence": sequence, "unix_s": round(time.time(), 6)}


def keys_hex(state: KeyState | None) -> str:
    """Return 22 hexadecimal digits that read like the keyboard: the first bit is A0, the last C8."""
    return bytes(np.packbits(np.zeros(KEYS, bool) if state is None else state.pressed)).hex()


def keys_message(state: KeyState | None, t_s: float) -> dict[str, Any]:
    """Return the keys that are down in ``state`` (None: none) at ``t_s`` seconds."""
    down = [] if state is None else np.flatnonzero(state.pressed).tolist()
    velocity = np.zeros(KEYS, np.uint8) if state is None else state.velocity
    pressed = [
        {"key": key, "pitch": pitch_of_key(key), "name": key_name(key), "velocity": int(velocity[key])}
        for key in down
    ]
    return {"hex": keys_hex(state), "pressed": pressed, "t_s": round(t_s, 6)}


def pedal_message(value: int) -> dict[str, Any]:
    """Return the sustain pedal's controller ``value`` 0..127; MIDI counts 64 and more as down."""
    return {"value": value, "down": value >= 64}


def info_message(device: str, version: str, models: Mapping[str, str]) -> dict[str, Any]:
    """Return what this piano is and which version of the topic tree it speaks."""
    return {
        "schema": SCHEMA,
        "version": version,
        "device": device,
        "keys": KEYS,
        "lowest_pitch": LOWEST_PITCH,
        "models": dict(models),
    }
