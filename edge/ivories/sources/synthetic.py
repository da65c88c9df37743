"""A piano that is not there: sound and pictures of seeded notes, whose truth is known exactly.

Both senses play the same notes for the same seed and length, so that the whole path can be tried without a
sensor. They are made for plumbing, not for training: that is the work of ``ivories_training``.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from ivories.clock import SECOND
from ivories.datatypes import AudioBlock, Float32, UInt8, VideoFrame, read_only
from ivories.keyboard import BLACK_KEY_LENGTH, IS_BLACK, KEY_CENTRE, KEYS, WHITE_KEYS, pitch_of_key
from ivories.sources.pacing import Pace

PARTIALS: Final = 16
INHARMONICITY: Final = 4e-4
RELEASE_S: Final = 0.08
BLACK_KEY_WIDTH: Final = 0.58
"""In white-key widths"""


@dataclass(frozen=True, slots=True)
class SyntheticNote:
    """One note of the truth; times in seconds from the start."""

    key: int
    onset_s: float
    offset_s: float
    velocity: int


def performance(seed: int, seconds: float) -> tuple[SyntheticNote, ...]:
    """Return the seeded notes, by onset: about two a second, none repeated before its key is up."""
    rng = np.random.default_rng(seed)
    free_at = np.zeros(KEYS)
    notes: list[SyntheticNote] = []
    onset = 0.5
    while onset < seconds - 0.5:
        key = int(rng.integers(KEYS))
        if free_at[key] <= onset:
            offset = min(onset + float(rng.uniform(0.2, 1.0)), seconds - 0.2)
            notes.append(SyntheticNote(key, onset, offset, int(rng.integers(40, 110))))
            free_at[key] = offset + 0.2
        onset += float(rng.uniform(0.15, 0.8))
    return tuple(notes)


class SyntheticSound:
    """Plucked-string-like notes over a little noise.

    Args:
        seed: of the notes and the noise.
        seconds: length of the take.
        rate: Hertz.
        notes: played instead of the seeded ones.
        realtime: paced, with monotonic stamps.
        block_ms: length of a block.
        epoch_ns: monotonic time of the start, when ``realtime``.
    """

    def __init__(
        self,
        seed: int = 0,
        seconds: float = 10.0,
        *,
        rate: int = 16_000,
        notes: Sequence[SyntheticNote] | None = None,
        realtime: bool = False,
        block_ms: float = 10.0,
        epoch_ns: int | None = None,
    ) -> None:
        self.rate = rate
        self.notes = performance(seed, seconds) if notes is None else tuple(notes)
        self.duration_ns = round(seconds * SECOND)
        self._samples = _sound(self.notes, round(seconds * rate), rate, seed)
        self._block = max(1, round(rate * block_ms / 1000))
        self._pace = Pace(realtime, epoch_ns)

    def __repr__(self) -> str:
        """Name it for the log."""
        return f"synthetic sound, {self.rate} Hz"

    def __iter__(self) -> Iterator[AudioBlock]:
        """Yield the blocks."""
        for first in range(0, len(self._samples), self._block):
            samples = self._samples[first : first + self._block]
            t_ns = self._pace.stamp(first * SECOND // self.rate)
            if not self._pace.wait(t_ns + len(samples) * SECOND // self.rate):
                return
            yield AudioBlock(samples, self.rate, first, t_ns)

    def close(self) -> None:
        """Stop; calling again does nothing."""
        self._pace.stop()


class SyntheticPictures:
    """A keyboard drawn from straight above, whose keys darken while they are down.

    Args:
        seed: of the notes and the sensor noise.
        seconds: length of the take.
        fps: frames per second.
        width: of the picture in pixels.
        height: of the picture in pixels.
        notes: played instead of the seeded ones.
        realtime: paced, with monotonic stamps.
        epoch_ns: monotonic time of the start, when ``realtime``.
    """

    def __init__(
        self,
        seed: int = 0,
        seconds: float = 10.0,
        *,
        fps: float = 30.0,
        width: int = 640,
        height: int = 480,
        notes: Sequence[SyntheticNote] | None = None,
        realtime: bool = False,
        epoch_ns: int | None = None,
    ) -> None:
        self.width = width
        self.height = height
        self.fps = fps
        self.notes = performance(seed, seconds) if notes is None else tuple(notes)
        self.duration_ns = round(seconds * SECOND)
        left, right, top, bottom = 0.05 * width, 0.95 * width, 0.35 * height, 0.65 * height
        self.corners = ((left, top), (right, top), (right, bottom), (left, bottom))
        """(x, y) pixels of the keyboard plane's corners: bass and treble at the fallboard, treble, bass"""
        self._frames = round(seconds * fps)
        self._rng = np.random.default_rng(seed)
        self._key_of_pixel = _key_map(width, height, self.corners)
        self._pace = Pace(realtime, epoch_ns)

    def __repr__(self) -> str:
        """Name it for the log."""
        return f"synthetic pictures, {self.width} x {self.height}"

    def __iter__(self) -> Iterator[VideoFrame]:
        """Yield the frames."""
        bright = np.where(IS_BLACK, 40, 220).astype(np.int16)
        grain = self._rng.integers(-2, 3, (self.height, self.width), np.int16)
        for sequence in range(self._frames):
            seconds = sequence / self.fps
            t_ns = self._pace.stamp(round(seconds * SECOND))
            if not self._pace.wait(t_ns):
                return
            shade = np.append(bright, 90).astype(np.int16)  # the last one is the case around the keys
            for note in self.notes:
                if note.onset_s <= seconds < note.offset_s:
                    shade[note.key] -= 25
            # One grain rolled along is cheap and still different in every frame.
            luma: UInt8 = (shade[self._key_of_pixel] + np.roll(grain, 7 * sequence)).astype(np.uint8)
            yield VideoFrame(read_only(luma), t_ns, 0, sequence)

    def close(self) -> None:
        """Stop; calling again does nothing."""
        self._pace.stop()


def _sound(notes: Sequence[SyntheticNote], length: int, rate: int, seed: int) -> Float32:
    rng = np.random.default_rng(seed)
    mix = 1e-4 * rng.standard_normal(length)
    for note in notes:
        first = round(note.onset_s * rate)
        if first >= length:
            continue
        last = min(length, round((note.offset_s + 4 * RELEASE_S) * rate))
        t = np.arange(last - first) / rate
        f0 = 440.0 * 2.0 ** ((pitch_of_key(note.key) - 69) / 12)
        tone = np.zeros(len(t))
        for partial in range(1, PARTIALS + 1):
            frequency = partial * f0 * np.sqrt(1 + INHARMONICITY * partial**2)
            if frequency > 0.45 * rate:
                break
            phase = rng.uniform(0, 2 * np.pi)
            decay = np.exp(-t * (0.6 + f0 / 800 + 0.3 * partial))
            tone += np.sin(2 * np.pi * frequency * t + phase) * decay / partial**1.2
        attack = np.minimum(1.0, t / 0.003)
        damped = np.exp(-np.maximum(0.0, t - (note.offset_s - note.onset_s)) / RELEASE_S)
        mix[first:last] += 0.2 * (note.velocity / 127) ** 1.7 * tone * attack * damped
    return read_only((0.8 * np.tanh(mix)).astype(np.float32))


def _key_map(width: int, height: int, corners: Sequence[tuple[float, float]]) -> UInt8:
    """Return which key each pixel (H, W) shows; KEYS where there is none."""
    (left, top), _, (right, bottom), _ = corners
    x = (np.arange(width) + 0.5 - left) / (right - left) * WHITE_KEYS
    y = (np.arange(height) + 0.5 - top) / (bottom - top)
    white = np.flatnonzero(~IS_BLACK)
    keys = np.full((height, width), KEYS, np.uint8)
    columns = (x >= 0) & (x < WHITE_KEYS)
    rows = (y >= 0) & (y < 1)
    keys[np.ix_(rows, columns)] = white[x[columns].astype(int)]
    for key in np.flatnonzero(IS_BLACK):
        across = np.abs(x - KEY_CENTRE[key]) < BLACK_KEY_WIDTH / 2
        keys[np.ix_(rows & (y < BLACK_KEY_LENGTH), across)] = key
    return keys
