"""Many pianos at one broker: rate, and how long notes take to a subscriber.

    python bench/mqtt_load.py --pianos 200 --notes 4 --seconds 20

Every piano is a real ``MqttSink`` of its own; a few processes share them. One subscriber receives the notes
of all pianos. Without ``--host`` a broker is started on this computer.
"""

import argparse
import contextlib
import heapq
import itertools
import json
import multiprocessing
import threading
import time
from multiprocessing.synchronize import Barrier

import numpy as np
import paho.mqtt.client as paho

from ivories.clock import MILLISECOND, now_ns
from ivories.datatypes import KeyState, NoteEvent, NoteKind
from ivories.keyboard import KEYS
from ivories.sinks.mqtt.embedded_broker import start_broker
from ivories.sinks.mqtt.sink import MqttSink

PREFIX = "load"
SETTLE_S = 60.0
LATE_S = 5.0


class SimulatedPiano:
    """Presses and lets go one key after another, with pauses as irregular as a player's."""

    def __init__(self, number: int, notes_per_s: float, **broker) -> None:
        self.sink = MqttSink(device=f"piano{number:03}", prefix=PREFIX, stats_s=10, **broker)
        self._random = np.random.default_rng(number)
        self._mean_s = 0.5 / notes_per_s  # one onset and one offset per note
        self._pressed = np.zeros(KEYS, bool)
        self._velocity = np.full(KEYS, 64, np.uint8)
        self._key = -1

    def play(self) -> float:
        """Send one event; return the seconds until the next."""
        now = now_ns()
        if self._key < 0:
            self._key = int(self._random.integers(KEYS))
            event = NoteEvent(NoteKind.ONSET, self._key, 64, now - 30 * MILLISECOND, now, 0.9)
        else:
            event = NoteEvent(NoteKind.OFFSET, self._key, 64, now, now, 0.9)
        self._pressed[event.key] = event.kind is NoteKind.ONSET
        if event.kind is NoteKind.OFFSET:
            self._key = -1
        self.sink.send(event, KeyState(self._pressed.copy(), np.zeros(KEYS, np.int64), self._velocity))
        return float(self._random.exponential(self._mean_s))


def play(numbers: range, notes_per_s: float, seconds: float, broker: dict, together: Barrier, sent) -> None:
    """Be the pianos ``numbers``; put how many connected, their events, and those dropped into ``sent``."""
    pianos = [SimulatedPiano(number, notes_per_s, **broker) for number in numbers]
    deadline = time.monotonic() + SETTLE_S
    while not all(piano.sink.connected for piano in pianos) and time.monotonic() < deadline:
        time.sleep(0.05)
    connected = sum(piano.sink.connected for piano in pianos)
    together.wait(SETTLE_S)
    begin = time.monotonic()
    due = [(begin + number / len(pianos) / notes_per_s, number) for number in range(len(pianos))]
    heapq.heapify(due)
    events = 0
    while due[0][0] < begin + seconds:
        at_s, number = due[0]
        time.sleep(max(0.0, at_s - time.monotonic()))
        heapq.heapreplace(due, (max(at_s, time.monotonic() - 1) + pianos[number].play(), number))
        events += 1
    together.wait(SETTLE_S)
    time.sleep(0.5)
    sent.put((connected, events, sum(piano.sink.dropped for piano in pianos)))
    together.wait(SETTLE_S)  # what the end itself publishes does not count
    for piano in pianos:
        piano.sink.close()


class Subscriber:
    """Receives the notes of all pianos and remembers when each came."""

    def __init__(self, host: str, port: int) -> None:
        self.arrivals: list[tuple[float, float, bytes]] = []  # wall clock, monotonic clock, payload
        self._client = paho.Client(paho.CallbackAPIVersion.VERSION2)
        self._client.on_message = self._take
        ready = threading.Event()
        self._client.on_connect = lambda client, *_: client.subscribe(f"{PREFIX}/+/note", 0)
        self._client.on_subscribe = lambda *_: ready.set()
        try:
            self._client.connect(host, port)
        except OSError as error:
            raise SystemExit(f"no broker at {host}:{port}: {error.strerror or error}") from error
        self._client.loop_start()
        if not ready.wait(10):
            raise SystemExit(f"the broker at {host}:{port} lets nobody subscribe without a password")

    def _take(self, _client, _data, message) -> None:
        self.arrivals.append((time.time(), time.monotonic(), message.payload))

    def latencies_ms(self) -> dict[str, np.ndarray]:
        """Return name -> milliseconds (n,) since each message was made, and since the event's ``send``."""
        notes = [json.loads(payload) for _, _, payload in self.arrivals]
        times = list(zip(self.arrivals, notes, strict=True))
        return {
            "publish to subscriber": 1e3 * np.array([wall - note["unix_s"] for (wall, _, _), note in times]),
            "send to subscriber": 1e3 * np.array([mono - note["decided_s"] for (_, mono, _), note in times]),
        }

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()


def read_options() -> argparse.Namespace:
    """Return what the command line asks for."""
    options = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_argument("--pianos", type=int, default=200)
    options.add_argument("--notes", type=float, default=4.0, help="per second and piano")
    options.add_argument("--seconds", type=float, default=20.0)
    options.add_argument("--processes", type=int, default=4)
    options.add_argument("--host", default="")
    options.add_argument("--port", type=int, default=1883)
    return options.parse_args()


def main() -> None:
    """Play, listen, print."""
    asked = read_options()
    with contextlib.ExitStack() as stack:
        broker = {"host": asked.host, "port": asked.port}
        where = f"{asked.host}:{asked.port}"
        if not asked.host:
            own = stack.enter_context(start_broker())
            broker = {"host": own.host, "port": own.port, "protocol": own.protocol}
            where = f"{own.which} on this computer"
        subscriber = Subscriber(broker["host"], broker["port"])
        stack.callback(subscriber.close)
        spawn = multiprocessing.get_context("spawn")
        processes = min(asked.processes, asked.pianos)
        together, sent = spawn.Barrier(processes + 1), spawn.Queue()
        bounds = [asked.pianos * part // processes for part in range(processes + 1)]
        players = [
            spawn.Process(
                target=play,
                args=(range(*pair), asked.notes, asked.seconds, broker, together, sent),
                daemon=True,
            )
            for pair in itertools.pairwise(bounds)
        ]
        for player in players:
            player.start()
        together.wait(2 * SETTLE_S)
        start = time.monotonic()
        together.wait(SETTLE_S + asked.seconds)
        played_s = time.monotonic() - start
        counts = [sent.get(timeout=SETTLE_S) for _ in players]
        connected, events, dropped = (sum(column) for column in zip(*counts, strict=True))
        deadline = time.monotonic() + LATE_S
        while len(subscriber.arrivals) < events - dropped and time.monotonic() < deadline:
            time.sleep(0.05)
        arrived = len(subscriber.arrivals)
        latencies = subscriber.latencies_ms()
        together.wait(SETTLE_S)
        for player in players:
            player.join(SETTLE_S)
    print(f"{connected} of {asked.pianos} pianos at {where} for {played_s:.1f} s")  # noqa: T201
    told = f"{events / played_s:.0f} /s sent, {arrived} of {events} arrived, {dropped} dropped at the pianos"
    print(f"{'events':22} {told}")  # noqa: T201
    for name, times in latencies.items():
        p50, p99, most = np.percentile(times, [50, 99, 100])
        print(f"{name:22} p50 {p50:7.2f} ms   p99 {p99:7.2f} ms   max {most:7.2f} ms")  # noqa: T201


if __name__ == "__main__":
    main()
