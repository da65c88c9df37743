"""A raw MIDI device node and all that may happen to it, for one thread that polls.

Whoever owns a ``PortNode`` polls its ``watched`` descriptors and hands what happened to ``handle``; ``due_s``
tells when to call without an event. Nothing here blocks, and nothing of weight is imported.
"""

import errno
import os
import select
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from ivories.errors import SinkError
from ivories.sinks.port.ledger import PortLedger
from ivories.sinks.rawmidi import Cable, drop_unsent, find_cable, find_gadget, shorten_buffer

FIRST_RETRY_S: Final = 0.05
LONGEST_RETRY_S: Final = 0.2
SETTLE_S: Final = 0.02
"""How long the last bytes may take from the kernel to a host that listens; then what is left is dropped"""
STALE_S: Final = 0.5
"""A node that was full for longer had nobody listening: start clean when it opens"""
ACTIVE_SENSING: Final = b"\xfe"
ACTIVE_SENSING_S: Final = 0.2
"""A receiver that knows active sensing lets all notes go 0.33 s after the last one"""


class PortNode:
    """Sends whole MIDI messages to a raw MIDI device node and lives through everything that may happen to it.

    - Host program closed (the node is full, EAGAIN): messages coalesce in the ledger; when bytes flow again,
      the owed offsets go first, then the keys as they are.
    - Gadget rebound, cable of an adapter pulled (ENODEV, EPIPE, EIO): the node is opened again, with growing
      pauses.
    - On every opening, and whenever a host takes the gadget up, the receiver is silenced (pedal, all notes
      off, 88 note-offs), then hears the keys as they are.
    """

    def __init__(
        self, device: str, *, channel: int = 0, active_sensing: bool = False, tell: Callable[[str], None]
    ) -> None:
        """Prepare ``device``, without opening it: a path, or ``auto`` for the USB gadget's own port.

        Args:
            device: character device node.
            channel: MIDI channel 0..15.
            active_sensing: send one byte every ``ACTIVE_SENSING_S``, so that a receiver notices a dead line.
            tell: takes one sentence for the log.
        """
        self._device = device
        self._ledger = PortLedger(channel=channel)
        self._active_sensing = active_sensing
        self._tell = tell
        self._number: int | None = None
        self._broken = False
        self._rest = b""  # of a message that the node took in part
        self._full_since: float | None = None
        self._taking = False
        self._written = 0.0  # when the node last took something
        self._retry_s = FIRST_RETRY_S
        self._retry_at = 0.0
        self._openings = 0
        self.refused = 0
        """Writes that met a full node"""
        cable = find_cable() if device == "auto" else None
        self._cable = None if cable is None else Cable(cable)

    @property
    def state(self) -> str:
        """``absent``, ``full`` or ``open``."""
        if self._number is None or self._broken:
            return "absent"
        return "open" if self._full_since is None else "full"

    @property
    def reopened(self) -> int:
        """Openings after the first."""
        return max(0, self._openings - 1)

    @property
    def swallowed(self) -> int:
        """Notes that began and ended while the node took nothing."""
        return self._ledger.swallowed

    def send(self, messages: bytes) -> None:
        """Let whole messages of three bytes out, or note them for later."""
        for start in range(0, len(messages), 3):
            self._ledger.record(messages[start : start + 3])
            self._flush_if_open()

    def release_all(self) -> None:
        """Let every sounding note end: at once, or first thing when the node takes bytes again."""
        self._ledger.release_all()
        self._flush_if_open()

    def watched(self) -> dict[int, int]:
        """Return what to poll: descriptor -> events."""
        watched = {}
        if self._number is not None:
            watched[self._number] = select.POLLOUT if self._full_since is not None else 0
        if self._cable is not None:
            watched[self._cable.fileno()] = self._cable.events
        return watched

    def due_s(self) -> float | None:
        """Return in how many seconds ``handle`` wants to be called without an event; None = never."""
        if self._number is None or self._broken:
            return max(0.0, self._retry_at - time.monotonic())
        if self._active_sensing and self._full_since is None:
            return max(0.0, self._written + ACTIVE_SENSING_S - time.monotonic())
        return None

    def handle(self, happened: dict[int, int]) -> None:
        """Go on after poll told of ``happened``: descriptor -> events."""
        taken_up = self._cable is not None and self._cable.fileno() in happened and self._cable.taken_up()
        events = 0 if self._number is None else happened.get(self._number, 0)
        if self._broken or events & (select.POLLERR | select.POLLHUP | select.POLLNVAL):
            self._close_number()
            self._retry_at = time.monotonic() + self._retry_s
        elif self._number is None:
            if time.monotonic() >= self._retry_at:
                self._reopen()
        elif taken_up:
            self._ledger.start_clean()
            self._flush()
        elif events & select.POLLOUT:
            self._resume()
        elif self._active_sensing and self.due_s() == 0:
            self._write(ACTIVE_SENSING)

    def open(self) -> None:
        """Open the node and start clean; raises ``SinkError`` with what to do, its errno set."""
        found = find_gadget() if self._device == "auto" else Path(self._device)
        if found is None:
            raise SinkError(
                "this computer has no USB-MIDI gadget port: start ivories-gadget.service on a board with a "
                "USB device port, or name a raw MIDI device"
            )
        try:
            number = os.open(found, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY)
        except OSError as error:
            hint = {
                errno.EACCES: "add this user to the group 'audio'",
                errno.EBUSY: "another program holds it; close that first",
                errno.ENXIO: "nobody is at its other end",
            }.get(error.errno or 0, "is it plugged in?")
            told = SinkError(f"cannot open the MIDI port {found}: {error.strerror}; {hint}")
            told.errno = error.errno
            raise told from error
        shorten_buffer(number)
        self._number, self._broken, self._rest, self._full_since = number, False, b"", None
        self._retry_s = FIRST_RETRY_S
        self._openings += 1
        self._ledger.start_clean()
        self._flush()

    def close(self) -> None:
        """Give the node back; what it still holds goes out if a host listens, else it is dropped."""
        if self.state == "open":
            time.sleep(SETTLE_S)
        self._close_number()
        if self._cable is not None:
            self._cable.close()
            self._cable = None

    def _flush_if_open(self) -> None:
        """Leave a full node to poll: an event must not slip in before the clean start of a stale one."""
        if self._full_since is None:
            self._flush()

    def _flush(self, *, writable: bool = False) -> None:
        """Write what is due. The node counts as full until it is seen to take bytes."""
        if self._number is None or self._broken:
            return
        self._taking = writable
        done = self._ledger.drain(self._write)
        if done and self._rest:
            self._write(b"")
        if done and not self._rest:
            self._full_since = None if self._taking else self._full_since
        elif self._full_since is None and not self._broken:
            self._full_since = time.monotonic()

    def _write(self, message: bytes) -> bool:
        """Return whether the node took ``message``, at least its beginning: the rest goes first next time."""
        assert self._number is not None  # noqa: S101  _flush has looked
        data = self._rest + message
        try:
            written = os.write(self._number, data)
        except BlockingIOError:
            self.refused += 1
            return False
        except OSError as error:
            self._tell(f"the MIDI port {self._device} went away ({error.strerror}): waiting for it")
            self._broken = True
            self._retry_at = 0.0
            return False
        self._taking = True
        self._written = time.monotonic()
        taken = written > len(self._rest)
        self._rest = (data if taken else self._rest)[written:]
        return taken

    def _close_number(self) -> None:
        if self._number is not None:
            drop_unsent(self._number)
            os.close(self._number)
            self._number, self._broken, self._full_since = None, False, None

    def _reopen(self) -> None:
        try:
            self.open()
        except SinkError:
            self._retry_at = time.monotonic() + self._retry_s
            self._retry_s = min(2 * self._retry_s, LONGEST_RETRY_S)
        else:
            if self.reopened:
                self._tell(f"the MIDI port {self._device} is back")

    def _resume(self) -> None:
        if self._full_since is not None and time.monotonic() - self._full_since > STALE_S:
            self._ledger.start_clean()
            self._full_since = time.monotonic()
        self._flush(writable=True)
