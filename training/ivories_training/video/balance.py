"""Drawing windows so that onsets, near misses and quiet moments come in chosen shares.

Onsets are rare and quiet moments plenty; what teaches most beside an onset is the moment just before or
after one, which looks alike.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

ONSET: Final = 0
NEAR_MISS: Final = 1
BACKGROUND: Final = 2
Kinds = NDArray[np.int8]


@dataclass(frozen=True)
class Balance:
    """Shares of the kinds; they need not add up to 1."""

    onset: float = 0.5
    near_miss: float = 0.25
    """within ``radius`` frames of an onset, but without one"""
    background: float = 0.25
    radius: int = 6
    """frames"""

    def draw(self, rng: np.random.Generator) -> int:
        """Return ONSET, NEAR_MISS or BACKGROUND."""
        shares = np.array([self.onset, self.near_miss, self.background])
        return int(rng.choice(3, p=shares / shares.sum()))


def kinds_of(onset: NDArray[np.bool_], radius: int) -> Kinds:
    """Return the kind of every frame, (F,), from whether a key is struck in it, (F,)."""
    at = np.arange(len(onset))
    near = (np.abs(at[:, None] - at[onset]) <= radius).any(axis=1)
    return np.where(onset, ONSET, np.where(near, NEAR_MISS, BACKGROUND)).astype(np.int8)


def members(kinds: Sequence[Kinds], kind: int) -> NDArray[np.int64]:
    """Return (N, 2): recording and frame of all that is of ``kind``; everything where nothing is."""
    chosen = [k == kind for k in kinds]
    if not any(c.any() for c in chosen):
        chosen = [np.ones(len(k), bool) for k in kinds]
    found = [np.stack([np.full(c.sum(), i), np.flatnonzero(c)], axis=1) for i, c in enumerate(chosen)]
    return np.concatenate(found)
