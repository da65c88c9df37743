"""Do ears and eyes err together? The gain of fusion rests on the answer, so it is measured.

Both int8 files judge unseen scenes through the device's own stages. Told are the correlation of the two
log-likelihood ratios, at true onsets and at false candidates, and how much more often than independence says
both err at once.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from rich.table import Table

from ivories.clock import MILLISECOND, SECOND
from ivories.datatypes import Float32, KeyEvidence
from ivories.keyboard import KEYS, LOWEST_PITCH
from ivories_training import columns
from ivories_training.scenes import Scene

BIN_NS: Final = 10 * MILLISECOND
_NEAR: Final = 5  # bins: evidence this near an onset belongs to it
_BLOCK: Final = 10  # bins of a false candidate
_FREE: Final = 15  # bins around an onset of the key that are no false candidate
MISSED: Final = 6.0
"""Log-likelihood ratio below which a true onset is missed: the posterior is then below one half"""
IMAGINED: Final = 4.0
"""Log-likelihood ratio from which a false candidate counts as an error"""


@dataclass(frozen=True)
class Pairs:
    """Log-likelihood ratios of both sensors at the same moments of the same keys, (N,) each."""

    audio: Float32
    video: Float32
    scene: NDArray[np.int64]

    def correlation(self) -> tuple[float, float]:
        """Return Pearson's r over all, and with every scene's own means taken off."""
        own = [a.astype(np.float64).copy() for a in (self.audio, self.video)]
        pooled = float(np.corrcoef(own[0], own[1])[0, 1])
        for scene in np.unique(self.scene):
            here = self.scene == scene
            for values in own:
                values[here] -= values[here].mean()
        return pooled, float(np.corrcoef(own[0], own[1])[0, 1])

    def errors(self, threshold: float, *, above: bool) -> tuple[float, float, float, float]:
        """Return the rates of errors of audio, of video, of both, and both over independence."""
        wrong = [(values > threshold) == above for values in (self.audio, self.video)]
        heard, seen = (float(w.mean()) for w in wrong)
        both = float((wrong[0] & wrong[1]).mean())
        return heard, seen, both, both / max(heard * seen, 1e-12)


def last_judgement(evidence: Sequence[KeyEvidence], bins: int) -> Float32:
    """Return the log-likelihood ratios of the last horizon on a 10 ms grid, (bins, K); NaN where none."""
    grid = np.full((bins, KEYS), np.nan, np.float32)
    for one in evidence:
        end = one.t_ns - one.horizon_ns[-1]
        row = np.where(one.visible, one.onset[-1], np.nan)
        first, last = (max(0, t // BIN_NS) for t in (end - one.step_ns, end - 1))
        grid[first : last + 1] = np.fmax(grid[first : last + 1], row)
    return grid


def pairs(found: Sequence[Scene]) -> tuple[Pairs, Pairs]:
    """Return what both sensors say at true onsets, and at false candidates.

    A false candidate is a key in a tenth of a second in which other keys begin, and not this one: where
    nothing happens, both are right too easily. Keys that the eye does not see are left out.
    """
    rows: tuple[list[tuple[float, float, int]], list[tuple[float, float, int]]] = ([], [])
    for number, scene in enumerate(found):
        bins = round(scene.seconds * SECOND) // BIN_NS
        judged = [last_judgement(evidence, bins) for evidence in (scene.heard, scene.seen)]
        known = ~np.isnan(judged[0] + judged[1])
        key = scene.truth["pitch"] - LOWEST_PITCH
        onset = (scene.truth["onset_s"] * SECOND // BIN_NS).astype(np.int64)
        taken = np.zeros((bins, KEYS), bool)
        for k, b in zip(key, onset, strict=True):
            taken[max(0, b - _FREE) : b + _FREE + 1, k] = True
            near = slice(max(0, b - _NEAR), b + _NEAR + 1)
            if known[near, k].any():
                best = (float(np.nanmax(j[near, k])) for j in judged)
                rows[0].append((*best, number))
        for first in range(0, bins - _BLOCK, _BLOCK):
            block = slice(first, first + _BLOCK)
            if not ((onset >= first) & (onset < first + _BLOCK)).any():
                continue
            for k in np.flatnonzero(known[block].all(0) & ~taken[block].any(0)):
                best = (float(j[block, k].max()) for j in judged)
                rows[1].append((*best, number))
    return tuple(  # type: ignore[return-value]
        Pairs(*(np.array(column) for column in zip(*part, strict=True))) for part in rows
    )


def dependence(found: Sequence[Scene], sound: str) -> Table:
    """Return how both senses err in scenes of one kind of sound."""
    onsets, candidates = pairs(found)
    numbers = ("cases", "r", "r within scenes", "audio errs", "video errs", "both", "times chance")
    table = columns.table(f"{sound}: do ears and eyes err together?", ("where",), numbers)
    for name, part, threshold, above in (
        ("true onsets (missed)", onsets, MISSED, False),
        ("false candidates (imagined)", candidates, IMAGINED, True),
    ):
        pooled, within = part.correlation()
        heard, seen, both, lift = part.errors(threshold, above=above)
        table.add_row(
            name, str(len(part.audio)), f"{pooled:.3f}", f"{within:.3f}", f"{heard:.4f}", f"{seen:.4f}",
            f"{both:.5f}", f"{lift:.1f}",
        )  # fmt: skip
    return table
