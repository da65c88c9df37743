"""The pace of a file: as fast as it is asked for, or as fast as it was recorded."""

import threading

from ivories.clock import now_ns


class Pace:
    """Keeps the time of one file source, and ends it when told to.

    Unpaced, stamps are those of the file, from 0. Paced, they are CLOCK_MONOTONIC, and ``wait`` holds an item
    back until a sensor would have delivered it.

    Args:
        realtime: paced or not.
        epoch_ns: monotonic time of the file's time 0, so that sound and pictures of one container agree;
            otherwise the file begins when its first item is asked for.
    """

    def __init__(self, realtime: bool, epoch_ns: int | None = None) -> None:
        self._realtime = realtime
        self._epoch_ns = epoch_ns
        self._stop = threading.Event()

    @property
    def stopped(self) -> bool:
        """True after ``stop``."""
        return self._stop.is_set()

    def stop(self) -> None:
        """End the source, also while it waits."""
        self._stop.set()

    def stamp(self, t_ns: int) -> int:
        """Return the time to put on an item at ``t_ns`` of the file."""
        if not self._realtime:
            return t_ns
        if self._epoch_ns is None:
            self._epoch_ns = now_ns() - t_ns
        return self._epoch_ns + t_ns

    def wait(self, stamp_ns: int) -> bool:
        """Wait until ``stamp_ns`` if paced; return whether to go on."""
        late_ns = now_ns() - stamp_ns
        if self._realtime and late_ns < 0:
            self._stop.wait(-late_ns * 1e-9)
        return not self.stopped
