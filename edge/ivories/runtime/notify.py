"""Telling systemd how it goes: ready once a sensor delivers, alive while every part gets on with its work.

The protocol is that of sd_notify(3): datagrams to the socket that NOTIFY_SOCKET names; without it, none.
"""

import logging
import os
import socket
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Final, TypeVar

_log = logging.getLogger(__name__)

_EVERY_S: Final = 1.0
_EXTENSION_US: Final = 30_000_000
NOTES: Final = "notes"
"""The part that decides and plays, as opposed to a sensor"""

Item = TypeVar("Item")


class Supervision:
    """Collects the progress of all parts and passes it on when none of them hangs.

    No clock feeds the watchdog: a message leaves only when each part has moved since the last one. A sensor
    moves with every block or frame that went through its network, and with every failed attempt to open it.

    Args:
        sensors: names of the sensors in use; the part ``NOTES`` is watched always.
        environment: of the process.
        clock: seconds, monotonic.
    """

    def __init__(
        self,
        sensors: Iterable[str] = (),
        environment: Mapping[str, str] = os.environ,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        address = environment.get("NOTIFY_SOCKET", "")
        self._address = "\0" + address[1:] if address.startswith("@") else address
        self._clock = clock
        self._lock = threading.Lock()
        self._parts = {NOTES, *sensors}
        self._moved: set[str] = set()
        self._lacking: dict[str, str] = {}
        self._attempts: dict[str, int] = {}
        self._ready = False
        self._told = ""
        self._sent_s = -_EVERY_S
        self._socket: socket.socket | None = None
        if self._address:
            self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)

    def watched(self, part: str, items: Iterable[Item]) -> Iterator[Item]:
        """Yield ``items``; each counts as progress of ``part`` when its consumer comes for the next."""
        for item in items:
            yield item
            self.progress(part)
        self.ended(part)

    def progress(self, part: str) -> None:
        """``part`` has done something."""
        if self._socket is None:
            return
        with self._lock:
            if part != NOTES:
                self._lacking.pop(part, None)
                if not self._ready:
                    self._ready = True
                    self._send("READY=1")
            self._move(part)

    def waiting(self, part: str, reason: str) -> None:
        """Sensor ``part`` could not be opened, or broke, and will be tried again."""
        if self._socket is None:
            return
        with self._lock:
            self._lacking[part] = reason
            self._move(part)

    def look_at(self, part: str, source: object) -> None:
        """Count a source's own attempts to get a lost device back, its ``attempts``, as ``waiting``."""
        attempts = getattr(source, "attempts", 0)
        if attempts > self._attempts.get(part, 0):
            self.waiting(part, "lost")
        self._attempts[part] = attempts

    def ended(self, part: str) -> None:
        """``part`` has come to its end, as a file does: nothing more is expected of it."""
        with self._lock:
            self._parts.discard(part)

    def stopping(self) -> None:
        """The end of the program has begun."""
        self._send("STOPPING=1")

    def _move(self, part: str) -> None:
        self._moved.add(part)
        status = "playing" if self._ready else "waiting for a sensor"
        status += "".join(f"; {name}: {reason}" for name, reason in sorted(self._lacking.items()))
        if status != self._told:
            self._told = status
            self._send("STATUS=" + " ".join(status.split())[:500])
        now = self._clock()
        if self._parts <= self._moved and now - self._sent_s >= _EVERY_S:
            self._sent_s = now
            self._moved.clear()
            # Before it is ready, systemd watches the time to start instead: more of it while attempts go on.
            self._send("WATCHDOG=1" if self._ready else f"EXTEND_TIMEOUT_USEC={_EXTENSION_US}")

    def _send(self, message: str) -> None:
        if self._socket is None:
            return
        try:
            self._socket.sendto(message.encode(), self._address)
        except OSError as error:  # the music does not depend on it; systemd will act by itself
            _log.debug("systemd cannot be told %s: %s", message, error)
