"""Is it a piano that is heard? Within 90 ms a vowel looks like a note; over a second talk is easily told.

Partials of a voice glide, and the ear is forever half sure of notes that come and go; those of a piano stand
where they are, and the ear is sure of them. A few numbers a hop, each smoothed over a shorter and a longer
time, are weighed into one: how likely a piano is heard. It begins with a doubt: the first notes of a piano
are clear enough to pass, the first vowels of a voice are not. Only where the ear takes something for notes it
is judged: a pause between two sentences decides nothing, and neither does the noise of a fan; with time they
are forgiven.

The numbers come from ``ivories-train audio talk``. They depend on the front end, and on networks as far as
these are more or less often half sure.
"""

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Final

import numpy as np

from ivories.audio.spec import FrontEndSpec
from ivories.datatypes import ONSET_PRIOR, Float32, KeyEvidence, Spectrum, read_only

FEATURES: Final = ("glide", "stay", "swell", "height", "rise", "onsets", "doubt")
TIMES: Final = (15, 50)
"""Hops, of those that count, over which features are smoothed"""
BEGIN: Final = (-0.009, 0.734, 0.211, 0.507, 0.586, 0.147, 0.173)
"""Every feature before anything was heard: between a piano and a voice"""
WEIGHTS: Final = (
    (-0.26, 21.18, 23.15, 8.14, 0.78, 0.04, 3.13),
    (-83.38, -32.71, -51.95, -27.23, 0.61, 12.22, -4.42),
)
"""Log-likelihood per feature, a row for each of ``TIMES``"""
BIAS: Final = 19.1
LEAST: Final = -8.0
"""Log-probability below which it never falls: the ear's surest notes pass all the same"""
COLD: Final = -3.5
"""The highest while the longest window is not yet full, after a start or a gap: what begins then is sound"""

_GLIDE_HOPS: Final = 10
_GLIDE_BANDS: Final = 3
_RISE_HOPS: Final = 5
_RISE_DB: Final = 30.0
_GLIDE_SAMPLES: Final = 2048  # the window with the best of both: partials apart, and quick to move
_TOP: Final = 127  # the level's bin
_LOUD: Final = 40  # a bin this high is within 27 dB of the level: less is silence
_FRAME_PRIOR: Final = -2.9
_NOTES: Final = (0.1, 0.5)  # probability of the likeliest note: the hop counts nothing, counts fully
_FORGIVEN: Final = 2000  # hops of silence or noise in which the first two thirds of a judgement are forgotten


class Memory:
    """Features as they were heard of late, over each of ``TIMES``.

    Args:
        begin: (features,) before anything was heard.
    """

    def __init__(self, begin: Sequence[float] = BEGIN) -> None:
        self._begin = np.array(begin)
        self._share = 1 / np.array(TIMES)[:, np.newaxis]
        self._smooth = np.tile(self._begin, (len(TIMES), 1))

    def reset(self) -> None:
        """Forget what was heard."""
        self._smooth[:] = self._begin

    def push(
        self, values: Sequence[float], counts: float
    ) -> np.ndarray[tuple[int, int], np.dtype[np.float64]]:
        """Take the features of a hop that counts so much; return (times, features), valid until the next."""
        if counts:
            self._smooth += self._share * counts * (values - self._smooth)
        else:
            self._smooth += (self._begin - self._smooth) / _FORGIVEN
        return self._smooth


class VoiceGuard:
    """Stage that enters into an ear's evidence how likely it is a piano.

    Args:
        spec: of the front end.
    """

    def __init__(self, spec: FrontEndSpec) -> None:
        lengths = [window.length for window in spec.windows]
        self._longest = lengths.index(max(lengths))
        self._middle = min(range(len(lengths)), key=lambda i: abs(lengths[i] - _GLIDE_SAMPLES))
        self._cold_hops = -(-max(lengths) // spec.hop)
        self._ramp = np.linspace(0, 1, spec.bands, dtype=np.float32)
        self._bands: Float32 = np.zeros((_GLIDE_HOPS, spec.bands), np.float32)
        self._power = np.zeros(_GLIDE_HOPS)
        self._long: Float32 = np.zeros((_RISE_HOPS, spec.bands), np.float32)
        self._level = np.zeros(_RISE_HOPS)
        self._weights, self._memory = np.array(WEIGHTS), Memory()
        self._next_frame: int | None = None
        self.reset()

    def reset(self) -> None:
        """Forget what was heard."""
        self._bands[:] = 0
        self._power[:] = 0
        self._long[:] = 0
        self._memory.reset()
        self._next_frame = None

    def features(self, spectrum: Spectrum, evidence: KeyEvidence) -> tuple[list[float], float]:
        """Take one hop and return its ``FEATURES``, and how much it counts, 0..1.

        Frames that do not follow the one before begin afresh.
        """
        if spectrum.frame != self._next_frame:
            self.reset()
            self._level[:] = spectrum.level_db
        self._next_frame = spectrum.frame + 1
        upper = np.asarray(np.maximum(spectrum.bins, 0) / np.float32(_TOP), np.float32)
        p = _probability(evidence.onset + np.float32(ONSET_PRIOR))
        looks = p[[0, len(p) // 2, -1]]  # so that a network of more horizons doubts no more
        values = [
            *self._glide_and_stay(upper[:, self._middle], spectrum.frame % _GLIDE_HOPS),
            *self._swell_and_height(upper[:, self._longest], spectrum.frame % _RISE_HOPS),
            self._rise(spectrum.level_db, spectrum.frame % _RISE_HOPS),
            float(p[-1].sum()),
            float((looks * (1 - looks)).sum()) / len(looks),
        ]
        if spectrum.bins.max(initial=0) <= _LOUD:
            return values, 0.0
        sounding = 1 / (1 + np.exp(-float(evidence.frame.max()) - _FRAME_PRIOR))
        least, most = _NOTES
        return values, min(1.0, max(0.0, (max(sounding, float(p.max())) - least) / (most - least)))

    def push(self, spectrum: Spectrum, evidence: KeyEvidence) -> float:
        """Take one hop and return the probability that what is heard is a piano, 0..1."""
        smoothed = self._memory.push(*self.features(spectrum, evidence))
        surplus = float((self._weights * smoothed).sum()) + BIAS
        highest = COLD if spectrum.frame < self._cold_hops else 0.0
        return float(np.exp(min(highest, max(LEAST, surplus))))

    def enter(self, spectrum: Spectrum, evidence: Sequence[KeyEvidence]) -> list[KeyEvidence]:
        """Take one hop and return the ``evidence`` of it, its onsets as doubtful as the piano."""
        return [doubted(one, self.push(spectrum, one)) for one in evidence]

    def _glide_and_stay(self, x: Float32, row: int) -> tuple[float, float]:
        """How much better what was heard a moment ago fits when moved, -1..1; how well as it is, 0..1."""
        before, power = self._bands[row], float(x @ x)
        fits = np.correlate(x, before[_GLIDE_BANDS:-_GLIDE_BANDS])
        stays = float(fits[_GLIDE_BANDS])
        fits[_GLIDE_BANDS] = 0
        whole = math.sqrt(power * self._power[row]) + 0.5
        self._bands[row], self._power[row] = x, power
        return (float(fits.max()) - stays) / whole, stays / whole

    def _swell_and_height(self, x: Float32, row: int) -> tuple[float, float]:
        """Which share of the spectrum is new, and where its middle lies, both 0..1."""
        whole, new = float(x.sum()) + 0.5, float(np.maximum(x - self._long[row], 0).sum())
        self._long[row] = x
        return new / whole, float(x @ self._ramp) / whole

    def _rise(self, level_db: float, row: int) -> float:
        """Decibels by which the level has risen of late."""
        rise = level_db - float(self._level[row])
        self._level[row] = level_db
        return min(max(rise, 0.0), _RISE_DB)


def doubted(evidence: KeyEvidence, piano: float) -> KeyEvidence:
    """Return ``evidence`` of onsets by an ear that hears a piano with probability ``piano``.

    Where it does not, it knows nothing of any key: neither that one was struck nor that none was.
    """
    if piano >= 1:
        return evidence
    onset = np.logaddexp(evidence.onset + np.float32(np.log(piano)), np.float32(np.log1p(-piano)))
    return replace(evidence, onset=read_only(onset), piano=piano)


def _probability(log_odds: Float32) -> Float32:
    return np.asarray(1 / (1 + np.exp(-log_odds)), np.float32)
