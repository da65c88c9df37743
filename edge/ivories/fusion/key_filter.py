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
        self._states: Float32 = np.full((2, KEYS), -_LIMIT, np.float32)
        self.pressed, self.sounding = self._states
        self._witnessed: Bool = np.zeros(KEYS, bool)
        self._seen_ns = np.full(KEYS, -SECOND, np.int64)
        self._heard_ns = -SECOND

    def push(self, evidence: KeyEvidence, t_ns: int) -> Bool:
        """Move both states by one step of ``evidence``, told at ``t_ns`` by the ear's clock.

        Returns:
            (K,) which keys are watched: the eye has judged them of late, and has seen them down since their
            last onset. An eye that missed how a key went down is no judge of when it comes up, where there is
            an ear.
        """
        # Shares of a chance grow with the step; above one they would be no chances any more.
        step_s = min(evidence.step_ns / SECOND, _LONGEST_S)
        fall: Float32 = np.full(KEYS, _FALL_PER_S * step_s, np.float32)
        if evidence.offset is not None:
            np.maximum(fall, 0.9 * _sigmoid(evidence.offset + _OFFSET_PRIOR), out=fall)
        if evidence.origin is Origin.VIDEO:
            self._see(evidence, fall, step_s)
            return self._watched(t_ns)
        watched = self._watched(t_ns)
        self._hear(evidence, fall, step_s, watched)
        return watched

    def _hear(self, evidence: KeyEvidence, fall: Float32, step_s: float, watched: Bool) -> None:
        """Move both states by what the ear says.

        A sounding string does not prove a pressed key (the pedal may hold it), so where the eye judges the
        key, the ear adds nothing.
        """
        self._heard_ns = evidence.t_ns
        llr: Float32 = np.float32(_AUDIO_WEIGHT) * evidence.frame
        free = ~watched
        both = np.array(((fall * free, fall), (llr * free, llr)), np.float32)  # by state
        self._states[:] = _forward(self._states, both[0], step_s, both[1], _LIMIT)

    def _see(self, evidence: KeyEvidence, fall: Float32, step_s: float) -> None:
        """Move ``pressed`` by what the eye says of the keys that it may judge."""
        visible = evidence.visible
        self._seen_ns[visible] = evidence.t_ns
        self._witnessed |= visible & (evidence.frame > _WITNESSED)
        if evidence.t_ns - self._heard_ns < _SIGHT_NS:
            moved = visible & self._witnessed
        else:  # A key under a hand stays as it was: nothing is known of it, and it may well be held down.
            moved = visible | (self._seen_ns < evidence.t_ns - _HIDDEN_NS)
        told = evidence.frame - np.float32(_WATCHED) * visible
        llr = np.asarray(np.float32(_VIDEO_WEIGHT) * told, np.float32)
        highest = np.where(visible, np.float32(_WATCHED_LIMIT), np.float32(_LIMIT))
        np.copyto(self.pressed, _forward(self.pressed, fall, step_s, llr, highest), where=moved)

    def _watched(self, t_ns: int) -> Bool:
        return self._witnessed & (self._seen_ns > t_ns - _SIGHT_NS)

    def start(self, key: int) -> None:
        """Enter an onset of ``key``."""
        self.pressed[key] = self.sounding[key] = _LIMIT
        self._witnessed[key] = False

    def stop(self, key: int) -> None:
        """Enter that ``key`` is up."""
        self.pressed[key] = -_LIMIT


def _forward(
    log_odds: Float32, fall: Float32, step_s: float, llr: Float32, highest: Float32 | float
) -> Float32:
    p = _sigmoid(log_odds)
    p = p * (1 - fall) + (1 - p) * _RISE_PER_S * step_s
    after: Float32 = np.minimum(np.maximum(np.log(p / (1 - p)) + llr, -_LIMIT), highest)
    return after


def _sigmoid(x: Float32) -> Float32:
    return np.asarray(1 / (1 + np.exp(-x)), np.float32)
