"""What the sinks have in common whose port is held by a process of its own.

That is the port owner (``ivories.sinks.port.owner``): whatever happens to this process, it lets all notes go.
``send`` hands a message over in the caller's thread; a second thread listens to the owner and replaces one
that died or hangs.
"""

import contextlib
import logging
import threading
import time
from collections.abc import Callable
from functools import partial
from typing import Final

from ivories.datatypes import KeyState, NoteEvent
from ivories.errors import SinkError
from ivories.sinks.held import HeldNotes
from ivories.sinks.midi import event_bytes, note_on, sustain
from ivories.sinks.port.ledger import ALL_NOTES_OFF, CONTROL_CHANGE
from ivories.sinks.port.line import OwnerLine
from ivories.sinks.port.owner import BEAT

_log = logging.getLogger(__name__)

BEAT_S: Final = 0.03
"""No more beats than one in this time"""
HANG_S: Final = 0.12
"""An owner that does not answer a beat for longer is replaced"""
STARTING_S: Final = 1.0
"""The same for one that has just been started"""
START_S: Final = 5.0
"""How long a first owner may take to tell whether the node can be opened"""
_FAILURES: Final = 3
_RETRY_S: Final = 0.2  # between owners after so many that could not even start
_GLANCE_S: Final = 0.05  # how late an unanswered beat may be noticed


class OwnedPortSink:
    """Sends notes through a port owner.

    - This process ends in any way: the owner lets all notes go.
    - ``beat`` was called once and no word comes any more (a hang, a stop): the same within 0.2 s. Notes that
      were let go so are not struck again.
    - The owner dies or hangs: another silences the receiver, which then hears the keys as they are.
    """

    name: str

    def __init__(
        self, device: str, *, label: str, channel: int = 0, wait: bool = False, active_sensing: bool = False
    ) -> None:
        """Start the owner of ``device``.

        Args:
            device: as the owner wants it.
            label: the same for people.
            channel: MIDI channel 0..15.
            wait: start without the node and open it when it comes.
            active_sensing: as the owner wants it.

        Raises:
            SinkError: the node cannot be opened and ``wait`` is not set.
        """
        self._device = device
        self._label = label
        self._channel = channel
        self._active_sensing = active_sensing
        self._lock = threading.Lock()  # what is held, and the line
        self._held = HeldNotes()
        self._owner: OwnerLine | None = None
        self._release = bytes((CONTROL_CHANGE | channel, ALL_NOTES_OFF, 0))
        self._closed = False
        self._beat_at = 0.0
        self._failures = 0  # owners in a row that never reported
        self._past = (0, 0, 0)  # counters of owners before
        self.restarted = 0
        """Owners after the first"""
        try:
            self._start_first(wait=wait)
        except SinkError:
            self._end_owner()
            raise
        self._watcher = threading.Thread(target=self._watch, name=self.name.replace("_", "-"), daemon=True)
        self._watcher.start()

    def __repr__(self) -> str:
        """Show the node, its state and the counters."""
        state = "closed" if self._closed else "open, full" if self.state == "full" else self.state
        return (
            f"<{type(self).__name__} {self._label} {state}, refused {self.refused}, "
            f"swallowed {self.swallowed}, reopened {self.reopened}, restarted {self.restarted}>"
        )

    @property
    def state(self) -> str:
        """Of the node: ``open``, ``full`` or ``absent``."""
        return "absent" if self._owner is None else self._owner.state

    @property
    def refused(self) -> int:
        """Writes that met a full node."""
        return self._counters()[0]

    @property
    def swallowed(self) -> int:
        """Notes that began and ended while the node took nothing."""
        return self._counters()[1]

    @property
    def reopened(self) -> int:
        """Openings after the first of an owner."""
        return self._counters()[2]

    def send(self, event: NoteEvent, state: KeyState) -> None:  # noqa: ARG002  the contract's argument
        """Hand ``event`` to the owner; raises ``SinkError`` if closed."""
        with self._lock:
            if self._closed:
                raise SinkError(f"the MIDI port {self._label} is closed: no note can be sent")
            self._held.apply(event)
            left = partial(event.left_ns.__setitem__, self.name)
            self._put(event_bytes(event, channel=self._channel), left)

    def beat(self) -> None:
        """Tell the owner that the application makes progress; from the first beat on it must go on."""
        now = time.monotonic()
        if now - self._beat_at < BEAT_S or self._closed:
            return
        with self._lock:
            self._beat_at = now
            self._put(BEAT)
            if self._owner is not None and self._owner.unanswered_since is None:
                self._owner.unanswered_since = now

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

    def _put(self, message: bytes, left: Callable[[int], None] | None = None) -> None:
        """Send to the owner; the lock is held."""
        if self._owner is not None:
            self._owner.put(message, left)

    def _counters(self) -> tuple[int, int, int]:
        past, now = self._past, (0, 0, 0) if self._owner is None else self._owner.counters
        return past[0] + now[0], past[1] + now[1], past[2] + now[2]

    def _as_held(self) -> bytes:
        pedal, keys = self._held.pedal, self._held.keys.items()
        onsets = b"".join(note_on(key, velocity, channel=self._channel) for key, velocity in keys)
        return (sustain(pedal, channel=self._channel) if pedal else b"") + onsets

    def _start(self, *, wait: bool) -> None:
        """Start an owner, end the one before, and tell the new one the keys as they are; raises ``OSError``.

        In this order there is an owner at every moment: should this process die now, one of the two notices.
        """
        before = 0 if self._owner is None or self._owner.gone else self._owner.pid
        arguments = [self._device, *map(str, (self._channel, int(wait), int(self._active_sensing), before))]
        owner = OwnerLine(arguments, lambda: self._release + self._as_held())
        with self._lock:
            if self._owner is not None:
                self._owner.kill()
            self._past, self._owner = self._counters(), owner
            if self._beat_at:
                self._put(BEAT)  # first: this owner shall watch from its start
            if held := self._as_held():
                self._put(held)

    def _start_first(self, *, wait: bool) -> None:
        for _ in range(_FAILURES):
            self._start(wait=wait)
            assert self._owner is not None  # noqa: S101  _start has set it
            if self._owner.await_report(START_S):
                return
            self._tell("does not start")
        raise SinkError("the process that shall own the MIDI port does not start: see its messages")

    def _watch(self) -> None:
        """Listen to the owner; replace one that died or hangs."""
        while not self._closed:
            self._glance()

    def _glance(self) -> None:
        owner = self._owner
        if owner is None or owner.gone:
            self._replace()
            return
        since, limit_s = owner.unanswered_since, HANG_S if owner.reports else STARTING_S
        left = _GLANCE_S if since is None else since + limit_s - time.monotonic()
        if owner.wait(0.001 + max(0.0, left)):
            if not owner.read():
                self._tell("died")
                self._replace()
        # Judged after the wait alone: if this process was stopped meanwhile, the answer is there now.
        elif since is not None and since == owner.unanswered_since:
            self._tell("does not answer")
            self._replace()

    def _tell(self, what: str) -> None:
        _log.warning("the owner of the MIDI port %s %s: starting another", self._label, what)

    def _replace(self) -> None:
        previous = self._owner
        self._failures = 0 if previous is not None and previous.reports else self._failures + 1
        if self._failures > _FAILURES:  # they do not get far: no hurry
            time.sleep(_RETRY_S)
        self.restarted += 1
        try:
            self._start(wait=True)
        except OSError as error:
            _log.error("the MIDI port's owner cannot be started: %s", error)
            if previous is not None:
                previous.reports = 0  # the next try is one more in a row
                with self._lock:
                    previous.kill()
        if previous is not None:
            previous.reap()

    def _end_owner(self) -> bool:
        """Let the owner end; return whether it did so in order."""
        if (owner := self._owner) is None:
            return False
        with self._lock:
            line = owner.hang_up()
        return line is not None and owner.end(line)
