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

from ivories.audio.voice_guard import FEATURES, TIMES, Memory, VoiceGuard
from ivories.datatypes import ONSET_PRIOR, KeyEvidence, Spectrum
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
BENEFIT: Final = 0.4
"""What the guard takes off is the regression's, less this, steeper by that; found on validation scenes"""
FIRST: Final = -2.0
"""Log-probability of a piano before anything was heard, as the regression has it; found there, too"""
HALF_SURE: Final = (-0.5, -0.5, -1.5)
"""Log-odds of an onset from which a moment is a case, at the first horizon, between, at the last"""
_APART: Final = 6  # hops between two cases of one key
_NEAR_S: Final = 0.06
_SETTLED: Final = 30  # hops
_RIDGE: Final = 3.0
_ROUNDS: Final = 3  # of finding where to begin, each with the weights of the one before

Float64 = NDArray[np.float64]


@dataclass(frozen=True)
class Scene:
    """A sound and what was played in it; times from its first sample."""

    kind: str
    samples: Float32
    notes: NDArray[np.void]
    """NOTE"""


@dataclass(frozen=True)
class Heard:
    """What the network and the guard make of a scene; a case is (hop, how sure, whether struck)."""

    kind: str
    values: Float64
    """(hops, features)"""
    counts: Float64
    """(hops,) how much each counts"""
    hop: NDArray[np.int_]
    """(N,)"""
    sure: Float64
    """(N,) log-odds of the network"""
    struck: NDArray[np.bool_]
    """(N,)"""


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


def hear(listener: Listener, heard: Scene) -> Heard:
    """Take a scene through the device's stages."""
    bins, level = listener.frontend.process(heard.samples)
    evidence = listener.follow(bins)
    guard = VoiceGuard(listener.frontend.spec)
    features = [
        guard.features(Spectrum(bins[i], i, one.t_ns, float(level[i])), one) for i, one in enumerate(evidence)
    ]
    rows = list(_half_sure(evidence))
    struck = np.array([_was_struck(heard.notes, key, at_s) for _, key, at_s, _ in rows], bool)
    # What the network imagines while a piano plays is not for the guard to forgive or to punish.
    kept = struck | (heard.kind not in {"piano", "single"})
    return Heard(
        heard.kind,
        np.array([values for values, _ in features]).reshape(-1, len(FEATURES)),
        np.array([counts for _, counts in features]),
        np.array([row[0] for row in rows], int)[kept],
        np.array([row[3] for row in rows], np.float64)[kept],
        struck[kept],
    )


def cases(heard: Sequence[Heard], begin: Float64) -> Cases:
    """Return the cases of many scenes to a guard that begins at ``begin`` (features,)."""
    smoothed = []
    for one in heard:
        memory = Memory(begin)
        table = [memory.push(*hop).ravel().copy() for hop in zip(one.values, one.counts, strict=True)]
        smoothed.append(np.array(table).reshape(-1, len(TIMES) * len(FEATURES))[one.hop])
    return Cases(
        np.concatenate([one.sure for one in heard]),
        np.concatenate(smoothed),
        np.concatenate([one.struck for one in heard]),
        np.concatenate([np.full(len(one.hop), COUNTS[one.kind]) for one in heard]),
        np.concatenate([np.full(len(one.hop), one.kind == "talk") for one in heard]),
    )


def usual(heard: Sequence[Heard], kind: str) -> Float64:
    """Return (features,) the mean over hops that count of scenes of one kind."""
    return np.concatenate([one.values[one.counts > 0.5] for one in heard if one.kind == kind]).mean(axis=0)


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


def gather(listener: Listener, drawn: ExcerptMaker, indices: Iterable[int]) -> list[Heard]:
    """Hear many scenes."""
    return [hear(listener, scene(drawn, index)) for index in indices]


def fit_guard(heard: Sequence[Heard]) -> Fit:
    """Return the constants that tell best which of the cases in ``heard`` were struck."""
    piano, voice = usual(heard, "piano"), usual(heard, "talk")
    begin = piano
    for _ in range(_ROUNDS - 1):
        told = fit(cases(heard, begin), begin)
        of_piano, of_voice = (float((told.weights * values).sum()) + told.bias for values in (piano, voice))
        begin = piano + (of_piano - FIRST) / (of_piano - of_voice) * (voice - piano)
    return fit(cases(heard, begin), begin)


def fit(found: Cases, begin: Float64) -> Fit:
    """Return the constants that tell best which of ``found`` were struck; the guard begins at ``begin``."""
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
