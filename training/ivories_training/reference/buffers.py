"""Single short buffers to learn from, mixed on demand, and how strong each key is in them.

A buffer is a moment of a performance: for every note that sounds in it, that stretch of its recording. The
strength of a key is the root of the mean square of its own part of the mix, in units of the buffer's level
(the front end's, amplitude of a sine): from 0 up to about 2. Multiplied by that level it is the amplitude
in the sound.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ivories.audio.frontend import AudioFrontEnd
from ivories.audio.spec import FrontEndSpec
from ivories.errors import ConfigError
from ivories.keyboard import KEYS
from ivories_training.audio import instruments
from ivories_training.audio.dataset import performances
from ivories_training.audio.sample_bank import RATE, SampleBank
from ivories_training.invention import invent
from ivories_training.performances import Performance, Split
from ivories_training.reference.settings import Buffer
from ivories_training.reference.sounds import sources, to_real

Float32 = NDArray[np.float32]
RANGE_DB = 34.0
"""Between velocity 0 and 127"""
_INVENTED = 40
_SEED = {"train": 0, "validation": 1, "test": 2}


@dataclass(frozen=True)
class Event:
    """One note that sounds in a buffer."""

    key: int
    velocity: int
    age: int
    """samples from its onset to the buffer's beginning; negative: it begins inside"""


@dataclass(frozen=True)
class _Source:
    """What buffers of one split are made of."""

    pieces: Sequence[Performance]
    banks: Sequence[SampleBank]
    weights: NDArray[np.float64]


def events_at(played: Performance, begin_s: float, length: int) -> list[Event]:
    """Return the notes of which something sounds within ``length`` samples from ``begin_s``."""
    notes = played.notes
    heard = (notes["onset_s"] < begin_s + length / RATE) & (notes["sounding_end_s"] > begin_s)
    return [
        Event(int(n["key"]), int(n["velocity"]), round((begin_s - float(n["onset_s"])) * RATE))
        for n in notes[heard]
    ]


def parts_of(events: Sequence[Event], bank: SampleBank, length: int) -> Float32:
    """Return what each event contributes, (events, length)."""
    parts = np.zeros((len(events), length), np.float32)
    for part, event in zip(parts, events, strict=True):
        gain = 10 ** (-RANGE_DB * (1 - event.velocity / 127) / 20) / 32767
        recording = bank.sample(event.key, event.velocity)
        into = max(0, -event.age)
        piece = recording[max(0, event.age) : max(0, event.age) + length - into]
        part[into : into + len(piece)] = piece * np.float32(gain)
    return parts


def energies(events: Sequence[Event], parts: Float32) -> Float32:
    """Return the sum of squares of each key's part, (88,)."""
    found = np.zeros(KEYS, np.float32)
    keys = np.array([e.key for e in events], np.int64)
    np.add.at(found, keys, np.sum(parts.astype(np.float64) ** 2, axis=1))
    return found


class BufferMaterial:
    """Draws buffers of ``frontend.hop`` samples.

    Args:
        experiment: what to draw from; no two splits share a piano or a piece.

    Raises:
        ConfigError: the front end does not look at one whole buffer.
    """

    def __init__(self, experiment: Buffer) -> None:
        self.experiment, self.spec = experiment, experiment.frontend
        _check(self.spec)
        self.frontend = AudioFrontEnd(self.spec)
        train, held_out = instruments.load(experiment.instruments)
        self._train = self._source("train", train)
        self.reseed(0)
        rng = np.random.default_rng([experiment.seed, 7])
        self.validation = self._mixed(
            rng, self._source("validation", held_out), 20 * experiment.data.validation_excerpts
        )

    def reseed(self, steps: int) -> None:
        """Draw as after ``steps`` batches: new buffers after an interruption."""
        self._rng = np.random.default_rng([self.experiment.seed, steps])

    def batch(self, size: int) -> tuple[Float32, Float32]:
        """Return (size, 1, bands, 1) 0..1 and strengths (size, 1, 1, 88)."""
        return self._mixed(self._rng, self._train, size)

    def _source(self, split: Split, banks: dict[str, SampleBank]) -> "_Source":
        pieces = performances(sources(self.experiment), split)
        if not pieces:
            pieces = [invent(1000 * _SEED[split] + i, 40.0) for i in range(_INVENTED)]
        weights = np.array([self.experiment.instruments.weights.get(name, 1.0) for name in banks])
        return _Source(pieces, list(banks.values()), weights / weights.sum())

    def _mixed(self, rng: np.random.Generator, source: "_Source", size: int) -> tuple[Float32, Float32]:
        bins = np.empty((size, 1, self.spec.bands), np.int8)
        strength = np.zeros((size, 1, 1, KEYS), np.float32)
        for i in range(size):
            piece = source.pieces[rng.integers(len(source.pieces))]
            bank = source.banks[rng.choice(len(source.banks), p=source.weights)]
            events = events_at(piece, rng.uniform(0, piece.seconds), self.spec.hop)
            parts = parts_of(events, bank, self.spec.hop)
            spectrum, level_db = self.frontend.process(parts.sum(axis=0))
            bins[i, 0] = spectrum[0, :, 0]
            rms = np.sqrt(energies(events, parts) / self.spec.hop)
            strength[i, 0, 0] = rms / 10 ** (float(level_db[0]) / 20)
        return to_real(bins), strength


def _check(spec: FrontEndSpec) -> None:
    if spec.rate != RATE or len(spec.windows) != 1 or spec.windows[0].length != spec.hop:
        raise ConfigError(
            f"a buffer is looked at once, whole: [frontend] needs rate = {RATE} and one window as long as hop"
        )
