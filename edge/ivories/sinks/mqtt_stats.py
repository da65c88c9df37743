"""Counting what was played, for the MQTT topic ``stats``."""

import time
from collections import deque
from collections.abc import Callable
from typing import Final

import numpy as np

from ivories.clock import MILLISECOND
from ivories.controls import Controls
from ivories.datatypes import NoteEvent, NoteKind
from ivories.sinks.mqtt_messages import DelaySpread, StatsMessage, unix_s

_DELAYS: Final = 4096  # kept between two messages: a minute of 68 notes per second


class Tally:
    """Counts events as they are sent, whatever becomes of them at the broker."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """Start at zero; ``clock`` returns seconds."""
        self._clock = clock
        self._start_s = clock()
        self._notes = 0
        self._retractions = 0
        self._delays_ms: deque[float] = deque(maxlen=_DELAYS)

    def apply(self, event: NoteEvent) -> None:
        """Take one event into account."""
        if event.kind is NoteKind.ONSET:
            self._notes += 1
            self._delays_ms.append((event.decided_ns - event.t_ns) / MILLISECOND)
        elif event.retracts:
            self._retractions += 1

    def message(
        self, controls: Controls | None, *, published: int, dropped: int, connections: int
    ) -> StatsMessage:
        """Return the counts so far, the gauges in ``controls``, and the delays since the last message."""
        health = controls.health() if controls else {}
        message = StatsMessage(
            uptime_s=round(self._clock() - self._start_s, 1),
            notes=self._notes,
            retractions=self._retractions,
            delay_ms=self._spread(),
            published=published,
            dropped=dropped,
            connections=connections,
            health={name: round(weight, 3) for name, weight in health.items()},
            lost=dict(controls.lost()) if controls else {},
            unix_s=unix_s(),
        )
        self._delays_ms.clear()
        return message

    def _spread(self) -> DelaySpread | None:
        if not self._delays_ms:
            return None
        p50, p95, most = (round(float(x), 1) for x in np.percentile(self._delays_ms, [50, 95, 100]))
        return DelaySpread(len(self._delays_ms), p50, p95, most)
