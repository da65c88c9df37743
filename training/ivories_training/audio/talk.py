"""The numbers of ``ivories.audio.voice_guard``: how to tell talk and song from a piano.

Scenes of talk, of piano, of both at once and in turn go through the device's own stages. Every moment at
which the network is about half sure of an onset is a case: was a key struck? Logistic regression tells, from
how sure the network was and from what the guard has smoothed by then. How sure the network was is left to the
tracker: all else, in units of that, is what the guard takes off.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from ivories.audio.voice_guard import FEATURES, ONSET_PRIOR, TIMES, VoiceGuard
from ivories.datatypes import KeyEvidence, Spectrum
from ivories_training.audio.dataset import maker
from ivories_training.audio.excerpts import NOTHING, PREROLL_S, ExcerptMaker
from ivories_training.audio.labels import HOP_S
from ivories_training.audio.listener import Listener
from ivories_training.audio.sample_bank import RATE, Float32
from ivories_training.audio.settings import Settings
from ivories_training.audio.synthesizer import synthesize
from ivories_training.performances import Split, performance

KINDS: Final = ("talk", "piano", "talk", "turns", "piano", "talk", "over", "piano", "talk", "single")
"""In turn: talk alone, piano alone, both in turn, piano over talk, single notes in silence"""
COUNTS: Final = {"talk": 1.0, "piano": 0.6, "turns": 1.0, "over": 1.5, "single": 3.0}
"""How much a case of each kind counts"""
TALK_S: Final = 13.0
TURN_S: Final = 7.0
HISS: Final = 1e-4
STEEPNESS: Final = 2.0
BENEFIT: Final = 1.0
"""What the guard takes off is the regression's, less this, steeper by that; found on validation scenes"""
HALF_SURE: Final = (-0.5, -0.5, -1.5)
"""Log-odds of an onset from which a moment is a case, at the first horizon, between, at the last"""
_APART: Final = 6  # hops between two cases of one key
_NEAR_S: Final = 0.06
_SETTLED: Final = 30  # hops
_RIDGE: Final = 3.0

Float64 = NDArray[np.float64]


@dataclass(frozen=True)
class Scene:
    """A sound and what was played in it; times from its first sample."""

    kind: str
    samples: Float32
    notes: NDArray[np.void]
    """NOTE"""


@dataclass(frozen=True)
class Cases:
    """Moments at which the network was about half sure of an onset."""

    sure: Float64
    """(N,) its log-odds"""
    smoothed: Float64
    """(N, times * features) of the guard by then"""
    struck: NDArray[np.bool_]
    """(N,)"""
    counts: Float64
    """(N,)"""
    alone: NDArray[np.bool_]
    """(N,) nothing but talk in the scene"""


@dataclass(frozen=True)
class Fit:
    """Constants of the guard."""

    weights: Float64
    """(times, features)"""
    bias: float
    begin: Float64
    """(features,)"""

    def taken_off(self, cases: Cases) -> Float64:
        """Return (N,) log-odds, 0 or below."""
        return np.minimum(0, cases.smoothed @ self.weights.ravel() + self.bias)

    def lines(self) -> Iterator[str]:
        """Yield the constants as they stand in the device's module."""
        rows = ", ".join("(" + ", ".join(str(round(float(v), 2)) for v in row) + ")" for row in self.weights)
        yield f"BEGIN: Final = ({', '.join(str(round(float(v), 3)) for v in self.begin)})"
        yield f"WEIGHTS: Final = ({rows})"
        yield f"BIAS: Final = {self.bias:.2f}"


def scene(drawn: ExcerptMaker, index: int) -> Scene:
    """Return scene ``index``; the same for the same maker."""
    rng = np.random.default_rng([drawn.seed, 5, index])
    kind = KINDS[index % len(KINDS)]
    if kind == "talk":
        talk = _voice(drawn, TALK_S, rng) * np.float32(10 ** (-rng.uniform(3, 34) / 20))
        hiss = rng.normal(0, HISS, len(talk)).astype(np.float32)
        return Scene(kind, talk + hiss, NOTHING)
    if kind == "single":
        return _single_notes(drawn, rng)
    samples, played = drawn.sound(index)
    notes = _later(played.notes, PREROLL_S)
    if kind == "over":
        talk = _voice(drawn, len(samples) / RATE, rng)
        samples = samples + talk * _gain(samples, talk, rng.uniform(-16, -2))
    elif kind == "turns":
        samples, notes = samples[: round(TURN_S * RATE)], notes[notes["onset_s"] < TURN_S]
        talk = _voice(drawn, TURN_S, rng)
        talk *= _gain(samples, talk, rng.uniform(-16, 4))
        pause = np.zeros(round(rng.uniform(0, 0.6) * RATE), np.float32)
        if rng.random() < 0.5:
            samples = np.concatenate([samples, pause, talk])
        else:
            samples = np.concatenate([talk, pause, samples])
            notes = _later(notes, (len(talk) + len(pause)) / RATE)
    peak = max(1.0, float(np.abs(samples).max()))
    return Scene(kind, (samples / peak).astype(np.float32), notes)


def _voice(drawn: ExcerptMaker, seconds: float, rng: np.random.Generator) -> Float32:
    return drawn.recorder.voice_in_room(round(seconds * RATE), rng)


def _single_notes(drawn: ExcerptMaker, rng: np.random.Generator) -> Scene:
    """Return one to three notes at a time, in silence."""
    at, notes = float(rng.uniform(0.5, 2)), list[tuple[float, float, int, int]]()
    while at < TALK_S - 1:
        for key in set(rng.integers(12, 84, rng.choice([1, 1, 1, 2, 3])).tolist()):
            notes.append(
                (at, at + float(rng.choice([0.06, 0.12, 0.5, 1.5])), key, int(rng.integers(25, 110)))
            )
        at += float(rng.uniform(0.4, 3))
    played = performance("single notes", notes, [])
    bank = drawn.banks[rng.choice(len(drawn.banks), p=drawn.weights)]
    sound = drawn.recorder.record(synthesize(played, bank, TALK_S, rng), rng, drawn.config.strength)
    return Scene("single", sound, played.notes)


def _later(notes: NDArray[np.void], by_s: float) -> NDArray[np.void]:
    moved = notes.copy()
    for name in ("onset_s", "offset_s", "sounding_end_s"):
        moved[name] += by_s
    return moved


def _gain(samples: Float32, talk: Float32, level_db: float) -> np.float32:
    """Factor that brings the peak of ``talk`` to ``level_db`` over that of ``samples``."""
    peak = float(np.abs(samples).max()) / (float(np.abs(talk).max()) + 1e-9)
    return np.float32(peak * 10 ** (level_db / 20))


def cases(listener: Listener, heard: Scene) -> tuple[Cases, Float64]:
    """Hear a scene; return its cases and (hops, features) of the hops that count while a piano plays."""
    bins, level = listener.frontend.process(heard.samples)
    evidence = listener.follow(bins)
    guard, watch = VoiceGuard(listener.frontend.spec), VoiceGuard(listener.frontend.spec)
    smoothed, raw = [], []
    for i, one in enumerate(evidence):
        spectrum = Spectrum(bins[i], i, one.t_ns, float(level[i]))
        smoothed.append(guard.smoothed(spectrum, one).ravel().copy())
        values, counts = watch.features(spectrum, one)
        if counts > 0.5 and heard.kind == "piano":
            raw.append(values)
    rows = list(_half_sure(evidence))
    hop = np.array([row[0] for row in rows], int)
    struck = np.array([_was_struck(heard.notes, key, at_s) for _, key, at_s, _ in rows], bool)
    # What the network imagines while a piano plays is not for the guard to forgive or to punish.
    kept = struck | (heard.kind not in {"piano", "single"})
    table = np.array(smoothed).reshape(-1, len(TIMES) * len(FEATURES))[hop[kept]]
    sure = np.array([row[3] for row in rows], np.float64)[kept]
    counts_of = np.full(len(sure), COUNTS[heard.kind])
    alone = np.full(len(sure), heard.kind == "talk")
    return Cases(sure, table, struck[kept], counts_of, alone), np.array(raw).reshape(-1, len(FEATURES))


def _half_sure(evidence: Sequence[KeyEvidence]) -> Iterator[tuple[int, int, float, float]]:
    """Yield (hop, key, time of the onset, log-odds) of every case."""
    log_odds = np.stack([one.onset for one in evidence]) + ONSET_PRIOR
    horizons = evidence[0].horizon_ns
    for row, horizon_ns in enumerate(horizons):
        wanted = HALF_SURE[0] if row == 0 else HALF_SURE[-1] if row == len(horizons) - 1 else HALF_SURE[1]
        above = log_odds[:, row] > wanted
        before = np.zeros_like(above)
        for hops in range(1, _APART):
            before[hops:] |= above[:-hops]
        for hop, key in zip(*np.nonzero(above & ~before), strict=True):
            if hop >= _SETTLED:
                at_s = (hop + 0.5) * HOP_S - horizon_ns / 1e9
                yield int(hop), int(key), at_s, float(log_odds[hop : hop + 2, row, key].max())


def _was_struck(notes: NDArray[np.void], key: int, at_s: float) -> bool:
    return bool((np.abs(notes["onset_s"][notes["key"] == key] - at_s) < _NEAR_S).any())


def gather(listener: Listener, drawn: ExcerptMaker, indices: Iterable[int]) -> tuple[Cases, Float64]:
    """Return the cases of many scenes, and (features,) the mean of the guard's while a piano plays."""
    parts, pianos = zip(*(cases(listener, scene(drawn, index)) for index in indices), strict=True)
    names = ("sure", "smoothed", "struck", "counts", "alone")
    joined = Cases(*(np.concatenate([getattr(part, name) for part in parts]) for name in names))
    return joined, np.concatenate(pianos).mean(axis=0)


def fit(found: Cases, begin: Float64) -> Fit:
    """Return the constants that tell best which of ``found`` were struck."""
    x = np.column_stack([found.sure, found.smoothed])
    mean, spread = x.mean(axis=0), x.std(axis=0) + 1e-9
    z = np.column_stack([(x - mean) / spread, np.ones(len(x))])
    ridge = np.diag([_RIDGE] * x.shape[1] + [0.0])
    b = np.zeros(z.shape[1])
    for _ in range(20):
        p = 1 / (1 + np.exp(-np.clip(z @ b, -30, 30)))
        slope = (z * (found.counts * p * (1 - p) + 1e-6)[:, np.newaxis]).T @ z + ridge
        step = np.linalg.solve(slope, z.T @ (found.counts * (found.struck - p)) - ridge @ b)
        b += np.clip(step, -2, 2)
        if np.abs(step).max() < 1e-4:
            break
    weights = b[:-1] / spread
    bias = b[-1] - float(weights @ mean)
    per_sure = STEEPNESS / weights[0]  # in log-odds of the network, and steeper
    return Fit(
        (weights[1:] * per_sure).reshape(len(TIMES), len(FEATURES)),
        float(bias * per_sure + STEEPNESS * BENEFIT),
        begin,
    )


def passed(told: Fit, found: Cases, threshold: float = 0.0) -> tuple[float, float]:
    """Return which share of the right cases, and of those in talk, the guard leaves above ``threshold``."""
    was = found.sure > threshold
    stays = found.sure + told.taken_off(found) > threshold
    right, talk = was & found.struck, was & found.alone
    return float(stays[right].mean()), float(stays[talk].mean())


def material(settings: Settings, split: Split) -> ExcerptMaker:
    """Return what draws the pianos and the voices of ``split``."""
    drawn = replace(settings.excerpts, background=0.0)
    return maker(msgspec.structs.replace(settings, excerpts=drawn), split)
