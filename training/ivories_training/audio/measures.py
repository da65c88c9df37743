"""Every score of a transcription.

Right notes are mir_eval's (``ivories.scoring``). Scores of several takes are pooled: right notes over all
notes. Delays run from the acoustic onset to the moment at which the tracker was sure.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from ivories.audio.octaves import OCTAVES
from ivories.keyboard import KEYS, LOWEST_PITCH
from ivories_training.audio.judged import (
    Judged,
    Notes,
    joined,
    mean,
    percentile,
    share,
    struck_with,
    velocity_r,
)
from ivories_training.audio.labels import REPEAT_S

CELL_S: Final = 0.01
"""Length of a frame where frames are counted"""
CHORD: Final = 5
"""Notes struck together that make a large chord"""
_NEAR_S: Final = 0.05
Pitches = NDArray[np.integer[Any]]


@dataclass(frozen=True)
class Row:
    """Scores of one kind of material under one policy; NaN where a measure says nothing."""

    name: str
    policy: str
    """or the program that is compared with"""
    notes: int
    found: int
    precision: float
    recall: float
    f1: float
    f1_25ms: float
    f1_offset: float
    """A sound's end right too"""
    f1_velocity: float
    frame_f1: float
    """Sounding keys, hop by hop"""
    velocity_r: float
    """Pearson, over the right notes of all takes"""
    velocity_r_within: float
    """The same with each take's own means taken off: how dynamics are told where the level is not known"""
    error_median_ms: float
    """|told - true| onset time"""
    error_p95_ms: float
    delay_mean_ms: float
    delay_median_ms: float
    delay_p95_ms: float
    delay_p99_ms: float
    octave_share: float
    """Of the false notes: an octave (or two) from a note struck at the time"""
    repeat_recall: float
    """Of notes within 0.4 s of the last on the same key"""
    chord_recall: float
    """Of notes struck with four or more others"""
    pedal_on_f1: float
    pedal_off_f1: float


def row(name: str, policy: str, judged: Sequence[Judged]) -> Row:
    """Pool the scores of several takes."""
    true, found = sum(len(j.truth) for j in judged), sum(len(j.found) for j in judged)
    right = sum(len(j.right) for j in judged)
    late, error = joined(j.late_ms for j in judged), np.abs(joined(j.error_ms for j in judged))
    hit = np.concatenate([_hit(j) for j in judged])
    on, off = _pedal_f1(judged)
    return Row(
        name=name,
        policy=policy,
        notes=true,
        found=found,
        precision=share(right, found),
        recall=share(right, true),
        f1=share(2 * right, true + found),
        f1_25ms=_pooled(judged, "f1_25ms"),
        f1_offset=_pooled(judged, "f1_offset"),
        f1_velocity=_pooled(judged, "f1_velocity"),
        frame_f1=_frame_f1(judged),
        velocity_r=velocity_r((j, j.right) for j in judged),
        velocity_r_within=velocity_r(((j, j.right) for j in judged), within=True),
        error_median_ms=percentile(error, 50),
        error_p95_ms=percentile(error, 95),
        delay_mean_ms=mean(late),
        delay_median_ms=percentile(late, 50),
        delay_p95_ms=percentile(late, 95),
        delay_p99_ms=percentile(late, 99),
        octave_share=_octave_share(judged),
        repeat_recall=mean(hit[np.concatenate([_repeats(j.truth) for j in judged])]),
        chord_recall=mean(hit[np.concatenate([struck_with(j.truth) for j in judged]) >= CHORD]),
        pedal_on_f1=on,
        pedal_off_f1=off,
    )


def delays_and_f1(judged: Sequence[Judged]) -> tuple[float, float, float]:
    """Return onset F1 (50 ms), mean and 95th percentile of the delay in ms: what a sweep needs, quickly."""
    total = sum(len(j.truth) + len(j.found) for j in judged)
    late = joined(j.late_ms for j in judged)
    return share(2 * sum(len(j.right) for j in judged), total), mean(late), percentile(late, 95)


def _pooled(judged: Sequence[Judged], field: str) -> float:
    """Pool an F1 = 2 * right / (true + found) over takes."""
    counts = [len(j.truth) + len(j.found) for j in judged]
    right = [getattr(j.scores, field) * n for j, n in zip(judged, counts, strict=True)]
    return share(sum(right), sum(counts))


def _hit(judged: Judged) -> NDArray[np.bool_]:
    """(N,) which true notes were found."""
    return np.isin(np.arange(len(judged.truth)), judged.right[:, 0])


def _repeats(truth: Notes) -> NDArray[np.bool_]:
    last: dict[int, float] = {}
    repeated = np.zeros(len(truth), bool)
    for i in np.argsort(truth["onset_s"], kind="stable"):
        pitch, onset = int(truth["pitch"][i]), float(truth["onset_s"][i])
        repeated[i] = onset - last.get(pitch, -np.inf) < REPEAT_S
        last[pitch] = onset
    return repeated


def _octave_share(judged: Sequence[Judged]) -> float:
    octaves = [bool(np.isin(near - pitch, OCTAVES).any()) for near, pitch, _ in _false_notes(judged)]
    return share(sum(octaves), len(octaves))


def octave_share_by_chance(judged: Sequence[Judged]) -> float:
    """Return the octave share to expect if false notes had any of the pitches told in their take."""
    octaves = []
    for near, _, told in _false_notes(judged):
        away = near[:, np.newaxis].astype(int) - told
        octaves.append(float(np.isin(away, OCTAVES).any(axis=0).mean()))
    return share(sum(octaves), len(octaves))


def _false_notes(judged: Sequence[Judged]) -> Iterator[tuple[Pitches, np.integer[Any], Pitches]]:
    """Yield of every false note: pitches struck at the time, its own, and all that are told in its take."""
    for j in judged:
        for note in j.found[~np.isin(np.arange(len(j.found)), j.right[:, 1])]:
            near = j.truth["pitch"][np.abs(j.truth["onset_s"] - note["onset_s"]) < _NEAR_S]
            yield near, note["pitch"], j.found["pitch"]


def _frame_f1(judged: Sequence[Judged]) -> float:
    """F1 of (hop, key) cells in which a key sounds, from the notes alone."""
    both = true = told = 0
    for j in judged:
        truth, found = _roll(j, j.take.truth), _roll(j, j.notes)
        both += int((truth & found).sum())
        true += int(truth.sum())
        told += int(found.sum())
    return share(2 * both, true + told)


def _roll(judged: Judged, notes: Notes) -> NDArray[np.bool_]:
    """(cells, 88) which keys sound in the span that counts."""
    first, count = _span(judged)
    roll = np.zeros((count, KEYS), bool)
    for note in notes:
        begin, end = (round(note[name] / CELL_S) - first for name in ("onset_s", "offset_s"))
        roll[max(begin, 0) : max(end, 0), note["pitch"] - LOWEST_PITCH] = True
    return roll


def _pedal_f1(judged: Sequence[Judged]) -> tuple[float, float]:
    """F1 of cells with the pedal down and up; NaN where it is never down, or nothing was said of it."""
    known = [j for j in judged if j.pedal is not None]
    cells = [(_down(j, j.take.pedal), _down(j, j.pedal)) for j in known if j.pedal is not None]
    if not any(truth.any() for truth, _ in cells):
        return np.nan, np.nan
    result = []
    for state in (True, False):
        both = sum(int(((t == state) & (f == state)).sum()) for t, f in cells)
        total = sum(int((t == state).sum() + (f == state).sum()) for t, f in cells)
        result.append(share(2 * both, total))
    return result[0], result[1]


def _down(judged: Judged, pedal: NDArray[np.float64]) -> NDArray[np.bool_]:
    first, count = _span(judged)
    cells = np.zeros(count, bool)
    for down, up in pedal:
        cells[max(round(down / CELL_S) - first, 0) : max(round(up / CELL_S) - first, 0)] = True
    return cells


def _span(judged: Judged) -> tuple[int, int]:
    """Return the first cell that counts, and how many do."""
    first = round(judged.take.begin_s / CELL_S)
    return first, round(judged.take.end_s / CELL_S) - first
