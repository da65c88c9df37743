"""How hard a key was struck: velocities on the scale of this piano, this room and this microphone.

How many decibels a mezzo-forte has at the microphone is learned from what is played: the mean loudness of
many notes is taken for the mean velocity of music. It is roughly known after ten notes; after some hundreds
it hardly matters any more which pieces they came from. The scale can be kept from one start to the next.
"""

from typing import Final

import msgspec
import numpy as np

from ivories.clock import MILLISECOND
from ivories.datatypes import KeyEvidence, Origin

USUAL: Final = 64
"""Mean velocity of music, and what is told as long as nothing is known"""
PER_DB: Final = 2.5
"""Velocity per decibel, as ``ivories-train audio loudness`` finds it"""
_CAUTION: Final = 4.0  # notes: so many stand against believing the first ones
_MEMORY: Final = 3000  # notes: a microphone that was moved is made up for in about so many
_MOOD: Final = 0.2  # share of the newest note in how loudly is played at present
_SETTLED_NS: Final = 50 * MILLISECOND  # after an onset: its note is as loud as it gets


class TouchScale(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is known of an instrument's loudness."""

    mean_db: float
    """Of its notes"""
    notes: int
    """How many notes it is the mean of, up to a limit"""

    def __post_init__(self) -> None:
        if not np.isfinite(self.mean_db) or self.notes < 1:
            raise ValueError("a scale of loudness needs a finite mean of at least one note")


class Touch:
    """Tells velocities, and learns their scale by the way.

    Args:
        known: the scale learned before; None for a new instrument.
    """

    def __init__(self, known: TouchScale | None = None) -> None:
        self._mean_db, self._notes = (0.0, 0) if known is None else (known.mean_db, known.notes)
        self._mood = 0.0  # velocities above or below USUAL, of late
        self._newest: dict[Origin, KeyEvidence] = {}
        self._unsettled: dict[int, int] = {}  # key -> time of an onset whose loudness was not learned yet

    @property
    def scale(self) -> TouchScale | None:
        """What is known by now; None before the first note was heard."""
        return TouchScale(self._mean_db, self._notes) if self._notes else None

    def push(self, evidence: KeyEvidence) -> None:
        """Take what one sensor says now; learn the loudness of notes that began long enough ago."""
        self._newest[evidence.origin] = evidence
        if evidence.origin is Origin.AUDIO:
            for key, onset_ns in list(self._unsettled.items()):
                if evidence.t_ns - onset_ns >= _SETTLED_NS:
                    del self._unsettled[key]
                    self._learn(_loudness_db(evidence, key, onset_ns))

    def strike(self, key: int, onset_ns: int, *, heard: bool) -> int:
        """Return the velocity 1..127 of a note that began at ``onset_ns``; ``heard``: its sound was judged.

        A note that only the eye knows of is taken to be as loud as the last ones were. Without any loudness
        the networks' own estimates count.
        """
        self._unsettled[key] = onset_ns
        ear = self._newest.get(Origin.AUDIO)
        loudness_db = None if ear is None else _loudness_db(ear, key, onset_ns)
        if loudness_db is not None:
            return _velocity(self._above(loudness_db) if heard else self._mood)
        for origin in (Origin.AUDIO, Origin.VIDEO) if heard else (Origin.VIDEO, Origin.AUDIO):
            estimate = self._newest[origin].velocity[key] if origin in self._newest else np.nan
            if not np.isnan(estimate):
                return _velocity(127 * float(estimate) - USUAL)
        return USUAL

    def take_back(self, key: int) -> None:
        """Learn nothing from the newest note of ``key``: it never was."""
        self._unsettled.pop(key, None)

    def _learn(self, loudness_db: float | None) -> None:
        if loudness_db is None:
            return
        self._mood += _MOOD * (self._above(loudness_db) - self._mood)
        self._notes = min(self._notes + 1, _MEMORY)
        self._mean_db += (loudness_db - self._mean_db) / self._notes

    def _above(self, loudness_db: float) -> float:
        sure = self._notes / (self._notes + _CAUTION)
        return PER_DB * sure * (loudness_db - self._mean_db)


def _loudness_db(evidence: KeyEvidence, key: int, onset_ns: int) -> float | None:
    """Return the loudness of a note by ``evidence``; None where it tells of none."""
    if evidence.loudness is None:
        return None
    since_ns = evidence.t_ns - evidence.step_ns // 2 - onset_ns
    return float(np.interp(since_ns, evidence.horizon_ns, evidence.loudness[:, key]))


def _velocity(above: float) -> int:
    return min(max(round(USUAL + above), 1), 127)
