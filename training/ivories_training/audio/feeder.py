"""Batches made while the network learns from the ones before."""

import queue
import threading
from collections.abc import Callable
from typing import Any


class Feeder:
    """Draws batches in a thread, two ahead; ``next`` returns one.

    Args:
        draw: makes a batch.
    """

    def __init__(self, draw: Callable[[], Any]) -> None:
        self.queue: queue.Queue[Any] = queue.Queue(2)
        self.stopped = threading.Event()
        self.thread = threading.Thread(target=self._run, args=(draw,), daemon=True)
        self.thread.start()

    def _run(self, draw: Callable[[], Any]) -> None:
        while not self.stopped.is_set():
            batch = draw()
            while not self.stopped.is_set():
                try:
                    self.queue.put(batch, timeout=1.0)
                    break
                except queue.Full:
                    continue

    def __next__(self) -> Any:
        return self.queue.get(timeout=120)

    def stop(self) -> None:
        """End the thread."""
        self.stopped.set()
        self.thread.join()
