"""Notes as arrays: read from MIDI files, and matched with each other."""

from pathlib import Path
from typing import Any

import mido
import numpy as np
from mido.midifiles.meta import KeySignatureError
from numpy.typing import NDArray

from ivories.errors import SourceError
from ivories.keyboard import HIGHEST_PITCH, LOWEST_PITCH

NOTE_DTYPE = np.dtype([("onset_s", "f8"), ("offset_s", "f8"), ("pitch", "i4"), ("velocity", "i4")])
"""One note: key-down and key-up time in seconds, MIDI pitch, velocity 1..127."""
SHORTEST_S = 1e-3
"""Shortest duration, as an empty note would be none"""


def read_messages(path: Path, *, clip: bool = False) -> list[Any]:
    """Return the messages of a MIDI file in order, ``time`` being the seconds since the one before.

    Args:
        path: of the file.
        clip: take data bytes above 127 for 127; else they make the file unreadable.

    Raises:
        SourceError: the file is missing or is not a MIDI file.
    """
    try:
        return list(mido.MidiFile(path, clip=clip))
    except FileNotFoundError as error:
        raise SourceError(f"no MIDI file at {path}") from error
    except (OSError, EOFError, ValueError, KeyError, IndexError, KeySignatureError) as error:
        raise SourceError(f"{path} is not a readable MIDI file: {error or 'it ends too early'}") from error


def read_notes(path: Path) -> NDArray[np.void]:
    """Return the notes of a MIDI file, sorted by onset, as an array of ``NOTE_DTYPE``; the pedal is ignored.

    Raises:
        SourceError: the file is missing or is not a MIDI file.
    """
    now = 0.0
    sounding: dict[tuple[int, int], tuple[float, int]] = {}
    notes: list[tuple[float, float, int, int]] = []
    for message in read_messages(path):
        now += message.time
        if message.type not in {"note_on", "note_off"} or not LOWEST_PITCH <= message.note <= HIGHEST_PITCH:
            continue
        key = (message.channel, message.note)
        if key in sounding:
            start, velocity = sounding.pop(key)
            notes.append((start, max(now, start + SHORTEST_S), message.note, velocity))
        if message.type == "note_on" and message.velocity > 0:
            sounding[key] = (now, message.velocity)
    notes += [(start, max(now, start + SHORTEST_S), key[1], v) for key, (start, v) in sounding.items()]
    return np.array(sorted(notes), NOTE_DTYPE)


def matched_pairs(
    reference: NDArray[np.void], estimate: NDArray[np.void], tolerance_s: float = 0.05
) -> NDArray[np.int_]:
    """Return (N, 2) indices (reference, estimate) of the notes that count as right.

    Notes of one pitch whose onsets are within the tolerance (to a tenth of a millisecond, as mir_eval has it)
    match, each at most one other. With one tolerance for all, the earliest pair first makes the most pairs.
    """
    pairs = []
    for pitch in np.intersect1d(reference["pitch"], estimate["pitch"]):
        true, found = (np.flatnonzero(notes["pitch"] == pitch) for notes in (reference, estimate))
        true = true[np.argsort(reference["onset_s"][true], kind="stable")]
        found = found[np.argsort(estimate["onset_s"][found], kind="stable")]
        i = j = 0
        while i < len(true) and j < len(found):
            late = estimate["onset_s"][found[j]] - reference["onset_s"][true[i]]
            if round(abs(late), 4) <= tolerance_s:
                pairs.append((true[i], found[j]))
                i, j = i + 1, j + 1
            elif late < 0:
                j += 1
            else:
                i += 1
    return np.array(sorted(pairs), int).reshape(-1, 2)
