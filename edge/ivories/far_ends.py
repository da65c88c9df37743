"""The far ends of the ways out, for measuring: programs of their own that note when something arrives.

As threads they would compete with the instrument for the interpreter and so measure themselves. Both ends
read CLOCK_MONOTONIC, which is one clock for all processes of a computer.
"""

import contextlib
import math
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections import deque
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

import msgspec

from ivories.backends import load
from ivories.clock import MILLISECOND
from ivories.datatypes import NoteEvent, NoteKind
from ivories.errors import BackendError
from ivories.keyboard import key_of_pitch
from ivories.sinks.base import Sink
from ivories.sinks.mqtt.embedded_broker import EmbeddedBroker, start_broker

START_S: Final = 10.0
_DEVICE: Final = "bench"
_SUSTAIN: Final = 64

_Line = tuple[int, str]

Word = tuple[NoteKind, int]
"""What an event is about: its kind and key"""
Arrival = tuple[int, Word]
"""CLOCK_MONOTONIC nanoseconds and what arrived then"""


def latencies_ms(sent: Sequence[tuple[int, NoteEvent]], arrived: Sequence[Arrival]) -> list[float]:
    """Return for each event the milliseconds from its time to its arrival; NaN for one that never came.

    An event is met by the first word of its kind and key that came after it and met no other.
    """
    waiting: dict[Word, deque[int]] = {}
    for t_ns, word in arrived:
        waiting.setdefault(word, deque()).append(t_ns)
    found = []
    for sent_ns, event in sent:
        times = waiting.get((event.kind, event.key), deque())
        while times and times[0] < sent_ns:
            times.popleft()
        found.append((times.popleft() - sent_ns) / MILLISECOND if times else math.nan)
    return found


class _FarEnd:
    """One such program: it says ``ready``, listens until its input or its line ends, then tells all."""

    def __init__(self, kind: str, *arguments: str, pass_fds: tuple[int, ...] = ()) -> None:
        self._process = subprocess.Popen(  # noqa: S603  every word is ours, and there is no shell
            [sys.executable, "-m", __name__, kind, *arguments],
            pass_fds=pass_fds, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert self._process.stdout is not None  # noqa: S101  it is a pipe
        if self._process.stdout.readline().strip() != "ready":
            self._process.kill()
            raise BackendError(f"the receiver of {kind} for the measurement does not start")

    def finish(self) -> list[_Line]:
        """End it and return what arrived, in order."""
        said, _ = self._process.communicate(timeout=START_S)
        return [(int(t), text) for t, _, text in (line.partition(" ") for line in said.splitlines())]


class MidiFarEnd:
    """A named pipe in the place of the gadget's device node, and a reader at its other end.

    The bytes go the whole way of the appliance: to the port's owner, a process of its own, and from there
    with a ``write`` into the node. What the node's kernel driver and the USB cable take comes on top.
    """

    def __init__(self) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="ivories-midi-"))
        node = self._folder / "midi"
        os.mkfifo(node, 0o600)
        reading = os.open(node, os.O_RDONLY | os.O_NONBLOCK)
        self._keeper = os.open(node, os.O_WRONLY)  # so that the reader sees no end before the first writer
        os.set_blocking(reading, True)
        try:
            self._end = _FarEnd("midi", str(reading), pass_fds=(reading,))
        finally:
            os.close(reading)
        self.sink: Sink = load("sink", "usb_midi")(device=str(node))

    def finish(self) -> list[Arrival]:
        """Return the notes and pedals that arrived; the sink is closed if it is not yet."""
        self.sink.close()
        os.close(self._keeper)
        lines = self._end.finish()
        shutil.rmtree(self._folder, ignore_errors=True)
        messages = [
            (t_ns, bytes.fromhex(text[at : at + 6])) for t_ns, text in lines for at in range(0, len(text), 6)
        ]
        return [(t_ns, word) for t_ns, message in messages if (word := _word(message)) is not None]


class MqttFarEnd:
    """A mosquitto of its own on this computer, and a subscriber to the notes.

    Raises:
        BackendError: mosquitto is not installed.
    """

    def __init__(self) -> None:
        self._broker: EmbeddedBroker = start_broker("mosquitto")
        try:
            host, port = self._broker.host, self._broker.port
            self._end = _FarEnd("mqtt", host, str(port), f"ivories/{_DEVICE}/note")
            sink = load("sink", "mqtt")(host=host, port=port, device=_DEVICE, protocol="5", one_clock=True)
            self.sink: Sink = sink
            deadline = time.monotonic() + START_S
            while not sink.connected and time.monotonic() < deadline:
                time.sleep(0.01)
        except BaseException:
            self._broker.stop()
            raise

    def finish(self) -> list[Arrival]:
        """Return the notes and pedals that arrived; the sink is closed if it is not yet."""
        try:
            self.sink.close()
            time.sleep(0.2)  # the last message may still be on its way
            lines = self._end.finish()
        finally:
            self._broker.stop()
        notes = [(t_ns, msgspec.json.decode(text, type=_Note)) for t_ns, text in lines]
        return [(t_ns, (note.kind, -1 if note.key is None else note.key)) for t_ns, note in notes]


class _Note(msgspec.Struct):
    """What is read of a message on the topic ``note``."""

    kind: NoteKind
    key: int | None


def _word(message: bytes) -> Word | None:
    status, first, second = message
    if status & 0xF0 == 0xB0:
        return (NoteKind.PEDAL, -1) if first == _SUSTAIN else None
    struck = status & 0xF0 == 0x90 and second > 0
    return (NoteKind.ONSET if struck else NoteKind.OFFSET), key_of_pitch(first)


def _midi(descriptor: int) -> Iterator[_Line]:
    print("ready", flush=True)  # noqa: T201  to the parent
    while data := os.read(descriptor, 4096):
        yield time.monotonic_ns(), data.hex()


def _mqtt(host: str, port: int, topic: str) -> list[_Line]:
    from paho.mqtt.client import Client, MQTTv5
    from paho.mqtt.enums import CallbackAPIVersion

    arrived: list[_Line] = []
    client = Client(CallbackAPIVersion.VERSION2, protocol=MQTTv5)
    client.on_socket_open = lambda *a: a[2].setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    client.on_message = lambda *a: arrived.append((time.monotonic_ns(), a[2].payload.decode()))
    client.on_subscribe = lambda *_: print("ready", flush=True)  # noqa: T201  to the parent
    client.connect(host, port)
    client.subscribe(topic, qos=1)
    client.loop_start()
    sys.stdin.read()  # until the parent has enough
    client.disconnect()
    client.loop_stop()
    return arrived


def main() -> None:
    """Be the far end that the arguments name, then print one line per arrival."""
    kind, *arguments = sys.argv[1:]
    arrived = (
        list(_midi(int(arguments[0])))
        if kind == "midi"
        else _mqtt(arguments[0], int(arguments[1]), arguments[2])
    )
    with contextlib.suppress(BrokenPipeError):  # the parent is gone
        for t_ns, text in arrived:
            print(t_ns, text)  # noqa: T201  to the parent


if __name__ == "__main__":
    main()
