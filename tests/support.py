"""Evidence and takes made to measure, shared by the tests."""

import numpy as np

from ivories.clock import MILLISECOND
from ivories.datatypes import KeyEvidence, Origin
from ivories.fusion.onset_peaks import OnsetPeaks
from ivories.keyboard import KEYS

HOP_NS = 10 * MILLISECOND
FRAME_NS = 1_000_000_000 // 30
AUDIO_HORIZONS = (2, 5, 9)
VIDEO_HORIZONS = (-1, 0, 1, 2)


class Noticing:
    """Gives ``stage`` the evidence of both sensors and the onsets that it completes, as the tracker does."""

    def __init__(self, stage):
        self._stage = stage
        self._peaks = {origin: OnsetPeaks() for origin in Origin}

    def push(self, evidence):
        self._stage.push(evidence, self._peaks[evidence.origin].push(evidence))


def audio_evidence(hop, notes, *, strength=(2.0, 5.0, 9.0), silence=-3.0):
    """What a good ear says at ``hop`` of ``notes``: (key, onset_hop, offset_hop) each.

    ``strength``: log-likelihood ratio of a true onset at each horizon.
    """
    onset = np.full((len(AUDIO_HORIZONS), KEYS), silence, np.float32)
    frame = np.full(KEYS, -4.0, np.float32)
    for key, start, end in notes:
        for row, horizon in enumerate(AUDIO_HORIZONS):
            if hop - horizon == start:
                onset[row, key] = strength[row]
        if start <= hop < end:
            frame[key] = 4.0
    return KeyEvidence(
        Origin.AUDIO, (hop + 1) * HOP_NS, HOP_NS, tuple(h * HOP_NS for h in AUDIO_HORIZONS), onset, frame,
        None, np.full(KEYS, 0.5, np.float32), np.ones(KEYS, bool),
    )  # fmt: skip


def video_evidence(frame_index, notes, *, strength=6.0, doubt=-3.0, visible=None):
    """What a good eye says at a frame of ``notes``: (key, onset_ns, offset_ns) each."""
    visible = np.ones(KEYS, bool) if visible is None else visible
    t_ns = frame_index * FRAME_NS
    onset = np.full((len(VIDEO_HORIZONS), KEYS), doubt, np.float32)
    pressed = np.full(KEYS, -4.0, np.float32)
    for key, start, end in notes:
        for row, horizon in enumerate(VIDEO_HORIZONS):
            if t_ns - (horizon + 1) * FRAME_NS < start <= t_ns - horizon * FRAME_NS:
                onset[row, key] = strength
        if start <= t_ns < end:
            pressed[key] = 4.0
    onset[:, ~visible] = 0
    pressed[~visible] = 0
    return KeyEvidence(
        Origin.VIDEO, t_ns, FRAME_NS, tuple(h * FRAME_NS for h in VIDEO_HORIZONS), onset, pressed,
        None, np.full(KEYS, np.nan, np.float32), visible,
    )  # fmt: skip
