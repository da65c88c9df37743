"""Scores of the exported int8 file, seen through the device's own stages.

Onset precision, recall and F1 are mir_eval's, at 50 and 100 ms; pressed keys are counted frame by frame
(``cells``); detection time is the tracker's decision minus the acoustic onset (negative: before the sound).
"""

import json
import math
from collections.abc import Iterable, Mapping, Sequence
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
from ivories.report import decision_delays, notes_of_events
from ivories.scoring import score_notes
from ivories.vision.strip import StripFrontEnd, StripSpec
from ivories_training import columns
from ivories_training.thresholds import track
from ivories_training.video.cells import ALL, CellScores, count
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
    frame_f1: float
    """pressed keys, cell by cell"""
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


def told(evidence: Sequence[KeyEvidence], thresholds: Iterable[float]) -> NDArray[np.void]:
    """Return the notes (``report.DECIDED_DTYPE``) that the tracker makes of ``evidence``, by eye alone."""
    return notes_of_events(track(evidence, Origin.VIDEO, tuple(thresholds)))


def score(clip: Clip, evidence: Sequence[KeyEvidence], notes: NDArray[np.void]) -> ClipScores:
    """Compare ``evidence`` and the notes ``told`` from it with the truth of ``clip``."""
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
        frame_f1=count(clip, evidence)[ALL].scores(ALL).f1 if evidence else math.nan,
        detection_ms=delays.median if delays else math.nan,
        detection_p95_ms=delays.p95 if delays else math.nan,
        detection_soft_ms=soft.median if soft else math.nan,
        bias_ms=far.onset_bias_ms,
        velocity_r=far.velocity_r,
        false_per_10_s=10 * wrong / (float(clip.t_ns[-1]) * 1e-9),
        frame_rate=1e9 / float(np.median(np.diff(clip.t_ns))),
    )


def summary(scores: Sequence[ClipScores]) -> dict[str, float]:
    """Return the means over clips; measures that say nothing are left out."""
    table = [asdict(s) for s in scores]
    names = [k for k, v in table[0].items() if isinstance(v, float)] if table else []
    known = {name: [row[name] for row in table if not math.isnan(row[name])] for name in names}
    return {name: float(np.mean(values)) for name, values in known.items() if values}


def false_rate(idle: Sequence[ClipScores]) -> float:
    """Return the false notes per 10 s over clips in which nobody presses."""
    return float(np.mean([s.false_per_10_s for s in idle])) if idle else math.nan


def save(
    scores: Sequence[ClipScores],
    cells: Sequence[CellScores],
    idle: Mapping[Idle, Sequence[ClipScores]],
    path: Path,
) -> None:
    """Write the scores of all clips, their means and the cells as JSON; what says nothing is null."""
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = [[_finite(asdict(one)) for one in part] for part in (scores, cells)]
    nobody = {kind: [_finite(asdict(one)) for one in part] for kind, part in idle.items()}
    content = {"clips": rows[0], "mean": summary(scores), "cells": rows[1], "nobody_presses": nobody}
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
        "Onset F1 within 50 and 100 ms; pressed keys, frame by frame; decision after (-: before) the sound",
        ("clip",),
        (
            "fps",
            "notes",
            "found",
            "F1 50",
            "F1 100",
            "frame F1",
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
        *(columns.score(at(name)) for name in ("f1_50ms", "f1_100ms", "frame_f1")),
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
