"""Targets per hop and key, and which of them count.

Hop j covers seconds [j, j + 1) * 0.01. The channel of horizon h at hop t is about an onset in hop t - h.
Onsets are soft: 1 at the hop that holds the onset, falling to 0 within one and a half hops from its middle,
so that the centre of mass of the evidence tells the time below the hop.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ivories.audio.octaves import OCTAVES
from ivories.keyboard import KEYS
from ivories_training.performances import Performance

HOP_S = 0.01
REPEAT_S = 0.4
"""An onset within this time of the last on its key is a repeat"""
HARD = 2.0
"""Weight of an onset soon after its key's last, which is often missed"""
GHOST = 4.0
"""Weight of silence an octave or two beside an onset, where most false notes are"""
Float32 = NDArray[np.float32]


def targets(
    played: Performance, hops: int, horizons: Sequence[int], first: int = 0
) -> tuple[Float32, Float32]:
    """Return targets for ``hops`` hops of an excerpt from hop ``first``.

    Returns:
        keys (hops, 88, 2 * len(horizons) + 4): onset per horizon, frame (sounding, pedal included), offset
        (the damper falls, at the middle horizon: a key-up under the pedal cannot be heard), velocity 0..1
        of the newest onset that any horizon may be about; then what each of them counts: per horizon 1 to
        ``HARD`` or ``GHOST``, and last a mask: 1 where velocity counts;
        pedal (hops,): sustain pedal down.
    """
    late, middle = horizons[-1], horizons[len(horizons) // 2]
    onset = np.zeros((hops + late + 2, KEYS), np.float32)  # row i: hop first - late - 1 + i
    offset = np.zeros_like(onset)
    frame, velocity = np.zeros((hops, KEYS), np.float32), np.zeros((hops, KEYS), np.float32)
    repeated = np.zeros_like(onset)
    origin = first - late - 1
    last = np.full(KEYS, -np.inf)
    for note in played.notes:  # by onset
        key = int(note["key"])
        _bump(onset[:, key], note["onset_s"] / HOP_S - origin)
        if note["onset_s"] - last[key] < REPEAT_S:
            _bump(repeated[:, key], note["onset_s"] / HOP_S - origin)
        last[key] = note["onset_s"]
        _bump(offset[:, key], note["sounding_end_s"] / HOP_S - origin)
        at = int(note["onset_s"] // HOP_S) - first
        velocity[max(at + horizons[0] - 1, 0) : max(at + late + 2, 0), key] = note["velocity"] / 127
        begin, end = note["onset_s"] / HOP_S - first, note["sounding_end_s"] / HOP_S - first
        frame[max(round(begin), 0) : max(round(end), 0), key] = 1
    rows = {h: slice(late + 1 - h, late + 1 - h + hops) for h in horizons}
    weight = 1 + np.where(onset > 0, (HARD - 1) * repeated, (GHOST - 1) * _beside(onset))
    channels = [onset[rows[h]] for h in horizons] + [frame, offset[rows[middle]], velocity]
    channels += [weight[rows[h]] for h in horizons] + [(velocity > 0).astype(np.float32)]
    pedal = np.zeros(hops, np.float32)
    for down, up in played.pedal:
        pedal[max(round(down / HOP_S) - first, 0) : max(round(up / HOP_S) - first, 0)] = 1
    return np.stack(channels, axis=-1), pedal


def _beside(onset: Float32) -> Float32:
    """Return (rows, 88): the highest of ``onset`` an octave or two away."""
    padded = np.pad(onset, ((0, 0), (max(OCTAVES), max(OCTAVES))))
    return np.max([padded[:, max(OCTAVES) + o : max(OCTAVES) + o + KEYS] for o in OCTAVES], axis=0)


def _bump(column: Float32, at: float) -> None:
    """Raise ``column`` to 1 at position ``at`` (in hops), sloping down beside it."""
    centre = int(at)
    for j in range(max(centre - 2, 0), min(centre + 3, len(column))):
        column[j] = max(column[j], min(1.0, max(0.0, 1.5 - abs(at - 0.5 - j))))


def energy(samples: NDArray[np.floating], hop: int) -> Float32:
    """Return the sum of squares of each hop of one event's samples, (n // hop,) float32."""
    whole = np.asarray(samples[: len(samples) // hop * hop], np.float64).reshape(-1, hop)
    return np.sum(whole**2, axis=1).astype(np.float32)
