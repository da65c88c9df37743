"""How sure the tracker must be, per horizon and policy, found with the tracker itself on validation material.

``surest`` decides at the last horizon alone, at the threshold of the best onset F1. The other policies let
earlier horizons decide too, each at the lowest threshold that costs no more F1 than the policy allows: a
lower threshold is an earlier note.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from ivories.datatypes import KeyEvidence, NoteEvent, Origin
from ivories.fusion.tracker import Tracker, TrackerSettings
from ivories.report import decision_delays, notes_of_events
from ivories.scoring import score_notes

NEVER: Final = 1e9
F1_COST: Final = {"surest": 0.0, "balanced": 0.006, "earliest": 0.025}
"""How much onset F1 a policy may give for earlier notes."""
_GRID: Final = tuple(float(x) for x in np.arange(-3.0, 8.1, 0.5))
_EARLY_GRID: Final = (NEVER, *(float(x) for x in np.arange(9.0, -0.6, -0.75)))


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


def find_thresholds(pieces: Sequence[Piece], origin: Origin) -> dict[str, list[float]]:
    """Return policy -> posterior log-odds per horizon (ascending), for a manifest."""
    horizons = len(pieces[0].evidence[0].horizon_ns)
    never = [NEVER] * horizons
    scored = {last: evaluate(pieces, origin, [*never[:-1], last]).f1 for last in _GRID}
    surest = [*never[:-1], max(scored, key=lambda last: scored[last])]
    best = max(scored.values())
    found = {"surest": surest}
    for policy in ("balanced", "earliest"):
        thresholds = list(surest)
        # Later horizons first: they cost least, and what they decide the earlier ones need not.
        for row in range(horizons - 2, -1, -1):
            share = F1_COST[policy] * (horizons - 1 - row) / (horizons - 1)
            for candidate in _EARLY_GRID:
                trial = [*thresholds[:row], candidate, *thresholds[row + 1 :]]
                if evaluate(pieces, origin, trial).f1 < best - share:
                    break
                thresholds = trial
        found[policy] = thresholds
    return found


def evaluate(pieces: Sequence[Piece], origin: Origin, thresholds: Sequence[float]) -> Outcome:
    """Run the tracker over all pieces with these thresholds for ``origin`` alone."""
    f1, weights, delays = [], [], []
    for piece in pieces:
        notes = notes_of_events(track(piece.evidence, origin, thresholds))
        f1.append(score_notes(piece.truth, notes).f1)
        weights.append(len(piece.truth))
        late = decision_delays(piece.truth, notes)
        if late is not None:
            delays.append(late.mean)
    return Outcome(float(np.average(f1, weights=weights)), float(np.mean(delays)) if delays else np.inf)


def track(evidence: Sequence[KeyEvidence], origin: Origin, thresholds: Sequence[float]) -> list[NoteEvent]:
    """Return the events of a tracker that hears or sees, but not both."""
    ears = tuple(thresholds) if origin is Origin.AUDIO else (NEVER,)
    eyes = tuple(thresholds) if origin is Origin.VIDEO else (NEVER,)
    tracker = Tracker(TrackerSettings(audio_thresholds=ears, video_thresholds=eyes))
    events = [event for one in evidence for event in tracker.push(one)]
    return events + tracker.release_all(evidence[-1].t_ns if evidence else 0)
