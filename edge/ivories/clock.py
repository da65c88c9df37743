"""The one clock: CLOCK_MONOTONIC in integer nanoseconds, as ALSA and libcamera stamp their data."""

import time
from typing import Final

SECOND: Final = 1_000_000_000
MILLISECOND: Final = 1_000_000


def now_ns() -> int:
    """Return CLOCK_MONOTONIC in nanoseconds."""
    return time.monotonic_ns()


def seconds(t_ns: int) -> float:
    """Return ``t_ns`` nanoseconds as seconds."""
    return t_ns / SECOND


def nanoseconds(s: float) -> int:
    """Return ``s`` seconds as whole nanoseconds, rounded to nearest."""
    return round(s * SECOND)
