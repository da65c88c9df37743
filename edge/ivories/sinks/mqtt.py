"""Notes and key states to an MQTT broker, for dashboards and home automation.

The topic tree, version 1, is described in ``deploy/docs/mqtt.md``. All messages have QoS 1.
"""

import contextlib
import logging
import math
import os
import re
import threading
import time
from collections import deque
from collections.abc import Mapping
from importlib.metadata import version
from typing import Final

import msgspec

from ivories import clock
from ivories.datatypes import KeyState, NoteEvent, NoteKind
from ivories.errors import ConfigError, SinkError
from ivories.sinks.held import HeldNotes
from ivories.sinks.home_assistant import discovery, discovery_topic
from ivories.sinks.mqtt_access import Broker, Protocol, read_password, tls_context
from ivories.sinks.mqtt_link import MqttLink
from ivories.sinks.mqtt_messages import info_message, keys_hex, keys_message, note_message, pedal_message

_log = logging.getLogger(__name__)

WAITING: Final = 1000
"""Notes that may wait for the broker; the oldest are dropped and counted"""
LATE_S: Final = 5.0
"""A note that waited longer is dropped and counted: the retained state tells what still matters"""
GOODBYE_S: Final = 1.0
"""How long ``close`` tries to deliver what waits"""
LEAVE_S: Final = 5.0
"""How long ``close`` waits for the thread, which may hang in a name server"""


class MqttSink:
    """Publishes below ``PREFIX/DEVICE/``; ``send`` only queues, and a thread talks to the broker.

    A broker that is away, at the start or later, never stops the music: notes wait in a bounded queue, and
    with every new connection the retained topics are published afresh.
    """

    name = "mqtt"

    def __init__(
        self,
        *,
        host: str,
        port: int = 1883,
        device: str = "piano",
        prefix: str = "ivories",
        username: str = "",
        password_file: str = "",
        tls: bool = False,
        ca_file: str = "",
        cert_file: str = "",
        key_file: str = "",
        keepalive_s: int = 15,
        protocol: Protocol = "auto",
        home_assistant: bool = False,
        discovery_prefix: str = "homeassistant",
        models: Mapping[str, str] | None = None,
        origin_ns: int = 0,
    ) -> None:
        """Start connecting in the background.

        Args:
            host: broker's name or address.
            port: broker's port.
            device: name of this piano, one topic level.
            prefix: first level or levels of every topic.
            username: at the broker; empty for none.
            password_file: file of mode 0600 that holds the password alone; empty for none.
            tls: encrypt, and check the broker's certificate and name.
            ca_file: certificate authority to trust; empty for the system's.
            cert_file: client certificate, empty for none.
            key_file: key of the client certificate.
            keepalive_s: after about this time without an answer the connection counts as lost.
            protocol: version of MQTT; ``auto`` tries 5, then 3.1.1.
            home_assistant: announce the piano to Home Assistant.
            discovery_prefix: where Home Assistant listens for announcements.
            models: name -> fingerprint or version, shown in the topic ``info``.
            origin_ns: sensor time called 0 in the messages.

        Raises:
            ConfigError: a name cannot be part of a topic, or a file is missing, unfit or readable by others.
        """
        for word, what in ((device, "device name"), (prefix, "prefix")):
            if not word or re.search(r"[+#\0]", word) or (what == "device name" and "/" in word):
                raise ConfigError(f"the MQTT {what} {word!r} cannot be part of a topic: leave out + # and /")
        self._base = f"{prefix}/{device}"
        self._device = device
        self._origin_ns = origin_ns
        self._discovery_prefix = discovery_prefix if home_assistant else ""
        self._version = version("ivories")
        self._models = dict(models or {})
        broker = Broker(
            host=host, port=port, username=username, password=read_password(password_file),
            tls=tls_context(ca_file, cert_file, key_file) if tls else None,
            keepalive_s=keepalive_s, protocol=protocol,
        )  # fmt: skip
        self._link = MqttLink(
            broker,
            client_id=f"ivories-{device}-{os.urandom(3).hex()}",
            will=(f"{self._base}/status", "offline"),
            on_message=self._received,
        )
        if home_assistant:
            self._link.subscriptions = (f"{discovery_prefix}/status",)
        self._encode = msgspec.json.Encoder().encode
        self._lock = threading.Lock()  # the queue and what is retained
        self._queue: deque[tuple[float, int, NoteEvent]] = deque()
        self._held = HeldNotes()
        self._state: KeyState | None = None
        self._stale: dict[str, None] = {}  # retained topics to publish
        self._sequence = 0
        self._announced = 0
        self.published = 0
        """Notes taken by the connection"""
        self.dropped = 0
        """Notes that the broker was away for too long to take"""
        self._closed = False
        self._bell = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._thread = threading.Thread(target=self._run, name="mqtt", daemon=True)
        self._thread.start()

    def __repr__(self) -> str:
        """Show the topics, the state of the connection and the counters."""
        state = (
            "closed" if self._closed else "connected" if self._link.connected else "waiting for the broker"
        )
        return (
            f"<MqttSink {self._base} {state}, {self.published} published, {self.dropped} dropped, "
            f"{len(self._queue)} waiting>"
        )

    @property
    def connected(self) -> bool:
        """True while the broker answers."""
        return self._link.connected

    @property
    def protocol(self) -> str:
        """The version of MQTT in use, ``5`` or ``3.1.1``."""
        return self._link.protocol

    def send(self, event: NoteEvent, state: KeyState) -> None:
        """Queue ``event`` and remember ``state``; raises ``SinkError`` after ``close``."""
        with self._lock:
            if self._closed:
                raise SinkError("the MQTT sink is closed: no note can be sent")
            self._held.apply(event)
            self._queue_event(event, state)
        os.eventfd_write(self._bell, 1)

    def release_all(self) -> None:
        """Publish an offset of every held key, and an empty keyboard."""
        with self._lock:
            if self._closed:
                return
            for event in self._held.release():
                self._queue_event(event, None)
        os.eventfd_write(self._bell, 1)

    def close(self) -> None:
        """Release all, deliver what waits within ``GOODBYE_S``, publish ``offline``, disconnect."""
        self.release_all()
        with self._lock:
            if self._closed:
                return
            self._closed = True
        os.eventfd_write(self._bell, 1)
        self._thread.join(LEAVE_S)
        if not self._thread.is_alive():
            os.close(self._bell)

    def _queue_event(self, event: NoteEvent, state: KeyState | None) -> None:
        if len(self._queue) >= WAITING:
            self._queue.popleft()
            self.dropped += 1
        self._sequence += 1
        self._queue.append((time.monotonic(), self._sequence, event))
        self._state = state
        self._stale |= dict.fromkeys(("pedal",) if event.kind is NoteKind.PEDAL else ("keys", "keys/hex"))

    def _run(self) -> None:
        deadline = math.inf
        while not (self._publish_waiting() and self._closed) and time.monotonic() < deadline:
            if self._closed and not self._queue and not self._link.connected:
                break
            self._link.step(self._bell, 0.05 if self._closed else 1.0)
            with contextlib.suppress(BlockingIOError):
                os.eventfd_read(self._bell)
            if self._closed:
                deadline = min(deadline, time.monotonic() + GOODBYE_S)
        self._link.publish(f"{self._base}/status", "offline", retain=True)
        while self._link.connected and self._link.unacknowledged and time.monotonic() < deadline:
            self._link.step(self._bell, 0.05)
        self._link.close()
        if self.dropped:
            _log.warning("%d notes never reached the MQTT broker", self.dropped)

    def _publish_waiting(self) -> bool:
        """Publish what can be; return whether the broker has everything."""
        if not self._link.connected:
            return False
        if self._link.sessions != self._announced:
            self._announced = self._link.sessions
            with self._lock:
                discovery_too = ("discovery",) if self._discovery_prefix else ()
                self._stale = dict.fromkeys((*discovery_too, "info", "keys", "keys/hex", "pedal", "status"))
        return self._publish_notes() and self._publish_retained() and not self._link.unacknowledged

    def _publish_notes(self) -> bool:
        while True:
            with self._lock:
                if not self._queue:
                    return True
                waiting = self._queue.popleft()
            arrived, sequence, event = waiting
            if time.monotonic() - arrived > LATE_S:
                self.dropped += 1
                continue
            message = note_message(event, self._origin_ns, sequence)
            if not self._link.publish(f"{self._base}/note", self._encode(message)):
                with self._lock:
                    self._queue.appendleft(waiting)
                return False
            self.published += 1

    def _publish_retained(self) -> bool:
        while self._stale:
            with self._lock:
                name = next(iter(self._stale))
                del self._stale[name]
                topic, payload = self._retained(name)
            if not self._link.publish(topic, payload, retain=True):
                self._stale |= {name: None}
                return False
        return True

    def _retained(self, name: str) -> tuple[str, str | bytes]:
        """Return the topic and present payload of the retained state called ``name``; the lock is held."""
        if name == "discovery":
            topic = discovery_topic(self._discovery_prefix, self._device)
            return topic, self._encode(discovery(self._device, self._base, self._version))
        if name == "status":
            payload: str | bytes = "online"
        elif name == "info":
            payload = self._encode(info_message(self._device, self._version, self._models))
        elif name == "keys/hex":
            payload = keys_hex(self._state)
        elif name == "keys":
            t_s = clock.seconds(self._held.latest_ns - self._origin_ns)
            payload = self._encode(keys_message(self._state, t_s))
        else:
            payload = self._encode(pedal_message(self._held.pedal))
        return f"{self._base}/{name}", payload

    def _received(self, topic: str, payload: bytes) -> None:
        if topic == f"{self._discovery_prefix}/status" and payload == b"online":
            with self._lock:  # Home Assistant has started anew and forgotten what it was told
                self._stale |= dict.fromkeys(("discovery", "keys", "pedal", "status"))
