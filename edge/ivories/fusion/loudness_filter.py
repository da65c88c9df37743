"""What makes a note loud: its key on this instrument, the music around it, and how hard it was struck itself.

In decibels all of these add up. How loud a key is here hardly changes; a piece is loud or soft for minutes,
a voice for seconds, and with it what lies near on the keyboard; the accent of a note is its own. With the
spread of each known, a Kalman filter (R. E. Kalman, "A New Approach to Linear Filtering and Prediction
Problems", 1960) tells from the notes so far how loud the next one is likely to be, how sure that is, and
which share of a surprise is an accent. A key that is louder than those around it in time, again and again,
is taken for a loud key in the end: the registers of a piano differ, and at a microphone so do single keys.
"""

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from ivories.clock import SECOND
from ivories.keyboard import KEYS

Float64 = NDArray[np.float64]

# Variances in dB squared. How far they reach is told in keys or time after which they are alike e times less.
# Found on validation pieces, played by six pianos; hardly anything changes when one of them is doubled.
_LEVEL: Final = 1000.0  # of an unknown instrument at its microphone
_LEVEL_BY_NOTE: Final = 600.0  # of a kept level, by the number of its notes: far surer than pieces differ
_MEMORY: Final = 3000.0  # notes that a kept instrument is as sure as, at most
_FADING: Final = 0.01 / _LEVEL  # share of the first doubt that every note brings back: microphones are moved
_REGISTER: Final = 25.0
_REGISTER_REACH: Final = 12.0
_KEY: Final = 2.0
_PIECE: Final = 60.0
_PIECE_NS: Final = 200 * SECOND
_VOICE: Final = 16.0
_VOICE_REACH: Final = 20.0
_VOICE_NS: Final = 4 * SECOND
_ACCENT: Final = 5.0
_HEARD: Final = 3.5  # error of a loudness that has settled

_KNOTS: Final = (0, 12, 24, 36, 48, 60, 72, 87)  # keys between which voices are straight
_MUSIC: Final = slice(KEYS, None)  # voices at the knots, and the piece; before it the instrument, by key
_SIZE: Final = KEYS + len(_KNOTS) + 1


def _alike(keys: Sequence[int], reach: float) -> Float64:
    return np.asarray(np.exp(-np.abs(np.subtract.outer(keys, keys)) / reach))


def _parts() -> Float64:
    """(K, size): what each key's loudness consists of, but for the accent."""
    knots = [np.interp(np.arange(KEYS), _KNOTS, row) for row in np.eye(len(_KNOTS))]
    return np.concatenate([np.eye(KEYS), np.stack(knots, axis=1), np.ones((KEYS, 1))], axis=1)


_PARTS: Final = _parts()
_FORGETTING_PER_NS: Final = np.array([1 / _VOICE_NS] * len(_KNOTS) + [1 / _PIECE_NS])
_ANY_MUSIC: Final = np.zeros((len(_KNOTS) + 1, len(_KNOTS) + 1))
_ANY_MUSIC[:-1, :-1] = _VOICE * _alike(_KNOTS, _VOICE_REACH)
_ANY_MUSIC[-1, -1] = _PIECE
_ANY_REGISTERS: Final = _REGISTER * _alike(range(KEYS), _REGISTER_REACH) + _KEY * np.eye(KEYS)
_ANY_INSTRUMENT: Final = _LEVEL + _ANY_REGISTERS


class LoudnessFilter:
    """Follows the music, and learns the instrument.

    Args:
        key_db: (K,) loudness of a usual note of each key, learned before; empty for an unknown instrument.
        key_notes: (K,) how many notes each of them was learned from.
    """

    def __init__(self, key_db: Sequence[float] = (), key_notes: Sequence[float] = ()) -> None:
        self._notes = np.array(key_notes or (0.0,) * KEYS)
        self._mean = np.zeros(_SIZE)
        self._mean[:KEYS] = key_db or (0.0,) * KEYS
        kept = self._notes * min(1.0, _MEMORY / max(float(self._notes.sum()), 1.0))
        registers = np.linalg.inv(np.linalg.inv(_ANY_REGISTERS) + np.diag(kept / (_VOICE + _ACCENT + _HEARD)))
        level = 1 / (1 / _LEVEL + float(kept.sum()) / _LEVEL_BY_NOTE)
        self._covariance = np.zeros((_SIZE, _SIZE))
        self._covariance[:KEYS, :KEYS] = registers + level
        self._covariance[_MUSIC, _MUSIC] = _ANY_MUSIC
        if not self._notes.any():
            # The first piece tells what is usual. It may be a loud one, but nobody can know, and what follows
            # is told better on a scale that stays as it is than on one that is torn between the pieces.
            self._covariance[-1, -1] = 0.0
        self._newest_ns: int | None = None

    @property
    def key_db(self) -> Float64:
        """(K,) loudness of a usual note of each key."""
        return self._mean[:KEYS].copy()

    @property
    def key_notes(self) -> Float64:
        """(K,) how many notes tell that."""
        return self._notes.copy()

    def above_db(self, key: int, t_ns: int, heard_db: float, trust: float) -> float:
        """Return by how much a note that begins at ``t_ns`` is louder than a usual one of its key.

        Args:
            key: 0..87.
            t_ns: its onset.
            heard_db: its loudness, as far as it was heard.
            trust: one over the error's variance of that, per dB squared; 0 where nothing was heard yet.
        """
        if not self._notes.any():
            return 0.0
        self._advance(t_ns)
        parts = _PARTS[key]
        shared = self._covariance @ parts
        surprise = heard_db - float(parts @ self._mean)
        known = float(parts @ shared) + _ACCENT
        wanted = float(parts[_MUSIC] @ shared[_MUSIC]) + _ACCENT
        expected = float(parts[_MUSIC] @ self._mean[_MUSIC])
        return expected + wanted * trust / (1 + known * trust) * surprise

    def learn(self, key: int, t_ns: int, heard_db: float) -> None:
        """Take the loudness of a note that began at ``t_ns``, once it has settled."""
        if not self._notes.any():
            self._mean[:KEYS] = heard_db
        self._advance(t_ns)
        parts = _PARTS[key]
        shared = self._covariance @ parts
        gain = shared / (float(parts @ shared) + _ACCENT + _HEARD)
        self._mean += gain * (heard_db - float(parts @ self._mean))
        self._covariance -= np.outer(gain, shared)
        self._covariance[:KEYS, :KEYS] += _FADING * _ANY_INSTRUMENT
        self._notes[key] += 1

    def _advance(self, t_ns: int) -> None:
        """Forget the music as far as it is past."""
        passed_ns = 0 if self._newest_ns is None else max(0, t_ns - self._newest_ns)
        self._newest_ns = t_ns if self._newest_ns is None else max(t_ns, self._newest_ns)
        if not passed_ns:
            return
        kept = np.exp(-passed_ns * _FORGETTING_PER_NS)
        self._mean[_MUSIC] *= kept
        self._covariance[_MUSIC] *= kept[:, np.newaxis]
        self._covariance[:, _MUSIC] *= kept
        self._covariance[_MUSIC, _MUSIC] += _ANY_MUSIC * (1 - np.outer(kept, kept))
