"""A thread that cannot die in silence."""

import threading
from collections.abc import Callable, Iterable, Sequence
from typing import Protocol, TypeVar

from ivories.runtime.mailbox import Mailbox

In = TypeVar("In")
Out = TypeVar("Out")
Taken_contra = TypeVar("Taken_contra", contravariant=True)
Given_co = TypeVar("Given_co", covariant=True)


class Pushable(Protocol[Taken_contra, Given_co]):
    """A stage, or several of them in a row."""

    def push(self, item: Taken_contra, /) -> Sequence[Given_co]:
        """Take one item and return what it completes."""
        ...


class Worker:
    """Runs ``work`` in a thread of its own and keeps what made it fail for the owner.

    Args:
        name: of the thread.
        work: returns when it is done.
        ended: called in the thread, last of all, however ``work`` ended; it must not raise.
    """

    def __init__(
        self, name: str, work: Callable[[], None], ended: Callable[["Worker"], None] | None = None
    ) -> None:
        self.name = name
        self.failure: BaseException | None = None
        """What ``work`` raised"""
        self._work = work
        self._ended = ended
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    @property
    def started(self) -> bool:
        """True from ``start`` on."""
        return self._thread.ident is not None

    @property
    def alive(self) -> bool:
        """True while ``work`` runs."""
        return self._thread.is_alive()

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def join(self, timeout: float | None = None) -> bool:
        """Wait for the end; return whether it has come. A worker never started has ended."""
        if self.started:
            self._thread.join(timeout)
        return not self.alive

    def check(self) -> None:
        """Raise what made ``work`` fail, in the thread of the owner."""
        if self.failure is not None:
            raise self.failure

    def _run(self) -> None:
        try:
            self._work()
        except BaseException as error:
            self.failure = error
        finally:
            if self._ended is not None:
                self._ended(self)


def pump(items: Iterable[In], stage: Pushable[In, Out], outbox: Mailbox[Out]) -> None:
    """Push ``items``, a source's or a mailbox's, through ``stage`` into ``outbox`` until one of them ends."""
    for item in items:
        for result in stage.push(item):
            outbox.put(result)
        if outbox.closed:
            return
