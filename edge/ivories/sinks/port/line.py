"""One process that owns the MIDI port (``ivories.sinks.port.owner``), and the application's line to it."""

import contextlib
import logging
import select
import socket
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Final

from ivories.errors import SinkError
from ivories.sinks.port.owner import BEAT, CLOSE, LEFT

_log = logging.getLogger(__name__)

CLOSE_S: Final = 0.4
"""How long an owner may take to release all and end"""
PATIENCE_S: Final = 0.02
"""How long ``put`` waits, once, for an owner with hundreds of messages before it"""

_START: Final = (
    "import sys; sys.path.insert(0, sys.argv.pop(1)); from ivories.sinks.port.owner import main; main()"
)


def launch(line: socket.socket, arguments: list[str]) -> "subprocess.Popen[bytes]":
    """Start a port owner at the other end of ``line``; raises ``OSError``.

    Python runs without its site packages, for a start of some tens of milliseconds; in a session of its own,
    so that a terminal's Ctrl-C goes by.
    """
    folder = str(Path(__file__).parents[3])
    return subprocess.Popen(  # noqa: S603  every word is ours, and there is no shell
        [sys.executable, "-I", "-S", "-c", _START, folder, str(line.fileno()), *arguments],
        pass_fds=[line.fileno()],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        start_new_session=True,
    )


class OwnerLine:
    """A port owner that was started, as long as it answers; another one is another ``OwnerLine``.

    One thread may speak (``put``, ``end``) while another one listens (``wait``, ``read``).

    Args:
        arguments: device, channel, wait, active sensing and predecessor, as its command line wants them.
        as_held: returns the message that tells what is held to one who knows nothing, all released first.

    Raises:
        OSError: it cannot be started.
    """

    def __init__(self, arguments: list[str], as_held: Callable[[], bytes]) -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        ours.setblocking(False)
        with theirs:
            try:
                self._process = launch(theirs, arguments)
            except OSError:
                ours.close()
                raise
        self._line: socket.socket | None = ours
        self._as_held = as_held
        self._behind = False
        self._sent = 0  # messages with MIDI, counted as the owner does
        self._on_the_way: deque[tuple[int, Callable[[int], None]]] = deque(maxlen=LEFT)
        self.state = "absent"
        """Of the node: ``open``, ``full`` or ``absent``"""
        self.counters = (0, 0, 0)
        """Writes that met a full node, notes swallowed, openings after the first"""
        self.reports = 0
        """How often it told its state"""
        self.unanswered_since: float | None = None
        """When the first beat was sent that it has not answered, in seconds of the monotonic clock"""

    @property
    def pid(self) -> int:
        """Its process."""
        return self._process.pid

    @property
    def gone(self) -> bool:
        """Whether it was ended, or given up."""
        return self._line is None

    def put(self, message: bytes, left: Callable[[int], None] | None = None) -> None:
        """Send ``message``.

        An owner that cannot keep up hears later, in one message, what is held then. A line that fails is
        ended, which the listener notices: the next owner is told the same.

        Args:
            message: whole MIDI messages, or one of the owner's own.
            left: called by the listener with the CLOCK_MONOTONIC nanoseconds at which the node had it all;
                never called when it had to wait.
        """
        if self._line is None:
            return
        try:
            if self._behind:
                self._send(self._line, self._as_held())
                self._behind = False
                if message != BEAT:
                    return
            self._send(self._line, message, left)
        except BlockingIOError:
            if not self._behind:
                self._behind = not self._sent_after_all(message, left)
        except OSError:
            with contextlib.suppress(OSError):
                self._line.shutdown(socket.SHUT_RDWR)  # which wakes the listener

    def _send(self, line: socket.socket, message: bytes, left: Callable[[int], None] | None = None) -> None:
        line.send(message)
        if message != BEAT:
            self._sent += 1
            if left is not None:
                self._on_the_way.append((self._sent, left))

    def _sent_after_all(self, message: bytes, left: Callable[[int], None] | None) -> bool:
        assert self._line is not None  # noqa: S101  put has looked
        poll = select.poll()
        poll.register(self._line, select.POLLOUT)
        poll.poll(PATIENCE_S * 1000)
        try:
            self._send(self._line, message, left)
        except OSError:  # a line that has failed fails again
            return False
        return True

    def wait(self, timeout_s: float) -> bool:
        """Return whether there is something to ``read``, after ``timeout_s`` at the latest."""
        if (line := self._line) is None:
            return False
        poll = select.poll()
        poll.register(line, select.POLLIN)
        return bool(poll.poll(1000 * timeout_s))

    def await_report(self, timeout_s: float) -> bool:
        """Return whether it told its state within ``timeout_s``; raises ``SinkError`` when it has no node."""
        deadline = time.monotonic() + timeout_s
        while not self.reports:
            if not self.wait(max(0.0, deadline - time.monotonic())) or not self.read():
                return False
        return True

    def read(self) -> bool:
        """Take its reports; return False when it is gone, raise ``SinkError`` if it cannot start."""
        return self._line is not None and self._take(self._line)

    def _take(self, line: socket.socket) -> bool:
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
            elif kind == "left":
                self._enter(text)
            else:
                self.state, *counters = text.split()
                self.counters = (int(counters[0]), int(counters[1]), int(counters[2]))
                self.reports += 1
                self.unanswered_since = None

    def _enter(self, left: str) -> None:
        for number, t_ns in (map(int, entry.split(":")) for entry in left.split()):
            while self._on_the_way and self._on_the_way[0][0] <= number:
                sent, enter = self._on_the_way.popleft()
                if sent == number:
                    enter(t_ns)

    def hang_up(self) -> "socket.socket | None":
        """Take the line away from all who would use it, and return it; None when it was gone."""
        line, self._line = self._line, None
        return line

    def kill(self) -> None:
        """End it at once."""
        if (line := self.hang_up()) is not None:
            line.close()
        self._process.kill()
        self.state = "absent"

    def reap(self) -> None:
        """Let the system forget it, if it has ended."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(timeout=0)

    def end(self, line: socket.socket) -> bool:
        """Close ``line``, which was hung up; return whether the owner ended in order."""
        with contextlib.suppress(OSError):
            line.send(CLOSE)
        try:
            status = self._process.wait(timeout=CLOSE_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            return False
        else:
            with contextlib.suppress(SinkError):
                self._take(line)  # what it still said
            return status == 0
        finally:
            line.close()
