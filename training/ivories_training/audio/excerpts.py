"""Excerpts: a few seconds of some performance on some piano in some room, as the device would hear it.

Deterministic: excerpt i of seed s is always the same. Kept as shards (int8 features, notes, pedal) so that a
trainer never waits and several epochs are cheap.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import soxr
from numpy.typing import NDArray

from ivories.audio.frontend import AudioFrontEnd
from ivories_training.audio.labels import HOP_S
from ivories_training.audio.room import Recorder
from ivories_training.audio.sample_bank import RATE, Float32, SampleBank
from ivories_training.audio.synthesizer import Touch, synthesize
from ivories_training.invention import invent
from ivories_training.performances import NOTE, Performance

PREROLL_S = 1.0
"""Sound before the excerpt, so that the level is set and old notes ring"""
NOTHING = np.zeros(0, NOTE)
INSTALLED_RANGE_DB, INSTALLED_GAIN = 34.0, 0.5
"""Loudness between velocity 0 and 127, and share of the dry sound's level, where nothing of it is drawn"""


@dataclass(frozen=True)
class ExcerptConfig:
    """How excerpts are drawn."""

    seconds: float = 12.0
    invented: float = 0.25
    """Share of invented performances where real ones are at hand"""
    background: float = 0.1
    """Share without any piano"""
    strength: float = 1.0
    """0..1: how often rooms, microphones and noise occur"""
    cents: float = 45.0
    """Tuning is drawn within this of A = 440 Hz"""
    tempo: float = 0.2
    """Tempo is drawn within this share of the performance's own"""
    installed: bool = False
    """A velocity is equally loud in all excerpts, as where piano and microphone stay"""


class ExcerptMaker:
    """Draws excerpts.

    Args:
        performances: real ones; may be empty.
        banks: the pianos.
        frontend: the device's own.
        config: how to draw.
        seed: of everything.
        weights: how often each piano is drawn (default: equally).
    """

    def __init__(
        self,
        performances: Sequence[Performance],
        banks: Sequence[SampleBank],
        frontend: AudioFrontEnd,
        config: ExcerptConfig,
        seed: int,
        weights: Sequence[float] | None = None,
    ) -> None:
        self.performances, self.banks, self.frontend, self.config = performances, banks, frontend, config
        self.seed = seed
        drawn = np.array(weights if weights is not None else [1.0] * len(banks))
        self.weights = drawn / drawn.sum()
        self.recorder = Recorder(np.random.default_rng([seed, 1]))

    @property
    def hops(self) -> int:
        """Hops per excerpt."""
        return round(self.config.seconds / HOP_S)

    def sound(self, index: int) -> tuple[Float32, Performance]:
        """Return excerpt ``index``: samples at 16 kHz (PREROLL_S come before time 0) and what was played."""
        rng = np.random.default_rng([self.seed, 2, index])
        length = round((self.config.seconds + PREROLL_S) * RATE)
        if rng.random() < self.config.background:
            return self.recorder.background(length, rng), Performance("background", NOTHING, np.zeros((0, 2)))
        speed = 2 ** (rng.uniform(-1, 1) * self.config.cents / 1200)  # > 1: resampled upwards in pitch
        played = self._draw(rng, speed)
        bank = self.banks[rng.choice(len(self.banks), p=self.weights)]
        touch = Touch.draw(rng)
        if self.config.installed:
            touch = replace(touch, range_db=INSTALLED_RANGE_DB)
        moved = _shifted(played, PREROLL_S * speed)
        dry = synthesize(moved, bank, (length / RATE) * speed + 0.02, rng, touch)
        tuned = soxr.resample(dry, RATE, RATE / speed, quality="MQ")[:length]
        tuned = np.pad(tuned, (0, length - len(tuned)))
        recorded = self.recorder.record(tuned, rng, self.config.strength)
        if self.config.installed:
            recorded *= np.float32(INSTALLED_GAIN * _effective(tuned) / (_effective(recorded) + 1e-9))
        return recorded, played.stretched(1 / speed)

    def features(self, index: int) -> tuple[NDArray[np.int8], Performance]:
        """Return (hops, 291, 3) int8 and what was played, times relative to hop 0."""
        samples, played = self.sound(index)
        bins, _ = self.frontend.process(samples)
        first = round(PREROLL_S / HOP_S)
        return bins[first : first + self.hops], played

    def _draw(self, rng: np.random.Generator, speed: float) -> Performance:
        """Return an excerpt with tempo and dynamics changed, ``speed`` times too long."""
        seconds = self.config.seconds * speed
        for _ in range(8):
            if len(self.performances) and rng.random() >= self.config.invented:
                source = self.performances[rng.integers(len(self.performances))]
                tempo = speed * (1 + rng.uniform(-1, 1) * self.config.tempo)
                source = source.stretched(tempo)
            else:
                source = invent(int(rng.integers(2**31)), seconds + 8)
            start = rng.uniform(0, max(1.0, source.seconds - seconds))
            cut = source.window(start, seconds)
            struck = np.count_nonzero(cut.notes["onset_s"] >= 0)
            if 2 <= struck <= 28 * seconds:
                break
        velocity = cut.notes["velocity"] * rng.uniform(0.7, 1.25) + rng.uniform(-12, 12)
        cut.notes["velocity"] = np.clip(np.round(velocity), 5, 127)
        return cut


def _effective(samples: Float32) -> float:
    return float(np.sqrt(np.mean(np.square(samples))))


def _shifted(played: Performance, by_s: float) -> Performance:
    notes = played.notes.copy()
    for name in ("onset_s", "offset_s", "sounding_end_s"):
        notes[name] += by_s
    return Performance(played.name, notes, played.pedal + by_s)


@dataclass(frozen=True)
class Shard:
    """Excerpts on disk."""

    bins: NDArray[np.int8]
    """(N, hops, 291, 3), mapped from the file"""
    played: tuple[Performance, ...]


def write_shard(folder: Path, number: int, maker: ExcerptMaker, indices: Sequence[int]) -> Path:
    """Make the excerpts ``indices`` and write them as shard ``number``; returns the features' file."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"shard_{number:04d}.npy"
    part = path.with_suffix(".part")
    shape = (len(indices), maker.hops, *maker.frontend.spec.shape)
    bins = np.lib.format.open_memmap(part, "w+", np.int8, shape)
    notes, pedals = [], []
    for row, index in enumerate(indices):
        bins[row], played = maker.features(index)
        notes.append(played.notes)
        pedals.append(played.pedal)
    bins.flush()
    np.savez(
        path.with_suffix(".npz"),
        notes=np.concatenate(notes),
        note_counts=[len(n) for n in notes],
        pedals=np.concatenate(pedals),
        pedal_counts=[len(p) for p in pedals],
        frontend=maker.frontend.fingerprint,
    )
    part.rename(path)
    return path


def read_shard(path: Path) -> Shard:
    """Open a shard by its features' file."""
    with np.load(path.with_suffix(".npz")) as kept:
        notes = np.split(kept["notes"], np.cumsum(kept["note_counts"])[:-1])
        pedals = np.split(kept["pedals"], np.cumsum(kept["pedal_counts"])[:-1])
    played = tuple(Performance("", n, p) for n, p in zip(notes, pedals, strict=True))
    return Shard(np.load(path, mmap_mode="r"), played)
