"""How hard a key was struck: velocities on the scale of this piano, this room and this microphone.

How many decibels a mezzo-forte has at the microphone, on each key, is learned from what is played
(``loudness_filter``): the mean loudness of many notes is taken for the mean velocity of music. It is roughly
known after ten notes; after some pieces it hardly matters any more which they were. The scale can be kept
from one start to the next.

A note that leaves before its sound, or at its first moments, is told by the notes around it: music changes
its dynamics slowly, and what lies near on the keyboard is mostly one voice or one hand.
"""

from typing import Final

import msgspec
import numpy as np

from ivories.clock import MILLISECOND
from ivories.datatypes import KeyEvidence, Origin
from ivories.fusion.loudness_filter import LoudnessFilter
from ivories.keyboard import KEYS

USUAL: Final = 64
"""Mean velocity of music, and what is told as long as nothing is known"""
PER_DB: Final = 2.5
"""Velocity per decibel, as ``ivories-train audio loudness`` finds it"""
_ABSURD_DB: Final = 1000.0
_SETTLED_NS: Final = 50 * MILLISECOND  # after an onset: its note is as loud as it gets
# How far a note's own loudness can be trusted, by how long it has been heard: one over the variance of what
# it is still off, per dB squared. Found on validation pieces.
_HEARD_NS: Final = (10 * MILLISECOND, 20 * MILLISECOND, 30 * MILLISECOND, 40 * MILLISECOND, 50 * MILLISECOND)
_HEARD_TRUST: Final = (0.0, 0.03, 0.13, 0.25, 0.33)


class TouchScale(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is known of an instrument's loudness."""

    key_db: tuple[float, ...]
    """(K,) of a usual note of each key"""
    key_notes: tuple[float, ...]
    """(K,) how many notes tell that; keys that were never played are told by those beside them"""

    def __post_init__(self) -> None:
        if len(self.key_db) != KEYS or len(self.key_notes) != KEYS:
            raise ValueError(f"a scale of loudness has {KEYS} keys")
        if not (np.abs(self.key_db) < _ABSURD_DB).all():
            raise ValueError(f"a key is less than {_ABSURD_DB:.0f} dB loud")
        if not np.isfinite(self.key_notes).all() or min(self.key_notes) < 0 or sum(self.key_notes) < 1:
            raise ValueError("a scale of loudness needs at least one note")

    @classmethod
    def even(cls, mean_db: float, notes: float) -> "TouchScale":
        """Return the scale of an instrument whose keys are equally loud."""
        return cls((mean_db,) * KEYS, (notes / KEYS,) * KEYS)

    @property
    def mean_db(self) -> float:
        """Loudness of a usual note, of any key."""
        return float(np.mean(self.key_db))


class Touch:
    """Tells velocities, and learns their scale by the way.

    Args:
        known: the scale learned before; None for a new instrument.
    """

    def __init__(self, known: TouchScale | None = None) -> None:
        self._filter = LoudnessFilter(*((known.key_db, known.key_notes) if known else ()))
        self._newest: dict[Origin, KeyEvidence] = {}
        self._unsettled: dict[int, int] = {}  # key -> time of an onset whose loudness was not learned yet

    @property
    def scale(self) -> TouchScale | None:
        """What is known by now; None before the first note was heard."""
        notes = self._filter.key_notes
        if not notes.any():
            return None
        return TouchScale(tuple(self._filter.key_db.tolist()), tuple(notes.tolist()))

    def push(self, evidence: KeyEvidence) -> None:
        """Take what one sensor says now; learn the loudness of notes that began long enough ago."""
        self._newest[evidence.origin] = evidence
        if evidence.origin is Origin.AUDIO:
            for key, onset_ns in list(self._unsettled.items()):
                if evidence.t_ns - onset_ns >= _SETTLED_NS:
                    del self._unsettled[key]
                    loudness_db = _loudness_db(evidence, key, onset_ns)
                    if loudness_db is not None:
                        self._filter.learn(key, onset_ns, loudness_db)

    def strike(self, key: int, onset_ns: int) -> int:
        """Return the velocity 1..127 of a note that began, or will begin, at ``onset_ns``.

        It is as loud as the notes around it were, and the longer it has been heard, the more as loud as it is
        heard to be. Without any loudness the networks' own estimates count.
        """
        self._unsettled[key] = onset_ns
        ear = self._newest.get(Origin.AUDIO)
        loudness_db = None if ear is None else _loudness_db(ear, key, onset_ns)
        if ear is not None and loudness_db is not None:
            trust = float(np.interp(_since_ns(ear, onset_ns), _HEARD_NS, _HEARD_TRUST))
            return _velocity(PER_DB * self._filter.above_db(key, onset_ns, loudness_db, trust))
        heard = ear is not None and _since_ns(ear, onset_ns) >= ear.horizon_ns[0]
        for origin in (Origin.AUDIO, Origin.VIDEO) if heard else (Origin.VIDEO, Origin.AUDIO):
            estimate = self._newest[origin].velocity[key] if origin in self._newest else np.nan
            if not np.isnan(estimate):
                return _velocity(127 * float(estimate) - USUAL)
        return USUAL

    def take_back(self, key: int) -> None:
        """Learn nothing from the newest note of ``key``: it never was."""
        self._unsettled.pop(key, None)


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
