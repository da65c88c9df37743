"""Notes and key states to an MQTT broker, for dashboards and home automation.

The topic tree, version 1, is described in ``deploy/docs/mqtt.md``. All messages have QoS 1.
"""

import contextlib
import logging
import math
import os
import threading
import time
from collections.abc import Mapping
from typing import Final

import msgspec

from ivories.clock import now_ns
from ivories.controls import Controls
from ivories.datatypes import KeyState, NoteEvent
from ivories.errors import SinkError
from ivories.sinks.mqtt.access import Broker, Protocol, read_password, tls_context, topic_base
from ivories.sinks.mqtt.commands import COMMANDS, REPLIES, CommandDesk, Incoming, Reply
from ivories.sinks.mqtt.link import MqttLink
from ivories.sinks.mqtt.messages import StatsMessage, note_message
from ivories.sinks.mqtt.queue import NoteQueue
from ivories.sinks.mqtt.state import RetainedState
from ivories.sinks.mqtt.stats import Tally

_log = logging.getLogger(__name__)

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
        commands: bool = True,
        stats_s: float = 60.0,
        models: Mapping[str, str] | None = None,
        origin_ns: int = 0,
        one_clock: bool = False,
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
            commands: take commands below ``set/``, once attached to an instrument, and answer ``get/``.
            stats_s: time from one message on the topic ``stats`` to the next.
            models: name -> fingerprint or version, shown in the topic ``info``.
            origin_ns: sensor time called 0 in the messages.
            one_clock: sensor times are CLOCK_MONOTONIC, not those of a recording.

        Raises:
            ConfigError: a name cannot be part of a topic, or a file is missing, unfit or readable by others.
        """
        self._base = topic_base(prefix, device)
        self._origin_ns = origin_ns
        self._one_clock = one_clock
        self._birth = f"{discovery_prefix}/status" if home_assistant else ""
        self._desk = CommandDesk(self._base, self._read)
        self._tally = Tally(one_clock=one_clock)
        self._stats_s = stats_s
        self._stats_due_s = time.monotonic() + stats_s
        self._patience_s = min(1.0, stats_s)
        self._shown = RetainedState(
            base=self._base, device=device, models=dict(models or {}), origin_ns=origin_ns,
            discovery_prefix=discovery_prefix if home_assistant else "",
            commands=tuple(COMMANDS) if commands else (), stats=self._stats,
        )  # fmt: skip
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
        wanted = [self._birth] if home_assistant else []
        if commands:
            wanted += [f"{self._base}/set/#", f"{self._base}/get/#"]
        self._link.subscriptions = tuple(wanted)
        self._encode = msgspec.json.Encoder().encode
        self._lock = threading.Lock()  # the queue and what is retained
        self._queue = NoteQueue()
        self._stale: dict[str, None] = {}  # retained topics to publish
        self._announced = 0
        self.published = 0
        """Notes taken by the connection"""
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
    def dropped(self) -> int:
        """Notes that the broker was away for too long to take."""
        return self._queue.dropped

    @property
    def connected(self) -> bool:
        """True while the broker answers."""
        return self._link.connected

    @property
    def protocol(self) -> str:
        """The version of MQTT in use, ``5`` or ``3.1.1``."""
        return self._link.protocol

    def attach(self, controls: Controls) -> None:
        """Show the gauges of ``controls`` and hand the commands of others to them."""
        with self._lock:
            self._shown.controls = controls
            self._stale |= dict.fromkeys(name for name in self._shown.names if name != "status")
        self._desk.controls = controls
        controls.listeners.append(self._choose_anew)
        os.eventfd_write(self._bell, 1)

    def send(self, event: NoteEvent, state: KeyState) -> None:
        """Queue ``event`` and remember ``state``; raises ``SinkError`` after ``close``."""
        with self._lock:
            if self._closed:
                raise SinkError("the MQTT sink is closed: no note can be sent")
            self._shown.held.apply(event)
            self._queue_event(event, state)
        os.eventfd_write(self._bell, 1)

    def release_all(self) -> None:
        """Publish an offset of every held key, and an empty keyboard."""
        with self._lock:
            if self._closed:
                return
            for event in self._shown.held.release():
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
        self._queue.put(event)
        self._tally.apply(event)
        self._stale |= dict.fromkeys(self._shown.changed(event, state))

    def _run(self) -> None:
        deadline = math.inf
        while not (self._publish_waiting() and self._closed) and time.monotonic() < deadline:
            if self._closed and not self._queue and not self._link.connected:
                break
            self._link.step(self._bell, 0.05 if self._closed else self._patience_s)
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
                self._stale = dict.fromkeys(self._shown.names)
        if time.monotonic() >= self._stats_due_s:
            self._stats_due_s = time.monotonic() + self._stats_s
            with self._lock:
                self._stale |= {"stats": None}
        sent = self._publish_notes() and self._publish_retained() and self._publish_replies()
        return sent and not self._link.unacknowledged

    def _publish_notes(self) -> bool:
        while True:
            with self._lock:
                note = self._queue.get()
            if note is None:
                return True
            left_ns = note.event.left_ns
            left_ns[self.name] = now_ns()  # so that the message can tell, to the time of making it
            message = note_message(note.event, self._origin_ns, note.sequence, one_clock=self._one_clock)
            if not self._link.publish(f"{self._base}/note", self._encode(message)):
                del left_ns[self.name]
                with self._lock:
                    self._queue.put_back(note)
                return False
            left_ns[self.name] = now_ns()
            self.published += 1

    def _publish_retained(self) -> bool:
        while self._stale:
            with self._lock:
                name = next(iter(self._stale))
                del self._stale[name]
                topic, payload = self._shown.message(name)
            if not self._link.publish(topic, payload, retain=True):
                self._stale |= {name: None}
                return False
        return True

    def _publish_replies(self) -> bool:
        while self._desk.replies:
            reply = self._desk.replies.popleft()
            payload = self._encode(reply.message)
            if not self._link.publish(reply.topic, payload, correlation=reply.correlation):
                if len(self._desk.replies) < REPLIES:  # newer ones would go instead
                    self._desk.replies.appendleft(reply)
                return False
        return True

    def _stats(self) -> StatsMessage:
        return self._tally.message(
            self._shown.controls,
            published=self.published,
            dropped=self.dropped,
            connections=self._link.sessions,
        )

    def _received(self, incoming: Incoming) -> None:
        if incoming.topic != self._birth:
            self._desk.take(incoming, self._obeyed)
        elif incoming.payload == b"online":  # Home Assistant has forgotten what it was told
            with self._lock:
                self._stale |= dict.fromkeys(self._shown.names)

    def _read(self, name: str) -> str | bytes:
        with self._lock:
            return self._shown.read(name)

    def _obeyed(self, reply: Reply) -> None:
        """Publish the reply to a command, and what it has changed; called in the thread that obeyed."""
        with self._lock:
            if self._closed:
                return
            self._desk.replies.append(reply)
        self._choose_anew()

    def _choose_anew(self) -> None:
        """Publish what commands change."""
        with self._lock:
            if self._closed:
                return
            self._stale |= dict.fromkeys(self._shown.chosen)
        os.eventfd_write(self._bell, 1)
