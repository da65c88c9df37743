"""Scores of a transcription against its truth, all by mir_eval's rules.

An estimated onset is right when it is within the tolerance (50 ms unless stated) of a reference onset of
the same pitch; each onset matches at most one other. Precision = right / estimated, recall = right /
reference, F1 = their harmonic mean. With offsets: the note's end must also lie within the larger of 50 ms
and 20 % of the reference duration. With velocity: mir_eval's rescaled velocity within 0.1.
"""

import importlib.util
import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ivories.errors import ConfigError
from ivories.notes import SHORTEST_S, matched_pairs


@dataclass(frozen=True, slots=True)
class NoteScores:
    precision: float
    recall: float
    f1: float
    f1_25ms: float
    """onset F1 at 25 ms tolerance"""
    f1_offset: float
    f1_velocity: float
    reference_notes: int
    estimated_notes: int
    onset_error_ms: float
    """median |estimated - reference| onset of the right notes"""
    onset_bias_ms: float
    """median (estimated - reference)"""
    velocity_r: float
    """Pearson correlation of the velocities of the right notes, NaN below three"""


def require() -> None:
    """Raise ConfigError where there is no mir_eval: a device does without it, and without its SciPy."""
    if importlib.util.find_spec("mir_eval") is None:
        raise ConfigError("scores need mir_eval, which is not installed here: pip install 'ivories[score]'")


def score_notes(
    reference: NDArray[np.void], estimate: NDArray[np.void], tolerance_s: float = 0.05
) -> NoteScores:
    """Compare two arrays of ``NOTE_DTYPE``.

    Raises:
        ConfigError: mir_eval is not installed.
    """
    require()
    from mir_eval import transcription, transcription_velocity, util

    if len(reference) == 0 or len(estimate) == 0:
        perfect = float(len(reference) == len(estimate))
        return NoteScores(
            perfect, perfect, perfect, perfect, perfect, perfect, len(reference), len(estimate),
            math.nan, math.nan, math.nan,
        )  # fmt: skip
    ref_i, ref_p = _intervals(reference), util.midi_to_hz(reference["pitch"])
    est_i, est_p = _intervals(estimate), util.midi_to_hz(estimate["pitch"])
    onsets = {
        tolerance: transcription.precision_recall_f1_overlap(
            ref_i, ref_p, est_i, est_p, onset_tolerance=tolerance, offset_ratio=None
        )
        for tolerance in (tolerance_s, 0.025)
    }
    with_offset = transcription.precision_recall_f1_overlap(
        ref_i, ref_p, est_i, est_p, onset_tolerance=tolerance_s
    )
    with_velocity = transcription_velocity.precision_recall_f1_overlap(
        ref_i, ref_p, reference["velocity"], est_i, est_p, estimate["velocity"],
        onset_tolerance=tolerance_s, offset_ratio=None,
    )  # fmt: skip
    matched = matched_pairs(reference, estimate, tolerance_s)
    errors = est_i[matched[:, 1], 0] - ref_i[matched[:, 0], 0]
    precision, recall, f1, _ = onsets[tolerance_s]
    return NoteScores(
        precision=float(precision),
        recall=float(recall),
        f1=float(f1),
        f1_25ms=float(onsets[0.025][2]),
        f1_offset=float(with_offset[2]),
        f1_velocity=float(with_velocity[2]),
        reference_notes=len(reference),
        estimated_notes=len(estimate),
        onset_error_ms=float(np.median(np.abs(errors)) * 1e3) if len(errors) else math.nan,
        onset_bias_ms=float(np.median(errors) * 1e3) if len(errors) else math.nan,
        velocity_r=_correlation(reference["velocity"][matched[:, 0]], estimate["velocity"][matched[:, 1]]),
    )


def _intervals(notes: NDArray[np.void]) -> NDArray[np.float64]:
    onset = notes["onset_s"]
    return np.stack([onset, np.maximum(notes["offset_s"], onset + SHORTEST_S)], axis=1)


def _correlation(a: NDArray[np.int32], b: NDArray[np.int32]) -> float:
    if len(a) < 3 or np.ptp(a) == 0 or np.ptp(b) == 0:
        return math.nan
    return float(np.corrcoef(a, b)[0, 1])
