"""Scores of the exported int8 file, through the device's own stages, judged by mir_eval.

Three kinds of material: (sound, MIDI) pairs in a folder; rendered pieces of the test split on a piano never
trained on (clean, and in a noisy room); and sounds without a piano, where every note is false.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec
import numpy as np
import soundfile
import soxr
from numpy.typing import NDArray
from rich.table import Table

from ivories.datatypes import Float32, KeyEvidence, Origin
from ivories.errors import SourceError
from ivories.report import notes_of_events
from ivories.scoring import matched_pairs, read_notes, score_notes
from ivories_training.audio.calibrate import notes_of
from ivories_training.audio.dataset import maker
from ivories_training.audio.excerpts import PREROLL_S
from ivories_training.audio.labels import HOP_S
from ivories_training.audio.listener import Listener
from ivories_training.audio.room import Recorder
from ivories_training.audio.sample_bank import RATE
from ivories_training.audio.settings import Settings
from ivories_training.thresholds import track

SOUNDS = (".wav", ".flac", ".ogg", ".mp3")


@dataclass(frozen=True)
class Take:
    """A recording and what was played in it."""

    name: str
    evidence: Sequence[KeyEvidence]
    truth: NDArray[np.void]
    """NOTE_DTYPE"""


@dataclass(frozen=True)
class Row:
    """Scores of several takes under one policy, weighted by their notes."""

    name: str
    policy: str
    f1: float
    f1_25ms: float
    f1_offset: float
    f1_velocity: float
    precision: float
    recall: float
    delay_mean_ms: float
    delay_p95_ms: float
    octave_share: float
    """Of the false notes: an octave (or two) from a right one"""
    repeat_recall: float
    """Of notes within 0.4 s of the last on the same key"""
    chord_recall: float
    """Of notes struck with four or more others"""
    velocity_r: float


def load_sound(path: Path) -> Float32:
    """Return a recording mixed to mono at 16 kHz.

    Raises:
        SourceError: it cannot be read.
    """
    try:
        samples, rate = soundfile.read(str(path), dtype="float32", always_2d=True)
    except (OSError, soundfile.SoundFileError) as error:
        raise SourceError(f"cannot read the recording {path}: {error}") from error
    return np.ascontiguousarray(soxr.resample(samples.mean(axis=1), rate, RATE), np.float32)


def pairs(listener: Listener, folder: Path) -> list[Take]:
    """Hear every sound in ``folder`` that has a MIDI file of the same name beside it.

    Raises:
        SourceError: there is none.
    """
    takes = []
    for sound in sorted(p for p in folder.glob("*") if p.suffix.lower() in SOUNDS):
        midi = sound.with_suffix(".mid")
        if midi.is_file():
            # A second of silence at the end lets the last horizons speak.
            samples = np.concatenate([load_sound(sound), np.zeros(RATE, np.float32)])
            takes.append(Take(sound.stem, listener.hear(samples), read_notes(midi)))
    if not takes:
        raise SourceError(f"no recording with a MIDI file of the same name in {folder}")
    return takes


def rendered(listener: Listener, settings: Settings, count: int, strength: float) -> list[Take]:
    """Render and hear ``count`` test excerpts; ``strength`` 0 is dry and clean, 1 as in training."""
    drawn = maker(replace_excerpts(settings, strength), "test")
    takes = []
    for index in range(count):
        samples, played = drawn.sound(index)
        evidence = listener.hear(samples)[round(PREROLL_S / HOP_S) :]
        shift = round(PREROLL_S * 1e9)
        evidence = [replace(e, t_ns=e.t_ns - shift) for e in evidence]
        truth = notes_of(played, 0.0, drawn.config.seconds - listener.model.delay_ns / 1e9)
        takes.append(Take(f"{played.name} {index}", evidence, truth))
    return takes


def replace_excerpts(settings: Settings, strength: float) -> Settings:
    """Return ``settings`` with excerpts of piano alone and this much of rooms and noise."""
    excerpts = replace(settings.excerpts, strength=strength, background=0.0, invented=0.0)
    return msgspec.structs.replace(settings, excerpts=excerpts)


def false_notes(listener: Listener, policy: Sequence[float], seconds: float = 20.0) -> float:
    """Return notes per 10 s found where no piano plays: noise, talk, claps, hum, near silence."""
    rng = np.random.default_rng(5)
    recorder, count, rounds = Recorder(rng, rooms=8), 0, 12
    for _ in range(rounds):
        evidence = listener.hear(recorder.background(round(seconds * RATE), rng))
        count += len(notes_of_events(track(evidence, Origin.AUDIO, policy)))
    return count / (rounds * seconds / 10)


def score(name: str, policy: str, takes: Sequence[Take], thresholds: Sequence[float]) -> Row:
    """Run the tracker over ``takes`` and judge what it decides."""
    scores, weights, delays = [], [], list[float]()
    false, octaves = 0, 0
    repeats, chords = list[bool](), list[bool]()
    for take in takes:
        notes = notes_of_events(track(take.evidence, Origin.AUDIO, thresholds))
        scores.append(score_notes(take.truth, notes))
        weights.append(len(take.truth))
        right = matched_pairs(take.truth, notes)
        found = np.isin(np.arange(len(take.truth)), right[:, 0])
        delays += list((notes["decided_s"][right[:, 1]] - take.truth["onset_s"][right[:, 0]]) * 1e3)
        wrong = notes[~np.isin(np.arange(len(notes)), right[:, 1])]
        false += len(wrong)
        octaves += sum(_beside(note, take.truth) for note in wrong)
        repeats += list(found[_repeats(take.truth)])
        chords += list(found[_chords(take.truth)])
    mean = {
        field: float(np.average([getattr(s, field) for s in scores], weights=weights))
        for field in ("f1", "f1_25ms", "f1_offset", "f1_velocity", "precision", "recall")
    }
    late = np.array(delays) if delays else np.array([np.nan])
    return Row(
        name=name,
        policy=policy,
        **mean,
        delay_mean_ms=float(late.mean()),
        delay_p95_ms=float(np.percentile(late, 95)),
        octave_share=octaves / max(1, false),
        repeat_recall=float(np.mean(repeats)) if repeats else np.nan,
        chord_recall=float(np.mean(chords)) if chords else np.nan,
        velocity_r=float(np.nanmean([s.velocity_r for s in scores])),
    )


def _beside(note: np.void, truth: NDArray[np.void]) -> bool:
    """Whether a false note lies one or two octaves from a note struck at the same time."""
    near = truth["pitch"][np.abs(truth["onset_s"] - note["onset_s"]) < 0.05]
    return bool(np.isin(np.abs(near - note["pitch"]), (12, 24)).any())


def _repeats(truth: NDArray[np.void]) -> NDArray[np.bool_]:
    last: dict[int, float] = {}
    repeated = np.zeros(len(truth), bool)
    for i in np.argsort(truth["onset_s"]):
        pitch, onset = int(truth["pitch"][i]), float(truth["onset_s"][i])
        repeated[i] = onset - last.get(pitch, -9.0) < 0.4
        last[pitch] = onset
    return repeated


def _chords(truth: NDArray[np.void]) -> NDArray[np.bool_]:
    onset = truth["onset_s"]
    return np.array([np.count_nonzero(np.abs(onset - t) < 0.03) >= 5 for t in onset], bool)


def table(rows: Sequence[Row]) -> Table:
    """Return the scores for the terminal."""
    made = Table(title="Exported int8 file, streaming, through the device's tracker", title_justify="left")
    columns = ("material", "policy", "F1 50 ms", "25 ms", "+offset", "+velocity", "P", "R")
    for name in (*columns, "delay mean", "p95", "octave FP", "repeats", "chords", "vel r"):
        made.add_column(name, justify="left" if name in {"material", "policy"} else "right")
    for r in rows:
        values = (r.f1, r.f1_25ms, r.f1_offset, r.f1_velocity, r.precision, r.recall)
        last = (r.octave_share, r.repeat_recall, r.chord_recall, r.velocity_r)
        made.add_row(
            r.name,
            r.policy,
            *(f"{v:.3f}" for v in values),
            f"{r.delay_mean_ms:.0f} ms",
            f"{r.delay_p95_ms:.0f} ms",
            *(f"{v:.2f}" for v in last),
        )
    return made
