"""The process that faults are injected into: plays random notes through the real sink, until it dies.

Its port owner is either started as always, or forked from here, which saves the start of an interpreter: the
same code and real processes, sockets and signals all the same.
"""

import contextlib
import logging
import os
import random
import signal
import subprocess
import sys
import threading
import time
import traceback
from pathlib import Path

from ivories.datatypes import NoteEvent, NoteKind
from ivories.sinks import usb_midi
from ivories.sinks.port import line as owner_line
from ivories.sinks.port import node as port_node
from ivories.sinks.port import owner as port_owner

FOLDER = str(Path(usb_midi.__file__).parent)
REAL_LAUNCH = owner_line.launch
# What the forked owner's writes may meet besides, each with its probability.
WRITE_FAULTS = {"short": 0.02, "EAGAIN": 0.005, "EIO": 0.0005}


class Injected(Exception):  # noqa: N818 - no error of ours
    """An exception out of nowhere."""


class Victim:
    """One life of the application.

    Args:
        path: the node.
        seed: of the notes.
        control: descriptor to tell the injector by: ``O pid`` for each owner, ``F time`` before a fault.
        real_owner: start the owner as a program, as always.
        death: ``None`` to play until killed, or (``kill`` or ``raise`` or ``raise uncaught``, lines of the
            sink's code to run before).
        owner_death: lines of its code after which the first owner, if forked, kills itself.
        tally: shared bytes, 8 for the count of each write fault.
    """

    def __init__(self, path, seed, control, *, real_owner, death, owner_death, tally):
        self.path, self.random, self.control = path, random.Random(seed), control
        self.real_owner, self.death, self.owner_death = real_owner, death, owner_death
        self.tally = tally
        self.pressed = set()
        self.want_release = False

    def run(self):
        """Live; never returns."""
        signal.signal(signal.SIGUSR1, self.on_release)
        logging.disable()
        owner_line.launch = self.launch
        sink = None
        try:
            if self.death:
                self.arm(self.death[0].split()[0], self.death[1], everywhere=self.death[0] == "kill")
            sink = usb_midi.UsbMidiSink(device=self.path)
            self.play(sink)
        except Injected:
            sys.settrace(None)
            if sink is not None and self.death[0] == "raise":  # what Live and Instrument do
                sink.release_all()
                sink.close()
        except Exception:
            traceback.print_exc()
        finally:
            os._exit(1)

    def on_release(self, *_):
        self.want_release = True

    def play(self, sink):
        choose = self.random
        while True:
            sink.beat()
            for _ in range(choose.randint(1, 6)):
                sink.send(self.event(), None)
            if self.want_release:
                self.want_release = False
                self.pressed.clear()
                sink.release_all()
            time.sleep(choose.choice((0.0003, 0.001, 0.003)))

    def event(self):
        choose = self.random
        if choose.random() < 0.05:
            return NoteEvent(NoteKind.PEDAL, -1, choose.choice((0, 64, 127)), 0, 0, 1.0)
        if self.pressed and choose.random() < len(self.pressed) / 20:
            key = choose.choice(sorted(self.pressed))
            self.pressed.discard(key)
            return NoteEvent(NoteKind.OFFSET, key, 50, 0, 0, 1.0)
        key = choose.randrange(88)
        self.pressed.add(key)
        return NoteEvent(NoteKind.ONSET, key, choose.randint(1, 127), 0, 0, 1.0)

    def tell(self, word, value):
        os.write(self.control, f"{word} {value}\n".encode())

    def arm(self, what, lines, *, everywhere=False):
        """Let ``what`` happen when so many lines of the sink's code have run."""
        left = lines

        def trace(frame, event, argument):
            nonlocal left
            if not frame.f_code.co_filename.startswith(FOLDER):
                return None
            if event == "line":
                left -= 1
                if left == 0:
                    self.tell("F", time.monotonic())
                    if what == "kill":
                        os.kill(os.getpid(), signal.SIGKILL)
                    raise Injected
            return trace

        if everywhere:
            threading.settrace(trace)
        sys.settrace(trace)

    def launch(self, line, arguments):
        if self.real_owner:
            owner = REAL_LAUNCH(line, arguments)
            self.tell("O", owner.pid)
        else:
            seed = self.random.getrandbits(32)
            pid = os.fork()
            if pid == 0:
                self.be_owner(line, arguments, seed)
            owner = Forked(pid)
        self.owner_death = None
        return owner

    def be_owner(self, line, arguments, seed):
        """Go on as the owner, which has nothing but its line; never returns."""
        status = 1
        try:
            sys.settrace(None)
            threading.settrace(None)
            self.tell("O", os.getpid())
            keep = {line.fileno(), self.control}
            for number in range(3, 64):
                if number not in keep:
                    with contextlib.suppress(OSError):
                        os.close(number)
            signal.signal(signal.SIGUSR1, signal.SIG_IGN)
            port_node.os = FaultyWrites(seed, self.tally)
            if self.owner_death:
                self.arm("kill", self.owner_death)
            sys.argv = ["", str(os.dup(line.fileno())), *arguments]
            line.close()
            port_owner.main()
        except SystemExit as end:
            status = end.code
        except Exception:
            traceback.print_exc()
        finally:
            os._exit(status)


class Forked:
    """What the sink wants of a ``Popen``."""

    def __init__(self, pid):
        self.pid = pid
        self.status = None

    def kill(self):
        if self.status is None:
            os.kill(self.pid, signal.SIGKILL)

    def wait(self, timeout):
        deadline = time.monotonic() + timeout
        while self.status is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self.status = os.waitstatus_to_exitcode(status)
            elif time.monotonic() >= deadline:
                raise subprocess.TimeoutExpired("owner", timeout)
            else:
                time.sleep(0.0005)
        return self.status


class FaultyWrites:
    """The module ``os``, whose ``write`` sometimes takes less, nothing, or fails."""

    def __init__(self, seed, tally):
        self.random, self.tally = random.Random(seed), tally

    def __getattr__(self, name):
        return getattr(os, name)

    def write(self, number, data):
        draw = self.random.random()
        for index, (kind, probability) in enumerate(WRITE_FAULTS.items()):
            if draw < probability:
                place = slice(8 * index, 8 * index + 8)
                self.tally[place] = (int.from_bytes(self.tally[place], "little") + 1).to_bytes(8, "little")
                if kind == "short":
                    return os.write(number, data[: self.random.randint(1, len(data))])
                raise BlockingIOError if kind == "EAGAIN" else OSError(5, "injected")
            draw -= probability
        return os.write(number, data)
