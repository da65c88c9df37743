"""Counting what was played, for the MQTT topic ``stats``."""

import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Final

import numpy as np

from ivories.clock import MILLISECOND
from ivories.controls import Controls
from ivories.datatypes import NoteEvent, NoteKind
from ivories.sinks.mqtt.messages import DelaySpread, StatsMessage, unix_s

_ONSETS: Final = 4096  # kept between two messages: a minute of 68 notes per second


class Tally:
    """Counts events as they are sent, whatever becomes of them at the broker."""

    def __init__(self, clock: Callable[[], float] = time.monotonic, *, one_clock: bool = False) -> None:
        """Start at zero.

        Args:
            clock: returns seconds.
            one_clock: the events' times are CLOCK_MONOTONIC, not those of a recording.
        """
        self._clock = clock
        self._one_clock = one_clock
        self._start_s = clock()
        self._notes = 0
        self._retractions = 0
        self._onsets: deque[NoteEvent] = deque(maxlen=_ONSETS)

    def apply(self, event: NoteEvent) -> None:
        """Take one event into account."""
        if event.kind is NoteKind.ONSET:
            self._notes += 1
            self._onsets.append(event)
        elif event.retracts:
            self._retractions += 1

    def message(
        self, controls: Controls | None, *, published: int, dropped: int, connections: int
    ) -> StatsMessage:
        """Return the counts so far, the gauges in ``controls``, and the delays since the last message."""
        onsets = list(self._onsets)
        self._onsets.clear()
        health = controls.health() if controls else {}
        return StatsMessage(
            uptime_s=round(self._clock() - self._start_s, 1),
            notes=self._notes,
            retractions=self._retractions,
            delay_ms=_spread([event.decided_ns - event.t_ns for event in onsets]) if onsets else None,
            left_ms=_left(onsets) if self._one_clock else {},
            published=published,
            dropped=dropped,
            connections=connections,
            health={name: round(weight, 3) for name, weight in health.items()},
            lost=dict(controls.lost()) if controls else {},
            unix_s=unix_s(),
        )


def _left(onsets: Sequence[NoteEvent]) -> dict[str, DelaySpread]:
    """Return, by way out, how long after the sound the bytes of ``onsets`` left, where that is known."""
    delays_ns: dict[str, list[int]] = {}
    for event in onsets:
        for sink, t_ns in tuple(event.left_ns.items()):
            delays_ns.setdefault(sink, []).append(t_ns - event.t_ns)
    return {sink: _spread(values) for sink, values in delays_ns.items()}


def _spread(delays_ns: Sequence[int]) -> DelaySpread:
    p50, p95, most = (round(float(x) / MILLISECOND, 1) for x in np.percentile(delays_ns, [50, 95, 100]))
    return DelaySpread(len(delays_ns), p50, p95, most)
