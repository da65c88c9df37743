"""How far the eye can be believed, by what the ear found of late: where it is blind, how often it is rash.

A keyboard that is half covered, or out of its registered place, makes an eye deny what is plainly heard. An
ear that is sure asks the eye, note by note, and how often it is denied gives the probability that the eye
misses a stroke there: a leaky count per key, shared with its neighbours. Notes that an eye sent first and an
ear took back tell how much surer it has to be.
"""

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from ivories.clock import MILLISECOND
from ivories.datatypes import Float32, Origin
from ivories.fusion.evidence_grid import BIN_NS, BLIND, EvidenceGrid
from ivories.fusion.onset_peaks import Onset
from ivories.keyboard import KEYS

# All of these were found on validation scenes: clean ones, and the same with the keyboard half covered and
# with the registration off by a third of a key.
_SURE: Final = 7.0  # log-likelihood ratio of an ear that may ask: one in twenty such notes is imagined
_HELD_NS: Final = 100 * MILLISECOND
_NEAR: Final = 4  # bins around the note in which the eye may have noticed it
_REACH: Final = 6.0  # keys over which one answer counts e times less for another key
_BEFORE: Final = 4.0  # notes that stand for what is usual
_MEMORY: Final = 40.0  # notes of a key and its neighbours
_BLINDEST: Final = 0.7  # a bound, so that an eye that sees again is soon believed again
_RASH: Final = 0.03  # share of early notes that is usually taken back
_EARLY_NOTES: Final = 20.0  # notes that stand for it
_EARLY_MEMORY: Final = 50.0  # notes

_KEYS_APART: Final = np.abs(np.arange(KEYS)[:, np.newaxis] - np.arange(KEYS))
_NEARNESS: Final = np.exp(-_KEYS_APART / _REACH)


class EyeRecord:
    """What the ear found out about the eye."""

    def __init__(self) -> None:
        self._asked = np.zeros(KEYS)
        self._denied = np.zeros(KEYS)
        self._early, self._rash = _EARLY_NOTES, _EARLY_NOTES * _RASH
        self.blind: Float32 = np.full(KEYS, BLIND[Origin.VIDEO], np.float32)
        """(K,) probability that the eye misses a stroke of a key whatever it usually sees"""

    @property
    def caution(self) -> float:
        """Log-odds that the eye needs on top to send a note first; 0 while it is no rasher than usual."""
        usual = _RASH / (1 - _RASH)
        return max(0.0, float(np.log(self._rash / (self._early - self._rash) / usual)))

    def hear(self, onsets: Sequence[Onset], grid: EvidenceGrid, down_ns: NDArray[np.int64]) -> None:
        """Take the ``onsets`` that the ear's newest evidence completes.

        Args:
            onsets: by ear.
            grid: holds its evidence already, and what the eye said before.
            down_ns: (K,) since when each key is down; later than any evidence for those that are up.
        """
        for key, t_ns in onsets:
            if t_ns - down_ns[key] > _HELD_NS:
                continue  # perhaps a string that beats: an eye that denies the stroke may well be right
            middle = t_ns // BIN_NS
            bins = range(middle - _NEAR, middle + _NEAR + 1)
            if grid.clip(bins) != bins or grid.of(Origin.AUDIO, bins)[:, key].max() < _SURE:
                continue
            seen = grid.of(Origin.VIDEO, bins)[:, key]
            if seen.any() and grid.stage(Origin.VIDEO, bins).all():
                self._answer(key, denied=bool(seen.max() < 0))

    def judge_early(self, *, taken_back: bool) -> None:
        """Enter what became of a note that the eye sent first."""
        kept = 1 - 1 / _EARLY_MEMORY
        self._early = kept * self._early + 1
        self._rash = kept * self._rash + taken_back

    def _answer(self, key: int, *, denied: bool) -> None:
        kept = 1 - _NEARNESS[key] / _MEMORY
        self._asked *= kept
        self._denied *= kept
        self._asked[key] += 1
        self._denied[key] += denied
        usual = BLIND[Origin.VIDEO]
        share = (_NEARNESS @ self._denied + _BEFORE * usual) / (_NEARNESS @ self._asked + _BEFORE)
        self.blind = np.clip(share, usual / 2, _BLINDEST).astype(np.float32)
