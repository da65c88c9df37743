"""What the retained MQTT topics of one piano tell: what it is, which keys are down, how it goes."""

from collections.abc import Callable, Mapping
from importlib.metadata import version

import msgspec

from ivories import clock
from ivories.controls import Controls
from ivories.datatypes import KeyState, NoteEvent, NoteKind
from ivories.errors import CommandError
from ivories.sinks.held import HeldNotes
from ivories.sinks.mqtt.commands import CHOICES
from ivories.sinks.mqtt.home_assistant import discovery, discovery_topic
from ivories.sinks.mqtt.messages import (
    StatsMessage,
    info_message,
    keys_hex,
    keys_message,
    pedal_message,
    take_message,
)


class RetainedState:
    """Follows what is played and makes the payload of any retained topic; not for several threads at once.

    Args:
        base: ``PREFIX/DEVICE``.
        device: name of this piano.
        models: name -> fingerprint or version.
        origin_ns: sensor time called 0 in the messages.
        discovery_prefix: where Home Assistant listens; empty for no announcement.
        commands: what it takes below ``set/``.
        stats: makes the message of the topic ``stats``.
    """

    def __init__(
        self,
        *,
        base: str,
        device: str,
        models: Mapping[str, str],
        origin_ns: int,
        discovery_prefix: str,
        commands: tuple[str, ...],
        stats: Callable[[], StatsMessage],
    ) -> None:
        self.controls: Controls | None = None
        self.held = HeldNotes()
        self._base = base
        self._device = device
        self._models = models
        self._origin_ns = origin_ns
        self._discovery_prefix = discovery_prefix
        self._commands = commands
        self._stats = stats
        self._version = version("ivories")
        self._keys: KeyState | None = None
        self._newest_stats: str | bytes = b""
        self._encode = msgspec.json.Encoder().encode

    @property
    def names(self) -> tuple[str, ...]:
        """All retained topics in the order in which a broker is told; ``status`` comes last."""
        first = ("discovery",) if self._discovery_prefix else ()
        return (*first, "info", "keys", "keys/hex", "pedal", *self.chosen, "stats", "status")

    @property
    def chosen(self) -> tuple[str, ...]:
        """Topics that change by a command."""
        controls = self.controls
        if not self._commands or controls is None:
            return ()
        there = {
            "policy": bool(controls.policies),
            "dynamics": bool(controls.all_dynamics),
            "take": controls.saved is not None,
        }
        return tuple(name for name, is_there in there.items() if is_there)

    @property
    def _taken(self) -> tuple[str, ...]:
        """Commands that are taken here."""
        return tuple(name for name in self._commands if self.controls and name in self.controls.commands)

    def changed(self, event: NoteEvent, keys: KeyState | None) -> tuple[str, ...]:
        """Take ``keys`` (None: none is down) as they are after ``event``; return the topics it changes."""
        self._keys = keys
        return ("pedal",) if event.kind is NoteKind.PEDAL else ("keys", "keys/hex")

    def message(self, name: str) -> tuple[str, str | bytes]:
        """Return the topic and the present payload of the state called ``name``."""
        if name == "discovery":
            topic = discovery_topic(self._discovery_prefix, self._device)
            controls = self.controls if self.controls and self._commands else Controls()
            return topic, self._encode(
                discovery(
                    self._device, self._base, self._version, controls.policies, controls.all_dynamics,
                    takes="take" in self._taken,
                )
            )  # fmt: skip
        return f"{self._base}/{name}", self._payload(name)

    def read(self, name: str) -> str | bytes:
        """Return what the retained topic ``name`` holds: JSON as bytes, or text.

        Raises:
            CommandError: there is no such topic here.
        """
        there = [topic for topic in self.names if topic != "discovery"]
        if name not in there:
            raise CommandError(f"no state {name[:40]!r} (known: {', '.join(there)})")
        # The figures are of the time since they were told before: to read them must not begin another time.
        return (name == "stats" and self._newest_stats) or self._payload(name)

    def _payload(self, name: str) -> str | bytes:
        if name == "status":
            return "online"
        if name == "keys/hex":
            return keys_hex(self._keys)
        if name in CHOICES:
            return str(getattr(self.controls, name, ""))
        payload = self._encode(self._message(name))
        if name == "stats":
            self._newest_stats = payload
        return payload

    def _message(self, name: str) -> msgspec.Struct | None:
        if name == "info":
            return info_message(self._device, self._version, self._models, self._taken)
        if name == "keys":
            t_s = clock.seconds(self.held.latest_ns - self._origin_ns)
            return keys_message(self._keys, t_s)
        if name == "take":
            saved = self.controls.saved if self.controls else None
            return take_message(saved) if saved else None
        return self._stats() if name == "stats" else pedal_message(self.held.pedal)
