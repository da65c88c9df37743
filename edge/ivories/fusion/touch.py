"""How hard a key was struck: velocities on the scale of this piano, this room and this microphone.

How many decibels a mezzo-forte has at the microphone is learned from what is played: the mean loudness of
many notes is taken for the mean velocity of music. It is roughly known after ten notes; after some hundreds
it hardly matters any more which pieces they came from. So is how loud the registers are beside each other
(``register_curve``). The scale can be kept from one start to the next.

A note that leaves before its sound, or at its first moments, is told by the notes around it: music changes
its dynamics slowly, and what lies near on the keyboard is mostly one voice or one hand.
"""

from typing import Final

import msgspec
import numpy as np

from ivories.clock import MILLISECOND
from ivories.datatypes import KeyEvidence, Origin
from ivories.fusion.register_curve import KNOTS, RegisterCurve
from ivories.keyboard import KEYS

USUAL: Final = 64
"""Mean velocity of music, and what is told as long as nothing is known"""
PER_DB: Final = 2.5
"""Velocity per decibel, as ``ivories-train audio loudness`` finds it"""
_CAUTION: Final = 4.0  # notes: so many stand against believing the first ones
_MEMORY: Final = 3000  # notes: a microphone that was moved is made up for in about so many
_SETTLED_NS: Final = 50 * MILLISECOND  # after an onset: its note is as loud as it gets
# What the last notes tell of the next one. A note counts e times less for every so much of time and keys
# between; a note of usual loudness stands for all that was never played. Found on validation pieces, as was
# how many such notes the sound of the note itself is worth, by how long it has been heard.
_LASTING_NS: Final = 700 * MILLISECOND
_REACH: Final = 8.0
_USUAL_WEIGHT: Final = 0.1
_HEARD_NS: Final = (10 * MILLISECOND, 20 * MILLISECOND, 30 * MILLISECOND, 40 * MILLISECOND, 50 * MILLISECOND)
_HEARD_WEIGHT: Final = (0.0, 0.3, 1.5, 2.5, 3.5)


class TouchScale(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is known of an instrument's loudness."""

    mean_db: float
    """Of its notes"""
    notes: int
    """How many notes it is the mean of, up to a limit"""
    register_db: tuple[float, ...] = ()
    """How much louder than others each register is, at ``register_curve.KNOTS``; empty where not known"""
    register_notes: tuple[float, ...] = ()
    """How many notes tell that"""

    def __post_init__(self) -> None:
        if not np.isfinite(self.mean_db) or self.notes < 1:
            raise ValueError("a scale of loudness needs a finite mean of at least one note")
        curve = self.register_db + self.register_notes
        if len(curve) not in {0, 2 * len(KNOTS)} or len(self.register_db) != len(self.register_notes):
            raise ValueError(f"a curve over the registers has {len(KNOTS)} values, or none")
        if not np.isfinite(curve).all() or min(self.register_notes, default=0) < 0:
            raise ValueError("a curve over the registers needs finite values of no less than 0 notes")


class Touch:
    """Tells velocities, and learns their scale by the way.

    Args:
        known: the scale learned before; None for a new instrument.
    """

    def __init__(self, known: TouchScale | None = None) -> None:
        self._mean_db, self._notes = (0.0, 0) if known is None else (known.mean_db, known.notes)
        self._curve = RegisterCurve(*((known.register_db, known.register_notes) if known else ()))
        self._recent = np.zeros(KEYS)  # weight of the last notes, by key
        self._recent_db = np.zeros(KEYS)  # their loudness times that weight
        self._recent_ns = 0  # when those were true
        self._newest: dict[Origin, KeyEvidence] = {}
        self._unsettled: dict[int, int] = {}  # key -> time of an onset whose loudness was not learned yet

    @property
    def scale(self) -> TouchScale | None:
        """What is known by now; None before the first note was heard."""
        if not self._notes:
            return None
        return TouchScale(self._mean_db, self._notes, self._curve.db, self._curve.notes)

    def push(self, evidence: KeyEvidence) -> None:
        """Take what one sensor says now; learn the loudness of notes that began long enough ago."""
        self._newest[evidence.origin] = evidence
        if evidence.origin is Origin.AUDIO:
            for key, onset_ns in list(self._unsettled.items()):
                if evidence.t_ns - onset_ns >= _SETTLED_NS:
                    del self._unsettled[key]
                    self._learn(key, onset_ns, _loudness_db(evidence, key, onset_ns))

    def strike(self, key: int, onset_ns: int) -> int:
        """Return the velocity 1..127 of a note that began, or will begin, at ``onset_ns``.

        It is as loud as the notes around it were, and the longer it has been heard, the more as loud as it is
        heard to be. Without any loudness the networks' own estimates count.
        """
        self._unsettled[key] = onset_ns
        ear = self._newest.get(Origin.AUDIO)
        loudness_db = None if ear is None else _loudness_db(ear, key, onset_ns)
        if ear is not None and loudness_db is not None:
            loudness_db -= self._curve.at(key)
            trust = float(np.interp(_since_ns(ear, onset_ns), _HEARD_NS, _HEARD_WEIGHT))
            return _velocity(self._above(self._likely_db(key, onset_ns, loudness_db, trust)))
        heard = ear is not None and _since_ns(ear, onset_ns) >= ear.horizon_ns[0]
        for origin in (Origin.AUDIO, Origin.VIDEO) if heard else (Origin.VIDEO, Origin.AUDIO):
            estimate = self._newest[origin].velocity[key] if origin in self._newest else np.nan
            if not np.isnan(estimate):
                return _velocity(127 * float(estimate) - USUAL)
        return USUAL

    def take_back(self, key: int) -> None:
        """Learn nothing from the newest note of ``key``: it never was."""
        self._unsettled.pop(key, None)

    def _learn(self, key: int, onset_ns: int, loudness_db: float | None) -> None:
        if loudness_db is None:
            return
        heard_db, loudness_db = loudness_db, loudness_db - self._curve.at(key)
        if self._notes:  # the first note of all tells of no register
            self._curve.learn(key, onset_ns, heard_db, self._mean_db)
        self._notes = min(self._notes + 1, _MEMORY)
        self._mean_db += (loudness_db - self._mean_db) / self._notes
        faded = self._faded(onset_ns)
        self._recent *= faded
        self._recent_db *= faded
        self._recent[key] += 1
        self._recent_db[key] += loudness_db
        self._recent_ns = max(self._recent_ns, onset_ns)

    def _faded(self, t_ns: int) -> float:
        """What is left of the last notes' weight."""
        return float(np.exp(min(0, self._recent_ns - t_ns) / _LASTING_NS))

    def _likely_db(self, key: int, onset_ns: int, loudness_db: float, trust: float) -> float:
        """Return the mean of the notes around, the usual one and ``loudness_db`` itself, weighed."""
        near = np.exp(-np.abs(np.arange(KEYS) - key) / _REACH) * self._faded(onset_ns)
        weight = float(self._recent @ near) + _USUAL_WEIGHT + trust
        total = float(self._recent_db @ near) + _USUAL_WEIGHT * self._mean_db + trust * loudness_db
        return total / weight

    def _above(self, loudness_db: float) -> float:
        sure = self._notes / (self._notes + _CAUTION)
        return PER_DB * sure * (loudness_db - self._mean_db)


def _loudness_db(evidence: KeyEvidence, key: int, onset_ns: int) -> float | None:
    """Return the loudness of a note by ``evidence``; None where it tells of none."""
    if evidence.loudness is None:
        return None
    return float(np.interp(_since_ns(evidence, onset_ns), evidence.horizon_ns, evidence.loudness[:, key]))


def _since_ns(evidence: KeyEvidence, onset_ns: int) -> int:
    """Return how long the note has been heard."""
    return evidence.t_ns - evidence.step_ns // 2 - onset_ns


def _velocity(above: float) -> int:
    return min(max(round(USUAL + above), 1), 127)
