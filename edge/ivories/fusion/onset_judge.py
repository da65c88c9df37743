"""What eye and ear together say of an onset: how sure they are of it, when it was, and who told first.

The evidence of both is on one grid of time. Where both are, an onset's log-odds are the sum of theirs, less
the errors that they share; the threshold is that of the horizon that has judged it.
"""

from collections.abc import Callable, Iterator
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ivories.datatypes import ONSET_PRIOR, Float32, Origin
from ivories.fusion.evidence_grid import BIN_NS, EvidenceGrid, believed
from ivories.fusion.eye_record import EyeRecord
from ivories.fusion.health import SensorHealth
from ivories.fusion.key_prior import KeyPrior
from ivories.keyboard import KEYS

# Where both sensors are for an onset, the weaker one's first log-odds count for nothing, since they err
# together more often than independence says. What an eye needs on top to go first is less with a quick
# camera, which sees a stroke in several frames. All were found on validation scenes.
_SHARED_ERRORS: Final = np.array([1.5, 1.0, 0.75, 0.5, 1.5], np.float32)  # by the ear's horizons so far
_EYE_FIRST: Final = 0.5
_QUICK_EYE_FIRST: Final = 0.0
_EVEN_PRIOR: Final = np.full(KEYS, ONSET_PRIOR, np.float32)
_PEAK_BINS: Final = 3  # an onset's evidence spreads this many bins to both sides of its peak
_ROUNDED: Final = 0.01  # log-odds; more than rounding can make of a sum


class Candidate(NamedTuple):
    """An onset that is sure enough.

    Attributes:
        key: 0..87.
        onset_ns: when it was, by the ear's clock.
        log_odds: posterior ones.
        eye_first: the ear, though it is there, is not sure of it yet.
        seen: the eye, beside an ear, has something to say of it.
    """

    key: int
    onset_ns: int
    log_odds: float
    eye_first: bool
    seen: bool


class OnsetJudge:
    """Judge of the onsets of all keys.

    Args:
        health: how far either sensor counts; followed.
        key_prior: the notes of the musical key are likelier; None: all alike.
    """

    def __init__(self, health: SensorHealth, key_prior: KeyPrior | None) -> None:
        self.grid = EvidenceGrid()
        """Where the evidence of both is entered"""
        self.eye = EyeRecord()
        """What the ear found out about the eye"""
        self.both = False
        """Whether both sensors are well and speaking"""
        self.quick = False
        """Whether the camera is so quick that it sees a stroke in several frames"""
        self._health, self._key_prior = health, key_prior

    def decide_by(self, by_ear: tuple[float, ...], by_eye: tuple[float, ...]) -> None:
        """Commit at these posterior log-odds per horizon, ascending, from now on."""
        # By the horizons that have judged: where none has, no evidence is enough.
        self._by_ear, self._by_eye = (
            np.array((np.inf, *thresholds), np.float32) for thresholds in (by_ear, by_eye)
        )
        self._least = min(*by_ear, *by_eye)

    def candidates(
        self, bins: range, t_ns: int, free_from: NDArray[np.int64], held_back: Callable[[], Float32]
    ) -> Iterator[Candidate]:
        """Yield the onsets that new evidence makes sure enough, at most one a key.

        Args:
            bins: of the grid, where the evidence changed.
            t_ns: when.
            free_from: (K,) first bins in which the keys may strike.
            held_back: returns (K,) log-odds asked for on top; called if need be.
        """
        bins = self.grid.clip(range(bins.start - _PEAK_BINS, bins.stop + _PEAK_BINS))
        if not bins:
            return
        # Two quick looks at what the log-odds are at most, so that they are worked out for few keys only.
        most = self.grid.most(bins, self._health.weights, beside=self.both)
        keys = (most + self._prior(t_ns) > self._least - _ROUNDED).nonzero()[0]
        if not len(keys):
            return
        audio, video = self._stage(Origin.AUDIO, bins), self._stage(Origin.VIDEO, bins)
        needed = self._thresholds(audio, video)[:, None]
        free = np.arange(bins.start, bins.stop)[:, None] >= free_from[keys]
        told = self._told(bins, keys)
        most_by_bin = np.maximum(told, 0).sum(axis=0) + self._prior(t_ns)[keys]
        possible = (free & (most_by_bin > needed - _ROUNDED)).any(axis=0)
        keys, free, told = keys[possible], free[:, possible], told[:, :, possible]
        if not len(keys):
            return
        log_odds = self._log_odds(told, keys, audio, t_ns) - held_back()[keys]
        sure = free & (log_odds >= needed)
        for column in np.flatnonzero(sure.any(axis=0)):
            yield self._candidate(int(keys[column]), bins, log_odds[:, column], sure[:, column], audio > 0)

    def doubts(self, key: int, time_bin: int, t_ns: int) -> float | None:
        """Return how sure both are of an onset that was told, once its sound was judged to the last horizon.

        Returns:
            The highest posterior log-odds around ``time_bin``; None while the ear has not heard all of it.
        """
        bins = self.grid.clip(range(time_bin - _PEAK_BINS, time_bin + _PEAK_BINS + 1))
        hears = self._health.weights[Origin.AUDIO] > 0
        last_stage = len(self._by_ear) - 1
        if len(bins) <= 2 * _PEAK_BINS or not hears or self.grid.least_stage(Origin.AUDIO, bins) < last_stage:
            return None
        one = np.array((key,))
        return float(self._log_odds(self._told(bins, one), one, self._stage(Origin.AUDIO, bins), t_ns).max())

    def _candidate(
        self, key: int, bins: range, log_odds: Float32, sure: NDArray[np.bool_], heard: NDArray[np.bool_]
    ) -> Candidate:
        """Return when the key was struck; ``log_odds`` (n,), and where they are ``sure`` and ``heard``."""
        eye_first = self.both and not sure[heard].any()
        by_bin = log_odds
        if self.both and not eye_first:
            sure = sure & heard  # the ear knows the moment better
            by_bin = np.where(heard, by_bin, -np.inf)
        row = int(np.where(sure, by_bin, -np.inf).argmax())
        seen = self.both and bool(self.grid.of(Origin.VIDEO, bins)[:, key].any())
        return Candidate(key, _middle_ns(by_bin, row, bins.start), float(log_odds[row]), eye_first, seen)

    def _thresholds(self, audio: NDArray[np.int8], video: NDArray[np.int8]) -> NDArray[np.float32]:
        """(n,) log-odds to pass, by the (n,) stages of both sensors; infinite where neither has judged."""
        by_eye = self._by_eye[video]
        if self.both:
            by_eye += np.float32((_QUICK_EYE_FIRST if self.quick else _EYE_FIRST) + self.eye.caution)
        return np.where(audio > 0, self._by_ear[audio], by_eye)

    def _stage(self, origin: Origin, bins: range) -> NDArray[np.int8]:
        """(n,) horizons of ``origin`` that have judged each bin; a dead sensor's word is none."""
        if self._health.weights[origin] > 0:
            return self.grid.stage(origin, bins)
        return np.zeros(len(bins), np.int8)

    def _told(self, bins: range, keys: NDArray[np.intp]) -> Float32:
        """(2, n, keys) log-likelihood ratios of eye and ear."""
        return self.grid.told(bins, keys, self._health.weights, beside=self.both)

    def _prior(self, t_ns: int) -> Float32:
        """(K,) log-odds of an onset before any evidence."""
        return _EVEN_PRIOR if self._key_prior is None else _EVEN_PRIOR + self._key_prior.bias(t_ns)

    def _log_odds(self, told: Float32, keys: NDArray[np.intp], audio: NDArray[np.int8], t_ns: int) -> Float32:
        """(n, keys) posterior log-odds of an onset; ``audio``: the (n,) stages of the ear."""
        eye, ear = believed(told, self.eye.blind[keys] if self.both else None)
        log_odds = ear + eye + np.float32(ONSET_PRIOR)
        if self.both:
            stage = np.minimum(audio, len(_SHARED_ERRORS) - 1)
            log_odds -= np.clip(np.minimum(ear, eye), 0, _SHARED_ERRORS[stage][:, None])
        if self._key_prior is not None:
            log_odds += self._key_prior.bias(t_ns)[keys]
        return np.asarray(log_odds, np.float32)


def _middle_ns(log_odds: NDArray[np.float32], row: int, first_bin: int) -> int:
    """Return the centroid of the posterior around ``row``: finer than a bin, and the middle of a plateau."""
    first = max(0, row - _PEAK_BINS)
    near = log_odds[first : row + _PEAK_BINS + 1]
    weight = np.exp(np.minimum(near - log_odds[row], 0))
    centre = float((weight * (np.arange(len(near)) + first_bin + first + 0.5)).sum() / weight.sum())
    return round(centre * BIN_NS)
