"""Takes for the measurement of the ear: what was played, and what a scripted ear says of it."""

from pathlib import Path

import mido
import numpy as np

from ivories.notes import NOTE_DTYPE
from ivories_training.audio.judged import Judged
from ivories_training.audio.takes import Take
from ivories_training.thresholds import NEVER
from support import audio_evidence

SURE = (NEVER, NEVER, 0.0)
EARLY = (0.0, 0.0, 0.0)
NO_PEDAL = np.zeros((0, 2))
PIECE = [(10, 50, 90), (39, 100, 130), (39, 130, 160), (43, 130, 160), (70, 200, 240)]
"""Key, hop of onset, hop of end"""


def notes(rows):
    """NOTE_DTYPE of (onset_s, offset_s, pitch, velocity)."""
    return np.array(sorted(rows), NOTE_DTYPE)


def take(heard=PIECE, played=PIECE, hops=300, pedal=NO_PEDAL, **scripted):
    """A take in which ``played`` was played and the ear is sure of ``heard``."""
    truth = notes([(a * 0.01 + 0.005, b * 0.01, key + 21, 64) for key, a, b in played])
    evidence = [audio_evidence(hop, heard, **scripted) for hop in range(hops)]
    return Take("piece", evidence, truth, pedal, 0.0, hops * 0.01, np.zeros(hops * 160, np.float32), 16000)


def told(truth, found, pedal=None, span=(0.0, 10.0)):
    """Truth and told notes, without an ear."""
    made = Take("told", [], notes(truth), NO_PEDAL if pedal is None else pedal[0], *span, np.zeros(0), 16000)
    return Judged(made, notes(found), None if pedal is None else pedal[1])


def write_midi(path: Path, rows) -> None:
    track, now = mido.MidiTrack(), 0
    for tick, kind, pitch in sorted(
        (t, k, p) for p, a, b in rows for t, k in ((a, "note_on"), (b, "note_off"))
    ):
        track.append(mido.Message(kind, note=pitch, velocity=80, time=tick - now))
        now = tick
    file = mido.MidiFile(ticks_per_beat=500)  # at 120 beats per minute a tick is a millisecond
    file.tracks.append(track)
    file.save(str(path))


def program(path: Path, script: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
