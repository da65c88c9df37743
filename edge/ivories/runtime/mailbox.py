"""Where threads meet: a bounded box with a stated policy for when it is full, and counters.

Sound rejects: the block is lost and the next one taken says so in its ``gap``. Pictures and evidence keep the
latest: what is old is worthless. Events coalesce: a note may be left out, but never the end of one.
"""

import threading
from collections import deque
from collections.abc import Iterator
from dataclasses import replace
from enum import StrEnum
from typing import Any, Generic, TypeVar

from ivories.datatypes import AudioBlock, NoteEvent, NoteKind

Item = TypeVar("Item")


class Overflow(StrEnum):
    """What a full mailbox does with one more item."""

    REJECT = "reject"
    """Refuses it. Of AudioBlocks, the next one taken carries the samples refused as its gap."""
    KEEP_LATEST = "keep latest"
    """Drops the oldest."""
    COALESCE = "coalesce"
    """NoteEvents only: drops whole notes, never the end of a note that was handed out."""


class Mailbox(Generic[Item]):
    """A bounded queue of one or several producers and one consumer.

    Args:
        name: for the log and the counters.
        capacity: items it holds; with ``COALESCE`` it may grow by one end per key and the pedal.
        overflow: what happens when it is full.
    """

    def __init__(self, name: str, capacity: int, overflow: Overflow) -> None:
        if capacity < 1:
            raise ValueError(f"mailbox {name} needs room for at least one item")
        self.name = name
        self.capacity = capacity
        self.overflow = overflow
        self.accepted = 0
        """Items put in, those dropped later included"""
        self.dropped = 0
        """Items that nobody will get: refused, overtaken or left out"""
        self._items: deque[Item] = deque()
        self._changed = threading.Condition()
        self._closed = False
        self._block_before: AudioBlock | None = None

    def __len__(self) -> int:
        """Return the number of items waiting."""
        with self._changed:
            return len(self._items)

    @property
    def closed(self) -> bool:
        """True after ``close``; items may still be waiting."""
        return self._closed

    def put(self, item: Item) -> bool:
        """Put ``item`` in, never waiting; return False when it, or the box, was refused."""
        with self._changed:
            if self._closed:
                return False
            full = len(self._items) >= self.capacity
            if full and self.overflow is Overflow.REJECT:
                self.dropped += 1
                return False
            if full and self.overflow is Overflow.KEEP_LATEST:
                self._items.popleft()
                self.dropped += 1
            if full and isinstance(item, NoteEvent) and self.overflow is Overflow.COALESCE:
                left_out = _left_out(self._items, item)
                self.dropped += len(left_out)
                if left_out and left_out[-1] is item:
                    return False
            if isinstance(item, AudioBlock):
                item = self._with_gap(item)
            self._items.append(item)
            self.accepted += 1
            self._changed.notify()
            return True

    def get(self, timeout: float | None = None) -> Item | None:
        """Return the oldest item; None after ``timeout`` seconds, or when closed and empty."""
        with self._changed:
            self._changed.wait_for(lambda: self._items or self._closed, timeout)
            return self._items.popleft() if self._items else None

    def __iter__(self) -> Iterator[Item]:
        """Yield items until the box is closed and empty."""
        while (item := self.get()) is not None:
            yield item

    def close(self) -> None:
        """Take nothing more; what is in can still be got. Calling again does nothing."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def _with_gap(self, block: Any) -> Any:
        """Return ``block`` with the samples between it and the one taken before as its gap."""
        before, self._block_before = self._block_before, block
        if before is None:
            return block
        return replace(block, gap=max(0, block.first_sample - before.first_sample - len(before.samples)))


def _left_out(items: deque[Any], new: NoteEvent) -> list[NoteEvent]:
    """Return what is left out, ``new`` or not, when it meets full ``items``; take the rest of it out of them.

    The consumer must hear the end of every note it was told of, so an end may enter a full box once per key.
    """
    same = [event for event in items if event.key == new.key]
    if new.kind is NoteKind.ONSET:
        return [new]
    if not same:
        return []
    if new.kind is NoteKind.PEDAL:  # only where the pedal is now counts
        for event in same:
            items.remove(event)
        return same
    if same[-1].kind is NoteKind.ONSET:  # the note waits here as a whole: nobody has heard of it
        items.reverse()
        items.remove(same[-1])
        items.reverse()
        return [same[-1], new]
    return [new]  # its end waits here already, its onset was left out
