"""How sure the tracker must be, per horizon and policy, found with the tracker itself on validation material.

A policy is what it pays for time: the thresholds found for it have the highest onset F1 less a price per
millisecond of mean delay, and less a price per note that is imagined where nobody plays. They are found by
climbing, one horizon after the other, in steps of 2, then 1, then 1/2 log-odds; a policy starts where the
more patient one before it ended.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from ivories.clock import SECOND
from ivories.datatypes import KeyEvidence, NoteEvent, Origin
from ivories.fusion.touch import TouchScale
from ivories.fusion.tracker import Tracker, TrackerSettings
from ivories.report import decision_delays, notes_of_events
from ivories.scoring import score_notes

NEVER: Final = 1e9
PRICE: Final = {"surest": 0.0, "balanced": 0.0004, "earliest": 0.0015}
"""Onset F1 that a policy gives for a millisecond; the most patient one comes first"""
_IMAGINED_PRICE: Final = 0.002
"""Onset F1 that one note less in 10 s of pieces without notes is worth"""
_LOWEST, _HIGHEST = -4.0, 8.0
_STEPS: Final = (2.0, 1.0, 0.5)
_START: Final = 1.0


@dataclass(frozen=True)
class Piece:
    """One validation piece: what one sensor's network said of it, and the truth."""

    evidence: Sequence[KeyEvidence]
    truth: NDArray[np.void]
    """NOTE_DTYPE"""


@dataclass(frozen=True)
class Outcome:
    f1: float
    delay_ms: float
    """Mean over the right notes, from the acoustic onset to the decision"""
    imagined: float = 0.0
    """Notes per 10 s of the pieces that hold none"""


def find_thresholds(pieces: Sequence[Piece], origin: Origin) -> dict[str, list[float]]:
    """Return policy -> posterior log-odds per horizon (ascending), for a manifest."""
    known: dict[tuple[float, ...], Outcome] = {}

    def worth(thresholds: Sequence[float], price: float) -> float:
        at = tuple(thresholds)
        if at not in known:
            known[at] = evaluate(pieces, origin, at)
        outcome = known[at]
        worthy = outcome.f1 - _IMAGINED_PRICE * outcome.imagined
        return worthy - price * outcome.delay_ms if np.isfinite(outcome.delay_ms) else worthy - 1

    found: dict[str, list[float]] = {}
    best = [_START] * len(pieces[0].evidence[0].horizon_ns)
    for policy, price in PRICE.items():
        for step in _STEPS:
            best = _climb(best, step, lambda thresholds, price=price: worth(thresholds, price))  # type: ignore[misc]
        found[policy] = list(best)
    return found


def _climb(start: Sequence[float], step: float, worth: Callable[[Sequence[float]], float]) -> list[float]:
    """Move one threshold at a time, the last horizon first, until no move of ``step`` gains."""
    best, reached = list(start), worth(start)
    moved = True
    while moved:
        moved = False
        for row in reversed(range(len(best))):
            for change in (-step, step):
                while _LOWEST <= best[row] + change <= _HIGHEST:
                    trial = [*best[:row], best[row] + change, *best[row + 1 :]]
                    gained = worth(trial)
                    if gained <= reached:
                        break
                    best, reached, moved = trial, gained, True
    return best


def evaluate(pieces: Sequence[Piece], origin: Origin, thresholds: Sequence[float]) -> Outcome:
    """Run the tracker over all pieces with these thresholds for ``origin`` alone."""
    f1, weights, delays, imagined, idle_s = [], [], [], 0, 0.0
    for piece in pieces:
        notes = notes_of_events(track(piece.evidence, origin, thresholds))
        if len(piece.truth) == 0:
            imagined += len(notes)
            idle_s += (piece.evidence[-1].t_ns - piece.evidence[0].t_ns) / SECOND
            continue
        f1.append(score_notes(piece.truth, notes).f1)
        weights.append(len(piece.truth))
        late = decision_delays(piece.truth, notes)
        if late is not None:
            delays.append(late.mean)
    return Outcome(
        float(np.average(f1, weights=weights)),
        float(np.mean(delays)) if delays else np.inf,
        10 * imagined / idle_s if idle_s else 0.0,
    )


def track(evidence: Sequence[KeyEvidence], origin: Origin, thresholds: Sequence[float]) -> list[NoteEvent]:
    """Return the events of a tracker that hears or sees, but not both."""
    return follow(evidence, alone(origin, thresholds))


def alone(origin: Origin, thresholds: Sequence[float], touch: TouchScale | None = None) -> Tracker:
    """Return a tracker that hears or sees, but not both; ``touch`` is its scale of velocities."""
    ears = tuple(thresholds) if origin is Origin.AUDIO else (NEVER,)
    eyes = tuple(thresholds) if origin is Origin.VIDEO else (NEVER,)
    return Tracker(TrackerSettings(audio_thresholds=ears, video_thresholds=eyes), touch=touch)


def follow(evidence: Sequence[KeyEvidence], tracker: Tracker) -> list[NoteEvent]:
    """Return the events of a whole take."""
    events = [event for one in evidence for event in tracker.push(one)]
    return events + tracker.release_all(evidence[-1].t_ns if evidence else 0)
