"""An application, its port owners and its laptop in one thread, on a clock that jumps.

A process is seen from outside through its system calls alone, so to die before a system call is to die
anywhere. Here the sink and the port owner run as they are, over real sockets and named pipes, but on this
clock, and each of their system calls may be their last; what the kernel does then (it closes descriptors) is
done here. What a death takes on a real clock is for ``port_faults`` to measure.
"""

import contextlib
import fcntl
import os
import select
import socket
import subprocess
import threading
import types
from pathlib import Path
from unittest import mock

from ivories.sinks.port import line as owner_line
from ivories.sinks.port import node as port_node
from ivories.sinks.port import owned as owned_port
from ivories.sinks.port import owner as port_owner

KINDS = ("short", "EAGAIN", "EIO")  # what a write to the node may meet


class Death(BaseException):
    """The process ends here."""


class Stop(Exception):  # noqa: N818 - no error of ours
    """An exception out of nowhere."""


class NotYet(BaseException):
    """Nothing happened yet; ``at`` is when to look again, None = when something happens."""

    def __init__(self, at):
        self.at = at


class Calls:
    """The system calls of one process; the ``last`` th from now ends it with ``end``."""

    last, end, spared = None, Death, False

    def enter(self):
        if self.last is not None and not self.spared:
            self.last -= 1
            if self.last < 0:
                self.last = None
                raise self.end


class Line(socket.socket):
    """One end of the line between the two processes."""

    calls = None

    @classmethod
    def over(cls, other, calls):
        line = cls(fileno=other.detach())
        line.calls = calls
        return line

    def send(self, data):
        self.calls.enter()
        return super().send(data)

    def recv(self, size):
        self.calls.enter()
        return super().recv(size)


class Owner:
    """A port owner as a process; what the sink wants of its ``Popen`` too."""

    pid = 0  # no successor kills it: the application does

    def __init__(self, world, line, arguments):
        device, channel, wait, active_sensing, _ = arguments
        self.world, self.calls, self.numbers = world, Calls(), set()
        self.calls.last, world.next_owner_dies = world.next_owner_dies, None
        self.line = Line.over(line.dup(), self.calls)
        self.owner = port_owner.PortOwner(
            self.line, device, channel=int(channel), active_sensing=active_sensing == "1"
        )
        self.waits = wait == "1"
        self.wake = world.now + world.random.uniform(0.01, 0.06)  # an interpreter starts
        self.starting, self.stopped, self.status = True, False, None
        world.owners.append(self)

    def ready(self):
        if self.stopped:
            return False
        return (self.wake is not None and self.world.now >= self.wake) or not self.starting

    def go_on(self):
        """Do one turn; return whether there was one."""
        self.world.active = self
        try:
            if self.starting:
                self.starting, self.wake = False, None
                if not self.owner._open(wait=self.waits):
                    self.end(1)
                    return True
                self.owner._report()
            self.owner._turn()
            if self.owner._finished():
                self.owner._node.close()
                self.end(0)
        except NotYet as pause:
            self.wake = pause.at
            return False
        except Death:
            self.end(-9)
        finally:
            self.world.active = None
        return True

    def end(self, status):
        """What the kernel does when a process ends."""
        if self.status is None:
            self.status = status
            self.line.close()
            for number in self.numbers:
                os.close(number)
            self.numbers.clear()
            self.world.owners.remove(self)

    def kill(self):
        self.end(-9)

    def wait(self, timeout):
        if not self.world.run(timeout, lambda: self.status is not None):
            raise subprocess.TimeoutExpired("owner", timeout)
        return self.status


class World:
    """Runs everything; stands in for the modules ``os``, ``time``, ``select`` and for threads where named."""

    def __init__(self, path, receiver, random):
        self.path, self.receiver, self.random = path, receiver, random
        self.now = 1000.0
        self.owners, self.active, self.next_owner_dies = [], None, None
        self.sink, self.app_stopped, self.watcher_wake = None, False, None
        self.calls, self.lines = Calls(), []  # of the application
        self.write_fault, self.met = None, dict.fromkeys(KINDS, 0)
        os.mkfifo(path)
        self.plug()

    # The laptop and the cable

    def plug(self):
        self.host = os.open(self.path, os.O_RDONLY | os.O_NONBLOCK)
        fcntl.fcntl(self.host, fcntl.F_SETPIPE_SZ, 4096)
        self.reading = True

    def unplug(self):
        self.reading = False
        os.close(self.host)
        Path(self.path).unlink()

    def hear(self):
        if not self.reading:
            return False
        data = b""
        with contextlib.suppress(BlockingIOError):
            data = os.read(self.host, 65536)
            self.receiver.feed(data)
        return bool(data)

    def fill(self):
        """Let the node take nothing more, as when no program on the laptop reads it."""
        self.reading = False
        number = os.open(self.path, os.O_WRONLY | os.O_NONBLOCK)
        with contextlib.suppress(BlockingIOError):
            while os.write(number, bytes(1000 * b"\xfe")):
                pass
        with contextlib.suppress(BlockingIOError):
            while os.write(number, b"\xfe"):
                pass
        os.close(number)

    # The clock

    def run(self, seconds, until=lambda: False):
        """Let all go on until it is so, or for ``seconds``; return whether it is so."""
        end = self.now + seconds
        while not until():
            progress = False
            for owner in list(self.owners):
                progress = (owner.ready() and owner.status is None and owner.go_on()) or progress
            progress = self.watch() or progress
            progress = self.hear() or progress
            if progress:
                continue
            if self.now >= end:
                return until()
            wakes = [o.wake for o in self.owners if o.wake is not None and not o.stopped]
            wakes += [self.watcher_wake] if self.watcher_wake is not None and self.watching else []
            self.now = max(self.now + 1e-6, min([end, *wakes]))
        return True

    @property
    def watching(self):
        sink = self.sink
        return sink is not None and not (self.app_stopped or sink._closed or sink._lock.locked())

    def watch(self):
        """The second thread of the application."""
        if not self.watching:
            return False
        self.active = "watcher"
        self.calls.spared = self.calls.end is Stop  # an exception is the first thread's
        try:
            self.sink._glance()
        except NotYet as pause:
            self.watcher_wake = pause.at
            return False
        finally:
            self.active, self.calls.spared = None, False
        return True

    # Modules

    def monotonic(self):
        return self.now

    def monotonic_ns(self):
        return round(1e9 * self.now)

    def sleep(self, seconds):
        self.now += seconds

    def poll(self):
        return Poll(self)

    def open(self, path, flags):
        self.active.calls.enter()
        number = os.open(path, flags)
        self.active.numbers.add(number)
        return number

    def close(self, number):
        self.active.numbers.discard(number)
        os.close(number)

    def write(self, number, data):
        self.active.calls.enter()
        fault, self.write_fault = self.write_fault, None
        if fault is not None:
            self.met[fault] += 1
        if fault == "EAGAIN":
            raise BlockingIOError
        if fault == "EIO":
            raise OSError(5, "injected")
        return os.write(number, data[:1] if fault == "short" else data)

    def __getattr__(self, name):
        return getattr(select if name.startswith("POLL") else os, name)

    def socketpair(self, family, kind):
        ours, theirs = socket.socketpair(family, kind)
        self.lines = [line for line in self.lines if line.fileno() >= 0]
        self.lines.append(Line.over(ours, self.calls))
        return self.lines[-1], theirs

    def patched(self):
        """Return a context in which the modules of the sink live in this world."""
        stack = contextlib.ExitStack()
        line = types.SimpleNamespace(**vars(socket) | {"socketpair": self.socketpair})
        thread = types.SimpleNamespace(Lock=threading.Lock, Thread=mock.Mock)
        for module, names in (
            (port_node, {"os": self, "time": self, "select": self}),
            (port_owner, {"time": self, "select": self}),
            (owner_line, {"time": self, "select": self, "socket": line,
                          "launch": lambda line, arguments: Owner(self, line, arguments)}),
            (owned_port, {"time": self, "threading": thread}),
        ):  # fmt: skip
            for name, value in names.items():
                stack.enter_context(mock.patch.object(module, name, value))
        for name in ("shorten_buffer", "drop_unsent"):  # for sound cards, nothing to a pipe
            stack.enter_context(mock.patch.object(port_node, name, mock.Mock()))
        return stack


class Poll:
    """``select.poll`` on the world's clock: who may not wait leaves by ``NotYet``."""

    def __init__(self, world):
        self.world, self.real = world, select.poll()
        self.register = self.real.register

    def poll(self, timeout_ms=None):
        happened = self.real.poll(0)
        world = self.world
        if happened or (timeout_ms is not None and timeout_ms <= 1):
            return happened
        if world.active is not None:
            raise NotYet(None if timeout_ms is None else world.now + timeout_ms / 1000)
        world.run(timeout_ms / 1000, lambda: self.real.poll(0))
        return self.real.poll(0)
