"""Raw MIDI out of a character device: on a Pi the port of the USB gadget that a laptop sees as a keyboard.

``send`` writes in the caller's thread, for the shortest way. A second thread sleeps until the node takes
bytes again after it was full, or breaks; it never polls by time except to find a node that went away.
"""

import errno
import logging
import os
import select
import threading
import time
from pathlib import Path
from typing import Final

from ivories.datatypes import KeyState, NoteEvent
from ivories.errors import SinkError
from ivories.sinks.midi import PortLedger
from ivories.sinks.rawmidi import Cable, drop_unsent, find_cable, find_gadget, shorten_buffer

_log = logging.getLogger(__name__)

FIRST_RETRY_S: Final = 0.05
LONGEST_RETRY_S: Final = 1.0
CLOSE_S: Final = 0.1
"""How long ``close`` waits for a full node to take the last offsets"""
SETTLE_S: Final = 0.02
"""How long the last bytes may take from the kernel to a host that listens; then what is left is dropped"""
STALE_S: Final = 0.5
"""A node that was full for longer had nobody listening: start clean when it opens"""


class UsbMidiSink:
    """Sends whole MIDI messages to a raw MIDI device node and lives through everything that may happen to it.

    - Host program closed (the node is full, EAGAIN): events coalesce in the ledger; when bytes flow again,
      the owed offsets go first, then the keys as they are.
    - Gadget rebound, cable of an adapter pulled (ENODEV, EPIPE, EIO): the node is opened again, with growing
      pauses.
    - On every opening, and whenever a host takes the gadget up, the receiver is silenced (pedal, all notes
      off, 88 note-offs), then hears the keys as they are.
    """

    name = "usb_midi"

    def __init__(self, *, device: str = "auto", channel: int = 0, wait: bool = False) -> None:
        """Open ``device``: a path, or ``auto`` for the USB gadget's own port.

        Args:
            device: character device node.
            channel: MIDI channel 0..15.
            wait: start without the node and open it when it comes.

        Raises:
            SinkError: the node cannot be opened and ``wait`` is not set.
        """
        self._device = device
        self._ledger = PortLedger(channel=channel)
        self._lock = threading.Lock()  # ledger, node and the fields below
        self._node: int | None = None
        self._broken = False  # the keeper shall close the node
        self._rest = b""  # of a message that the node took in part
        self._full_since: float | None = None
        self._taking = False
        self._closed = False
        self.refused = 0
        """Writes that met a full node"""
        self.reopened = 0
        """Openings after the first"""
        cable = find_cable() if device == "auto" else None
        self._cable = None if cable is None else Cable(cable)
        self._bell = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        try:
            self._open()
        except SinkError:
            if not wait:
                self._close_watches()
                raise
        self._keeper = threading.Thread(target=self._keep, name="usb-midi", daemon=True)
        self._keeper.start()

    def __repr__(self) -> str:
        """Show the node, its state and the counters."""
        state = "closed" if self._closed else "absent" if self._node is None else "open"
        full = ", full" if self._full_since is not None else ""
        return (
            f"<UsbMidiSink {self._device} {state}{full}, refused {self.refused}, "
            f"swallowed {self._ledger.swallowed}, reopened {self.reopened}>"
        )

    def send(self, event: NoteEvent, state: KeyState) -> None:  # noqa: ARG002  the contract's argument
        """Write ``event``, or note it for later when the node is full; raises ``SinkError`` if closed."""
        with self._lock:
            if self._closed:
                raise SinkError(f"the MIDI port {self._device} is closed: no note can be sent")
            self._ledger.record(event)
            self._flush()

    def release_all(self) -> None:
        """Let every sounding note end: at once, or first thing when the node takes bytes again."""
        with self._lock:
            if not self._closed:
                self._ledger.release_all()
                self._flush()

    def close(self) -> None:
        """Release all, wait at most ``CLOSE_S`` for a full node, close it."""
        self.release_all()
        with self._lock:
            if self._closed:
                return
            self._closed = True
            deadline = time.monotonic() + CLOSE_S
            while self._full_since is not None and not self._broken and self._node is not None:
                if not _writable(self._node, deadline - time.monotonic()):
                    break
                self._flush()
        os.eventfd_write(self._bell, 1)
        self._keeper.join()
        time.sleep(SETTLE_S if self._node is not None and self._full_since is None else 0)
        self._close_node()
        self._close_watches()

    def _flush(self, *, writable: bool = False) -> None:
        """Write what is due; the lock is held. The node counts as full until it is seen to take bytes."""
        if self._node is None or self._broken:
            return
        self._taking = writable
        done = self._ledger.drain(self._write)
        if done and self._rest:
            self._write(b"")
        if done and not self._rest:
            self._full_since = None if self._taking else self._full_since
        elif self._full_since is None and not self._broken:
            self._full_since = time.monotonic()
            os.eventfd_write(self._bell, 1)

    def _write(self, message: bytes) -> bool:
        """Return whether the node took ``message``, at least its beginning: the rest goes first next time."""
        assert self._node is not None  # noqa: S101  _flush has looked
        data = self._rest + message
        try:
            written = os.write(self._node, data)
        except BlockingIOError:
            self.refused += 1
            return False
        except OSError as error:
            _log.warning("the MIDI port %s went away (%s): waiting for it", self._device, error.strerror)
            self._broken = True
            os.eventfd_write(self._bell, 1)
            return False
        self._taking = True
        taken = written > len(self._rest)
        self._rest = (data if taken else self._rest)[written:]
        return taken

    def _open(self) -> None:
        """Open the node and start clean; raises ``SinkError`` with what to do."""
        found = find_gadget() if self._device == "auto" else Path(self._device)
        if found is None:
            raise SinkError(
                "this computer has no USB-MIDI gadget port: start ivories-gadget.service on a board with a "
                "USB device port, or name a raw MIDI device"
            )
        try:
            node = os.open(found, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY)
        except OSError as error:
            hint = {
                errno.EACCES: "add this user to the group 'audio'",
                errno.EBUSY: "another program holds it; close that first",
                errno.ENXIO: "nobody is at its other end",
            }.get(error.errno or 0, "is it plugged in?")
            raise SinkError(f"cannot open the MIDI port {found}: {error.strerror}; {hint}") from error
        shorten_buffer(node)
        self._node, self._broken, self._rest, self._full_since = node, False, b"", None
        self._ledger.start_clean()
        self._flush()

    def _close_node(self) -> None:
        if self._node is not None:
            drop_unsent(self._node)
            os.close(self._node)
            self._node = None
            self._full_since = None

    def _close_watches(self) -> None:
        os.close(self._bell)
        if self._cable is not None:
            self._cable.close()

    def _keep(self) -> None:
        """Wait for a full node to empty, for a lost one to return, for a host to take the gadget up."""
        pause_s = FIRST_RETRY_S
        while not self._closed:
            if self._node is None:
                self._wait(pause_s)
                pause_s = min(2 * pause_s, LONGEST_RETRY_S)
                with self._lock:
                    if not self._closed and self._reopen():
                        pause_s = FIRST_RETRY_S
            else:
                happened, taken_up = self._wait(None)
                with self._lock:
                    if self._broken or happened & (select.POLLERR | select.POLLHUP | select.POLLNVAL):
                        self._close_node()
                    elif taken_up:
                        self._ledger.start_clean()
                        self._flush()
                    elif happened & select.POLLOUT:
                        self._resume()

    def _reopen(self) -> bool:
        try:
            self._open()
        except SinkError as error:
            _log.debug("%s", error)
            return False
        self.reopened += 1
        _log.info("the MIDI port %s is back", self._device)
        return True

    def _resume(self) -> None:
        if self._full_since is not None and time.monotonic() - self._full_since > STALE_S:
            self._ledger.start_clean()
            self._full_since = time.monotonic()
        self._flush(writable=True)

    def _wait(self, timeout_s: float | None) -> tuple[int, bool]:
        """Sleep until something happens; return the node's poll events, and whether a host took it up."""
        poll = select.poll()
        poll.register(self._bell, select.POLLIN)
        node = self._node
        if node is not None:
            poll.register(node, select.POLLOUT if self._full_since is not None else 0)
        if self._cable is not None:
            poll.register(self._cable, self._cable.events)
        happened = dict(poll.poll(None if timeout_s is None else timeout_s * 1000))
        if self._bell in happened:
            os.eventfd_read(self._bell)
        changed = self._cable is not None and self._cable.fileno() in happened and self._cable.taken_up()
        return (0 if node is None else happened.get(node, 0)), changed


def _writable(node: int, timeout_s: float) -> bool:
    poll = select.poll()
    poll.register(node, select.POLLOUT)
    return bool(poll.poll(max(0.0, timeout_s) * 1000))
