"""One connection to an MQTT broker that is made again, patiently, whenever it is lost.

The network part of ``MqttSink``, driven by its thread through ``step``; nothing here is called by others.
MQTT 5 is tried first; a broker that refuses it is spoken to in 3.1.1.
"""

import contextlib
import logging
import random
import select
import socket
import ssl
import struct
import time
from collections.abc import Callable
from typing import Any, Final

from paho.mqtt import MQTTException
from paho.mqtt.client import Client, MQTTMessage, MQTTv5, MQTTv311
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from ivories.sinks.mqtt.access import Broker
from ivories.sinks.mqtt.commands import Incoming

_log = logging.getLogger(__name__)

FIRST_RETRY_S: Final = 0.25
LONGEST_RETRY_S: Final = 15.0
CONNECT_S: Final = 2.0
ANSWER_S: Final = 2.0
"""A broker that has not welcomed us by then cannot read this version of MQTT, or is stuck"""
UNACKNOWLEDGED: Final = 64
"""Messages that may wait for the broker's acknowledgement; then nothing more is taken"""
QOS: Final = 1
"""At least once: a message lost with a connection is sent again with the next"""

# What a broken or foreign conversation may raise inside the client library.
_BROKEN: Final = (OSError, ValueError, IndexError, struct.error, MQTTException)


class MqttLink:
    """Publishes and subscribes at one broker; ``connected`` and ``sessions`` tell how it goes."""

    def __init__(
        self,
        broker: Broker,
        *,
        client_id: str,
        will: tuple[str, str],
        on_message: Callable[[Incoming], None],
    ) -> None:
        """Prepare; nothing happens before ``step``.

        Args:
            broker: where to connect.
            client_id: unique at the broker.
            will: topic and payload that the broker publishes, retained, when this side dies.
            on_message: called in ``step`` with what arrives.
        """
        self.connected = False
        self.sessions = 0
        """Connections made so far: when it changes, the broker may have forgotten everything"""
        self.unacknowledged = 0
        """Messages taken by ``publish`` that the broker has not confirmed"""
        self.subscriptions: tuple[str, ...] = ()
        self._broker = broker
        self._client_id = client_id
        self._will = will
        self._on_message = on_message
        self._protocol: MQTTProtocolVersion = MQTTv311 if broker.protocol == "3.1.1" else MQTTv5
        self._proven = broker.protocol != "auto"  # this protocol works with this broker
        self._answer_by = 0.0
        self._client: Client | None = None
        self._open = False  # the network connection
        self._retry_at = 0.0
        self._pause_s = FIRST_RETRY_S
        self._trouble = ""

    @property
    def protocol(self) -> str:
        """The version of MQTT in use."""
        return "5" if self._protocol == MQTTv5 else "3.1.1"

    def step(self, bell: int, timeout_s: float) -> None:
        """Connect if it is time to, serve the socket, return when ``bell`` rings or after ``timeout_s``."""
        if self._client is None or not self._open:
            wait_s = self._retry_at - time.monotonic()
            if wait_s > 0:
                _poll({bell: select.POLLIN}, min(wait_s, timeout_s))
            else:
                self._connect()
            return
        try:
            self._serve(self._client, bell, timeout_s)
            overdue = not self.connected and time.monotonic() > self._answer_by
        except _BROKEN as error:
            self._trouble = self._trouble or str(error)
            overdue = True
        if overdue or self._client.socket() is None:
            self._lost(self._client)

    def publish(
        self, topic: str, payload: str | bytes, *, retain: bool = False, correlation: bytes | None = None
    ) -> bool:
        """Return whether ``payload`` was taken; it was not when offline or with too much unacknowledged."""
        if not self.connected or self._client is None:
            return False
        properties = None
        if correlation is not None and self._protocol == MQTTv5:
            properties = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]
            properties.CorrelationData = correlation
        rc = self._client.publish(topic, payload, QOS, retain, properties).rc
        if rc == MQTTErrorCode.MQTT_ERR_QUEUE_SIZE:
            return False
        self.unacknowledged += 1
        return True

    def close(self) -> None:
        """Say good-bye, so that the broker does not publish the last will."""
        if self._client is not None:
            with contextlib.suppress(*_BROKEN):
                self._client.disconnect()
        self.connected = False

    def _connect(self) -> None:
        self._trouble = ""
        if self._client is None or self._client.protocol != self._protocol:
            self._client = self._new_client()
        try:
            self._client.connect(self._broker.host, self._broker.port, self._broker.keepalive_s)
            self._answer_by = time.monotonic() + ANSWER_S
            self._open = True
        except _BROKEN as error:
            self._retry(f"{type(error).__name__}: {error}" if isinstance(error, ssl.SSLError) else str(error))

    def _new_client(self) -> Client:
        client = Client(
            CallbackAPIVersion.VERSION2, self._client_id, protocol=self._protocol, reconnect_on_failure=False
        )
        client.connect_timeout = CONNECT_S
        client.max_queued_messages_set(UNACKNOWLEDGED)
        client.will_set(*self._will, QOS, retain=True)
        if self._broker.username:
            client.username_pw_set(self._broker.username, self._broker.password)
        if self._broker.tls is not None:
            client.tls_set_context(self._broker.tls)
        client.on_socket_open = _send_at_once
        client.on_connect = self._connected
        client.on_publish = self._confirmed
        client.on_message = self._received
        self.unacknowledged = 0
        return client

    def _serve(self, client: Client, bell: int, timeout_s: float) -> None:
        sock: Any = client.socket()
        if sock is None:
            return  # a message found the connection broken
        events = select.POLLIN | (select.POLLOUT if client.want_write() else 0)
        happened = _poll({bell: select.POLLIN, sock.fileno(): events}, timeout_s)
        if happened.get(sock.fileno(), 0) & ~select.POLLOUT:
            client.loop_read()
            while client.socket() is sock and _decrypted(sock):
                client.loop_read()
        if client.want_write():
            client.loop_write()
        client.loop_misc()

    def _connected(
        self, client: Client, _data: object, _flags: object, reason: Any, _properties: object
    ) -> None:
        if reason.is_failure:
            self._trouble = str(reason)
            return
        self.connected = self._proven = True
        self.sessions += 1
        self._pause_s = FIRST_RETRY_S
        for topic in self.subscriptions:
            client.subscribe(topic, QOS)
        _log.info("connected to the MQTT broker %r with MQTT %s", self._broker, self.protocol)

    def _confirmed(self, *_: object) -> None:
        self.unacknowledged -= 1

    def _received(self, _client: Client, _data: object, message: MQTTMessage) -> None:
        properties = message.properties
        self._on_message(
            Incoming(
                message.topic, bytes(message.payload), message.retain,
                getattr(properties, "ResponseTopic", ""), getattr(properties, "CorrelationData", None),
            )
        )  # fmt: skip

    def _lost(self, client: Client) -> None:
        """Make sure that the connection is closed; ``client`` keeps what is to be sent again."""
        self.connected = self._open = False
        if (sock := client.socket()) is not None:
            sock.close()
        if self._proven or self._protocol == MQTTv311:
            if not self._proven:
                self._protocol = MQTTv5  # neither worked: begin again
            self._retry(self._trouble or "connection lost")
        else:
            _log.info("the MQTT broker %r does not take MQTT 5; trying 3.1.1", self._broker)
            self._protocol = MQTTv311

    def _retry(self, trouble: str) -> None:
        _log.warning("no MQTT broker at %r (%s): next try in %.1f s", self._broker, trouble, self._pause_s)
        # Spread, so that many pianos do not all come back at once.
        self._retry_at = time.monotonic() + self._pause_s * random.uniform(0.8, 1.2)  # noqa: S311
        self._pause_s = min(2 * self._pause_s, LONGEST_RETRY_S)


def _send_at_once(_client: Client, _data: object, sock: Any) -> None:
    """Switch off Nagle's delay, which costs tens of milliseconds a note."""
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


def _decrypted(sock: Any) -> bool:
    """Return whether bytes wait inside the TLS layer, where poll does not see them."""
    return isinstance(sock, ssl.SSLSocket) and sock.pending() > 0


def _poll(descriptors: dict[int, int], timeout_s: float) -> dict[int, int]:
    poll = select.poll()
    for number, events in descriptors.items():
        poll.register(number, events)
    return dict(poll.poll(timeout_s * 1000))
