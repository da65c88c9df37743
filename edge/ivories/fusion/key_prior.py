"""The musical key as a prior: notes of the key that is being played are a little more likely than others.

The pitch classes of the last seconds are correlated with the 24 profiles of Krumhansl and Kessler (1982), as
in the Krumhansl-Schmuckler algorithm (Krumhansl 1990, chapter 4); a softmax makes a posterior of it. Its mean
profile, mixed with an even one, says how much more often than at random each pitch class is expected. Causal:
only notes that have begun count.
"""

from collections import deque
from typing import Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from ivories.clock import SECOND
from ivories.datatypes import Float32, read_only
from ivories.keyboard import KEYS, NOTE_NAMES, pitch_of_key

Float64 = NDArray[np.float64]

TONICS: Final = len(NOTE_NAMES)
KEY_NAMES: Final = (*(f"{n} major" for n in NOTE_NAMES), *(f"{n} minor" for n in NOTE_NAMES))
"""Order of the posterior's 24 entries"""

# How well each pitch class, from the tonic up, was found to fit a key (Krumhansl and Kessler).
_MAJOR: Final = (6.35, 2.23, 3.48, 2.33, 4.38, 4.09, 2.52, 5.19, 2.39, 3.66, 2.29, 2.88)
_MINOR: Final = (6.33, 2.68, 3.52, 5.38, 2.60, 3.53, 2.54, 4.75, 3.98, 2.69, 3.34, 3.17)
_PROFILES: Final = np.array([np.roll(p, tonic) for p in (_MAJOR, _MINOR) for tonic in range(TONICS)])
_SHARES: Final = _PROFILES / _PROFILES.sum(1, keepdims=True)  # (24, 12), each row sums to 1
_PITCH_CLASS: Final = np.array([pitch_of_key(key) % TONICS for key in range(KEYS)])


def _standardized(rows: Float64) -> Float64:
    """Mean 0 and norm 1 along the last axis, so that a product of two is Pearson's correlation."""
    centred = rows - rows.mean(-1, keepdims=True)
    return np.asarray(centred / np.maximum(np.sqrt((centred**2).sum(-1, keepdims=True)), 1e-12))


_SHAPES: Final = _standardized(_PROFILES)


class KeyPriorConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What the prior goes by, and how far it may go."""

    window_sec: float = 3.0
    """How far back notes count"""
    beta: float = 4.0
    """Steepness of the softmax over the 24 correlations"""
    rho_uniform: float = 0.8
    """Share of the even distribution in the mix; 1 switches the prior off"""
    lambda_key: float = 0.5
    """Strength: factor of the log-odds; 0 switches the prior off"""


class KeyPrior:
    """A sliding window of notes and what it makes likely. Work is done only when the window changes."""

    def __init__(self, config: KeyPriorConfig) -> None:
        self._config = config
        self._window_ns = round(config.window_sec * SECOND)
        self._notes: deque[tuple[int, int]] = deque()
        self._counts = np.zeros(TONICS)
        self._bias: Float32 | None = None

    def reset(self) -> None:
        """Forget every note."""
        self._notes.clear()
        self._counts[:] = 0
        self._bias = None

    def played(self, key: int, t_ns: int) -> None:
        """Enter a note of ``key`` that began at ``t_ns``."""
        self._notes.append((t_ns, int(_PITCH_CLASS[key])))
        self._counts[_PITCH_CLASS[key]] += 1
        self._bias = None

    def posterior(self, t_ns: int) -> Float64:
        """Return the probability of each of ``KEY_NAMES`` at ``t_ns``, (24,), before the mixing."""
        self._expire(t_ns)
        exponent = self._config.beta * (_SHAPES @ _standardized(self._counts))
        weight = np.exp(exponent - exponent.max())
        return np.asarray(weight / weight.sum())

    def bias(self, t_ns: int) -> Float32:
        """Return the log-odds to add to every key's onset prior at ``t_ns``, (88,); 0 without notes."""
        self._expire(t_ns)
        if self._bias is None:
            rho = self._config.rho_uniform
            expected = (1 - rho) * TONICS * (self.posterior(t_ns) @ _SHARES) + rho
            log_odds = self._config.lambda_key * np.log(expected)
            self._bias = read_only(log_odds[_PITCH_CLASS].astype(np.float32))
        return self._bias

    def _expire(self, t_ns: int) -> None:
        while self._notes and self._notes[0][0] <= t_ns - self._window_ns:
            self._counts[self._notes.popleft()[1]] -= 1
            self._bias = None
