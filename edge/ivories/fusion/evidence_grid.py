"""A short memory of onset evidence, aligned on one time grid so that ears and eyes can be added.

Each sensor judges the same moment several times, at later and later horizons; the grid keeps, per 10 ms bin
and key, the best informed judgement of each sensor. Log-likelihood ratios of different sensors add; those of
one sensor replace each other, since they share their errors. Beside an ear, the eye's are averaged instead:
four looks at a moving key err less than the last of them.
"""

from collections.abc import Mapping
from typing import Final

import numpy as np
from numpy.typing import NDArray

from ivories.clock import MILLISECOND
from ivories.datatypes import Float32, KeyEvidence, Origin
from ivories.keyboard import KEYS

BIN_NS: Final = 10 * MILLISECOND
BINS: Final = 96
"""The grid reaches 0.96 s: the largest horizon, plus prediction, plus room for a late sensor."""


BLIND: Final = {Origin.AUDIO: 0.03, Origin.VIDEO: 0.1}
"""Probability that a sensor misses an onset whatever it usually sees or hears"""

_SUREST: Final = np.float32(40.0)
"""Log-likelihood ratio beyond which nothing is gained; two of them still are a float32"""


class EvidenceGrid:
    """Ring of ``BINS`` time bins; bin ``b`` covers ``b * BIN_NS <= t < (b + 1) * BIN_NS``."""

    def __init__(self) -> None:
        self._llr: dict[Origin, Float32] = {o: np.zeros((BINS, KEYS), np.float32) for o in Origin}
        self._stage: dict[Origin, NDArray[np.int8]] = {o: np.zeros(BINS, np.int8) for o in Origin}
        self._looks: Float32 = np.zeros((BINS, KEYS), np.float32)  # the eye's, later ones for half
        self._newest: int | None = None

    def reset(self) -> None:
        """Forget all evidence."""
        for origin in Origin:
            self._llr[origin][:] = 0
            self._stage[origin][:] = 0
        self._looks[:] = 0
        self._newest = None

    def put(self, evidence: KeyEvidence, shift_ns: int = 0) -> range:
        """Enter ``evidence`` with its times moved by ``shift_ns``; return the bins whose content changed.

        A video row is entered over its whole frame period and one bin beyond on both sides: the eye cannot
        tell the moment inside a period, and sensor clocks agree to about a bin.
        """
        slack = BIN_NS if evidence.origin is Origin.VIDEO else 0
        touched: list[int] = []
        ends = [evidence.t_ns + shift_ns - horizon for horizon in evidence.horizon_ns]
        self._advance(max((end + slack) // BIN_NS for end in ends))
        for stage, (end, row) in enumerate(zip(ends, evidence.onset, strict=True), start=1):
            if evidence.origin is Origin.AUDIO:
                first = last = (end - evidence.step_ns // 2) // BIN_NS
            else:
                first = (end - evidence.step_ns - slack) // BIN_NS
                last = (end + slack) // BIN_NS
            for time_bin in range(max(first, self._oldest), last + 1):
                self._enter(evidence.origin, time_bin, stage, row)
                touched.append(time_bin)
        return range(min(touched), max(touched) + 1) if touched else range(0)

    def judged(
        self, bins: range, weights: Mapping[Origin, float], eye_blind: Float32 | None = None
    ) -> dict[Origin, Float32]:
        """Return log-likelihood ratios (len(bins), K) by sensor, to be added; 0 where nothing is known.

        Each sensor is taken to be blind to a key with some probability: then its silence proves nothing.
        Without this, a camera that sees a key badly could veto what is plainly heard.

        Args:
            bins: which.
            weights: 0..1, scale what each sensor says, by its health.
            eye_blind: (K,) that probability for an eye beside an ear; None where either is alone.
        """
        index = self._index(bins)
        told: dict[Origin, Float32] = {}
        for origin, usual in BLIND.items():
            llr, blind = self._llr[origin], np.full(1, usual, np.float32)
            if origin is Origin.VIDEO and eye_blind is not None:
                llr, blind = self._looks, eye_blind
            ratio = np.exp(np.minimum(np.float32(weights[origin]) * llr[index], _SUREST))
            told[origin] = np.log(ratio * (1 - blind) + blind)
        return told

    def of(self, origin: Origin, bins: range) -> Float32:
        """Return one sensor's log-likelihood ratios (len(bins), K)."""
        return self._llr[origin][self._index(bins)]

    def stage(self, origin: Origin, bins: range) -> NDArray[np.int8]:
        """Return (len(bins),): how many horizons of ``origin`` have judged each bin, 0 = none yet."""
        return self._stage[origin][self._index(bins)]

    @property
    def _oldest(self) -> int:
        return 0 if self._newest is None else self._newest - BINS + 1

    def clip(self, bins: range) -> range:
        """Return the part of ``bins`` that the grid remembers."""
        if self._newest is None:
            return range(0)
        return range(max(bins.start, self._oldest), min(bins.stop, self._newest + 1))

    def _index(self, bins: range) -> NDArray[np.intp]:
        return np.arange(bins.start, bins.stop) % BINS

    def _advance(self, newest: int) -> None:
        if self._newest is None:
            self._newest = newest
            return
        steps = min(newest - self._newest, BINS)
        if steps <= 0:
            return
        index = np.arange(newest - steps + 1, newest + 1) % BINS
        for origin in Origin:
            self._llr[origin][index] = 0
            self._stage[origin][index] = 0
        self._looks[index] = 0
        self._newest = newest

    def _enter(self, origin: Origin, time_bin: int, stage: int, row: Float32) -> None:
        i = time_bin % BINS
        known = self._stage[origin][i]
        if origin is Origin.VIDEO:
            self._look(i, stage - known, row)
        if stage > known:
            self._llr[origin][i] = row
            self._stage[origin][i] = stage
        elif stage == known:
            np.maximum(self._llr[origin][i], row, out=self._llr[origin][i])

    def _look(self, i: int, stages_on: int, row: Float32) -> None:
        """Enter a judgement of the eye into their mean; ``stages_on`` 0: its horizon is in it already."""
        if stages_on == 0:
            np.maximum(self._looks[i], row, out=self._looks[i])
        elif stages_on > 0 and self._stage[Origin.VIDEO][i]:
            self._looks[i] += (row - self._looks[i]) / 2
        elif stages_on > 0:
            self._looks[i] = row
