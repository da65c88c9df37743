"""A standard MIDI file of everything that was played."""

from dataclasses import dataclass
from operator import itemgetter
from pathlib import Path
from typing import Final

import mido

from ivories.datatypes import KeyState, NoteEvent, NoteKind
from ivories.errors import SinkError
from ivories.sinks.atomic_file import AtomicFile
from ivories.sinks.held import HeldNotes
from ivories.sinks.midi import event_bytes

TEMPO_US: Final = 500_000
"""Microseconds per quarter note: 120 per minute, the tempo of a file that states none."""
TICKS_PER_QUARTER: Final = 2_000
TICK_NS: Final = TEMPO_US * 1_000 // TICKS_PER_QUARTER
"""0.25 ms, so a time is off by at most 0.125 ms. With finer ticks common readers refuse long takes: they
hold more than ten million ticks (42 minutes here) for a sign of damage."""

# At equal times: keys go up, the pedal moves, keys go down.
_ORDER: Final = {NoteKind.OFFSET: 0, NoteKind.PEDAL: 1, NoteKind.ONSET: 2}


@dataclass(slots=True)
class _Note:
    onset: NoteEvent
    offset: NoteEvent | None = None


class MidiFileSink:
    """Collects events and writes them at ``close``: type 0, sorted by the time they happened in the room.

    Retracted ghosts are left out, a key struck again ends its former note, and what still sounds at the end
    is closed. The file appears under its name complete or not at all.
    """

    name = "midi_file"

    def __init__(self, *, path: str | Path, origin_ns: int = 0) -> None:
        """Prepare to write ``path``; the time ``origin_ns`` becomes the file's start.

        Raises:
            SinkError: the folder does not exist or cannot be written (found out now, not after an hour).
        """
        self._path = Path(path)
        self._origin_ns = origin_ns
        self._notes: dict[int, list[_Note]] = {}  # by key, in the order of arrival
        self._pedal: list[NoteEvent] = []
        self._held = HeldNotes()
        self._closed = False
        AtomicFile(self._path).discard()

    def __repr__(self) -> str:
        """Show the file, the notes collected and whether it is written."""
        count = sum(map(len, self._notes.values()))
        return f"<MidiFileSink {self._path} {'closed' if self._closed else 'open'}, {count} notes>"

    def send(self, event: NoteEvent, state: KeyState) -> None:  # noqa: ARG002  the contract's argument
        """Collect ``event``; raises ``SinkError`` after ``close``."""
        if self._closed:
            raise SinkError(f"{self._path} is closed: notes cannot be added")
        self._held.apply(event)
        self._collect(event)

    def release_all(self) -> None:
        """End every note that sounds, at the latest time heard of."""
        for event in self._held.release():
            self._collect(event)

    def close(self) -> None:
        """Write the file; raises ``SinkError`` when that fails, and then leaves nothing behind."""
        if self._closed:
            return
        self.release_all()
        self._closed = True
        file = AtomicFile(self._path)
        try:
            self._as_midi().save(file=file.file)
        except OSError as error:
            file.discard()
            raise SinkError(f"cannot write {self._path}: {error.strerror}") from error
        file.commit()

    def discard(self) -> None:
        """Close without writing a file."""
        self._closed = True

    def _collect(self, event: NoteEvent) -> None:
        if event.kind is NoteKind.PEDAL:
            self._pedal.append(event)
            return
        notes = self._notes.setdefault(event.key, [])
        if event.kind is NoteKind.ONSET:
            notes.append(_Note(event))
        elif notes and notes[-1].offset is None:
            if event.retracts:
                notes.pop()
            else:
                notes[-1].offset = event

    def _as_midi(self) -> mido.MidiFile:
        timed = sorted(
            [(self._tick(event.t_ns), _ORDER[event.kind], event_bytes(event)) for event in self._pedal]
            + [message for notes in self._notes.values() for message in self._messages(notes)],
            key=itemgetter(0, 1),  # and what is equal stays in the order of arrival
        )
        track = mido.MidiTrack([mido.MetaMessage("track_name", name="Ivories")])
        track.append(mido.MetaMessage("set_tempo", tempo=TEMPO_US))
        before = 0
        for tick, _, data in timed:
            track.append(mido.Message.from_bytes(data, time=tick - before))
            before = tick
        track.append(mido.MetaMessage("end_of_track"))
        return mido.MidiFile(type=0, ticks_per_beat=TICKS_PER_QUARTER, tracks=[track])

    def _messages(self, notes: list[_Note]) -> list[tuple[int, int, bytes]]:
        """Return (tick, order, bytes) of one key's notes, none of them overlapping or shorter than a tick."""
        result = []
        notes = sorted(notes, key=lambda note: note.onset.t_ns)
        starts = [self._tick(note.onset.t_ns) for note in notes]
        for index, note in enumerate(notes):
            following = starts[index + 1] if index + 1 < len(notes) else None
            if following == starts[index]:
                continue  # the same stroke told twice
            end = following if note.offset is None else self._tick(note.offset.t_ns)
            offset = note.offset or NoteEvent(NoteKind.OFFSET, note.onset.key, 64, 0, 0, 1.0)
            end = max(starts[index] + 1, end or 0)
            end = end if following is None else min(end, following)
            result.append((starts[index], _ORDER[NoteKind.ONSET], event_bytes(note.onset)))
            result.append((end, _ORDER[NoteKind.OFFSET], event_bytes(offset)))
        return result

    def _tick(self, t_ns: int) -> int:
        return max(0, round((t_ns - self._origin_ns) / TICK_NS))
