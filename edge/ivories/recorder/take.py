"""One take, cut out of the rings, and its files: ``NAME.mid``, ``NAME.flac`` and ``NAME.mp4``.

The three run on one clock: time 0 of each is the first sample of the sound, and each plays as fast as the
sound does.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
import soundfile

from ivories.clock import SECOND, seconds
from ivories.datatypes import KeyState, NoteEvent, NoteKind
from ivories.errors import SinkError
from ivories.keyboard import KEYS
from ivories.recorder.sound_ring import RATE, Sound
from ivories.sinks.midi_file import MidiFileSink

if TYPE_CHECKING:
    from ivories.recorder.picture_ring import Piece

_AT_ONCE: Final = 1 << 18  # samples: the interpreter is free for the music in between
_NO_KEYS: Final = KeyState(np.zeros(KEYS, bool), np.zeros(KEYS, np.int64), np.zeros(KEYS, np.uint8))


@dataclass(frozen=True, slots=True)
class Take:
    """What was kept of a stretch of time; times of the sensors, until they are written."""

    start_ns: int
    end_ns: int
    when: datetime
    """The wall clock at its end"""
    sound: Sound | None = None
    notes: list[NoteEvent] = field(default_factory=list)
    pieces: "list[Piece]" = field(default_factory=list)
    """None of their pictures before the start"""

    @property
    def empty(self) -> bool:
        """True when there is nothing in it."""
        return self.sound is None and not self.notes and not self.pieces

    @property
    def length_s(self) -> float:
        """Seconds that it plays."""
        return seconds(self.sound.length_ns if self.sound else self.end_ns - self.start_ns)

    @property
    def onsets(self) -> int:
        """Notes in it, those taken back left out."""
        ghosts = sum(event.retracts for event in self.notes)
        return sum(event.kind is NoteKind.ONSET for event in self.notes) - ghosts

    @property
    def most_bytes(self) -> int:
        """What its files take at most."""
        sound = self.sound.samples.nbytes if self.sound else 0
        pictures = sum(len(piece.data) for piece in self.pieces)
        return 2 * sound + 2 * pictures + 16 * len(self.notes) + (1 << 16)

    def moment(self, t_ns: int) -> int:
        """Return where in the files, in nanoseconds from their start, ``t_ns`` of the sensors is."""
        return self.sound.moment(t_ns) if self.sound else t_ns - self.start_ns

    def write(self, folder: Path, name: str) -> list[Path]:
        """Write the files into ``folder`` and onto the disk; return them.

        Raises:
            SinkError: a file cannot be written.
        """
        files = [self._write_notes(folder / f"{name}.mid")]
        if self.sound is not None:
            files.append(self._write_sound(self.sound, folder / f"{name}.flac", name))
        if self.pieces:
            files.append(self._write_pictures(folder / f"{name}.mp4"))
        return files

    def _write_notes(self, path: Path) -> Path:
        sink = MidiFileSink(path=path)
        for event in self.notes:
            sink.send(replace(event, t_ns=self.moment(event.t_ns)), _NO_KEYS)
        sink.close()
        return path

    def _write_sound(self, sound: Sound, path: Path, name: str) -> Path:
        def write() -> None:
            with soundfile.SoundFile(path, "w", RATE, 1, "PCM_16", format="FLAC") as file:
                file.title, file.software = name, "Ivories"
                file.date = self.when.isoformat(timespec="seconds")
                for at in range(0, len(sound.samples), _AT_ONCE):
                    file.write(sound.samples[at : at + _AT_ONCE])

        _complete(path, write)
        return path

    def _write_pictures(self, path: Path) -> Path:
        from ivories.recorder.movie import write_movie

        pieces = [
            replace(piece, times_ns=tuple(max(0, self.moment(t_ns)) for t_ns in piece.times_ns))
            for piece in self.pieces
        ]
        samples = None if self.sound is None else self.sound.samples
        end_ns = round(self.length_s * SECOND)
        _complete(path, lambda: write_movie(path, pieces, end_ns, samples))
        return path


def _complete(path: Path, write: Callable[[], None]) -> None:
    """Call ``write`` and see to it that what it wrote is on the disk; raises SinkError when it is not."""
    try:
        try:
            write()
        except soundfile.LibsndfileError:
            _fail_as_the_system_does(path)
            raise
        with path.open("rb") as file:
            os.fsync(file.fileno())
    except OSError as error:
        raise SinkError(f"cannot write {path.name}: {error.strerror or error}") from error
    except soundfile.LibsndfileError as error:
        raise SinkError(f"cannot write {path.name}: {error.error_string or 'libsndfile failed'}") from error


def _fail_as_the_system_does(path: Path) -> None:
    """Raise the OSError that libsndfile met at ``path`` and does not tell of, if it is still met."""
    with path.open("ab") as file:
        file.write(bytes(1 << 16))
        file.flush()
        os.fsync(file.fileno())
