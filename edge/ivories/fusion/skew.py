"""How far eyes and ears are apart in time, learnt from onsets that both notice.

Camera and microphone stamp their data on one clock, but exposure, drivers and the formats of files delay the
two differently. The cross-correlation of the onsets of the same keys peaks at that difference. Only clear
peaks of a key's evidence enter, and only where the partner is beyond doubt, so the correlation is a list of
time differences; its mode, refined by the mean of what lies around it, is finer than a frame.
"""

from collections import deque
from collections.abc import Sequence
from typing import Final

import numpy as np

from ivories.clock import MILLISECOND, SECOND
from ivories.datatypes import KeyEvidence, Origin
from ivories.fusion.onset_peaks import Onset
from ivories.keyboard import KEYS

RANGE_NS: Final = 150 * MILLISECOND
"""Largest difference that is looked for"""
CONFIDENT: Final = 0.5
"""Confidence from which the skew follows what was measured"""
_HALF_WIDTH_NS: Final = 45 * MILLISECOND  # true pairs lie this near: a frame at 30 per second, and errors
_CHANCE: Final = _HALF_WIDTH_NS / RANGE_NS  # share of random pairs that would lie there too
_ENOUGH: Final = 16  # pairs
_KEPT: Final = 64  # pairs
_RATE: Final = 0.04  # ns per ns: evidence is never stretched by more
_LONGEST_STEP_NS: Final = SECOND // 10  # a pause is no licence for a jump


class SkewEstimator:
    """What to add to video times to get audio times.

    Args:
        start_ns: the skew to begin with; kept until there is reason to change it.
    """

    def __init__(self, start_ns: int = 0) -> None:
        self._skew_ns = float(start_ns)
        self._last_ns = {origin: np.full(KEYS, -SECOND, np.int64) for origin in Origin}
        self._free = {origin: np.zeros(KEYS, bool) for origin in Origin}
        self._differences_ns: deque[int] = deque(maxlen=_KEPT)
        self._measured_ns = float(start_ns)
        self._confidence = 0.0
        self._now_ns: int | None = None

    @property
    def skew_ns(self) -> int:
        """Add to a video time to get audio time."""
        return round(self._skew_ns)

    @property
    def confidence(self) -> float:
        """0..1: the lower bound of the share of pairs that agree, 0 being what chance would give."""
        return self._confidence

    def push(self, evidence: KeyEvidence, onsets: Sequence[Onset]) -> None:
        """Take one sensor's evidence, its times as the sensor gave them, and the ``onsets`` it completes."""
        for key, t_ns in onsets:
            self._meet(evidence.origin, key, t_ns)
        now_ns = evidence.t_ns if self._now_ns is None else max(self._now_ns, evidence.t_ns)
        step_ns = min(now_ns - (self._now_ns or now_ns), _LONGEST_STEP_NS)
        self._now_ns = now_ns
        if self._confidence >= CONFIDENT:
            furthest = _RATE * step_ns
            self._skew_ns += min(max(self._measured_ns - self._skew_ns, -furthest), furthest)

    def _meet(self, origin: Origin, key: int, t_ns: int) -> None:
        """Pair the onset with the other sensor's, if neither has another candidate."""
        other = Origin.VIDEO if origin is Origin.AUDIO else Origin.AUDIO
        self._free[origin][key] = t_ns - self._last_ns[origin][key] > 2 * RANGE_NS
        self._last_ns[origin][key] = t_ns
        apart_ns = int(self._last_ns[Origin.AUDIO][key] - self._last_ns[Origin.VIDEO][key])
        if abs(apart_ns) > RANGE_NS or not (self._free[origin][key] and self._free[other][key]):
            return
        self._free[origin][key] = self._free[other][key] = False
        self._differences_ns.append(apart_ns)
        self._measure()

    def _measure(self) -> None:
        n = len(self._differences_ns)
        if n < _ENOUGH:
            return
        differences = np.array(self._differences_ns, np.float64)
        near = np.abs(differences[:, None] - differences) <= _HALF_WIDTH_NS
        mode = differences[near.sum(1).argmax()]
        for _ in range(8):  # mean shift: a few steps reach the middle of the crowd
            before, mode = mode, differences[np.abs(differences - mode) <= _HALF_WIDTH_NS].mean()
            if mode == before:
                break
        share = float((np.abs(differences - mode) <= _HALF_WIDTH_NS).mean())
        surely = share - 2 * np.sqrt(share * (1 - share) / n)
        self._confidence = float(np.clip((surely - _CHANCE) / (1 - _CHANCE), 0, 1))
        self._measured_ns = float(mode)
