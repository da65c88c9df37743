"""Injects faults into the application and the owner of its MIDI port, and listens for notes that hang.

A named pipe stands in for the MIDI node. A worker plays the laptop at its other end and the fault: it lets a
victim (``port_victim``) play random notes, does something to it at a random moment, and measures how long
the notes that sounded then go on. `python tests/port_faults.py --faults 1000000` prints a table.
"""

import argparse
import collections
import ctypes
import fcntl
import gc
import json
import mmap
import os
import random
import select
import signal
import sys
import tempfile
import time
import traceback
from pathlib import Path

from port_receiver import Receiver
from port_victim import WRITE_FAULTS, Victim

LIMIT_S = 0.3
GIVE_UP_S = 2.0
# Kind of fault -> share of all. The first group the application survives, the second ends it.
SURVIVED = {
    "owner: SIGKILL at a random time": 24,
    "owner: SIGKILL at a random line of its code": 10,
    "owner: SIGSTOP": 2,
    "application: SIGSTOP, later SIGCONT": 4,
    "cable: node replaced": 7,
    "host: reads nothing, node full, meanwhile all released": 5,
}
DEADLY = {
    "application: SIGKILL at a random time": 16,
    "application: SIGKILL at a random line of the sink's code": 13,
    "application: exception at a random line of the sink's code": 10,
    "application: the same, nobody cleans up": 6,
    "host: reads nothing, node full, then application SIGKILL": 3,
}
LINE_DEATHS = {
    "application: SIGKILL at a random line of the sink's code": "kill",
    "application: exception at a random line of the sink's code": "raise",
    "application: the same, nobody cleans up": "raise uncaught",
}
SUMS = "lives", "real", "torn", "held"
REAL_OWNERS = 0.02  # share of lives whose owner is started as a program, not forked


class Worker:
    """Injects ``faults`` faults, one after the other; ``results`` maps each kind to its latencies in s."""

    def __init__(self, seed, faults, folder, tally):
        self.random = random.Random(seed)
        self.left = faults
        self.path = f"{folder}/midi{seed}"
        self.tally = tally
        self.results = collections.defaultdict(list)
        self.stuck = []
        self.lives = self.real = self.held = 0
        self.receiver = Receiver()
        os.mkfifo(self.path)
        self.open_host()

    def open_host(self):
        self.host = os.open(self.path, os.O_RDONLY | os.O_NONBLOCK)
        fcntl.fcntl(self.host, fcntl.F_SETPIPE_SZ, 4096)

    def run(self):
        while self.left > 0:
            self.live()
        os.close(self.host)
        return {
            "results": self.results, "stuck": self.stuck, "lives": self.lives, "real": self.real,
            "torn": self.receiver.torn, "held": self.held,
        }  # fmt: skip

    def pick(self, kinds):
        return self.random.choices(list(kinds), list(kinds.values()))[0]

    def live(self):
        """One life of a victim: some faults that it survives, then one that it does not."""
        survived = [self.pick(SURVIVED) for _ in range(self.random.choice((0, 0, 1, 2, 2)))]
        deadly = self.pick(DEADLY)
        real_owner = self.random.random() < REAL_OWNERS
        at_line = next((kind for kind in survived if "line" in kind), None) if not real_owner else None
        reading, control = os.pipe()
        lines = self.random.randint(1, 1500)
        victim = Victim(
            self.path, self.random.getrandbits(32), control, real_owner=real_owner, tally=self.tally,
            death=(LINE_DEATHS[deadly], lines) if deadly in LINE_DEATHS and not survived else None,
            owner_death=self.random.randint(1, 4000) if at_line else None,
        )  # fmt: skip
        self.pid = os.fork()
        if self.pid == 0:
            os.close(reading)
            os.close(self.host)
            victim.run()
        os.close(control)
        self.control, self.told, self.owner, self.fault_at = reading, b"", None, None
        self.lives += 1
        self.ended = False
        self.begun = time.monotonic()
        self.real += real_owner
        if at_line:
            self.survive(at_line)
            survived.remove(at_line)
        for kind in survived:
            self.pump(self.random.uniform(0, 0.008))
            self.survive(kind.replace("line of its code", "time") if "line" in kind else kind)
        if deadly in LINE_DEATHS and not victim.death:
            deadly = "application: SIGKILL at a random time"
        self.die(deadly)
        if self.control is not None:
            os.close(self.control)

    # Faults

    def survive(self, kind):
        receiver = self.receiver
        if "line" in kind:
            if self.pump(0.2, lambda: self.fault_at):
                self.released(kind, self.fault_at, held=set(), clean=True)
                self.fault_at = None
                return
            kind = "owner: SIGKILL at a random time"
        if not self.pump(GIVE_UP_S, lambda: self.owner and receiver.silenced_at > self.begun):
            self.stuck.append(f"{kind}: the victim does not play")
            return
        self.pump(0.03, lambda: len(receiver.sounding) > 2)
        if "SIGKILL" in kind:
            start = time.monotonic()
            os.kill(self.owner, signal.SIGKILL)
            self.drain()
            self.released(kind, start, clean=True)
        elif kind == "owner: SIGSTOP":
            start = time.monotonic()
            os.kill(self.owner, signal.SIGSTOP)
            self.drain()
            self.released(kind, start, clean=True)
        elif kind.startswith("application: SIGSTOP"):
            start = time.monotonic()
            os.kill(self.pid, signal.SIGSTOP)
            self.silent(kind, start)
            os.kill(self.pid, signal.SIGCONT)
        elif kind.startswith("cable"):
            self.drain()
            os.close(self.host)
            Path(self.path).unlink()
            time.sleep(self.random.uniform(0, 0.02))
            os.mkfifo(self.path)
            self.open_host()
            self.released(kind, time.monotonic(), clean=True)
        else:
            self.drain()
            self.fill()
            os.kill(self.pid, signal.SIGUSR1)
            time.sleep(self.random.uniform(0.003, 0.05))
            self.released(kind, time.monotonic())

    def die(self, kind):
        if kind in LINE_DEATHS:
            if not self.pump(GIVE_UP_S, lambda: self.fault_at):
                self.stuck.append(f"{kind}: the line was not reached")
                os.kill(self.pid, signal.SIGKILL)
            start = self.fault_at or time.monotonic()
        else:
            self.pump(self.random.uniform(0, 0.015))
            if kind.startswith("host"):
                self.fill()
            start = time.monotonic()
            os.kill(self.pid, signal.SIGKILL)
            if kind.startswith("host"):
                time.sleep(self.random.uniform(0, 0.2))
                start = time.monotonic()
        self.silent(kind, start, gone=True)

    def fill(self):
        """Let the node take nothing more, as when no program on the laptop reads it."""
        number = os.open(self.path, os.O_WRONLY | os.O_NONBLOCK)
        try:
            while True:
                os.write(number, b"\xfe")
        except BlockingIOError:
            os.close(number)

    # What must follow

    def released(self, kind, start, *, held=None, clean=False):
        """Each note that sounds now, or was ``held``, ends soon; ``clean``: and all is silenced."""
        receiver = self.receiver
        if held is None:
            held = set(receiver.sounding)
            receiver.ended.clear()
        self.held += len(held)
        done = self.pump(
            GIVE_UP_S, lambda: held <= receiver.ended and (not clean or receiver.silenced_at > start)
        )
        self.record(kind, start, done, held - receiver.ended)

    def silent(self, kind, start, *, gone=False):
        """All notes end soon and nothing follows; ``gone``: until both processes have ended."""
        receiver, end = self.receiver, None
        self.held += len(receiver.sounding)
        deadline = start + GIVE_UP_S
        while time.monotonic() < deadline:
            was_silent = receiver.silent
            fed = self.pump(0.02 if not gone else 0.004, once=True)
            if fed or not was_silent:
                end = None
            if receiver.silent and end is None:
                end = time.monotonic()
            if receiver.silent and not fed and (not gone or self.all_gone()):
                self.drain()
                break
            if gone and end is not None and time.monotonic() - end > LIMIT_S and not self.ended:
                # An exception within a `with` may leave its lock behind: the service's watchdog ends that.
                os.kill(self.pid, signal.SIGKILL)
                self.ended = True
        self.record(kind, start, receiver.silent, set(receiver.sounding), end)

    def record(self, kind, start, done, hanging, end=None):
        self.left -= 1
        self.results[kind].append((end or time.monotonic()) - start)
        if not done:
            self.stuck.append(f"{kind}: pitches {sorted(hanging)}, pedal {self.receiver.pedal}")
            self.receiver = Receiver()

    def all_gone(self):
        """Reap; return whether neither the victim nor an owner lives."""
        try:
            while pid := os.waitpid(-1, os.WNOHANG)[0]:
                self.ended = self.ended or pid == self.pid
        except ChildProcessError:
            return True
        return False

    # The laptop

    def drain(self):
        self.pump(0, once=True)

    def pump(self, seconds, until=None, *, once=False):
        """Read for ``seconds`` or ``until`` it is so; ``once``: until something came. Return whether."""
        deadline = time.monotonic() + seconds
        while not (until and until()):
            poll = select.poll()
            poll.register(self.host, select.POLLIN)
            if self.control is not None:
                poll.register(self.control, select.POLLIN)
            left = deadline - time.monotonic()
            happened = poll.poll(max(0.0, 1000 * left))
            fed = False
            for number, _ in happened:
                if number == self.control:
                    self.listen()
                else:
                    data = self.read()
                    self.receiver.feed(data)
                    fed = fed or bool(data)
            if once and (fed or left <= 0):
                return fed
            if left <= 0:
                return bool(until and until())
            if happened and not fed:
                time.sleep(0.0003)  # a pipe without a writer is always ready
        return True

    def read(self):
        try:
            return os.read(self.host, 65536)
        except BlockingIOError:
            return b""

    def listen(self):
        data = os.read(self.control, 4096)
        if not data:
            os.close(self.control)
            self.control = None
        *lines, self.told = (self.told + data).split(b"\n")
        for line in lines:
            word, value = line.split()
            if word == b"O":
                self.owner = int(value)
            else:
                self.fault_at = float(value)


def inject(faults, workers, seed):
    """Return the merged results of ``workers`` processes that inject ``faults`` faults in all."""
    with tempfile.TemporaryDirectory() as folder:
        return _inject(faults, workers, seed, folder)


def _inject(faults, workers, seed, folder):
    ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)  # orphans come to us
    gc.disable()
    gc.freeze()
    tally = mmap.mmap(-1, 8 * len(WRITE_FAULTS) * workers)
    pids = {}
    for number in range(workers):
        share = faults // workers + (number < faults % workers)
        path = Path(folder, f"result{number}")
        pid = os.fork()
        if pid == 0:
            status = 1
            try:
                ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)
                worker = Worker(seed * 1000 + number, share, folder, memoryview(tally)[24 * number :])
                path.write_text(json.dumps(worker.run()))
                status = 0
            except Exception:
                traceback.print_exc()
            finally:
                sys.stderr.flush()
                os._exit(status)
        pids[pid] = path
    merged = {"results": collections.defaultdict(list), "stuck": []} | dict.fromkeys(SUMS, 0)
    for pid, path in pids.items():
        if os.waitpid(pid, 0)[1]:
            merged["stuck"].append("a worker failed")
            continue
        part = json.loads(path.read_text())
        for kind, latencies in part["results"].items():
            merged["results"][kind] += latencies
        for name in ("stuck", *SUMS):
            merged[name] += part[name]
    counts = [int.from_bytes(tally[8 * i : 8 * i + 8], "little") for i in range(len(tally) // 8)]
    merged["writes"] = {kind: sum(counts[i :: len(WRITE_FAULTS)]) for i, kind in enumerate(WRITE_FAULTS)}
    return merged


def table(merged):
    """Return what there is to read, the number of faults, and that of the late ones."""
    heads = "count", "median", "99.9 %", "longest"
    lines = [f"{'fault':60}" + "".join(f" {head:>8}" for head in heads) + "  (ms until all notes ended)"]
    faults = late = 0
    for kind in [*SURVIVED, *DEADLY]:
        times = sorted(merged["results"].get(kind, []))
        if not times:
            continue
        faults += len(times)
        late += sum(t > LIMIT_S for t in times)
        middle, high = times[len(times) // 2], times[min(len(times) - 1, int(len(times) * 0.999))]
        lines.append(f"{kind:60} {len(times):8} {middle * 1e3:8.1f} {high * 1e3:8.1f} {times[-1] * 1e3:8.1f}")
    lines += [
        f"{faults} faults in {merged['lives']} lives; {merged['real']} started the owner as a program",
        "beside them, in the owner's writes: " + ", ".join(f"{n} {k}" for k, n in merged["writes"].items()),
        f"{merged['held']} notes sounded when a fault came",
        f"bytes of messages torn by a death: {merged['torn']}",
        f"stuck notes: {len(merged['stuck'])}; later than {LIMIT_S * 1e3:.0f} ms: {late}",
        *merged["stuck"][:20],
    ]
    return "\n".join(lines), faults, late


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--faults", type=int, default=10_000)
    parser.add_argument("--workers", type=int, default=4 * len(os.sched_getaffinity(0)))
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    start = time.monotonic()
    merged = inject(options.faults, options.workers, options.seed)
    text, _, late = table(merged)
    print(f"{text}\nseed {options.seed}, {time.monotonic() - start:.0f} s")  # noqa: T201
    sys.exit(1 if merged["stuck"] or late else 0)


if __name__ == "__main__":
    main()
