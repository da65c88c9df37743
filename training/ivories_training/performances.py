"""Performances: what was played, read from MIDI files or invented.

A performance is an array of notes and the intervals in which the sustain pedal is down. Splits are by piece.
"""

import csv
import hashlib
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ivories.errors import SourceError
from ivories.keyboard import HIGHEST_PITCH, KEYS, LOWEST_PITCH, key_of_pitch
from ivories.notes import read_messages

NOTE = np.dtype(
    [
        ("onset_s", "f8"),
        ("offset_s", "f8"),
        ("sounding_end_s", "f8"),
        ("key", "i4"),
        ("velocity", "i4"),
    ]
)
"""Seconds of onset, key-up and end of sound (pedal up, or the same key again); key 0..87; velocity 1..127"""

Split = Literal["train", "validation", "test"]
SPLITS: tuple[Split, ...] = ("train", "validation", "test")
PEDAL_DOWN = 64
"""Controller 64 value from which the dampers are off the strings"""


@dataclass(frozen=True)
class Performance:
    """One piece as played."""

    name: str
    notes: NDArray[np.void]
    """(N,) of NOTE, by onset"""
    pedal: NDArray[np.float64]
    """(P, 2) seconds: sustain pedal down, up"""

    @property
    def seconds(self) -> float:
        """Time of the last key-up."""
        return float(self.notes["offset_s"].max()) if len(self.notes) else 0.0

    def window(self, start_s: float, length_s: float, before_s: float = 6.0) -> "Performance":
        """Return what sounds in an excerpt, times relative to its start; earlier onsets are negative."""
        notes, end = self.notes, start_s + length_s
        kept = (
            (notes["onset_s"] > start_s - before_s)
            & (notes["onset_s"] < end)
            & (notes["sounding_end_s"] > start_s)
        )
        cut = notes[kept].copy()
        for name in ("onset_s", "offset_s", "sounding_end_s"):
            cut[name] -= start_s
        pedal = self.pedal[(self.pedal[:, 1] > start_s - before_s) & (self.pedal[:, 0] < end)] - start_s
        return Performance(self.name, cut, pedal)

    def stretched(self, factor: float) -> "Performance":
        """Return the performance with all times multiplied by ``factor``."""
        notes = self.notes.copy()
        for name in ("onset_s", "offset_s", "sounding_end_s"):
            notes[name] *= factor
        return Performance(self.name, notes, self.pedal * factor)


def performance(name: str, notes: Iterable[tuple[float, float, int, int]], pedal: Any) -> Performance:
    """Build a performance from (onset_s, offset_s, key, velocity) and (down_s, up_s) intervals."""
    rows = np.array([(on, off, off, key, velocity) for on, off, key, velocity in notes], NOTE)
    rows.sort(order=["onset_s", "key"])
    down = np.asarray(list(pedal), np.float64).reshape(-1, 2)
    if len(down) and len(rows):
        at = np.searchsorted(down[:, 0], rows["offset_s"], "right") - 1
        held = (at >= 0) & (rows["offset_s"] < down[at, 1])
        rows["sounding_end_s"][held] = down[at[held], 1]
    again = np.full(KEYS, np.inf)
    for row in rows[::-1]:
        row["sounding_end_s"] = min(row["sounding_end_s"], again[row["key"]])
        row["offset_s"] = min(row["offset_s"], row["sounding_end_s"])
        again[row["key"]] = row["onset_s"]
    return Performance(name, rows[rows["sounding_end_s"] > rows["onset_s"]], down)


def read_midi(path: Path) -> Performance:
    """Read the piano notes (MIDI 21..108, all channels but drums) and the sustain pedal of a MIDI file.

    Raises:
        SourceError: the file is missing, is not a MIDI file, or has no notes.
    """
    now, sounding = 0.0, dict[int, tuple[float, int]]()
    notes: list[tuple[float, float, int, int]] = []
    pedal: list[list[float]] = []
    for message in read_messages(path, clip=True):
        now += message.time
        if message.type in ("note_on", "note_off") and message.channel != 9:
            if not LOWEST_PITCH <= message.note <= HIGHEST_PITCH:
                continue
            key = key_of_pitch(message.note)
            if key in sounding:
                onset, velocity = sounding.pop(key)
                notes.append((onset, now, key, velocity))
            if message.type == "note_on" and message.velocity:
                sounding[key] = (now, message.velocity)
        elif message.type == "control_change" and message.control == 64:
            is_down = bool(pedal) and pedal[-1][1] == np.inf
            if message.value >= PEDAL_DOWN and not is_down:
                pedal.append([now, np.inf])
            elif message.value < PEDAL_DOWN and is_down:
                pedal[-1][1] = now
    notes += [(onset, now, key, velocity) for key, (onset, velocity) in sounding.items()]
    if not notes:
        raise SourceError(f"{path} has no piano notes")
    return performance(path.stem, notes, [(down, min(up, now + 1.0)) for down, up in pedal])


INDEX = "index.csv"
"""Beside the MIDI files: columns file and split, for a model card also source and licence"""


def find(folder: Path) -> dict[Split, list[Path]]:
    """Return the MIDI files of ``folder`` by split: from its index.csv (columns file, split), else by name.

    By name: the hash of the file name sends one in ten to validation and one in ten to test.

    Raises:
        SourceError: there is no such folder, or no MIDI file in it.
    """
    if not folder.is_dir():
        raise SourceError(f"no folder of performances at {folder}: name one with MIDI files, or none at all")
    files = sorted(p for p in folder.rglob("*") if p.suffix.lower() in (".mid", ".midi"))
    if not files:
        raise SourceError(f"no MIDI file (*.mid, *.midi) in {folder}")
    index = _index(folder)
    found: dict[Split, list[Path]] = {split: [] for split in SPLITS}
    for path in files:
        row = index.get(str(path.relative_to(folder)))
        split = split_of(path.name) if row is None else row["split"]
        if split not in found:
            raise SourceError(
                f"{folder / INDEX}: split {split!r} of {path.name} is none of {', '.join(SPLITS)}"
            )
        found[split].append(path)  # type: ignore[index]
    return found


def provenance(folder: Path, split: Split) -> list[str]:
    """Say for a model card what one split of ``folder`` is: counts by the index's columns source and licence.

    The source is told up to its first colon: what follows names the single file.
    """
    used = find(folder)[split]
    origin: dict[str, str] = {}
    for file, row in _index(folder).items():
        source = (row.get("source") or "an unnamed source").partition(":")[0]
        origin[file] = f"{source} ({row.get('licence') or 'licence not told'})"
    counts = Counter(origin.get(str(p.relative_to(folder)), "the user's folder") for p in used)
    return [f"{count} performances (MIDI) of {name}" for name, count in sorted(counts.items())]


def _index(folder: Path) -> dict[str, dict[str, str]]:
    """Return the rows of the folder's index by file; none without an index."""
    if not (folder / INDEX).is_file():
        return {}
    try:
        with (folder / INDEX).open(newline="", encoding="utf-8") as stream:
            rows = list(csv.DictReader(stream))
            return {row["file"]: row | {"split": row["split"] or ""} for row in rows}
    except (ValueError, csv.Error, KeyError) as error:
        raise SourceError(
            f"{folder / INDEX} is no table with the columns file and split: {error or type(error).__name__}"
        ) from error


def split_of(name: str) -> Split:
    """Return the split that a file name falls into."""
    tenth = hashlib.sha256(name.encode()).digest()[0] % 10
    return "validation" if tenth == 0 else "test" if tenth == 1 else "train"
