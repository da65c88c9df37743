"""Single onsets out of one sensor's evidence: where its best informed judgement of a key has a clear peak."""

import math
from typing import Final

import numpy as np

from ivories.datatypes import Float32, KeyEvidence
from ivories.keyboard import KEYS

SURE: Final = 4.0
"""Log-likelihood ratio from which an onset counts as seen or heard"""
Onset = tuple[int, int]
"""Its key, and its time in nanoseconds"""
_ROWS: Final = 5
_MIDDLE: Final = _ROWS // 2


class OnsetPeaks:
    """Follows the last horizon of one sensor; tells of an onset two steps later.

    Its time is the centroid of the likelihood over the five steps around the peak: a fraction of a step where
    the evidence is shared by neighbours, the middle where it is level.
    """

    def __init__(self) -> None:
        self._steps = 0
        self._llr: Float32 = np.full((_ROWS, KEYS), -np.inf, np.float32)  # step s in row s % _ROWS
        self._centre_ns = np.zeros(_ROWS, np.int64)
        self._most = [-math.inf] * _ROWS

    def push(self, evidence: KeyEvidence) -> list[Onset]:
        """Return every onset that ``evidence`` completes; times are the sensor's own."""
        newest = self._steps % _ROWS
        self._steps += 1
        self._llr[newest] = evidence.onset[-1]
        self._centre_ns[newest] = evidence.t_ns - evidence.horizon_ns[-1] - evidence.step_ns // 2
        self._most[newest] = float(evidence.onset[-1].max())
        if self._most[newest - _MIDDLE] < SURE:
            return []
        in_order = np.arange(self._steps, self._steps + _ROWS) % _ROWS
        llr, centre_ns = self._llr[in_order], self._centre_ns[in_order]
        peak = llr[_MIDDLE]
        before, after = llr[:_MIDDLE].max(0), llr[_MIDDLE + 1 :].max(0)
        keys = np.flatnonzero((peak >= SURE) & (peak > before) & (peak >= after))
        weight = np.exp(llr[:, keys] - peak[keys])
        away = (centre_ns - centre_ns[_MIDDLE]).astype(np.float64)
        times = centre_ns[_MIDDLE] + (away @ weight) / weight.sum(0)
        return [(int(key), round(float(t_ns))) for key, t_ns in zip(keys, times, strict=True)]
