"""How keys move: from notes to the physical travel of all 88 keys.

A key travels 25 ms (ff) to more than 100 ms (pp) from start to bottom, reaches the bottom at the acoustic
onset, stays down, and comes back within 60 to 100 ms around its release.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ivories.keyboard import KEYS
from ivories_training.video.camera import Float32, Float64

FASTEST_S, SLOWEST_S = 0.025, 0.115
RETURN_S = (0.06, 0.10)


@dataclass(frozen=True, slots=True)
class Strokes:
    """Notes as key strokes, sorted by onset; all arrays (n,)."""

    key: NDArray[np.int64]
    start_s: Float64
    """key begins to move"""
    onset_s: Float64
    """key at the bottom, sound begins"""
    offset_s: Float64
    """key half-way up, sound ends without pedal"""
    return_s: Float64
    """time from bottom to rest"""
    velocity: NDArray[np.int64]
    full: Float64
    """depth reached, 0..1"""

    def __len__(self) -> int:
        return len(self.key)

    def between(self, begin_s: float, end_s: float) -> "Strokes":
        """Return the strokes during which a key is in motion or down within the interval."""
        return self.where((self.start_s < end_s) & (self.offset_s + self.return_s > begin_s))

    def where(self, keep: NDArray[np.bool_]) -> "Strokes":
        """Return the strokes that the mask ``keep`` (n,) leaves."""
        return Strokes(*(getattr(self, name)[keep] for name in self.__slots__))


def travel_s(velocity: NDArray[np.int64]) -> Float64:
    """Return the time from start to bottom for MIDI ``velocity`` 1..127: 115 ms at 20, 25 ms at 110."""
    share = np.clip((np.asarray(velocity, float) - 20) / 90, 0, 1.1)
    return SLOWEST_S * (FASTEST_S / SLOWEST_S) ** share


def strokes_of(notes: NDArray[np.void], rng: np.random.Generator) -> Strokes:
    """Return the strokes that play ``notes`` (``performances.NOTE``), a little uneven as people are.

    A key that is played again before it could come back is released early, as its player must.
    """
    notes = notes[np.argsort(notes["onset_s"], kind="stable")]
    key = notes["key"].astype(np.int64)
    onset, offset = notes["onset_s"].astype(float).copy(), notes["offset_s"].astype(float).copy()
    start = onset - travel_s(notes["velocity"]) * rng.uniform(0.85, 1.2, len(notes))
    back = rng.uniform(*RETURN_S, len(notes))
    full = np.where(rng.random(len(notes)) < 0.1, rng.uniform(0.8, 1, len(notes)), 1.0)
    last: dict[int, int] = {}
    keep = np.ones(len(notes), bool)
    for i, k in enumerate(key.tolist()):
        before = last.get(k)
        if before is not None:
            room = onset[i] - onset[before]
            if room < 0.05:  # no key repeats faster: the second note is a doubling
                keep[i] = False
                offset[before] = max(offset[before], offset[i])
                continue
            start[i] = max(start[i], onset[before] + 0.55 * room)
            back[before] = min(back[before], 0.35 * room)
            offset[before] = min(offset[before], start[i] - 0.3 * back[before])
        last[k] = i
    offset = np.maximum(offset, onset + 0.02)
    arrays = (key, start, onset, offset, back, notes["velocity"].astype(np.int64), full)
    return Strokes(*(a[keep] for a in arrays))


def depth(strokes: Strokes, times_s: Float64) -> Float32:
    """Return (T, 88) travel of every key, 0 (rest) .. 1 (bottom), at ``times_s`` (T,)."""
    result = np.zeros((len(times_s), KEYS), np.float32)
    t = times_s[:, None]
    down = np.clip((t - strokes.start_s) / (strokes.onset_s - strokes.start_s), 0, 1) ** 1.6
    up = np.clip((t - strokes.offset_s) / strokes.return_s + 0.5, 0, 1)
    travel = (np.minimum(down, 1 - up * up * (3 - 2 * up)) * strokes.full).astype(np.float32)
    np.maximum.at(result.T, strokes.key, travel.T)
    return result


def pressed(strokes: Strokes, times_s: Float64) -> NDArray[np.bool_]:
    """Return (T, 88): the key is between its onset and its offset."""
    result = np.zeros((len(times_s), KEYS), bool)
    t = times_s[:, None]
    held = (t >= strokes.onset_s) & (t < strokes.offset_s)
    np.logical_or.at(result.T, strokes.key, held.T)
    return result


def onset_grid(strokes: Strokes, times_s: Float64) -> NDArray[np.uint8]:
    """Return (T - 1, 88) velocity of the onset within (times_s[i], times_s[i + 1]], 0 where there is none."""
    result = np.zeros((len(times_s) - 1, KEYS), np.uint8)
    at = np.searchsorted(times_s, strokes.onset_s, side="left") - 1
    inside = (at >= 0) & (at < len(times_s) - 1)
    result[at[inside], strokes.key[inside]] = strokes.velocity[inside]
    return result
