"""What the tracker makes of unseen scenes: by ear, by eye, and by both."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from rich.table import Table

from ivories.datatypes import KeyEvidence, NoteEvent
from ivories.fusion.touch import TouchScale
from ivories.fusion.tracker import Tracker, TrackerSettings
from ivories.notes import matched_pairs
from ivories.report import decision_delays, notes_of_events
from ivories.scoring import score_notes
from ivories_training import columns
from ivories_training.scenes import Scene
from ivories_training.thresholds import follow

WAYS = ("audio", "video", "both")


@dataclass(frozen=True)
class Played:
    """What one sense, or both, made of one scene."""

    truth: NDArray[np.void]
    """NOTE_DTYPE"""
    events: list[NoteEvent]
    touch: TouchScale | None
    """The scale of velocities as learned by the end"""

    @property
    def notes(self) -> NDArray[np.void]:
        """What was told, ``report.DECIDED_DTYPE``."""
        return notes_of_events(self.events)

    def velocities(self) -> NDArray[np.float64]:
        """Return (N, 2): true and told velocity of every right note."""
        notes = self.notes
        right = matched_pairs(self.truth, notes)
        true, told = self.truth["velocity"][right[:, 0]], notes["velocity"][right[:, 1]]
        return np.stack([true, told], 1).astype(np.float64)


def play(scene: Scene, way: str, settings: TrackerSettings, touch: TouchScale | None = None) -> Played:
    """Run the tracker over what one of ``WAYS`` knows of ``scene``; ``touch``: what is known of loudness."""
    evidence: Sequence[KeyEvidence] = (
        scene.merged() if way == "both" else scene.heard if way == "audio" else scene.seen
    )
    tracker = Tracker(settings, touch=touch)
    return Played(scene.truth, follow(evidence, tracker), tracker.touch)


def in_turn(found: Sequence[Scene], way: str, settings: TrackerSettings) -> Iterator[Played]:
    """Yield scenes of one instrument, each with the scale of velocities that those before it taught."""
    touch = None
    for scene in found:
        played = play(scene, way, settings, touch)
        touch = played.touch
        yield played


def notes_table(found: Sequence[Scene], sound: str, settings: TrackerSettings) -> Table:
    """Return which notes are right and when they are told: means over scenes, each a strange instrument.

    Jitter is p95 less the median of the decision; taken back is the share of the true notes.
    """
    numbers = (
        "F1", "P", "R", "F1 25 ms", "with ends", "onset off", "decided", "mean", "jitter", "taken back",
        "vel. r",
    )  # fmt: skip
    table = columns.table(f"{sound}: what the tracker makes of it", ("sense",), numbers)
    for way in WAYS:
        played = [play(scene, way, settings) for scene in found]
        scores = [score_notes(one.truth, one.notes) for one in played]
        delays = [d for one in played if (d := decision_delays(one.truth, one.notes)) is not None]
        back = [sum(e.retracts for e in one.events) / max(len(one.truth), 1) for one in played]

        def mean(field: str, scores: Sequence[object] = scores) -> float:
            values = np.array([getattr(one, field) for one in scores])
            return float(np.mean(values[~np.isnan(values)])) if np.isfinite(values).any() else np.nan

        late = [np.mean([getattr(d, name) for d in delays] or [np.nan]) for name in ("median", "mean", "p95")]
        table.add_row(
            way,
            *(columns.score(mean(f)) for f in ("f1", "precision", "recall", "f1_25ms", "f1_offset")),
            columns.ms(mean("onset_error_ms"), 1),
            *(columns.ms(float(x)) for x in (late[0], late[1], late[2] - late[0])),
            f"{100 * float(np.mean(back)):.1f} %",
            columns.score(mean("velocity_r"), 2),
        )
    return table


def velocity_table(found: Sequence[Scene], sound: str, settings: TrackerSettings) -> Table:
    """Return how well velocities are told of ONE instrument, heard in all scenes in turn.

    r over all notes is what a player notices; with each scene's means off, it is told whether a loud note
    stands out where it stands.
    """
    numbers = ("notes", "velocity r over all", "each scene's means off")
    table = columns.table(f"{sound}, heard in turn: how hard was it struck?", ("sense",), numbers)
    for way in WAYS:
        told = [one.velocities() for one in in_turn(found, way, settings)]
        all_, own = np.concatenate(told), np.concatenate([x - x.mean(0) for x in told if len(x)])
        r = [float(np.corrcoef(x.T)[0, 1]) if (np.ptp(x, axis=0) > 0).all() else np.nan for x in (all_, own)]
        table.add_row(way, str(len(all_)), *(columns.score(x) for x in r))
    return table
