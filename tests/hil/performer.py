"""The piano as camera and microphone have it: a take's pictures on the camera's cable, its sound in the card.

Runs as root inside the machine until it is ended, with Debian's own Python:

    performer.py take.wav /dev/vdb

The file ASKED says what goes on: ``rest``, the take's first picture and no sound; ``play``; ``film``, the
pictures alone. Each new word begins the take anew, and after its end it begins again. A camera or a sound
card that is not there is no reason to stop for the other.
"""

import contextlib
import fcntl
import mmap
import os
import struct
import subprocess
import sys
import time
from pathlib import Path

SPEAKER = "plughw:CARD=Loopback,DEV=0"
PLAYS = Path("/proc/asound/Loopback/pcm0p/sub0/status")
CABLE = "vivid-000-vid-out"  # what the kernel calls the other end of the camera
ASKED = Path("/run/performer")
RATE = 30.0  # pictures per second of the film; the camera gives a few less
PICTURE = 768 * 576 * 3 // 2  # bytes of one in YUV 4:2:0
# How much earlier a picture is handed over, so that it is seen with its sound; found by trying.
AHEAD_S = 0.18
SAMPLES = 16_000  # per second, of two bytes each
HEADER = 44  # bytes of the sound file before them
RETRY_S = 0.5  # of a sound card or a camera that refuses

# Of linux/videodev2.h, for 64-bit machines.
BUFFERS = 2
OUTPUT, IN_MEMORY = 2, 1
BUFFER = struct.Struct("=5I4x32x2IQI12x")
"""Index, type, bytes used, flags, field; sequence, memory, offset, length"""
REQUEST, QUERY, QUEUE, TAKE_BACK, START = 0xC0145608, 0xC0585609, 0xC058560F, 0xC0585611, 0x40045612


def find_cable():
    """Return the node of the camera's other end; raises OSError when it is pulled out."""
    for listed in Path("/sys/class/video4linux").glob("video*"):
        if (listed / "name").read_text().strip() == CABLE:
            return Path("/dev", listed.name)
    raise FileNotFoundError(CABLE)


class Cable:
    """The end of the camera's cable that pictures are put into; raises OSError when it is pulled out."""

    def __init__(self):
        node = find_cable()
        if not node.stat().st_gid:  # until udev has told it how large pictures are
            raise FileNotFoundError(node)
        self._file = node.open("r+b", buffering=0)  # closed in close
        self._memory = []
        try:
            fcntl.ioctl(self._file, REQUEST, bytearray(struct.pack("=3I8x", BUFFERS, OUTPUT, IN_MEMORY)))
            for index in range(BUFFERS):
                answer = bytearray(BUFFER.pack(index, OUTPUT, 0, 0, 0, 0, IN_MEMORY, 0, 0))
                fcntl.ioctl(self._file, QUERY, answer)
                offset, length = BUFFER.unpack(answer)[-2:]
                self._memory.append(mmap.mmap(self._file.fileno(), length, offset=offset))
        except OSError:
            self.close()
            raise
        self._held = [-1] * BUFFERS  # the picture that is in each
        self._given = 0

    def wait(self):
        """Wait until there is room for a picture, a picture's time; return where."""
        if self._given < BUFFERS:
            return self._given
        answer = bytearray(BUFFER.pack(0, OUTPUT, 0, 0, 0, 0, IN_MEMORY, 0, 0))
        fcntl.ioctl(self._file, TAKE_BACK, answer)
        return BUFFER.unpack(answer)[0]

    def show(self, index, film, place):
        """Put picture ``place`` of the open file ``film`` in where there is room."""
        if self._held[index] != place:
            os.preadv(film, [memoryview(self._memory[index])[:PICTURE]], place * PICTURE)
            self._held[index] = place
        message = BUFFER.pack(index, OUTPUT, PICTURE, 0, 1, 0, IN_MEMORY, 0, 0)
        fcntl.ioctl(self._file, QUEUE, bytearray(message))
        self._given += 1
        if self._given == BUFFERS:
            fcntl.ioctl(self._file, START, struct.pack("=i", OUTPUT))

    def close(self):
        """Let it go, with its memory, which keeps it too."""
        for memory in self._memory:
            memory.close()
        self._file.close()


class Screen:
    """Shows the pictures of a file to the camera, when there is one."""

    def __init__(self, film):
        self._film = os.open(film, os.O_RDONLY)
        self.pictures = os.lseek(self._film, 0, os.SEEK_END) // PICTURE
        self._cable = None

    def show(self, take_s):
        """Show the picture that the take has at ``take_s()`` seconds, for a picture's time."""
        try:
            if self._cable is None:
                self._cable = Cable()
            index = self._cable.wait()
            self._cable.show(index, self._film, min(round(take_s() * RATE), self.pictures - 1))
        except OSError:  # unplugged, or not plugged in yet
            if self._cable is not None:
                self._cable.close()
                self._cable = None
            time.sleep(1 / RATE)


class Sound:
    """The sound of the take, from any of its moments on."""

    def __init__(self, take):
        self._take = take
        self._aplay = None
        self._delay_s = 0.2  # from the call of aplay to its first sample; measured whenever it is called
        self._called = 0.0

    def play(self, seconds):
        """See to it that it plays, from ``seconds`` on if it does not."""
        begin = time.monotonic()
        if (self._aplay is not None and self._aplay.poll() is None) or begin < self._called + RETRY_S:
            return
        self.stop()
        if not PLAYS.exists():
            return
        self._called = begin
        with self._take.open("rb") as file:
            file.seek(HEADER + 2 * round(SAMPLES * (seconds + self._delay_s if seconds else 0)))
            self._aplay = subprocess.Popen(
                ["aplay", "-q", "-D", SPEAKER, "-t", "raw", "-f", "S16_LE", "-r", "16000", "-c", "1"],
                stdin=file, stderr=subprocess.DEVNULL,
            )  # fmt: skip
        while time.monotonic() < begin + 2 and self._aplay.poll() is None:
            with contextlib.suppress(OSError):
                if "RUNNING" in PLAYS.read_text():
                    self._delay_s = time.monotonic() - begin
                    return
            time.sleep(0.002)

    def stop(self):
        """End it."""
        if self._aplay is not None:
            self._aplay.kill()
            self._aplay.wait()
            self._aplay = None
        self._called = 0.0


def main():
    """Perform."""
    sound, screen = Sound(Path(sys.argv[1])), Screen(sys.argv[2])
    length_s = screen.pictures / RATE
    word, begin = "", 0.0

    def take_s():
        return time.monotonic() - begin + AHEAD_S if word != "rest" else 0

    while True:
        asked = ASKED.read_text().strip() or word  # empty while somebody writes
        if asked != word or time.monotonic() - begin >= length_s:
            word = asked
            sound.stop()
            if word == "play":
                sound.play(0)
            begin = time.monotonic()
        seconds = time.monotonic() - begin
        if word == "play" and seconds < length_s - 1:
            sound.play(seconds)
        screen.show(take_s)


if __name__ == "__main__":
    main()
