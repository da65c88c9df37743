"""Write what keeps changing: seldom, since memory cards wear out, and never in a thread that plays."""

import time
from collections.abc import Callable
from typing import Generic, TypeVar

from ivories.runtime.mailbox import Mailbox, Overflow
from ivories.runtime.worker import Worker

Item = TypeVar("Item")


class SeldomWriter(Generic[Item]):
    """Hands the newest of what it is given to ``write`` in a thread of its own, which starts when needed.

    Args:
        name: of the thread.
        write: called in it; must not raise.
        period_s: no more turns than one in this time, and none before it has passed once.
        clock: seconds, monotonic.
    """

    def __init__(
        self,
        name: str,
        write: Callable[[Item], None],
        period_s: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.offered: Mailbox[Item] = Mailbox(name, 1, Overflow.KEEP_LATEST)
        """What waits to be written"""
        self._write = write
        self._period_s = period_s
        self._clock = clock
        self._next_s = clock() + period_s
        self._worker = Worker(name, self._write_all)

    @property
    def started(self) -> bool:
        """Whether there ever was something to write."""
        return self._worker.started

    def take_turn(self) -> bool:
        """Return whether the time for another write has come; the next one is a period away then."""
        now = self._clock()
        if now < self._next_s:
            return False
        self._next_s = now + self._period_s
        return True

    def put(self, item: Item) -> None:
        """Write ``item`` soon and elsewhere."""
        if not self._worker.started:
            self._worker.start()
        self.offered.put(item)

    def close(self) -> None:
        """Finish writing; what is put later is not written."""
        self.offered.close()
        self._worker.join()

    def _write_all(self) -> None:
        for item in self.offered:
            self._write(item)
