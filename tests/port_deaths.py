"""Faults by the million on a clock that jumps: an application and its port owner die at any system call.

`python tests/port_deaths.py --faults 1000000` prints how many faults of each kind left a note hanging. The
sink's and the owner's code are those of the product; see ``port_world`` for what is not.
"""

import argparse
import collections
import logging
import os
import random
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor

from ivories.datatypes import NoteEvent, NoteKind
from ivories.sinks.usb_midi import UsbMidiSink
from port_receiver import Receiver
from port_world import KINDS, Death, Stop, World

LIMIT_S = 0.3
PITCH_OF_KEY_0 = 21
# Kind of fault -> share of all. The first group the application survives, the second ends it.
SURVIVED = {
    "the owner dies at a system call": 20,
    "the owner hangs": 5,
    "the owner falls behind": 5,
    "the application hangs, later goes on": 8,
    "the cable is pulled and put back": 10,
    "the laptop reads nothing for a while": 10,
    "a write is short": 6,
    "a write finds the node full": 6,
    "a write fails": 6,
}
DEADLY = {
    "the application dies at a system call": 15,
    "an exception at a system call of the application": 8,
    "the application dies while the laptop reads nothing": 4,
    "both die at once": 4,
}
CLEAN = {"the owner dies at a system call", "the owner hangs"}  # after which another one starts
WRITES = dict(zip(("a write is short", "a write finds the node full", "a write fails"), KINDS, strict=True))


class Stage:
    """Plays random notes through the sink and injects ``faults`` faults, one life after the other."""

    def __init__(self, seed, faults, folder):
        self.random, self.left, self.seed = random.Random(seed), faults, seed
        self.receiver = Receiver()
        self.world = World(f"{folder}/midi{seed}", self.receiver, self.random)
        self.counts, self.longest = collections.Counter(), collections.Counter()
        self.stuck, self.lives, self.held = [], 0, 0

    def run(self):
        logging.disable()
        try:
            with self.world.patched():
                while self.left > 0:
                    self.live()
        finally:
            logging.disable(logging.NOTSET)
        return self

    def pick(self, kinds):
        return self.random.choices(list(kinds), list(kinds.values()))[0]

    def live(self):
        world, choose = self.world, self.random
        self.lives += 1
        self.pressed, self.pedal = set(), 0
        world.calls.last, world.calls.end = None, Death
        faults = [self.pick(SURVIVED) for _ in range(choose.choice((0, 0, 1, 2, 4)))]
        deadly = self.pick(DEADLY)
        at_start = not faults and choose.random() < 0.3
        if at_start:
            self.aim(deadly, choose.randint(1, 40))
        self.sink = None
        try:
            self.sink = world.sink = UsbMidiSink(device=world.path)
            for kind in faults:
                self.play(choose.randint(1, 8))
                self.survive(kind)
            self.play(choose.randint(1, 8))
            if not at_start:
                self.aim(deadly, choose.randint(0, 60))
            if "system call" in deadly:
                while world.calls.last is not None:
                    self.play(1)
        except (Death, Stop):
            pass
        finally:
            world.calls.last = None
        self.die(deadly)

    def aim(self, kind, calls):
        if "system call" in kind:
            self.world.calls.last = calls
            self.world.calls.end = Stop if "exception" in kind else Death

    # The music

    def play(self, bursts):
        for _ in range(bursts):
            self.sink.beat()
            for _ in range(self.random.randint(1, 5)):
                self.event()
            self.world.run(self.random.choice((0.0, 0.001, 0.02)))

    def event(self):
        choose = self.random
        if choose.random() < 0.1:
            self.pedal = choose.choice((0, 64, 127))
            self.sink.send(NoteEvent(NoteKind.PEDAL, -1, self.pedal, 0, 0, 1.0), None)
        elif self.pressed and choose.random() < len(self.pressed) / 12:
            key = choose.choice(sorted(self.pressed))
            self.pressed.discard(key)
            self.sink.send(NoteEvent(NoteKind.OFFSET, key, 50, 0, 0, 1.0), None)
        else:
            key = choose.randrange(88)
            self.pressed.add(key)
            self.sink.send(NoteEvent(NoteKind.ONSET, key, choose.randint(1, 127), 0, 0, 1.0), None)

    # Faults

    def survive(self, kind):
        world = self.world
        world.run(0.1, lambda: world.owners and not world.owners[-1].starting)
        self.held += len(self.receiver.sounding)
        if kind.startswith("the application hangs"):
            self.stop_application(kind)
            return
        clean_after = time.monotonic() if kind in CLEAN else 0.0
        if kind.startswith("the owner"):
            self.harm_owner(kind, world.owners[-1])
        elif kind.startswith("the cable"):
            world.unplug()
            self.play(self.random.randint(0, 3))
            os.mkfifo(world.path)
            world.plug()
        elif kind.startswith("the laptop"):
            world.fill()
            self.play(self.random.randint(0, 4))
            if self.random.random() < 0.2:
                self.wait(self.random.uniform(0.3, 0.8))
            world.reading = True
        else:
            world.write_fault = WRITES[kind]
            while world.write_fault:
                self.play(1)
        start = world.now
        good = self.wait(LIMIT_S, lambda: self.receiver.silenced_at >= clean_after and self.as_played())
        self.record(kind, world.now - start, good)

    def harm_owner(self, kind, owner):
        choose = self.random
        if kind == "the owner hangs":
            owner.stopped = True
        elif kind == "the owner falls behind":
            owner.stopped = True
            for _ in range(choose.choice((10, 400))):
                self.event()
            self.world.run(choose.uniform(0, 0.06))
            owner.stopped = False
        else:
            owner.calls.last = choose.choice((0, choose.randint(0, 20), choose.randint(0, 300)))
            if choose.random() < 0.2:
                self.world.next_owner_dies = choose.randint(0, 110)  # and the one after it too
            while owner.status is None:
                self.play(1)

    def stop_application(self, kind):
        world = self.world
        world.app_stopped, start = True, world.now
        calm = world.run(LIMIT_S, lambda: self.receiver.silent)
        self.record(kind, world.now - start, calm)
        world.run(self.random.uniform(0, 0.5))
        world.app_stopped = False
        self.sink.release_all()
        self.pressed.clear()
        self.pedal = 0

    def wait(self, seconds, until=lambda: False):
        """Let ``seconds`` pass; the application beats and plays nothing."""
        end = self.world.now + seconds
        while not until() and self.world.now < end:
            self.sink.beat()
            self.world.run(0.01, until)
        return until()

    def as_played(self):
        heard = self.receiver
        pitches = {key + PITCH_OF_KEY_0 for key in self.pressed}
        return heard.sounding.keys() == pitches and heard.pedal == self.pedal

    def die(self, kind):
        world = self.world
        world.run(0 if self.random.random() < 0.5 else 0.002)
        self.held += len(self.receiver.sounding)
        start = world.now
        if kind == "an exception at a system call of the application" and self.sink is not None:
            self.sink.release_all()
            self.sink.close()
        if kind.startswith("both"):
            for owner in list(world.owners):
                owner.end(-9)
        if kind.endswith("reads nothing"):
            world.fill()
        self.end_application()
        if kind.endswith("reads nothing"):
            world.run(self.random.uniform(0, 0.3))
            world.reading = True
            start = world.now
        if kind.startswith("both"):  # the next start is what silences
            self.sink = world.sink = UsbMidiSink(device=world.path)
            silent = self.wait(LIMIT_S, lambda: self.receiver.silent)
            self.end_application()
        else:
            silent = world.run(LIMIT_S, lambda: self.receiver.silent)
        took = world.now - start
        world.run(1.0)  # nothing may follow
        for owner in list(world.owners):
            owner.end(-9)
        world.hear()
        world.write_fault = world.next_owner_dies = None
        self.record(kind, took, silent and self.receiver.silent)

    def end_application(self):
        for line in self.world.lines:
            line.close()
        self.sink = self.world.sink = None

    def record(self, kind, seconds, good):
        self.left -= 1
        self.counts[kind] += 1
        self.longest[kind] = max(self.longest[kind], seconds)
        if not good:
            heard = sorted(self.receiver.sounding), self.receiver.pedal
            self.stuck.append(f"{kind}: hears {heard}, played {sorted(self.pressed)}, life {self.lives}")
            self.receiver.__init__()


def inject(faults, workers, seed):
    """Inject from ``workers`` processes; return counts, longest times, stuck notes, lives, notes held."""
    shares = [faults // workers + (n < faults % workers) for n in range(workers)]
    counts, longest, stuck, lives, held = collections.Counter(), collections.Counter(), [], 0, 0
    with tempfile.TemporaryDirectory() as folder, ProcessPoolExecutor(workers) as pool:
        for part in pool.map(_share, [(seed * 1000 + n, share, folder) for n, share in enumerate(shares)]):
            counts += part[0]
            longest |= part[1]
            stuck, lives, held = stuck + part[2], lives + part[3], held + part[4]
    return counts, longest, stuck, lives, held


def _share(arguments):
    stage = Stage(*arguments).run()
    return stage.counts, stage.longest, stage.stuck, stage.lives, stage.held


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--faults", type=int, default=10_000)
    parser.add_argument("--workers", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    start = time.monotonic()
    counts, longest, stuck, lives, held = inject(options.faults, options.workers, options.seed)
    lines = [f"{'fault, on a clock that jumps':52} {'count':>8} {'longest':>8}  (ms until all was well)"]
    lines += [f"{k:52} {counts[k]:8} {longest[k] * 1e3:8.1f}" for k in [*SURVIVED, *DEADLY]]
    lines += [f"{counts.total()} faults in {lives} lives; {held} notes sounded when a fault came"]
    lines += [
        f"stuck notes: {len(stuck)}",
        *stuck[:20],
        f"seed {options.seed}, {time.monotonic() - start:.0f} s",
    ]
    print("\n".join(lines))  # noqa: T201
    sys.exit(1 if stuck else 0)


if __name__ == "__main__":
    main()
