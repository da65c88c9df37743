"""A short memory of onset evidence, aligned on one time grid so that ears and eyes can be added.

Each sensor judges the same moment several times, at later and later horizons; the grid keeps, per 10 ms bin
and key, the best informed judgement of each sensor. Log-likelihood ratios of different sensors add; those of
one sensor replace each other, since they share their errors. Beside an ear, the eye's are averaged instead:
four looks at a moving key err less than the last of them.
"""

from collections.abc import Mapping
from itertools import groupby
from typing import Final

import numpy as np
from numpy.typing import NDArray

from ivories.clock import MILLISECOND
from ivories.datatypes import Float32, KeyEvidence, Origin
from ivories.keyboard import KEYS

BIN_NS: Final = 10 * MILLISECOND
BINS: Final = 96
"""The grid reaches 0.96 s: the largest horizon, plus prediction, plus room for a late sensor."""
_ROWS: Final = 4 * BINS

BLIND: Final = {Origin.AUDIO: 0.03, Origin.VIDEO: 0.1}
"""Probability that a sensor misses an onset whatever it usually sees or hears"""

_USUALLY_BLIND: Final = np.array(((BLIND[Origin.VIDEO],), (BLIND[Origin.AUDIO],)), np.float32)[
    :, :, np.newaxis
]

_SUREST: Final = np.float32(40.0)
"""Log-likelihood ratio beyond which nothing is gained; two of them still are a float32"""


class EvidenceGrid:
    """The last ``BINS`` time bins; bin ``b`` covers ``b * BIN_NS <= t < (b + 1) * BIN_NS``.

    Bins lie in memory one after the other, so that any stretch of them is a slice. At the end of the arrays
    the bins that are remembered move to their front.
    """

    def __init__(self) -> None:
        # Of the eye, best informed; of the ear; of the eye, the mean in which a later look counts for half.
        self._llr: Float32 = np.zeros((3, _ROWS, KEYS), np.float32)
        self._seen: Float32 = self._llr[0]
        self._heard: Float32 = self._llr[1]
        self._looks: Float32 = self._llr[2]
        self._stage = {origin: bytearray(_ROWS) for origin in Origin}
        self._newest: int | None = None
        self._first = 0  # the bin of row 0

    def put(self, evidence: KeyEvidence, shift_ns: int = 0) -> range:
        """Enter ``evidence`` with its times moved by ``shift_ns``; return the bins whose content changed.

        A video row is entered over its whole frame period and one bin beyond on both sides: the eye cannot
        tell the moment inside a period, and sensor clocks agree to about a bin.
        """
        video = evidence.origin is Origin.VIDEO
        slack = BIN_NS if video else 0
        ends = [evidence.t_ns + shift_ns - horizon for horizon in evidence.horizon_ns]
        self._advance((max(ends) + slack) // BIN_NS)
        oldest, changed = self._oldest, range(0)
        for stage, (end, row) in enumerate(zip(ends, evidence.onset, strict=True), start=1):
            if video:
                first = max(oldest, (end - evidence.step_ns - slack) // BIN_NS)
                bins = range(first, (end + slack) // BIN_NS + 1)
            else:
                middle = (end - evidence.step_ns // 2) // BIN_NS
                bins = range(max(oldest, middle), middle + 1)
            if bins:
                enter = self._see if video else self._hear
                enter(self._rows(bins), stage, row)
                changed = (
                    range(min(changed.start, bins.start), max(changed.stop, bins.stop)) if changed else bins
                )
        return changed

    def told(
        self, bins: range, keys: NDArray[np.intp], weights: Mapping[Origin, float], *, beside: bool
    ) -> Float32:
        """Return (2, len(bins), n) log-likelihood ratios of the eye and of the ear; 0 where nothing is known.

        Args:
            bins: which; the grid remembers them (`clip`).
            keys: (n,) which.
            weights: 0..1, scale what each sensor says, by its health.
            beside: the eye is beside an ear: the mean of its looks counts, not the best informed one.
        """
        llr = self._told(bins, beside=beside)[:, :, keys]
        if min(weights.values()) < 1:
            llr *= _column(weights)[:, :, np.newaxis]
        return llr

    def most(self, bins: range, weights: Mapping[Origin, float], *, beside: bool) -> Float32:
        """Return (K,) log-likelihood ratios of both sensors that are exceeded in none of ``bins``.

        Arguments are those of `told`: this is the quick look before it.
        """
        most = np.maximum.reduce(self._told(bins, beside=beside), axis=1, initial=0)
        if min(weights.values()) < 1:
            most *= _column(weights)
        return np.asarray(most[0] + most[1], np.float32)

    def of(self, origin: Origin, bins: range) -> Float32:
        """Return one sensor's log-likelihood ratios (len(bins), K), valid until the next `put`."""
        return (self._seen if origin is Origin.VIDEO else self._heard)[self._rows(bins)]

    def stage(self, origin: Origin, bins: range) -> NDArray[np.int8]:
        """Return (len(bins),): how many horizons of ``origin`` have judged each bin, 0 = none yet."""
        return np.frombuffer(self._stage[origin][self._rows(bins)], np.int8)

    def least_stage(self, origin: Origin, bins: range) -> int:
        """Return how many horizons of ``origin`` have judged every one of ``bins``."""
        return min(self._stage[origin][self._rows(bins)], default=0)

    @property
    def _oldest(self) -> int:
        return 0 if self._newest is None else self._newest - BINS + 1

    def clip(self, bins: range) -> range:
        """Return the part of ``bins`` that the grid remembers."""
        if self._newest is None:
            return range(0)
        start = max(bins.start, self._oldest)
        return range(start, max(start, min(bins.stop, self._newest + 1)))

    def _rows(self, bins: range) -> slice:
        return slice(bins.start - self._first, bins.stop - self._first)

    def _told(self, bins: range, *, beside: bool) -> Float32:
        """(2, len(bins), K) of the eye and of the ear."""
        return self._llr[2:0:-1, self._rows(bins)] if beside else self._llr[:2, self._rows(bins)]

    def _advance(self, newest: int) -> None:
        if self._newest is None:
            self._first = newest - BINS + 1
        elif newest <= self._newest:
            return
        if newest - self._first >= _ROWS:
            self._move_to_front(newest - BINS + 1)
        self._newest = newest

    def _move_to_front(self, oldest: int) -> None:
        """Keep the bins from ``oldest`` on, and make room for as many more as there can be."""
        row = oldest - self._first
        kept = max(0, _ROWS - row)
        self._llr[:, :kept] = self._llr[:, row:]
        self._llr[:, kept:] = 0
        for stages in self._stage.values():
            stages[:] = stages[row:] + bytes(_ROWS - kept)
        self._first = oldest

    def _hear(self, rows: slice, stage: int, row: Float32) -> None:
        stages = self._stage[Origin.AUDIO]
        known = stages[rows.start]
        if stage > known:
            self._heard[rows] = row
            stages[rows.start] = stage
        elif stage == known:
            np.maximum(self._heard[rows], row, out=self._heard[rows])

    def _see(self, rows: slice, stage: int, row: Float32) -> None:
        stages = self._stage[Origin.VIDEO]
        start = rows.start
        for known, alike in groupby(stages[rows]):
            stop = start + sum(1 for _ in alike)
            seen, looks = self._seen[start:stop], self._looks[start:stop]
            if stage > known:
                seen[:] = row
                stages[start:stop] = bytes((stage,)) * (stop - start)
                looks[:] = looks + (row - looks) / 2 if known else row
            elif stage == known:
                np.maximum(seen, row, out=seen)
                np.maximum(looks, row, out=looks)  # this horizon is in their mean already
            start = stop


def believed(told: Float32, eye_blind: Float32 | None = None) -> Float32:
    """Return ``told`` (2, n, k), of eye and ear, with what is known of their blindness.

    Each sensor is taken to be blind to a key with some probability: then its silence proves nothing.
    Without this, a camera that sees a key badly could veto what is plainly heard.

    Args:
        told: from `EvidenceGrid.told`.
        eye_blind: (k,) that probability for an eye beside an ear; None where either is alone.
    """
    blind = _USUALLY_BLIND
    if eye_blind is not None:
        blind = np.empty((2, 1, len(eye_blind)), np.float32)
        blind[0], blind[1] = eye_blind, _USUALLY_BLIND[1]
    ratio = np.exp(np.minimum(told, _SUREST))
    return np.asarray(np.log(ratio * (1 - blind) + blind))


def _column(weights: Mapping[Origin, float]) -> Float32:
    """(2, 1) weights of the eye and of the ear."""
    return np.array(((weights[Origin.VIDEO],), (weights[Origin.AUDIO],)), np.float32)
