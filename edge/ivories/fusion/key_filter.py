"""Per-key forward filter of a two-state hidden Markov model: is the key down, is its string sounding?

The state's log-odds are pushed through the transition probabilities of one step and then moved by the
evidence (Rabiner 1989, equation 19, for two states). The transition prior is what gives hysteresis: a single
doubtful frame cannot end a note, a row of them does.
"""

from typing import Final

import numpy as np

from ivories.clock import SECOND
from ivories.datatypes import Bool, Float32, KeyEvidence, Origin
from ivories.keyboard import KEYS

_LIMIT: Final = 5.0  # log-odds; a bound keeps the filter able to change its mind within a few steps
_RISE_PER_S: Final = 0.2  # a key goes down unnoticed this often: onsets enter through ``start``
_FALL_PER_S: Final = 2.0  # mean note length of half a second
_LONGEST_S: Final = 0.25  # of a step: a sensor that was away for longer is as if it had never known better
# Neighbouring frames of one sensor err together, so each adds only a part of what it says.
_AUDIO_WEIGHT: Final = 0.5
_VIDEO_WEIGHT: Final = 0.7
# A frame's ratio is against a key of which nothing is known: of 2 it still says "up" of one that is watched.
_WATCHED: Final = 2.0
_WITNESSED: Final = -1.5  # from which a frame is not sure that a key is still up
_WATCHED_LIMIT: Final = 2.0  # log-odds; what the eye sees go up has gone up, however long it was down
_OFFSET_PRIOR: Final = -5.0  # log-odds that a given key is released within a given hop
_SIGHT_NS: Final = SECOND // 5  # the eye's word on a key counts this long
_HIDDEN_NS: Final = 2 * SECOND  # a key that the eye lost sight of is not forgotten sooner


class KeyFilter:
    """Log-odds of ``pressed`` and ``sounding`` for all keys, (K,) float32 each."""

    def __init__(self) -> None:
        self.pressed: Float32 = np.full(KEYS, -_LIMIT, np.float32)
        self.sounding: Float32 = np.full(KEYS, -_LIMIT, np.float32)
        self._witnessed: Bool = np.zeros(KEYS, bool)
        self._seen_ns = np.full(KEYS, -SECOND, np.int64)
        self._heard_ns = -SECOND

    def reset(self) -> None:
        """All keys up and silent."""
        self.pressed[:] = -_LIMIT
        self.sounding[:] = -_LIMIT
        self._witnessed[:] = False
        self._seen_ns[:] = -SECOND
        self._heard_ns = -SECOND

    def push(self, evidence: KeyEvidence) -> None:
        """Move both states by one step of ``evidence``."""
        # Shares of a chance grow with the step; above one they would be no chances any more.
        step_s = min(evidence.step_ns / SECOND, _LONGEST_S)
        fall = np.full(KEYS, _FALL_PER_S * step_s, np.float32)
        if evidence.offset is not None:
            fall = np.maximum(fall, 0.9 * _sigmoid(evidence.offset + _OFFSET_PRIOR))
        if evidence.origin is Origin.VIDEO:
            self._see(evidence, fall, step_s)
            return
        self._heard_ns = evidence.t_ns
        llr = _AUDIO_WEIGHT * evidence.frame
        _forward(self.sounding, fall, step_s, llr)
        # A sounding string does not prove a pressed key (the pedal may hold it), so where the eye judges the
        # key, the ear adds nothing.
        watched = self.watched(evidence.t_ns)
        _forward(self.pressed, np.where(watched, 0.0, fall), step_s, np.where(watched, 0.0, llr))

    def _see(self, evidence: KeyEvidence, fall: Float32, step_s: float) -> None:
        """Move ``pressed`` by what the eye says of the keys that it may judge."""
        visible = evidence.visible
        self._seen_ns[visible] = evidence.t_ns
        self._witnessed |= visible & (evidence.frame > _WITNESSED)
        ears = evidence.t_ns - self._heard_ns < _SIGHT_NS
        judged = visible & (self._witnessed | (not ears))
        # A key under a hand stays as it was: nothing is known of it, and it may well be held down.
        forgotten = ~visible & (evidence.t_ns - self._seen_ns > _HIDDEN_NS) & (not ears)
        after = self.pressed.copy()
        told = evidence.frame - np.where(visible, np.float32(_WATCHED), np.float32(0))
        _forward(after, fall, step_s, np.float32(_VIDEO_WEIGHT) * told)
        after = np.where(visible, np.minimum(after, _WATCHED_LIMIT), after)
        self.pressed[:] = np.where(judged | forgotten, after, self.pressed)

    def watched(self, t_ns: int) -> Bool:
        """Return (K,): which keys the eye has judged of late, and has seen down since their last onset.

        An eye that missed how a key went down is no judge of when it comes up, where there is an ear.
        """
        return self._witnessed & (t_ns - self._seen_ns < _SIGHT_NS)

    def start(self, key: int) -> None:
        """Enter an onset of ``key``."""
        self.pressed[key] = self.sounding[key] = _LIMIT
        self._witnessed[key] = False

    def stop(self, key: int) -> None:
        """Enter that ``key`` is up."""
        self.pressed[key] = -_LIMIT


def _forward(log_odds: Float32, fall: Float32, step_s: float, llr: Float32) -> None:
    p = _sigmoid(log_odds)
    p = p * (1 - fall) + (1 - p) * _RISE_PER_S * step_s
    np.clip(np.log(p / (1 - p)) + llr, -_LIMIT, _LIMIT, out=log_odds)


def _sigmoid(x: Float32) -> Float32:
    return np.asarray(1 / (1 + np.exp(-x)), np.float32)
