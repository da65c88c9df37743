"""A piano computer as its owner meets it: prepared and deployed to from a workstation, and played."""

import json
import shlex
import subprocess
import sys
import time
import wave
from collections import Counter
from pathlib import Path

import av

from ivories.resources import bundled_take

PROJECT = Path(__file__).parents[2]
RELEASE = PROJECT / "deploy/release.py"
TOOLS = "/usr/local/lib/ivories-hil"


class Piano:
    """The machine with Ivories on it, and the workstation's tools."""

    def __init__(self, guest, key, models):
        self.guest, self.key, self.models = guest, key, models
        self.take = f"{TOOLS}/take.wav"
        self.music = f"{TOOLS}/music.wav"

    def release(self, command):
        """Call deploy/release.py as `make install`, `make deploy` and their kin do; return what it said."""
        words = [sys.executable, RELEASE, command, "piano", "--ssh", self.guest.ssh, "--key", self.key]
        if command == "deploy":
            words += ["--models", self.models]
        begin = time.monotonic()
        done = subprocess.run(words, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)
        said = done.stdout + done.stderr
        tell(f"release.py {command}: {time.monotonic() - begin:.0f} s")
        assert done.returncode == 0, said
        return said

    def laptop(self, timeout=3000, **plan):
        """Carry out a plan of laptop.py and return its report."""
        words = shlex.quote(json.dumps({"take": self.music, **plan}))
        said = self.guest.run(f"sudo python3 {TOOLS}/laptop.py {words}", timeout=timeout)
        report = json.loads(said.splitlines()[-1])
        tell(report | {"onsets": len(report["onsets"])})
        return report

    def settle(self):
        """Wait until the service plays."""
        return self.guest.wait_for("sudo systemctl is-active --quiet ivories.service")


def tell(what):
    """Say it at once: `make hil` lets pytest capture nothing."""
    sys.stdout.write(f"{what}\n")
    sys.stdout.flush()


def share(some, others):
    """Return how much of both sequences of pitches is the same, 0..1."""
    common = sum((Counter(some) & Counter(others)).values())
    return common / max(len(some), len(others), 1)


def write_take(path, start_s=0.0):
    """Write the sound of the bundled take as the sound card of the machine plays it: 16 kHz, one channel.

    What comes before ``start_s`` is left out.
    """
    skipped = 2 * round(16_000 * start_s)  # bytes
    resampler = av.AudioResampler("s16", "mono", 16_000)
    with av.open(str(bundled_take())) as media, wave.open(str(path), "wb") as sound:
        sound.setnchannels(1)
        sound.setsampwidth(2)
        sound.setframerate(16_000)
        for frame in [*media.decode(audio=0), None]:
            for piece in resampler.resample(frame):
                data = piece.to_ndarray().tobytes()
                sound.writeframes(data[skipped:])
                skipped = max(0, skipped - len(data))
    return path


def write_film(path, width, height):
    """Write the bundled take's pictures as the machine's camera gives them: larger, and in YUV."""
    with av.open(str(bundled_take())) as media, path.open("wb") as film:
        for frame in media.decode(video=0):
            picture = frame.reformat(width, height, "yuv420p", interpolation="BICUBIC")
            film.write(picture.to_ndarray().tobytes())
    return path
