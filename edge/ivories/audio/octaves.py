"""A struck string sounds like the key an octave above it, and its partials like one below: which was struck?

Of the notes that the ear imagines while a piano plays most lie an octave or two from a note struck at the
same moment, and the ear is less sure of them than of that one. So where it is surer of a key an octave or two
away, it has to be surer of this one, too, by a share of the difference. Keys struck together in octaves are
hardly touched: of both the ear is sure. How loud the partials are that the two do not share says nothing
that the network has not heard itself.

The numbers were chosen on validation pieces, which ``ivories-train audio octaves`` scores by some settings:
they depend on networks as far as these err.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

import numpy as np

from ivories.clock import MILLISECOND
from ivories.datatypes import ONSET_PRIOR, Float32, KeyEvidence, read_only
from ivories.keyboard import KEYS

OCTAVES: Final = (-24, -12, 12, 24)
"""Keys from a key to those whose strings sound like it"""
SHARE: Final = 0.5
"""Log-odds asked for on top, per log-odds by which the ear is surer of such a key"""
MARGIN: Final = 0.5
"""Log-odds that it may be surer without consequence"""
MOST: Final = 4.0
"""Log-odds asked for at most"""
_TOGETHER_NS: Final = 50 * MILLISECOND  # what was struck so long before still counts as struck together
_NEVER: Final = -40.0  # log-odds, of keys that the keyboard does not have


class OctaveDoubt:
    """Stage that enters into an ear's evidence which of two octaves it is surer of.

    Args:
        share: see ``SHARE``.
        margin: see ``MARGIN``.
    """

    def __init__(self, share: float = SHARE, margin: float = MARGIN) -> None:
        self._share, self._margin = np.float32(share), np.float32(margin)
        self._reach = max(OCTAVES)
        self._wide: Float32 = np.zeros((0, 0), np.float32)  # (H, K + 2 * reach)
        self._beside: Float32 = np.zeros((0, 0, 0), np.float32)  # (hops, H, K), of the last hops
        self._row = 0
        self._quiet = 0  # hops since any key was so sure that another could be doubted
        self._heard_ns: int | None = None

    def reset(self) -> None:
        """Forget what was heard."""
        self._beside[:] = _NEVER
        self._heard_ns = None

    def push(self, evidence: KeyEvidence) -> KeyEvidence:
        """Take one hop and return its evidence, doubtful where an octave of the key is surer."""
        if self._heard_ns is None or not 0 < evidence.t_ns - self._heard_ns < _TOGETHER_NS:
            self._begin(evidence)
        self._heard_ns = evidence.t_ns
        log_odds = evidence.onset + np.float32(ONSET_PRIOR)
        newest = self._beside[self._row]
        self._row = (self._row + 1) % len(self._beside)
        if log_odds.max() <= self._margin:
            newest[:] = _NEVER
            self._quiet += 1
            if self._quiet >= len(self._beside):
                return evidence
        else:
            self._quiet = 0
            self._look_aside(log_odds, newest)
        surer = self._beside.max(axis=0) - np.maximum(log_odds, 0) - self._margin
        if surer.max() <= 0:
            return evidence
        doubt = np.clip(self._share * surer, 0, np.float32(MOST))
        return replace(evidence, onset=read_only(evidence.onset - doubt))

    def _look_aside(self, log_odds: Float32, out: Float32) -> None:
        """Enter into ``out`` (H, K) how sure the ear is of the surest octave of each key."""
        reach, wide = self._reach, self._wide
        wide[:, reach : reach + KEYS] = log_odds
        np.maximum.reduce([wide[:, reach + o : reach + o + KEYS] for o in OCTAVES], out=out)

    def enter(self, evidence: Sequence[KeyEvidence]) -> list[KeyEvidence]:
        """Take what was heard, hop by hop, and return it doubted."""
        return [self.push(one) for one in evidence]

    def _begin(self, evidence: KeyEvidence) -> None:
        """Forget what was heard before a start or a gap; make room for these horizons and this hop."""
        horizons, hops = len(evidence.onset), max(1, _TOGETHER_NS // evidence.step_ns)
        if self._beside.shape != (hops, horizons, KEYS):
            self._wide = np.full((horizons, KEYS + 2 * self._reach), _NEVER, np.float32)
            self._beside = np.empty((hops, horizons, KEYS), np.float32)
            self._row = 0
        self._beside[:] = _NEVER
        self._quiet = hops
