"""One take beside what was made of it: which notes count, which are right, how late each was decided."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from ivories.datatypes import NoteEvent, NoteKind, Origin
from ivories.notes import matched_pairs
from ivories.report import notes_of_events
from ivories.scoring import NoteScores, score_notes
from ivories_training.audio.takes import Take
from ivories_training.thresholds import alone, follow, track

Notes = NDArray[np.void]
TOGETHER_S: Final = 0.03
"""Notes struck within this of each other are one chord"""


@dataclass(frozen=True)
class Judged:
    """One take beside what was made of it."""

    take: Take
    notes: Notes
    """NOTE_DTYPE, or DECIDED_DTYPE where the moment of each decision is known"""
    pedal: NDArray[np.float64] | None
    """(P, 2) seconds; None: nothing was said of the pedal"""

    @cached_property
    def truth(self) -> Notes:
        """The true notes that count."""
        return self._counted(self.take.truth)

    @cached_property
    def found(self) -> Notes:
        """The told notes that count."""
        return self._counted(self.notes)

    @cached_property
    def right(self) -> NDArray[np.int_]:
        """(N, 2) indices into ``truth`` and ``found`` of the right notes."""
        return matched_pairs(self.truth, self.found)

    @cached_property
    def scores(self) -> NoteScores:
        """All of mir_eval's."""
        return score_notes(self.truth, self.found)

    @property
    def late_ms(self) -> NDArray[np.float64]:
        """(N,) decision minus acoustic onset of each right note; NaN where no moment is known."""
        if "decided_s" not in (self.found.dtype.names or ()):
            return np.full(len(self.right), np.nan)
        onset = self.truth["onset_s"][self.right[:, 0]]
        return (self.found["decided_s"][self.right[:, 1]] - onset) * 1e3

    @property
    def error_ms(self) -> NDArray[np.float64]:
        """(N,) told minus true onset time of each right note."""
        told, true = self.found["onset_s"][self.right[:, 1]], self.truth["onset_s"][self.right[:, 0]]
        return (told - true) * 1e3

    def _counted(self, notes: Notes) -> Notes:
        inside = (notes["onset_s"] >= self.take.begin_s) & (notes["onset_s"] < self.take.end_s)
        return notes[inside]


def decide(take: Take, thresholds: Sequence[float]) -> Judged:
    """Run the device's tracker over a take, by ear alone, at an instrument that it does not know."""
    return _judged(take, track(take.evidence, Origin.AUDIO, thresholds))


def decide_in_turn(takes: Sequence[Take], thresholds: Sequence[float]) -> list[Judged]:
    """Run it over takes of one instrument, each with the scale of velocities that those before it taught."""
    judged, touch = [], None
    for take in takes:
        tracker = alone(Origin.AUDIO, thresholds, touch)
        judged.append(_judged(take, follow(take.evidence, tracker)))
        touch = tracker.touch
    return judged


def _judged(take: Take, events: Sequence[NoteEvent]) -> Judged:
    return Judged(take, notes_of_events(events), np.array(list(_pedal_down(events))).reshape(-1, 2))


def _pedal_down(events: Sequence[NoteEvent]) -> Iterator[tuple[float, float]]:
    since: float | None = None
    for event in events:
        if event.kind is NoteKind.PEDAL:
            if event.velocity and since is None:
                since = event.t_ns * 1e-9
            elif not event.velocity and since is not None:
                yield since, event.t_ns * 1e-9
                since = None


def struck_with(truth: Notes) -> NDArray[np.int_]:
    """Return (N,) how many notes are struck within ``TOGETHER_S`` of each note, itself included."""
    onset = np.sort(truth["onset_s"])
    last = np.searchsorted(onset, truth["onset_s"] + TOGETHER_S, "right")
    return np.asarray(last - np.searchsorted(onset, truth["onset_s"] - TOGETHER_S), np.int_)


def share(part: float, whole: float) -> float:
    """Return ``part`` of ``whole``; NaN of nothing."""
    return part / whole if whole else np.nan


def mean(values: NDArray[Any]) -> float:
    """Return the mean; NaN of nothing."""
    return float(values.mean()) if len(values) else np.nan


def percentile(values: NDArray[np.float64], percent: float) -> float:
    """Return a percentile; NaN of nothing, and of unknown values."""
    return float(np.percentile(values, percent)) if len(values) else np.nan


def joined(parts: Iterable[NDArray[np.float64]]) -> NDArray[np.float64]:
    """Return the values of all takes in one array."""
    return np.concatenate([np.zeros(0), *parts])


def velocity_r(right: Iterable[tuple[Judged, NDArray[np.int_]]], *, within: bool = False) -> float:
    """Return Pearson's r of true and told velocity over pairs (N, 2) of several takes; NaN below three.

    ``within``: every take's own means are taken off. Takes that were recorded at different levels can be
    compared in no other way.
    """
    true, told = [np.zeros(0)], [np.zeros(0)]
    for judged, pairs in right:
        velocities = judged.truth["velocity"][pairs[:, 0]], judged.found["velocity"][pairs[:, 1]]
        for kept, values in zip((true, told), velocities, strict=True):
            kept.append(values - values.mean() if within and len(values) else values)
    a, b = np.concatenate(true), np.concatenate(told)
    if len(a) < 3 or np.ptp(a) == 0 or np.ptp(b) == 0:
        return np.nan
    return float(np.corrcoef(a, b)[0, 1])
