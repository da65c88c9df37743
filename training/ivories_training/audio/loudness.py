"""The numbers of ``ivories.audio.loudness``: how to tell from its partials how hard a key was struck.

Many pieces are played as on one installed instrument: a velocity is equally loud in all of them, only pianos,
rooms and noise differ. Velocity is then linear in the decibels of the partials, in a curve over the keyboard
and in the time since the onset, and ridge regression finds all three at once.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from ivories.audio.loudness import KNOTS, PARTIALS, RISE_NS, KeyLoudness
from ivories.clock import MILLISECOND
from ivories.datatypes import Spectrum
from ivories.keyboard import KEYS
from ivories_training.audio.dataset import maker
from ivories_training.audio.excerpts import PREROLL_S, ExcerptMaker
from ivories_training.audio.settings import Settings
from ivories_training.performances import Split

AGES: Final = (2, 3, 4, 5, 7, 9)
"""Hops between an onset and its judgement"""
OFTEN: Final = (4, 2, 2, 2, 1, 1)
"""How often the tracker asks at each"""
RIDGE: Final = 30.0
FEW_IMAGINED: Final = 3
"""Imagined pianos: their treble is fainter than any real one's"""

_AGES_NS: Final = np.array(AGES) * 10 * MILLISECOND

Float64 = NDArray[np.float64]


@dataclass(frozen=True)
class Struck:
    """Notes as the front end heard them."""

    partials: Float64
    """(N, ages, partials) dB"""
    key: NDArray[np.int_]
    """(N,)"""
    velocity: Float64
    """(N,)"""
    take: NDArray[np.int_]
    """(N,) which excerpt"""


@dataclass(frozen=True)
class Fit:
    """Constants of the device, in dB but for the last."""

    weights: Float64
    curve_db: Float64
    rise_db: Float64
    per_db: float

    def velocity(self, struck: Struck) -> Float64:
        """Return (N, ages) velocities up to a constant."""
        curve = np.interp(struck.key, KNOTS, self.curve_db)
        rise = np.interp(_AGES_NS, RISE_NS, self.rise_db)
        return np.asarray(self.per_db * (struck.partials @ self.weights + curve[:, np.newaxis] + rise))

    def lines(self) -> Iterator[str]:
        """Yield the constants as they stand in the device's modules."""
        constants = (
            ("WEIGHTS", self.weights, 3),
            ("CURVE_DB", self.curve_db, 1),
            ("RISE_DB", self.rise_db, 1),
        )
        for name, values, digits in constants:
            yield f"{name}: Final = ({', '.join(str(round(float(v), digits)) for v in values)})"
        yield f"PER_DB: Final = {self.per_db:.1f}"


def gather(drawn: ExcerptMaker, count: int) -> Struck:
    """Hear ``count`` excerpts and look at every note struck in them, where it was truly struck."""
    spec = drawn.frontend.spec
    parts: list[tuple[Float64, NDArray[np.int_], Float64, NDArray[np.int_]]] = []
    for index in range(count):
        samples, played = drawn.sound(index)
        bins, level = drawn.frontend.process(samples)
        ear = KeyLoudness(spec)
        heard = np.stack([ear.partials(Spectrum(b, t, 0, float(level[t]))) for t, b in enumerate(bins)])
        hop = ((played.notes["onset_s"] + PREROLL_S) * spec.rate // spec.hop).astype(int)
        inside = (hop >= PREROLL_S * spec.rate // spec.hop) & (hop + max(AGES) < len(heard))
        hop, key = hop[inside], played.notes["key"][inside].astype(int)
        rows = heard[hop[:, np.newaxis] + np.array(AGES), key[:, np.newaxis]].astype(np.float64)
        velocity = played.notes["velocity"][inside].astype(np.float64)
        parts.append((rows, key, velocity, np.full(len(key), index)))
    return Struck(*(np.concatenate(column) for column in zip(*parts, strict=True)))


def joined(parts: Iterable[Struck]) -> Struck:
    """Return the notes of all parts; their takes stay apart."""
    kept, first = [], 0
    for part in parts:
        kept.append(replace(part, take=part.take + first))
        first += int(part.take.max()) + 1
    names = ("partials", "key", "velocity", "take")
    return Struck(*(np.concatenate([getattr(part, name) for part in kept]) for name in names))


def fit(struck: Struck) -> Fit:
    """Return the constants that explain the velocities of ``struck`` best."""
    rises = len(RISE_NS) - 1
    hat = np.stack([np.interp(struck.key, KNOTS, row) for row in np.eye(len(KNOTS))], axis=1)
    age = np.stack([np.interp(_AGES_NS, RISE_NS, row) for row in np.eye(rises + 1)], axis=1)
    columns = [
        np.concatenate([struck.partials[:, i], hat, np.tile(age[i, :rises], (len(hat), 1))], axis=1)
        for i in range(len(AGES))
    ]
    x, y = np.concatenate(columns), np.tile(struck.velocity, len(AGES))
    weight = np.repeat(OFTEN, len(hat)).astype(np.float64)
    mean, spread = np.average(x, axis=0, weights=weight), x.std(axis=0)
    z = (x - mean) / spread
    weighed = (z * weight[:, np.newaxis]).T
    wanted = weighed @ (y - np.average(y, weights=weight))
    found = np.linalg.solve(weighed @ z + RIDGE * np.eye(z.shape[1]), wanted) / spread
    partials, curve, rise = np.split(found, [len(PARTIALS), len(PARTIALS) + len(KNOTS)])
    per_db = float(partials.sum())
    curve = curve - np.interp(np.arange(KEYS), KNOTS, curve).mean()
    return Fit(partials / per_db, curve / per_db, np.append(rise, 0.0) / per_db, per_db)


def _means(values: Float64, take: NDArray[np.int_]) -> Float64:
    """Return (N, columns): every take's own means of ``values``."""
    sums = np.zeros((int(take.max()) + 1, values.shape[1]))
    np.add.at(sums, take, values)
    return np.asarray((sums / np.maximum(np.bincount(take), 1)[:, np.newaxis])[take])


def correlations(told: Float64, struck: Struck) -> tuple[float, float]:
    """Return Pearson's r over all notes, and with every take's own means taken off; ``told`` is (N,)."""
    both = np.stack([told, struck.velocity], axis=1)
    pooled, within = (np.corrcoef(values.T)[0, 1] for values in (both, both - _means(both, struck.take)))
    return float(pooled), float(within)


def installed(settings: Settings, split: Split, strength: float) -> ExcerptMaker:
    """Return what draws excerpts at one level; ``strength`` is that of rooms, microphones and noise."""
    drawn = replace(settings.excerpts, strength=strength, background=0.0, installed=True)
    few = replace(settings.instruments, imagined=min(settings.instruments.imagined, FEW_IMAGINED))
    return maker(msgspec.structs.replace(settings, excerpts=drawn, instruments=few), split)


def material(settings: Settings, split: Split, count: int, strengths: Sequence[float] = (0.0, 1.0)) -> Struck:
    """Return the notes of ``count`` excerpts, as many of each strength."""
    return joined(gather(installed(settings, split, s), count // len(strengths)) for s in strengths)
