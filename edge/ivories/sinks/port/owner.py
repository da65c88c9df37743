"""The process that alone holds the MIDI port, and outlives the application that feeds it.

It hears MIDI on a line (one end of a ``SOCK_SEQPACKET`` pair, so that no message arrives in part): events,
all-notes-off to release everything, ``BEAT`` while the application makes progress, ``CLOSE`` at the end. When
the line ends or the beat stops, it lets every sounding note go. It answers with sentences in UTF-8: ``state
STATE REFUSED SWALLOWED REOPENED`` after every beat and change, ``log SENTENCE``, ``error SENTENCE``, and
before the answer to a beat ``left NUMBER:NS NUMBER:NS ...``: when the node had taken which message, those
with MIDI being counted from 1. Told so late, it costs the notes nothing.

Started by ``ivories.sinks.port.line``; it imports no library and little of Python's own.
"""

import contextlib
import errno
import os
import select
import signal
import socket
import sys
import time
from collections import deque
from typing import TYPE_CHECKING, Final

from ivories.errors import SinkError
from ivories.sinks.port.node import PortNode

if TYPE_CHECKING:
    from ivories.sinks.rtp.node import RtpNode

BEAT: Final = b"\xfe"
CLOSE: Final = b"\xff"
BEAT_LOST_S: Final = 0.2
"""Without a word for longer, the application hangs"""
LINGER_S: Final = 0.5
"""How long the offsets of an application that died are kept for a node that is full or away"""
CLOSE_S: Final = 0.1
"""The same after an orderly end"""
NETWORK: Final = "rtp:"
"""Before the settings of an ``RtpNode``, which then stands in the place of a ``PortNode``"""
LEFT: Final = 128
"""Messages whose moment may wait for the next beat; those of older ones are forgotten"""
PREDECESSOR_S: Final = 1.0
"""How long another owner may take to give the node back"""


class PortOwner:
    """Feeds one node from one line.

    Args:
        line: the end to listen at.
        device: as for ``PortNode``, or ``NETWORK`` and the settings of an ``RtpNode``.
        channel: MIDI channel 0..15.
        active_sensing: as for ``PortNode``.
    """

    def __init__(
        self, line: socket.socket, device: str, *, channel: int = 0, active_sensing: bool = False
    ) -> None:
        line.setblocking(False)
        self._line = line
        self._node = self._node_of(device, channel=channel, active_sensing=active_sensing)
        self._beat_at: float | None = None  # watched from the first beat on
        self._lost = False
        self._leave_at: float | None = None
        self._told = ""
        self._heard = 0  # messages with MIDI
        self._left: deque[tuple[int, int]] = deque(maxlen=LEFT)

    def run(self, *, wait: bool) -> bool:
        """Own the node until the line ends; return whether it could be opened at the start.

        Args:
            wait: go on without the node and open it when it comes.
        """
        if not self._open(wait=wait):
            return False
        self._report()
        while not self._finished():
            self._turn()
        self._node.close()
        return True

    def _node_of(self, device: str, *, channel: int, active_sensing: bool) -> "PortNode | RtpNode":
        def tell(text: str) -> None:
            self._say(f"log {text}")

        if device.startswith(NETWORK):
            from ivories.sinks.rtp.node import RtpNode  # which a cable's owner need not wait for

            return RtpNode(device.removeprefix(NETWORK), channel=channel, tell=tell)
        return PortNode(device, channel=channel, active_sensing=active_sensing, tell=tell)

    def _turn(self) -> None:
        """Wait for something to happen and see to it."""
        happened = self._poll()
        if self._line.fileno() in happened:
            self._listen()
        self._watch_beat()
        self._node.handle(happened)
        self._report(only_news=True)

    def _open(self, *, wait: bool) -> bool:
        patient_until = time.monotonic() + PREDECESSOR_S
        while True:
            try:
                self._node.open()
            except SinkError as error:
                if wait:
                    return True
                if error.errno == errno.EBUSY and time.monotonic() < patient_until:
                    time.sleep(0.02)
                    continue
                self._say(f"error {error}")
                return False
            return True

    def _poll(self) -> dict[int, int]:
        poll = select.poll()
        if self._leave_at is None:
            poll.register(self._line, select.POLLIN)
        for number, events in self._node.watched().items():
            poll.register(number, events)
        now = time.monotonic()
        due = [self._node.due_s()]
        if self._leave_at is not None:
            due.append(self._leave_at - now)
        elif self._beat_at is not None and not self._lost:
            due.append(self._beat_at + BEAT_LOST_S - now)
        soonest = min((s for s in due if s is not None), default=None)
        return dict(poll.poll(None if soonest is None else 1 + 1000 * max(0.0, soonest)))

    def _listen(self) -> None:
        """Take all that the line holds."""
        while self._leave_at is None:
            try:
                heard = self._line.recv(1024)
            except BlockingIOError:
                return
            except OSError:
                heard = b""
            if not heard:
                self._leave(LINGER_S)
            elif heard == CLOSE:
                self._tell_left()
                self._leave(CLOSE_S)
            else:
                self._hear(heard)

    def _hear(self, heard: bytes) -> None:
        if self._lost:
            self._say("log the application goes on")
            self._lost = False
        if heard == BEAT:
            self._beat_at = time.monotonic()
            self._tell_left()
            self._report()
            return
        if self._beat_at is not None:
            self._beat_at = time.monotonic()
        self._node.send(heard)
        self._heard += 1
        if self._node.state == "open":  # else it waits, and may never go
            self._left.append((self._heard, time.monotonic_ns()))

    def _watch_beat(self) -> None:
        if self._beat_at is None or self._lost or self._leave_at is not None:
            return
        if time.monotonic() - self._beat_at > BEAT_LOST_S:
            self._lost = True
            self._node.release_all()
            self._say("log the application made no progress: all notes released")

    def _leave(self, linger_s: float) -> None:
        self._leave_at = time.monotonic() + linger_s
        self._node.release_all()

    def _finished(self) -> bool:
        if self._leave_at is None:
            return False
        return self._node.state == "open" or time.monotonic() >= self._leave_at

    def _report(self, *, only_news: bool = False) -> None:
        node = self._node
        if only_news and self._told == node.state:
            return
        self._told = node.state
        self._say(f"state {node.state} {node.refused} {node.swallowed} {node.reopened}")

    def _tell_left(self) -> None:
        if self._left:
            self._say("left " + " ".join(f"{number}:{t_ns}" for number, t_ns in self._left))
            self._left.clear()

    def _say(self, sentence: str) -> None:
        with contextlib.suppress(OSError):  # nobody listens: what counts is the node
            self._line.send(sentence.encode())


def main() -> None:
    """Run the owner.

    Arguments: descriptor of the line, device, channel, wait and active sensing (0 or 1), process that owned
    the node before (0: none), which may hang and hold it while the application dies.
    """
    # The group gets the signals of an orderly end too, and of a take to save; the application's silence
    # ends this process.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1):
        signal.signal(number, signal.SIG_IGN)
    descriptor, device, channel, wait, active_sensing, predecessor = sys.argv[1:]
    if predecessor != "0":
        with contextlib.suppress(OSError):  # it ended by itself
            os.kill(int(predecessor), signal.SIGKILL)
    line = socket.socket(fileno=int(descriptor))
    os.set_inheritable(line.fileno(), False)
    owner = PortOwner(line, device, channel=int(channel), active_sensing=active_sensing == "1")
    sys.exit(0 if owner.run(wait=wait == "1") else 1)
