"""Raw MIDI out of a character device: on a Pi the port of the USB gadget that a laptop sees as a keyboard.

The device node is held by a process of its own, the port owner (``ivories.sinks.port_owner``): whatever
happens to this one, it lets all notes go. ``send`` hands a message over in the caller's thread; a second
thread listens to the owner and replaces one that died or hangs.
"""

import contextlib
import logging
import select
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Final

from ivories.datatypes import KeyState, NoteEvent
from ivories.errors import SinkError
from ivories.sinks.held import HeldNotes
from ivories.sinks.midi import event_bytes, note_on, sustain
from ivories.sinks.port_ledger import ALL_NOTES_OFF, CONTROL_CHANGE
from ivories.sinks.port_owner import BEAT, CLOSE

_log = logging.getLogger(__name__)

BEAT_S: Final = 0.03
"""No more beats than one in this time"""
HANG_S: Final = 0.12
"""An owner that does not answer a beat for longer is replaced"""
STARTING_S: Final = 1.0
"""The same for one that has just been started"""
START_S: Final = 5.0
"""How long a first owner may take to tell whether the node can be opened"""
CLOSE_S: Final = 0.4
"""How long an owner may take to release all and end"""
PATIENCE_S: Final = 0.02
"""How long ``send`` waits, once, for an owner with hundreds of messages before it"""
_FAILURES: Final = 3
_RETRY_S: Final = 0.2  # between owners after so many that could not even start
_GLANCE_S: Final = 0.05  # how late an unanswered beat may be noticed

_START: Final = (
    "import sys; sys.path.insert(0, sys.argv.pop(1)); from ivories.sinks.port_owner import main; main()"
)


def launch(line: socket.socket, arguments: list[str]) -> "subprocess.Popen[bytes]":
    """Start a port owner at the other end of ``line``; raises ``OSError``.

    Python runs without its site packages, for a start of some tens of milliseconds; in a session of its own,
    so that a terminal's Ctrl-C goes by.
    """
    folder = str(Path(__file__).parents[2])
    return subprocess.Popen(  # noqa: S603  every word is ours, and there is no shell
        [sys.executable, "-I", "-S", "-c", _START, folder, str(line.fileno()), *arguments],
        pass_fds=[line.fileno()],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        start_new_session=True,
    )


class UsbMidiSink:
    """Sends notes through a port owner; see ``ivories.sinks.port_node`` for what the port lives through.

    - This process ends in any way: the owner lets all notes go.
    - ``beat`` was called once and no word comes any more (a hang, a stop): the same within 0.2 s. Notes that
      were let go so are not struck again.
    - The owner dies or hangs: another silences the receiver, which then hears the keys as they are.
    """

    name = "usb_midi"

    def __init__(
        self, *, device: str = "auto", channel: int = 0, wait: bool = False, active_sensing: bool = False
    ) -> None:
        """Start the owner of ``device``: a path, or ``auto`` for the USB gadget's own port.

        Args:
            device: character device node.
            channel: MIDI channel 0..15.
            wait: start without the node and open it when it comes.
            active_sensing: send MIDI's active sensing, so that a receiver notices a dead line.

        Raises:
            SinkError: the node cannot be opened and ``wait`` is not set.
        """
        self._device = device
        self._channel = channel
        self._active_sensing = active_sensing
        self._lock = threading.Lock()  # what is held, and the line
        self._held = HeldNotes()
        self._line: socket.socket | None = None
        self._owner: subprocess.Popen[bytes]
        self._release = bytes((CONTROL_CHANGE | channel, ALL_NOTES_OFF, 0))
        self._behind = False
        self._closed = False
        self._beat_at = 0.0
        self._unanswered_since: float | None = None
        self._reports = 0  # of this owner
        self._failures = 0  # owners in a row that never reported
        self._past = (0, 0, 0)  # counters of owners before
        self._counters = (0, 0, 0)
        self.state = "absent"
        """Of the node: ``open``, ``full`` or ``absent``"""
        self.restarted = 0
        """Owners after the first"""
        try:
            self._start_first(wait=wait)
        except SinkError:
            self._end_owner()
            raise
        self._watcher = threading.Thread(target=self._watch, name="usb-midi", daemon=True)
        self._watcher.start()

    def __repr__(self) -> str:
        """Show the node, its state and the counters."""
        state = "closed" if self._closed else "open, full" if self.state == "full" else self.state
        return (
            f"<UsbMidiSink {self._device} {state}, refused {self.refused}, swallowed {self.swallowed}, "
            f"reopened {self.reopened}, restarted {self.restarted}>"
        )

    @property
    def refused(self) -> int:
        """Writes that met a full node."""
        return self._past[0] + self._counters[0]

    @property
    def swallowed(self) -> int:
        """Notes that began and ended while the node took nothing."""
        return self._past[1] + self._counters[1]

    @property
    def reopened(self) -> int:
        """Openings after the first of an owner."""
        return self._past[2] + self._counters[2]

    def send(self, event: NoteEvent, state: KeyState) -> None:  # noqa: ARG002  the contract's argument
        """Hand ``event`` to the owner; raises ``SinkError`` if closed."""
        with self._lock:
            if self._closed:
                raise SinkError(f"the MIDI port {self._device} is closed: no note can be sent")
            self._held.apply(event)
            self._put(event_bytes(event, channel=self._channel))

    def beat(self) -> None:
        """Tell the owner that the application makes progress; from the first beat on it must go on."""
        now = time.monotonic()
        if now - self._beat_at < BEAT_S or self._closed:
            return
        with self._lock:
            self._beat_at = now
            self._put(BEAT)
            if self._unanswered_since is None:
                self._unanswered_since = now

    def release_all(self) -> None:
        """Let every sounding note end: at once, or first thing when the node takes bytes again."""
        with self._lock:
            if not self._closed:
                self._held.release()
                self._put(self._release)

    def close(self) -> None:
        """Release all, wait shortly for a full node, give it back."""
        self.release_all()
        with self._lock:
            if self._closed:
                return
            self._closed = True
        self._watcher.join()
        if not self._end_owner():  # it died or hung just now: one more, for silence
            with contextlib.suppress(OSError):
                self._start(wait=False)
                self._end_owner()

    def _put(self, message: bytes) -> None:
        """Send on the line; the lock is held.

        An owner that cannot keep up hears later, in one message, what is held then. A line that fails is
        ended: the next owner is told the same.
        """
        if self._line is None:
            return
        try:
            if self._behind:
                self._line.send(self._release + self._as_held())
                self._behind = False
                if message != BEAT:
                    return
            self._line.send(message)
        except BlockingIOError:
            if not self._behind:
                self._behind = not self._sent_after_all(message)
        except OSError:
            with contextlib.suppress(OSError):
                self._line.shutdown(socket.SHUT_RDWR)  # which wakes the watcher

    def _sent_after_all(self, message: bytes) -> bool:
        assert self._line is not None  # noqa: S101  _put has looked
        poll = select.poll()
        poll.register(self._line, select.POLLOUT)
        poll.poll(PATIENCE_S * 1000)
        try:
            self._line.send(message)
        except OSError:  # a line that has failed fails again
            return False
        return True

    def _as_held(self) -> bytes:
        pedal, keys = self._held.pedal, self._held.keys.items()
        onsets = b"".join(note_on(key, velocity, channel=self._channel) for key, velocity in keys)
        return (sustain(pedal, channel=self._channel) if pedal else b"") + onsets

    def _start(self, *, wait: bool) -> None:
        """Start an owner and tell it the keys as they are; raises ``OSError``."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        ours.setblocking(False)
        arguments = [self._device, str(self._channel), str(int(wait)), str(int(self._active_sensing))]
        with theirs:
            try:
                self._owner = launch(theirs, arguments)
            except OSError:
                ours.close()
                raise
        with self._lock:
            self._line, self._reports, self._unanswered_since, self._behind = ours, 0, None, False
            if self._beat_at:
                self._put(BEAT)  # first: this owner shall watch from its start
            if held := self._as_held():
                self._put(held)

    def _start_first(self, *, wait: bool) -> None:
        for _ in range(_FAILURES):
            self._start(wait=wait)
            if self._await_first_report():
                return
        raise SinkError("the process that shall own the MIDI port does not start: see its messages")

    def _await_first_report(self) -> bool:
        """Return whether the owner reported; it raises ``SinkError`` when it did, but has no node."""
        assert self._line is not None  # noqa: S101  _start has set it
        poll = select.poll()
        poll.register(self._line, select.POLLIN)
        deadline = time.monotonic() + START_S
        while not self._reports:
            if not poll.poll(max(0.0, deadline - time.monotonic()) * 1000) or not self._read(self._line):
                self._give_up("does not start")
                return False
        return True

    def _watch(self) -> None:
        """Listen to the owner; replace one that died or hangs."""
        while not self._closed:
            self._glance()

    def _glance(self) -> None:
        line = self._line
        if line is None:
            self._replace()
            return
        poll = select.poll()
        poll.register(line, select.POLLIN)
        since, limit_s = self._unanswered_since, HANG_S if self._reports else STARTING_S
        left = _GLANCE_S if since is None else since + limit_s - time.monotonic()
        if poll.poll(1 + max(0.0, left) * 1000):
            if not self._read(line):
                self._give_up("died")
        # Judged after the poll alone: if this process was stopped meanwhile, the answer is there now.
        elif since is not None and since == self._unanswered_since:
            self._give_up("does not answer")

    def _read(self, line: socket.socket) -> bool:
        """Take the owner's reports; return False when it is gone, raise ``SinkError`` if it cannot start."""
        while True:
            try:
                said = line.recv(4096)
            except BlockingIOError:
                return True
            except OSError:
                return False
            if not said:
                return False
            kind, _, text = said.decode().partition(" ")
            if kind == "error":
                raise SinkError(text)
            if kind == "log":
                _log.warning("%s", text)
            else:
                self.state, *counters = text.split()
                self._counters = (int(counters[0]), int(counters[1]), int(counters[2]))
                self._reports += 1
                self._unanswered_since = None

    def _give_up(self, what: str) -> None:
        _log.warning("the owner of the MIDI port %s %s: starting another", self._device, what)
        with self._lock:
            line, self._line = self._line, None
        if line is not None:
            line.close()
        self._owner.kill()
        self.state = "absent"

    def _replace(self) -> None:
        past, now = self._past, self._counters
        self._past = (past[0] + now[0], past[1] + now[1], past[2] + now[2])
        self._counters = (0, 0, 0)
        self._failures = 0 if self._reports else self._failures + 1
        if self._failures > _FAILURES:  # they do not get far: no hurry
            time.sleep(_RETRY_S)
        self.restarted += 1
        previous = self._owner
        try:
            self._start(wait=True)
        except OSError as error:
            _log.error("the MIDI port's owner cannot be started: %s", error)
            self._reports = 0
        with contextlib.suppress(subprocess.TimeoutExpired):
            previous.wait(timeout=0)

    def _end_owner(self) -> bool:
        """Close the line; return whether the owner ended in order."""
        with self._lock:
            line, self._line = self._line, None
        if line is None:
            return False
        with contextlib.suppress(OSError):
            line.send(CLOSE)
        try:
            return self._owner.wait(timeout=CLOSE_S) == 0
        except subprocess.TimeoutExpired:
            self._owner.kill()
            return False
        finally:
            line.close()
