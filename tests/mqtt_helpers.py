"""A subscriber that sees everything, and which brokers are here; shared by the tests of MQTT."""

import contextlib
import json
import os
import shutil
import socket
import threading
import time

import paho.mqtt.client as paho

from ivories.sinks.mqtt.embedded_broker import HOST

MOSQUITTO = shutil.which("mosquitto", path=os.environ.get("PATH", "") + ":/usr/sbin")
BROKERS = ["mosquitto", "amqtt"] if MOSQUITTO else ["amqtt"]


def wait_for(condition, seconds=5.0):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.002)


def answers(port):
    with contextlib.suppress(OSError):
        socket.create_connection((HOST, port), timeout=1).close()
        return True
    return False


class Dashboard:
    """Subscribes to everything, comes back by itself, remembers topics, payloads and the retain flag."""

    def __init__(self, port):
        self.messages = []
        self.client = paho.Client(paho.CallbackAPIVersion.VERSION2)
        self.client.reconnect_delay_set(0.05, 0.1)
        self.client.on_socket_open = lambda client, data, sock: sock.setsockopt(6, 1, 1)
        self.client.on_message = lambda client, data, m: self.messages.append((m.topic, m.payload, m.retain))
        self.client.on_connect = lambda client, *_: client.subscribe("#", 1)
        self.ready = threading.Event()
        self.client.on_subscribe = lambda *_: self.ready.set()
        self.client.connect(HOST, port)
        self.client.loop_start()
        assert self.ready.wait(5)

    def latest(self, topic):
        return next((payload for t, payload, _ in reversed(self.messages) if t == topic), None)

    def notes(self):
        return [json.loads(payload) for topic, payload, _ in self.messages if topic.endswith("/note")]

    def close(self):
        self.client.disconnect()
        self.client.loop_stop()
