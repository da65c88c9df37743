"""Spectrograms to learn from: synthesized excerpts through the device's front end, and their piano rolls."""

from pathlib import Path

import msgspec
import numpy as np
import soxr
from numpy.typing import NDArray

from ivories.audio.frontend import AudioFrontEnd
from ivories.errors import SourceError
from ivories.keyboard import KEYS, LOWEST_PITCH
from ivories_training.audio.dataset import maker
from ivories_training.audio.excerpts import PREROLL_S, ExcerptMaker
from ivories_training.audio.sample_bank import RATE
from ivories_training.audio.settings import DataConfig, Settings
from ivories_training.performances import Performance, Split
from ivories_training.reference.settings import NOTE_NAMES, Buffer, SoundData, Spectrogram

Float32 = NDArray[np.float32]
Int8 = NDArray[np.int8]
Bool = NDArray[np.bool_]


def sources(experiment: Spectrogram | Buffer) -> Settings:
    """Return an experiment's pianos and performances as the audio network's settings name them."""
    data = DataConfig(performances=experiment.data.performances, seed=experiment.seed)
    return Settings(instruments=experiment.instruments, data=data)


def roll_of(played: Performance, frames: int, frame_s: float) -> Bool:
    """Return which keys sound in which frames, (frames, 88): from the frame of the onset to that of the end.

    A note ends with its sound: a key-up under the pedal cannot be heard. A note shorter than a frame fills
    the frame of its onset.
    """
    roll = np.zeros((frames, KEYS), bool)
    for note in played.notes:
        begin = int(np.floor(note["onset_s"] / frame_s))
        end = max(begin + 1, int(np.floor(note["sounding_end_s"] / frame_s)))
        roll[max(begin, 0) : max(end, 0), note["key"]] = True
    return roll


def note_names(roll: Bool) -> Bool:
    """Return which of C, C#, .. B sound: (T, 88) -> (T, 12)."""
    names = np.zeros((len(roll), NOTE_NAMES), bool)
    for name in range(NOTE_NAMES):
        names[:, name] = roll[:, (name - LOWEST_PITCH) % NOTE_NAMES :: NOTE_NAMES].any(axis=1)
    return names


def excerpt(made: ExcerptMaker, index: int, frontend: AudioFrontEnd) -> tuple[Int8, Bool]:
    """Return one excerpt as (T, bands) int8 and its roll (T, 88)."""
    samples, played = made.sound(index)
    spec = frontend.spec
    if spec.rate != RATE:
        samples = soxr.resample(samples, RATE, spec.rate)
    bins, _ = frontend.process(np.ascontiguousarray(samples, np.float32))
    before = round(PREROLL_S * spec.rate / spec.hop)  # frames that only set the level
    roll = roll_of(_later(played, PREROLL_S), len(bins), spec.hop / spec.rate)
    return bins[before:, :, 0], roll[before:]


def _later(played: Performance, by_s: float) -> Performance:
    notes = played.notes.copy()
    for name in ("onset_s", "offset_s", "sounding_end_s"):
        notes[name] += by_s
    return Performance(played.name, notes, played.pedal + by_s)


def write_excerpts(experiment: Spectrogram, split: Split, folder: Path) -> None:
    """Make the excerpts of ``split``, where ``folder`` lacks them."""
    path = folder / f"{split}.npz"
    if path.is_file():
        return
    folder.mkdir(parents=True, exist_ok=True)
    data, frontend = experiment.data, AudioFrontEnd(experiment.frontend)
    made = maker(msgspec.structs.replace(sources(experiment), excerpts=experiment.excerpts), split)
    count = data.excerpts if split == "train" else data.validation_excerpts
    parts = [excerpt(made, i, frontend) for i in range(count)]
    shortest = min(len(bins) for bins, _ in parts)
    part = folder / f".{split}.npz"
    np.savez(
        part,
        bins=np.stack([bins[:shortest] for bins, _ in parts]),
        roll=np.stack([roll[:shortest] for _, roll in parts]),
    )
    part.rename(path)


class SpectrogramMaterial:
    """Random sequences of spectra; what is said of one speaks of the middle of the hops that are looked at.

    Args:
        experiment: how to draw them.
        folder: with train.npz and validation.npz.

    Raises:
        SourceError: there is nothing, or excerpts are shorter than a sequence.
    """

    def __init__(self, experiment: Spectrogram, folder: Path) -> None:
        self.experiment = experiment
        self.context = experiment.network.context
        self.bins, self.roll = _read(folder / "train.npz", experiment)
        self.hops = _hops(experiment.data, self.bins, self.context)
        self.reseed(0)
        bins, roll = _read(folder / "validation.npz", experiment)
        self.validation = to_real(bins), self._middle(roll)

    def reseed(self, steps: int) -> None:
        """Draw as after ``steps`` batches: new sequences after an interruption."""
        self._rng = np.random.default_rng([self.experiment.seed, steps])

    def batch(self, size: int) -> tuple[Float32, Float32]:
        """Return (size, hops + context - 1, bands, 1) 0..1 and truth (size, hops, 1, outputs)."""
        length = self.hops + self.context - 1
        rows = self._rng.integers(len(self.bins), size=size)
        firsts = self._rng.integers(self.bins.shape[1] - length + 1, size=size)
        bins = np.stack([self.bins[r, f : f + length] for r, f in zip(rows, firsts, strict=True)])
        roll = np.stack([self.roll[r, f : f + length] for r, f in zip(rows, firsts, strict=True)])
        return to_real(bins), self._middle(roll)

    def _middle(self, roll: Bool) -> Float32:
        """(B, T + context - 1, N) -> (B, T, 1, N)."""
        before = (self.context - 1) // 2
        hops = roll.shape[1] - self.context + 1
        return roll[:, before : before + hops, np.newaxis].astype(np.float32)


def to_real(bins: Int8) -> Float32:
    """Return int8 bins (..., bands) as a network's input 0..1 (..., bands, 1)."""
    return ((bins.astype(np.float32) + 128) * np.float32(1 / 255))[..., np.newaxis]


def _read(path: Path, experiment: Spectrogram) -> tuple[Int8, Bool]:
    if not path.is_file():
        raise SourceError(f"no training material at {path}: prepare it first")
    with np.load(path) as kept:
        bins, roll = kept["bins"], kept["roll"]
    if experiment.says == "note names":
        roll = np.stack([note_names(one) for one in roll])
    return bins, roll


def _hops(data: SoundData, bins: Int8, context: int) -> int:
    if bins.shape[1] < data.hops + context - 1:
        raise SourceError(
            f"excerpts of {bins.shape[1]} hops are too short for sequences of {data.hops} hops and "
            f"{context - 1} around them: make [excerpts] seconds longer or [data] hops fewer"
        )
    return data.hops
