"""How hard each key was struck, from what the short window hears of its partials.

The bins that a network sees are relative to a level, so it cannot know how loud a note is. Here the level is
put back: the peaks of a key's partials over the last hops are weighed and summed in decibels, and a curve
over the keyboard makes up for what pianos radiate there. How much of an attack is still to come depends on
how long ago the note began, so it is told per horizon, like onsets are.

The numbers come from ``ivories-train audio loudness``. They depend on the front end, not on a network.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

import numpy as np

from ivories.audio.spec import FrontEndSpec
from ivories.clock import MILLISECOND, SECOND
from ivories.datatypes import Float32, KeyEvidence, Spectrum, read_only
from ivories.keyboard import KEYS, LOWEST_PITCH

PARTIALS: Final = (-12, 0, 12, 19, 24, 28, 31, 34)
"""Semitones from a key to what is weighed: an octave below, and the partials 1 to 7"""
WEIGHTS: Final = (0.096, 0.403, 0.187, 0.114, 0.045, 0.034, 0.017, 0.103)
"""Share of each in the loudness, dB per dB, sum 1"""
KNOTS: Final = (0, 12, 24, 36, 48, 60, 72, 87)
"""Keys between which the curve over the keyboard is straight"""
CURVE_DB: Final = (-1.3, -2.7, -6.5, -6.8, -3.6, 1.5, 7.3, 15.8)
"""Added at each knot"""
RISE_NS: Final = (20 * MILLISECOND, 30 * MILLISECOND, 40 * MILLISECOND, 50 * MILLISECOND)
"""Time since the onset"""
RISE_DB: Final = (2.6, 1.2, 0.5, 0.0)
"""What the attack still gains from then on"""
_HOLD_NS: Final = 60 * MILLISECOND  # how long a peak is kept: an attack and its decay's first part
_SILENCE_DB: Final = -110.0


class KeyLoudness:
    """Stage from Spectrum to the loudness of a note of every key, had it begun within the last 100 ms.

    Args:
        spec: of the front end; the shortest of its windows is listened to.
    """

    def __init__(self, spec: FrontEndSpec) -> None:
        self._spec = spec
        lengths = [window.length for window in spec.windows]
        self._window = lengths.index(min(lengths))
        self._columns = _columns(spec)
        self._weights = np.array(WEIGHTS, np.float32)
        self._curve = np.interp(np.arange(KEYS), KNOTS, CURVE_DB).astype(np.float32)
        hops = max(1, round(_HOLD_NS * spec.rate / (SECOND * spec.hop)))
        self._heard = np.empty((hops, spec.bands), np.float32)
        self._next_frame: int | None = None
        self._horizon_ns: tuple[int, ...] = ()
        self._gains: Float32 = np.empty((0, 1), np.float32)
        self.reset()

    def reset(self) -> None:
        """Forget what was heard."""
        self._heard[:] = _SILENCE_DB
        self._next_frame = None

    def partials(self, spectrum: Spectrum) -> Float32:
        """Take one hop and return the peaks of each key's partials, (K, partials) dB full scale.

        A partial that the spectrum does not reach repeats the highest one that it does. Frames that do not
        follow the one before begin afresh.
        """
        if spectrum.frame != self._next_frame:
            self.reset()
        self._next_frame = spectrum.frame + 1
        bins = spectrum.bins[:, self._window, np.newaxis]
        self._heard[spectrum.frame % len(self._heard)] = self._spec.decibels(bins, spectrum.level_db)[:, 0]
        peak = self._heard.max(axis=0)
        # A piano is not in tune to a band: the neighbours of a partial's band count as well.
        wide = np.maximum(peak, _SILENCE_DB)
        np.maximum(wide[1:], peak[:-1], out=wide[1:])
        np.maximum(wide[:-1], peak[1:], out=wide[:-1])
        return np.asarray(wide.take(self._columns), np.float32)

    def push(self, spectrum: Spectrum) -> Float32:
        """Take one hop and return (K,) dB: how loud a note of each key is by now; exact to a constant."""
        return np.asarray(self.partials(spectrum) @ self._weights + self._curve, np.float32)

    def enter(self, spectrum: Spectrum, evidence: Sequence[KeyEvidence]) -> list[KeyEvidence]:
        """Take one hop and return the ``evidence`` of it with the loudness in place."""
        by_now = self.push(spectrum)
        return [
            replace(one, loudness=read_only(by_now + self._still_to_come_db(one.horizon_ns)))
            for one in evidence
        ]

    def _still_to_come_db(self, horizon_ns: tuple[int, ...]) -> Float32:
        """(H, 1), worked out once: a network has the same horizons all the time."""
        if horizon_ns != self._horizon_ns:
            self._horizon_ns = horizon_ns
            self._gains = still_to_come_db(horizon_ns)[:, np.newaxis]
        return self._gains


def still_to_come_db(since_ns: Sequence[int]) -> Float32:
    """Return (n,) dB: what an attack gains after each time since its onset."""
    return np.interp(since_ns, RISE_NS, RISE_DB).astype(np.float32)


def _columns(spec: FrontEndSpec) -> np.ndarray[tuple[int, int], np.dtype[np.intp]]:
    """(K, partials) the band of each partial, or of the nearest lower one that there is."""
    centres, edges = spec.centres(), spec.edges()
    semitones = np.array(PARTIALS)
    columns = np.zeros((KEYS, len(PARTIALS)), np.intp)
    for key in range(KEYS):
        hertz = 440.0 * 2.0 ** ((LOWEST_PITCH + key - 69 + semitones) / 12)
        inside = (hertz > edges[0]) & (hertz < edges[-1])
        highest = hertz[inside].max() if inside.any() else centres[-1]
        lowest = hertz[inside & (semitones >= 0)].min(initial=highest)
        wanted = np.where(inside, hertz, np.where(semitones < 0, lowest, highest))
        columns[key] = np.abs(centres[:, np.newaxis] - wanted).argmin(axis=0)
    return columns
