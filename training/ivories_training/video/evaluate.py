"""Scores of the exported int8 file, seen through the device's own stages.

Onset precision, recall and F1 are mir_eval's, at 50 and 100 ms; pressed-frame F1 counts (frame, key) cells;
detection time is the moment of the tracker's decision minus the acoustic onset (negative: before the sound).
"""

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from ivories.datatypes import KeyEvidence, Origin
from ivories.inference.litert import LiteRtRuntime
from ivories.inference.manifest import Manifest, check, load_manifest
from ivories.inference.video_model import VideoModel
from ivories.report import decision_delays, notes_of_events
from ivories.scoring import score_notes
from ivories.vision.strip import StripFrontEnd, StripSpec
from ivories_training.thresholds import track
from ivories_training.video.clips import Clip


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
    """pressed keys, cell by cell, where the posterior is above one half"""
    detection_ms: float
    """median of decision minus acoustic onset over the right notes; NaN without any"""
    bias_ms: float
    """median of told minus true onset time"""
    velocity_r: float
    false_per_10_s: float


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


def score(clip: Clip, evidence: list[KeyEvidence], thresholds: Iterable[float]) -> ClipScores:
    """Compare what the tracker makes of ``evidence`` with the truth of ``clip``."""
    notes = notes_of_events(track(evidence, Origin.VIDEO, tuple(thresholds)))
    near, far = score_notes(clip.notes, notes, 0.05), score_notes(clip.notes, notes, 0.1)
    delays = decision_delays(clip.notes, notes)
    wrong = len(notes) * (1 - far.precision)
    return ClipScores(
        name=clip.name,
        notes=len(clip.notes),
        found=len(notes),
        f1_50ms=near.f1,
        f1_100ms=far.f1,
        precision_100ms=far.precision,
        recall_100ms=far.recall,
        frame_f1=frame_f1(clip, evidence),
        detection_ms=delays.median if delays else float("nan"),
        bias_ms=far.onset_bias_ms,
        velocity_r=far.velocity_r,
        false_per_10_s=10 * wrong / (float(clip.t_ns[-1]) * 1e-9),
    )


def frame_f1(clip: Clip, evidence: list[KeyEvidence]) -> float:
    """Return the F1 of (frame, key) cells with the evidence for pressed above 0, at its prior's balance."""
    right = told = true = 0
    at = {int(t): i for i, t in enumerate(clip.t_ns)}
    for one in evidence:
        truth = clip.pressed[at[one.t_ns]]
        guess = one.frame > FRAME_BALANCE
        right += int((truth & guess).sum())
        told += int(guess.sum())
        true += int(truth.sum())
    return 2 * right / max(1, told + true)


FRAME_BALANCE = 3.0
"""Log-likelihood ratio at which a key counts as pressed: one key in twenty is down"""


def summary(scores: list[ClipScores]) -> dict[str, float]:
    """Return the means over clips."""
    table = [asdict(s) for s in scores]
    names = [k for k, v in table[0].items() if isinstance(v, float)]
    return {name: float(np.nanmean([row[name] for row in table])) for name in names}


def save(scores: list[ClipScores], path: Path) -> None:
    """Write the scores of all clips and their means as JSON."""
    path.parent.mkdir(parents=True, exist_ok=True)
    content = {"clips": [asdict(s) for s in scores], "mean": summary(scores)}
    path.write_text(json.dumps(content, indent=1))


def clip_table(scores: list[ClipScores]) -> str:
    """Return the scores as lines of text."""
    names = ("notes", "found", "F1@50", "F1@100", "frame", "told ms", "vel r", "false/10s")
    head = f"{'clip':<24}" + "".join(f"{name:>10}" for name in names)
    rows = [
        f"{s.name:<24}{s.notes:>10}{s.found:>10}{s.f1_50ms:>10.3f}{s.f1_100ms:>10.3f}{s.frame_f1:>10.3f}"
        f"{s.detection_ms:>10.0f}{s.velocity_r:>10.2f}{s.false_per_10_s:>10.2f}"
        for s in scores
    ]
    return "\n".join([head, *rows])
