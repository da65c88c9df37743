"""Scores of the exported int8 file, seen through the device's own stages.

Onset precision, recall and F1 are mir_eval's, at 50 and 100 ms; pressed keys are counted frame by frame
(``cells``), as the device's state has them after each frame; detection time is the tracker's decision minus
the acoustic onset (negative: before the sound).
"""

import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np
from numpy.typing import NDArray
from rich.table import Table

from ivories.datatypes import KeyEvidence, Origin
from ivories.inference.litert import LiteRtRuntime
from ivories.inference.manifest import Manifest, check, load_manifest
from ivories.inference.video_model import VideoModel
from ivories.keyboard import KEYS
from ivories.report import decision_delays, notes_of_events
from ivories.scoring import score_notes
from ivories.vision.strip import StripFrontEnd, StripSpec
from ivories_training import columns
from ivories_training.thresholds import alone
from ivories_training.video.cells import ALL, NETWORK, Bool, CellScores, Counts, count, pooled
from ivories_training.video.clips import Clip, Idle

MEZZO_FORTE: Final = 80
"""MIDI velocity up to which a note counts as no louder than mf"""


@dataclass(frozen=True)
class ClipScores:
    name: str
    notes: int
    found: int
    f1_50ms: float
    f1_100ms: float
    precision_100ms: float
    recall_100ms: float
    f1_offset: float
    """onset within 100 ms, and the end as well (mir_eval's measure)"""
    frame_f1: float
    """pressed keys, cell by cell: the device's state after each frame"""
    network_frame_f1: float
    """the same of each frame's evidence alone"""
    detection_ms: float
    """median of decision minus acoustic onset over the right notes; NaN without any"""
    detection_p95_ms: float
    detection_soft_ms: float
    """median over the notes up to mf"""
    bias_ms: float
    """median of told minus true onset time"""
    velocity_r: float
    false_per_10_s: float
    frame_rate: float
    stops: float
    """by which the device had the camera expose, in the end"""


class Watcher:
    """The int8 file behind the device's front end.

    Args:
        manifest_path: NAME.toml.
    """

    def __init__(self, manifest_path: Path) -> None:
        self.manifest: Manifest = load_manifest(manifest_path)
        self.spec = StripSpec()
        file = check(self.manifest, manifest_path.parent, self.spec.fingerprint)
        self._runtime = LiteRtRuntime(file)

    def watch(self, clip: Clip) -> list[KeyEvidence]:
        """Return the evidence of every frame of ``clip`` from the end of the rest image's learning on."""
        frontend = StripFrontEnd(self.spec, clip.calibration)
        model = VideoModel(self._runtime, self.manifest)
        return [e for frame in clip.frames() for strip in frontend.push(frame) for e in model.push(strip)]


@dataclass(frozen=True)
class Told:
    """What the tracker made of a clip."""

    notes: NDArray[np.void]
    """``report.DECIDED_DTYPE``"""
    down: Bool
    """(n, K) its state after each of n frames"""


def told(evidence: Sequence[KeyEvidence], thresholds: Iterable[float]) -> Told:
    """Return what the tracker makes of ``evidence``, by eye alone."""
    tracker = alone(Origin.VIDEO, tuple(thresholds))
    events, down = [], []
    for one in evidence:
        events += tracker.push(one)
        down.append(tracker.state.pressed)
    events += tracker.release_all(evidence[-1].t_ns if evidence else 0)
    return Told(notes_of_events(events), np.array(down, bool).reshape(-1, KEYS))


def score(clip: Clip, notes: NDArray[np.void], cells: Mapping[str, Counts]) -> ClipScores:
    """Compare with the truth of ``clip`` the ``notes`` that were `told` from it; ``cells``: its `count`."""
    near, far = score_notes(clip.notes, notes, 0.05), score_notes(clip.notes, notes, 0.1)
    delays = decision_delays(clip.notes, notes)
    soft = decision_delays(clip.notes[clip.notes["velocity"] <= MEZZO_FORTE], notes)
    wrong = len(notes) * (1 - far.precision)
    return ClipScores(
        name=clip.name,
        notes=len(clip.notes),
        found=len(notes),
        f1_50ms=near.f1,
        f1_100ms=far.f1,
        precision_100ms=far.precision,
        recall_100ms=far.recall,
        f1_offset=far.f1_offset,
        frame_f1=cells[ALL].scores(ALL).f1 if ALL in cells else math.nan,
        network_frame_f1=cells[NETWORK].scores(NETWORK).f1,
        detection_ms=delays.median if delays else math.nan,
        detection_p95_ms=delays.p95 if delays else math.nan,
        detection_soft_ms=soft.median if soft else math.nan,
        bias_ms=far.onset_bias_ms,
        velocity_r=far.velocity_r,
        false_per_10_s=10 * wrong / (float(clip.t_ns[-1]) * 1e-9),
        frame_rate=1e9 / float(np.median(np.diff(clip.t_ns))),
        stops=clip.stops[-1] if clip.stops else 0.0,
    )


class Judge:
    """Watches clips and scores what it is told, besides with the camera left alone where that differs.

    Args:
        watcher: the network.
        thresholds: of the policy.
        left_alone: returns the clip as it would be had the device not corrected the camera's exposure.
    """

    def __init__(
        self, watcher: Watcher, thresholds: Sequence[float], left_alone: Callable[[Clip, Idle | None], Clip]
    ) -> None:
        self._watcher = watcher
        self._thresholds = tuple(thresholds)
        self._left_alone = left_alone
        self.scores: dict[Idle | None, list[ClipScores]] = {}
        """By what idle hands do; None: they play"""
        self.alone: dict[Idle | None, list[ClipScores]] = {}
        """The same with the cameras left alone"""
        self.counts: list[dict[str, Counts]] = []
        """Cells of the clips in which hands play"""

    @property
    def idle_scores(self) -> dict[Idle, list[ClipScores]]:
        """Those of clips in which nobody presses."""
        return {kind: of_kind for kind, of_kind in self.scores.items() if kind is not None}

    def watch(self, clip: Clip, idle: Idle | None = None) -> tuple[ClipScores, Told]:
        """Score one clip and keep the scores."""
        found, cells = self._look(clip)
        reached = other = score(clip, found.notes, cells)
        if clip.stops:
            alone = self._left_alone(clip, idle)
            found_alone, cells_alone = self._look(alone)
            other = score(alone, found_alone.notes, cells_alone)
        self.scores.setdefault(idle, []).append(reached)
        self.alone.setdefault(idle, []).append(other)
        if idle is None:
            self.counts.append(cells)
        return reached, found

    def _look(self, clip: Clip) -> tuple[Told, dict[str, Counts]]:
        evidence = self._watcher.watch(clip)
        found = told(evidence, self._thresholds)
        return found, count(clip, evidence, found.down)


def summary(scores: Sequence[ClipScores]) -> dict[str, float]:
    """Return the means over clips; measures that say nothing are left out."""
    table = [asdict(s) for s in scores]
    names = [k for k, v in table[0].items() if isinstance(v, float)] if table else []
    known = {name: [row[name] for row in table if not math.isnan(row[name])] for name in names}
    return {name: float(np.mean(values)) for name, values in known.items() if values}


def exposure_line(held: Sequence[ClipScores], alone: Sequence[ClipScores]) -> str:
    """Return what the cameras' exposure was worth, in one line."""
    corrected = ", ".join(f"{one.name} {one.stops:+.1f} stops" for one in held if one.stops)
    at = summary(alone)
    figures = ", ".join(
        f"{name} {at[key]:.3f}"
        for name, key in (("F1 50", "f1_50ms"), ("F1 100", "f1_100ms"), ("frame F1", "frame_f1"))
        if key in at
    )
    return f"exposure corrected: {corrected or 'none'}; with the cameras left alone: {figures}"


def false_rate(idle: Sequence[ClipScores]) -> float:
    """Return the false notes per 10 s over clips in which nobody presses."""
    return float(np.mean([s.false_per_10_s for s in idle])) if idle else math.nan


def save(bench: Judge, path: Path) -> None:
    """Write the scores of all clips, their means and the cells as JSON; what says nothing is null."""
    path.parent.mkdir(parents=True, exist_ok=True)

    def rows(scores: Sequence[ClipScores]) -> list[dict[str, Any]]:
        return [_finite(asdict(one)) for one in scores]

    scores, alone = bench.scores[None], bench.alone[None]
    content = {
        "clips": rows(scores),
        "mean": summary(scores),
        "cells": [_finite(asdict(one)) for one in pooled(bench.counts)],
        "nobody_presses": {kind: rows(of_kind) for kind, of_kind in bench.idle_scores.items()},
        "cameras_left_alone": {"clips": rows(alone), "mean": summary(alone)},
    }
    path.write_text(json.dumps(content, indent=1) + "\n", "utf-8")


def _finite(row: dict[str, Any]) -> dict[str, Any]:
    return {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in row.items()}


def write_scores(
    path: Path,
    material: str,
    policy: str,
    scores: Sequence[ClipScores],
    idle: Mapping[Idle, Sequence[ClipScores]] | None = None,
) -> Manifest:
    """Put the means into the manifest at ``path``, beside those of other material, and into its card."""
    from ivories_training import export
    from ivories_training.video.recipe import FALSE_NOTES, video_card

    manifest = load_manifest(path)
    new = {f"{material}/{policy}/{name}": round(value, 4) for name, value in summary(scores).items()}
    for kind, of_kind in (idle or {}).items():
        new[f"{kind}/{policy}/{FALSE_NOTES}"] = round(false_rate(of_kind), 4)
    manifest = msgspec.structs.replace(manifest, scores=manifest.scores | new)
    export.finish(manifest, path.parent / manifest.file, video_card(manifest))
    return manifest


def clip_table(scores: Sequence[ClipScores]) -> Table:
    """Return one line per clip, and their means."""
    table = columns.table(
        "Onset F1 within 50 and 100 ms, and with the end; pressed keys by frames; decision after the sound",
        ("clip",),
        (
            "fps",
            "notes",
            "found",
            "F1 50",
            "F1 100",
            "+ end",
            "frames",
            "median",
            "p95",
            "to mf",
            "vel. r",
            "false/10s",
        ),
    )
    for s in scores:
        table.add_row(s.name, f"{s.frame_rate:.0f}", str(s.notes), str(s.found), *_cells(asdict(s)))
    if len(scores) > 1:
        table.add_section()
        total = (str(sum(s.notes for s in scores)), str(sum(s.found for s in scores)))
        table.add_row("mean", "", *total, *_cells(summary(scores)))
    return table


def _cells(row: dict[str, Any]) -> list[str]:
    def at(name: str) -> float:
        return float(row.get(name, math.nan))

    return [
        *(columns.score(at(name)) for name in ("f1_50ms", "f1_100ms", "f1_offset", "frame_f1")),
        *(columns.ms(at(name)) for name in ("detection_ms", "detection_p95_ms", "detection_soft_ms")),
        *(columns.score(at(name), 2) for name in ("velocity_r", "false_per_10_s")),
    ]


def cell_table(scores: Sequence[CellScores]) -> Table:
    """Return one line per kind of key, of visibility and of light."""
    names = ("cells", "pressed", "accuracy", "precision", "recall", "F1")
    table = columns.table("Pressed or not, frame by frame and key by key", ("of",), names)
    for s in scores:
        values = (s.accuracy, s.precision, s.recall, s.f1)
        table.add_row(s.kind, f"{s.cells:,}", f"{s.pressed:,}", *map(columns.score, values))
    return table
