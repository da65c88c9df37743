"""Single onsets out of one sensor's evidence: where its best informed judgement of a key has a clear peak."""

from typing import Final

import numpy as np

from ivories.datatypes import Float32, KeyEvidence
from ivories.keyboard import KEYS

SURE: Final = 4.0
"""Log-likelihood ratio from which an onset counts as seen or heard"""
_ROWS: Final = 5
_MIDDLE: Final = _ROWS // 2


class OnsetPeaks:
    """Follows the last horizon of one sensor; tells of an onset two steps later.

    Its time is the centroid of the likelihood over the five steps around the peak: a fraction of a step where
    the evidence is shared by neighbours, the middle where it is level.
    """

    def __init__(self) -> None:
        self._llr: Float32 = np.full((_ROWS, KEYS), -np.inf, np.float32)
        self._centre_ns = np.zeros(_ROWS, np.int64)

    def reset(self) -> None:
        """Forget the evidence so far."""
        self._llr[:] = -np.inf

    def push(self, evidence: KeyEvidence) -> list[tuple[int, int]]:
        """Return (key, t_ns) of every onset that ``evidence`` completes; times are the sensor's own."""
        self._llr[:-1] = self._llr[1:]
        self._llr[-1] = evidence.onset[-1]
        self._centre_ns[:-1] = self._centre_ns[1:]
        self._centre_ns[-1] = evidence.t_ns - evidence.horizon_ns[-1] - evidence.step_ns // 2
        peak = self._llr[_MIDDLE]
        if peak.max() < SURE:
            return []
        before, after = self._llr[:_MIDDLE].max(0), self._llr[_MIDDLE + 1 :].max(0)
        keys = np.flatnonzero((peak >= SURE) & (peak > before) & (peak >= after))
        weight = np.exp(self._llr[:, keys] - peak[keys])
        away = (self._centre_ns - self._centre_ns[_MIDDLE]).astype(np.float64)
        times = self._centre_ns[_MIDDLE] + (away @ weight) / weight.sum(0)
        return [(int(key), round(float(t_ns))) for key, t_ns in zip(keys, times, strict=True)]
