"""Scores by register and by how many notes are struck together."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from ivories.keyboard import KEYS
from ivories.notes import matched_pairs
from ivories_training.audio.judged import Judged, joined, mean, percentile, share, struck_with, velocity_r

REGISTERS: Final = {"A0-B2": (21, 47), "C3-B4": (48, 71), "C5-C8": (72, 108)}
"""Lowest and highest MIDI pitch"""
CHORDS: Final = {"1": (1, 1), "2-4": (2, 4), "5+": (5, KEYS)}
"""Fewest and most notes struck together"""


@dataclass(frozen=True)
class Part:
    """Scores of some of the notes: a register, or a size of chord."""

    name: str
    part: str
    notes: int
    found: int
    precision: float
    recall: float
    f1: float
    f1_25ms: float
    velocity_r: float
    error_median_ms: float
    delay_mean_ms: float
    delay_p95_ms: float


def by_register(name: str, judged: Sequence[Judged]) -> list[Part]:
    """Split the notes by pitch."""
    return [
        _part(
            name,
            part,
            [(j, _between(j.truth["pitch"], span), _between(j.found["pitch"], span)) for j in judged],
        )
        for part, span in REGISTERS.items()
    ]


def by_chord(name: str, judged: Sequence[Judged]) -> list[Part]:
    """Split the notes by how many are struck together; a false note counts with the chord nearest in time."""
    sizes = [(j, struck_with(j.truth), _size_of_found(j)) for j in judged]
    return [
        _part(name, part, [(j, _between(true, span), _between(found, span)) for j, true, found in sizes])
        for part, span in CHORDS.items()
    ]


def _size_of_found(judged: Judged) -> NDArray[np.int_]:
    size = struck_with(judged.truth)
    if not len(size):
        return np.ones(len(judged.found), np.int_)
    distance = np.abs(judged.found["onset_s"][:, None] - judged.truth["onset_s"][None])
    nearest = size[distance.argmin(axis=1)]
    nearest[judged.right[:, 1]] = size[judged.right[:, 0]]
    return np.asarray(nearest, np.int_)


def _between(values: NDArray[np.int_], span: tuple[int, int]) -> NDArray[np.bool_]:
    return np.asarray((values >= span[0]) & (values <= span[1]))


def _part(name: str, part: str, cut: Sequence[tuple[Judged, NDArray[np.bool_], NDArray[np.bool_]]]) -> Part:
    """Count over the notes that two masks per take leave; a right note is left by both."""
    true, found = (sum(int(m[i].sum()) for m in cut) for i in (1, 2))
    kept = [j.right[in_truth[j.right[:, 0]]] for j, in_truth, _ in cut]
    right = sum(len(pairs) for pairs in kept)
    near = 0
    for judged, in_truth, in_found in cut:
        pairs = matched_pairs(judged.truth, judged.found, 0.025)
        near += int((in_truth[pairs[:, 0]] & in_found[pairs[:, 1]]).sum())
    inside = [in_truth[j.right[:, 0]] for j, in_truth, _ in cut]
    late = joined(j.late_ms[i] for (j, _, _), i in zip(cut, inside, strict=True))
    error = joined(np.abs(j.error_ms[i]) for (j, _, _), i in zip(cut, inside, strict=True))
    return Part(
        name=name,
        part=part,
        notes=true,
        found=found,
        precision=share(right, found),
        recall=share(right, true),
        f1=share(2 * right, true + found),
        f1_25ms=share(2 * near, true + found),
        velocity_r=velocity_r((j, pairs) for (j, _, _), pairs in zip(cut, kept, strict=True)),
        error_median_ms=percentile(error, 50),
        delay_mean_ms=mean(late),
        delay_p95_ms=percentile(late, 95),
    )
