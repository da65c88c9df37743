"""How long each stage takes, and how that spreads: a few counters that cost two clock reads per call."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import ArrayLike

_KEPT: Final = 1 << 16  # newest durations kept per stage: 11 minutes of hops, 512 KiB


@dataclass(frozen=True, slots=True)
class Spread:
    """How values lie, in their own unit."""

    count: int
    mean: float
    median: float
    p95: float
    p99: float
    maximum: float

    @classmethod
    def of(cls, values: ArrayLike) -> "Spread":
        """Describe ``values`` (n,), n >= 1; raises ValueError for none."""
        array = np.asarray(values, np.float64)
        if array.size == 0:
            raise ValueError("no values to describe")
        median, p95, p99 = (float(x) for x in np.percentile(array, [50, 95, 99]))
        return cls(array.size, float(array.mean()), median, p95, p99, float(array.max()))

    @property
    def jitter(self) -> float:
        """p95 - median: by how much the late ones are later than the usual one."""
        return self.p95 - self.median


@dataclass(frozen=True, slots=True)
class StageTime:
    name: str
    calls: int
    total_s: float
    median_us: float
    p95_us: float
    p99_us: float
    max_us: float


class StageTimes:
    """Durations by stage name. One instance per thread, or one shared where each name has one thread."""

    def __init__(self, clock: Callable[[], int] = time.perf_counter_ns) -> None:
        self._clock = clock
        self._ring: dict[str, np.ndarray[tuple[int], np.dtype[np.int64]]] = {}
        self._calls: dict[str, int] = {}
        self._total: dict[str, int] = {}

    @contextmanager
    def measure(self, name: str) -> Iterator[None]:
        """Time the body of a ``with`` statement as one call of ``name``."""
        start = self._clock()
        try:
            yield
        finally:
            self.add(name, self._clock() - start)

    def add(self, name: str, duration_ns: int) -> None:
        """Enter one duration."""
        if name not in self._ring:
            # Written now: zeros would be a promise of the kernel, and memory would grow for minutes.
            self._ring[name] = np.full(_KEPT, 0, np.int64)
            self._calls[name] = self._total[name] = 0
        self._ring[name][self._calls[name] % _KEPT] = duration_ns
        self._calls[name] += 1
        self._total[name] += duration_ns

    def newest_ms(self) -> "dict[str, np.ndarray[tuple[int], np.dtype[np.float64]]]":
        """Return the newest durations by stage in milliseconds, in no order of time."""
        return {name: ring[: min(self._calls[name], _KEPT)] / 1e6 for name, ring in tuple(self._ring.items())}

    def summary(self) -> list[StageTime]:
        """Return one row per stage, in order of first use."""
        rows = []
        for name, kept in self.newest_ms().items():
            us = Spread.of(1e3 * kept)
            rows.append(
                StageTime(name, self._calls[name], self._total[name] / 1e9, us.median, us.p95, us.p99,
                          us.maximum)
            )  # fmt: skip
        return rows
