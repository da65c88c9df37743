"""Scores of a transcription against its truth, all by mir_eval's rules.

An estimated onset is right when it is within the tolerance (50 ms unless stated) of a reference onset of
the same pitch; each onset matches at most one other. Precision = right / estimated, recall = right /
reference, F1 = their harmonic mean. With offsets: the note's end must also lie within the larger of 50 ms
and 20 % of the reference duration. With velocity: mir_eval's rescaled velocity within 0.1.
"""

import math
from dataclasses import dataclass
from pathlib import Path

import mido
import mir_eval.transcription
import mir_eval.transcription_velocity
import mir_eval.util
import numpy as np
from numpy.typing import NDArray

from ivories.errors import SourceError
from ivories.keyboard import HIGHEST_PITCH, LOWEST_PITCH

NOTE_DTYPE = np.dtype([("onset_s", "f8"), ("offset_s", "f8"), ("pitch", "i4"), ("velocity", "i4")])
"""One note: key-down and key-up time in seconds, MIDI pitch, velocity 1..127."""

_SHORTEST_S = 1e-3  # mir_eval refuses empty intervals


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


def read_notes(path: Path) -> NDArray[np.void]:
    """Return the notes of a MIDI file, sorted by onset, as an array of ``NOTE_DTYPE``; the pedal is ignored.

    Raises:
        SourceError: the file is missing or is not a MIDI file.
    """
    try:
        file = mido.MidiFile(path)
        messages = list(file)
    except FileNotFoundError as error:
        raise SourceError(f"no MIDI file at {path}") from error
    except (OSError, EOFError, ValueError, KeyError, IndexError) as error:
        raise SourceError(f"{path} is not a readable MIDI file: {error or 'it ends too early'}") from error
    now = 0.0
    sounding: dict[tuple[int, int], tuple[float, int]] = {}
    notes: list[tuple[float, float, int, int]] = []
    for message in messages:
        now += message.time
        if message.type not in {"note_on", "note_off"} or not LOWEST_PITCH <= message.note <= HIGHEST_PITCH:
            continue
        key = (message.channel, message.note)
        if key in sounding:
            start, velocity = sounding.pop(key)
            notes.append((start, max(now, start + _SHORTEST_S), message.note, velocity))
        if message.type == "note_on" and message.velocity > 0:
            sounding[key] = (now, message.velocity)
    notes += [(start, max(now, start + _SHORTEST_S), key[1], v) for key, (start, v) in sounding.items()]
    return np.array(sorted(notes), NOTE_DTYPE)


def score_notes(
    reference: NDArray[np.void], estimate: NDArray[np.void], tolerance_s: float = 0.05
) -> NoteScores:
    """Compare two arrays of ``NOTE_DTYPE``."""
    if len(reference) == 0 or len(estimate) == 0:
        perfect = float(len(reference) == len(estimate))
        return NoteScores(
            perfect, perfect, perfect, perfect, perfect, perfect, len(reference), len(estimate),
            math.nan, math.nan, math.nan,
        )  # fmt: skip
    ref_i, ref_p = _intervals(reference), mir_eval.util.midi_to_hz(reference["pitch"])
    est_i, est_p = _intervals(estimate), mir_eval.util.midi_to_hz(estimate["pitch"])
    onsets = {
        tolerance: mir_eval.transcription.precision_recall_f1_overlap(
            ref_i, ref_p, est_i, est_p, onset_tolerance=tolerance, offset_ratio=None
        )
        for tolerance in (tolerance_s, 0.025)
    }
    with_offset = mir_eval.transcription.precision_recall_f1_overlap(
        ref_i, ref_p, est_i, est_p, onset_tolerance=tolerance_s
    )
    with_velocity = mir_eval.transcription_velocity.precision_recall_f1_overlap(
        ref_i, ref_p, reference["velocity"], est_i, est_p, estimate["velocity"],
        onset_tolerance=tolerance_s, offset_ratio=None,
    )  # fmt: skip
    pairs = mir_eval.transcription.match_notes(
        ref_i, ref_p, est_i, est_p, onset_tolerance=tolerance_s, offset_ratio=None
    )
    matched = np.array(pairs, int).reshape(-1, 2)
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


def matched_pairs(
    reference: NDArray[np.void], estimate: NDArray[np.void], tolerance_s: float = 0.05
) -> NDArray[np.int_]:
    """Return (N, 2) indices (reference, estimate) of the notes that count as right."""
    if len(reference) == 0 or len(estimate) == 0:
        return np.zeros((0, 2), int)
    pairs = mir_eval.transcription.match_notes(
        _intervals(reference), mir_eval.util.midi_to_hz(reference["pitch"]),
        _intervals(estimate), mir_eval.util.midi_to_hz(estimate["pitch"]),
        onset_tolerance=tolerance_s, offset_ratio=None,
    )  # fmt: skip
    return np.array(pairs, int).reshape(-1, 2)


def _intervals(notes: NDArray[np.void]) -> NDArray[np.float64]:
    onset = notes["onset_s"]
    return np.stack([onset, np.maximum(notes["offset_s"], onset + _SHORTEST_S)], axis=1)


def _correlation(a: NDArray[np.int32], b: NDArray[np.int32]) -> float:
    if len(a) < 3 or np.ptp(a) == 0 or np.ptp(b) == 0:
        return math.nan
    return float(np.corrcoef(a, b)[0, 1])
