"""How loud the registers of a piano are beside each other, at its microphone: learned from what is played.

Notes that are near in time are mostly played with the same force, in whatever register they lie. By how much
the notes of a register are louder than those around them in time is therefore its own loudness, as long as it
is not always the same register that has the melody.
"""

from collections.abc import Sequence
from typing import Final

import numpy as np

from ivories.clock import SECOND
from ivories.keyboard import KEYS

KNOTS: Final = (0, 12, 24, 36, 48, 60, 72, 87)
"""Keys between which the curve is straight"""
# Found on validation pieces, as one instrument. A voice that stays the loudest for long is taken for a loud
# register in the end; fewer notes of caution tell the validation's piano still better.
_CAUTION: Final = 4.0  # notes: so many stand against believing the first ones of a register
_MEMORY: Final = 3000.0  # notes, of all registers
_AROUND_NS: Final = 4 * SECOND  # a note counts e times less for every so much of time between
_USUAL_WEIGHT: Final = 0.3  # notes that stand for the usual loudness where hardly any are near

_SHARES: Final = np.stack([np.interp(np.arange(KEYS), KNOTS, row) for row in np.eye(len(KNOTS))], axis=1)


class RegisterCurve:
    """Decibels to be taken off a note's loudness, by key.

    Args:
        db: the curve learned before, at ``KNOTS``; empty for a new instrument.
        notes: how many notes each of them was learned from.
    """

    def __init__(self, db: Sequence[float] = (), notes: Sequence[float] = ()) -> None:
        self._notes = np.array(notes or (0.0,) * len(KNOTS))
        self._sum = np.array(db or (0.0,) * len(KNOTS)) * (self._notes + _CAUTION)
        self._around, self._weight, self._newest_ns = 0.0, 0.0, 0

    @property
    def db(self) -> tuple[float, ...]:
        """The curve at ``KNOTS``; empty before anything was learned."""
        return tuple((self._sum / (self._notes + _CAUTION)).tolist()) if self._notes.any() else ()

    @property
    def notes(self) -> tuple[float, ...]:
        """What it was learned from, as ``db``."""
        return tuple(self._notes.tolist()) if self._notes.any() else ()

    def at(self, key: int) -> float:
        """Return the decibels by which notes of ``key`` are louder than others struck as hard."""
        return float(_SHARES[key] @ (self._sum / (self._notes + _CAUTION)))

    def learn(self, key: int, t_ns: int, loudness_db: float, usual_db: float) -> None:
        """Take a note that began at ``t_ns``; both loudnesses as heard, ``usual_db`` that of a usual note."""
        faded = np.exp(min(0, self._newest_ns - t_ns) / _AROUND_NS)
        self._newest_ns = max(self._newest_ns, t_ns)
        self._around *= faded
        self._weight *= faded
        level_db = (self._around + _USUAL_WEIGHT * usual_db) / (self._weight + _USUAL_WEIGHT)
        self._around += loudness_db - self.at(key)
        self._weight += 1
        self._sum += _SHARES[key] * (loudness_db - level_db)
        self._notes += _SHARES[key]
        if self._notes.sum() > _MEMORY:
            kept = _MEMORY / self._notes.sum()
            self._sum *= kept
            self._notes *= kept
