"""Thresholds found with the tracker itself: as low as notes need, as high as idle hands ask for."""

import numpy as np

from ivories.clock import SECOND
from ivories.datatypes import Origin
from ivories.keyboard import LOWEST_PITCH
from ivories.notes import NOTE_DTYPE
from ivories_training.thresholds import Piece, evaluate, find_thresholds
from support import FRAME_NS, video_evidence

FRAMES = 90
PLAYED = [(30 + n, (10 + 8 * n) * FRAME_NS, (14 + 8 * n) * FRAME_NS) for n in range(9)]


def piece(notes, strength, truth):
    evidence = [video_evidence(i, notes, strength=strength) for i in range(FRAMES)]
    rows = [(start / SECOND, end / SECOND, key + LOWEST_PITCH, 64) for key, start, end in truth]
    return Piece(evidence, np.array(rows, NOTE_DTYPE))


def test_notes_that_are_imagined_where_nobody_plays_are_counted_and_raise_the_thresholds():
    played, idle = piece(PLAYED, 9.0, PLAYED), piece(PLAYED, 6.5, [])
    low = evaluate([played, idle], Origin.VIDEO, (0.0,) * 4)
    assert low.f1 == 1
    assert low.imagined > 9 * 10 / (FRAMES * FRAME_NS / SECOND) * 0.9
    found = find_thresholds([played, idle], Origin.VIDEO)["surest"]
    chosen = evaluate([played, idle], Origin.VIDEO, tuple(found))
    assert (chosen.f1, chosen.imagined) == (1, 0)
