"""The computer at the other end of the USB cable, the player of the piano, and the hand that does the damage.

Runs as root inside the machine, whose USB host sees the gadget as a MIDI keyboard, with Debian's own Python:

    laptop.py '{"take": "take.wav", "strike": "kill -9 {pid}", "repair": "true", "repair_after_s": 2}'

Without ``strike`` it plays the take once, or until so many ``notes`` came. Else it plays it over and over,
waits until a note sounds, strikes (a shell command, ``{pid}`` being the service's main process), repairs, and
waits until new notes come. At the end the music stops, and what still sounds is stuck. With ``begin`` and
``end``, shell commands, somebody else plays in between, for ``seconds`` where nothing is struck. The report
is JSON on standard output.
"""

import contextlib
import json
import os
import re
import select
import subprocess
import sys
import time
from pathlib import Path

from port_receiver import Receiver  # put beside this file

SPEAKER = "plughw:CARD=Loopback,DEV=0"
SETTLE_S = 4.0  # after the end of the music: the longest echo of a note
QUIET_S = 1.0  # without a note sounding: the end of all echoes
PATIENCE_S = 150.0
NEW_NOTES = 3  # that show that the music goes on


def find_keyboard():
    """Return the raw MIDI node that the USB host made for the gadget, None while it is unplugged."""
    cards = Path("/proc/asound/cards").read_text()
    found = re.search(r"^ *(\d+) \[[^\]]*\]: USB-Audio - Ivories$", cards, re.MULTILINE)
    node = Path(f"/dev/snd/midiC{found[1]}D0") if found else None
    return node if node and node.exists() else None


class Laptop:
    """A music program that listens to the keyboard and opens it again whenever it is plugged in."""

    def __init__(self):
        self.receiver = Receiver()
        self.onsets = []  # (seconds, pitch)
        self.plugged = 0
        self._number = None

    def listen(self, seconds):
        """Take what comes within ``seconds``."""
        if self._number is None and not self._open():
            time.sleep(min(seconds, 0.02))
            return
        poll = select.poll()
        poll.register(self._number, select.POLLIN)
        for _, events in poll.poll(seconds * 1000):
            data = b""
            if events & select.POLLIN:
                with contextlib.suppress(OSError):  # unplugged just now
                    data = os.read(self._number, 4096)
            if not data:
                os.close(self._number)
                self._number = None
                return
            for place in range(0, len(data), 3):  # the USB host hands over whole messages
                before = dict(self.receiver.sounding)
                self.receiver.feed(data[place : place + 3])
                started = [p for p, n in self.receiver.sounding.items() if n > before.get(p, 0)]
                self.onsets += [(time.monotonic(), pitch) for pitch in started]

    def until(self, condition, patience_s=PATIENCE_S):
        """Listen until ``condition()``; return after how many seconds it held, None if it never did."""
        begin = time.monotonic()
        while not condition():
            if time.monotonic() > begin + patience_s:
                return None
            self.listen(0.02)
        return round(time.monotonic() - begin, 3)

    def wait(self, seconds):
        """Listen for so long."""
        end = time.monotonic() + seconds
        self.until(lambda: time.monotonic() >= end)

    def fall_silent(self):
        """Listen until no note has sounded for a while; what never ends is not waited for."""
        begin = sounded = time.monotonic()
        while begin + SETTLE_S > (now := time.monotonic()) and now < sounded + QUIET_S:
            self.listen(0.02)
            if self.receiver.sounding:
                sounded = time.monotonic()

    @property
    def open(self):
        """Whether the keyboard is plugged in."""
        return self._number is not None

    def _open(self):
        node = find_keyboard()
        if node is None:
            return False
        try:
            self._number = os.open(node, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError:
            return False
        select.select([self._number], [], [], 0)  # bytes from before the first poll are thrown away
        self.plugged += 1
        return True


class Player:
    """Plays a take into the sound card, once or until stopped."""

    def __init__(self, take, again):
        self.began = time.monotonic()
        one = f"aplay -q -D {SPEAKER} {take}"
        self._shell = subprocess.Popen(
            ["sh", "-c", f"while :; do {one} || exit; done" if again else f"exec {one}"],
            start_new_session=True, stdin=subprocess.DEVNULL, stdout=sys.stderr,
        )  # fmt: skip

    def ended(self):
        return self._shell.poll() is not None

    def stop(self):
        """End it; raises when it had failed."""
        if self.ended():
            if self._shell.returncode != 0:
                raise SystemExit(f"aplay failed with {self._shell.returncode}")
            return
        os.killpg(self._shell.pid, 15)
        self._shell.wait()


class Performance:
    """Somebody else plays, who has to be told when to begin and when to end."""

    def __init__(self, begin, end, seconds):
        self._end, self._seconds = end, seconds
        self.began = time.monotonic()
        subprocess.run(begin, shell=True, check=True)

    def ended(self):
        return time.monotonic() > self.began + self._seconds

    def stop(self):
        """Tell him."""
        subprocess.run(self._end, shell=True, check=True)


def strike(laptop, plan, report):
    """Do the damage while a note sounds; note in ``report`` what became of it."""
    pid = subprocess.run(
        ["systemctl", "show", "--property=MainPID", "--value", "ivories.service"],
        capture_output=True, text=True, check=True,
    ).stdout.strip()  # fmt: skip
    report["sounded_after_s"] = laptop.until(lambda: laptop.receiver.sounding)
    laptop.wait(plan.get("strike_after_s", 0))
    laptop.until(lambda: laptop.receiver.sounding)
    held = set(laptop.receiver.sounding)
    report["held"] = sorted(held)
    laptop.receiver.ended.clear()
    struck = subprocess.Popen(plan["strike"].format(pid=pid), shell=True, stdout=sys.stderr)
    report["ended_after_s"] = laptop.until(
        lambda: held <= laptop.receiver.ended, plan.get("repair_after_s", PATIENCE_S)
    )
    count = len(laptop.onsets)
    laptop.wait(plan.get("meanwhile_s", 0))
    report["meanwhile"] = len(laptop.onsets) - count
    if "repair" in plan:
        subprocess.run(plan["repair"], shell=True, stdout=sys.stderr, check=True)
        if report["ended_after_s"] is None:
            report["ended_after_repair_s"] = laptop.until(lambda: held <= laptop.receiver.ended)
    count = len(laptop.onsets)
    report["back_after_s"] = laptop.until(lambda: len(laptop.onsets) >= count + NEW_NOTES)
    report["strike_status"] = struck.wait()


def main():
    """Carry out the plan."""
    plan = json.loads(sys.argv[1])
    laptop, report = Laptop(), {}
    report["open_after_s"] = laptop.until(lambda: laptop.open, 60)
    if "begin" in plan:
        player = Performance(plan["begin"], plan["end"], plan["seconds"])
    else:
        player = Player(plan["take"], again="strike" in plan)
    try:
        if "strike" in plan:
            strike(laptop, plan, report)
        else:
            enough = plan.get("notes", float("inf"))
            laptop.until(lambda: player.ended() or len(laptop.onsets) >= enough)
    finally:
        player.stop()
    laptop.fall_silent()
    receiver = laptop.receiver
    report |= {
        "onsets": [(round(s - player.began, 3), pitch) for s, pitch in laptop.onsets],
        "stuck": sorted(receiver.sounding), "pedal": receiver.pedal, "torn": receiver.torn,
        "plugged": laptop.plugged,
    }  # fmt: skip
    sys.stdout.write(json.dumps(report) + "\n")


if __name__ == "__main__":
    main()
