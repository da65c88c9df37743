"""Notes straight from the onset channels, to choose checkpoints by; the device has its own tracker."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ivories.notes import NOTE_DTYPE
from ivories_training.audio.labels import HOP_S
from ivories_training.performances import Performance

Float32 = NDArray[np.float32]
REPEAT_HOPS = 5
"""No action repeats a key faster than this"""
NOMINAL_S = 0.1
"""Length given to picked notes: only their onsets are judged"""


def pick(logits: Float32, threshold: float, horizon: int) -> NDArray[np.void]:
    """Return the local maxima above ``threshold`` as notes.

    Args:
        logits: (T, 88) of one onset channel.
        threshold: log-odds.
        horizon: of the channel, in hops.
    """
    padded = np.pad(logits, ((2, 2), (0, 0)), constant_values=-np.inf)
    centre = padded[2:-2]
    peak = (centre >= threshold) & (centre > padded[1:-3]) & (centre >= padded[3:-1])
    peak &= (centre > padded[:-4]) & (centre >= padded[4:])
    hops, keys = np.nonzero(peak)
    notes, last = [], np.full(88, -1000)
    for hop, key in zip(hops, keys, strict=True):
        if hop - last[key] < REPEAT_HOPS:
            continue
        last[key] = hop
        weights = 1 / (1 + np.exp(-padded[hop + 1 : hop + 4, key]))
        onset = (hop - horizon + 0.5 + float(weights @ (-1, 0, 1)) / float(weights.sum())) * HOP_S
        notes.append((max(onset, 0.0), max(onset, 0.0) + NOMINAL_S, key + 21, 64))
    return np.array(notes, NOTE_DTYPE)


def truth(played: Performance, begin_s: float, end_s: float) -> NDArray[np.void]:
    """Return the notes struck within [begin, end) as a reference."""
    kept = played.notes[(played.notes["onset_s"] >= begin_s) & (played.notes["onset_s"] < end_s)]
    rows = [(n["onset_s"], n["onset_s"] + NOMINAL_S, n["key"] + 21, n["velocity"]) for n in kept]
    return np.array(rows, NOTE_DTYPE)


def matches(reference: NDArray[np.void], estimate: NDArray[np.void], tolerance_s: float = 0.05) -> int:
    """Return how many onsets agree: per key in time order, which is optimal for equal tolerances."""
    count = 0
    for pitch in np.intersect1d(reference["pitch"], estimate["pitch"]):
        wanted = np.sort(reference["onset_s"][reference["pitch"] == pitch])
        found = np.sort(estimate["onset_s"][estimate["pitch"] == pitch])
        i = j = 0
        while i < len(wanted) and j < len(found):
            if abs(wanted[i] - found[j]) <= tolerance_s:
                count, i, j = count + 1, i + 1, j + 1
            elif wanted[i] < found[j]:
                i += 1
            else:
                j += 1
    return count


def best_f1(
    logits: Sequence[Float32], played: Sequence[Performance], horizon: int, cold_hops: int
) -> tuple[float, float]:
    """Return the best onset F1 over thresholds, and that threshold, over several excerpts (T, 88)."""
    best = (0.0, 0.0)
    for threshold in np.arange(-3.0, 2.6, 0.5):
        right = estimated = wanted = 0
        for excerpt, performance in zip(logits, played, strict=True):
            begin, end = cold_hops * HOP_S, (len(excerpt) - horizon) * HOP_S
            reference = truth(performance, begin, end)
            found = pick(excerpt, float(threshold), horizon)
            found = found[(found["onset_s"] >= begin) & (found["onset_s"] < end)]
            right += matches(reference, found)
            estimated, wanted = estimated + len(found), wanted + len(reference)
        score = 2 * right / max(1, estimated + wanted)
        best = max(best, (score, float(threshold)))
    return best
