"""Note events as JSON lines; the fields are those of ``records``."""

import contextlib
import sys
from pathlib import Path
from typing import BinaryIO

import msgspec

from ivories.clock import now_ns
from ivories.datatypes import KeyState, NoteEvent
from ivories.errors import SinkError
from ivories.sinks.atomic_file import AtomicFile
from ivories.sinks.held import HeldNotes
from ivories.sinks.records import NoteRecord


class JsonLinesSink:
    """Writes one JSON object per event.

    Offline the file appears under its name when ``close`` has completed it. Live, lines are appended to the
    file and can be read at once by another program. The path ``-`` is standard output, always live.
    """

    name = "jsonl"

    def __init__(
        self, *, path: str | Path, live: bool = False, origin_ns: int = 0, one_clock: bool = False
    ) -> None:
        """Open ``path``.

        Args:
            path: the file, or ``-``.
            live: write every line at once.
            origin_ns: time called 0 in the lines.
            one_clock: the events' times are CLOCK_MONOTONIC, not those of a recording.

        Raises:
            SinkError: the file cannot be written.
        """
        self._path = str(path)
        self._origin_ns = origin_ns
        self._one_clock = one_clock
        self._encoder = msgspec.json.Encoder()
        self._held = HeldNotes()
        self._lines = 0
        self._closed = False
        self._atomic: AtomicFile | None = None
        self._live = live or self._path == "-"
        self._file: BinaryIO
        if self._path == "-":
            self._file = sys.stdout.buffer
        elif live:
            try:
                self._file = Path(path).open("ab")  # noqa: SIM115  closed by close()
            except OSError as error:
                raise SinkError(f"cannot write {path}: {error.strerror}; choose another file") from error
        else:
            self._atomic = AtomicFile(Path(path))
            self._file = self._atomic.file

    def __repr__(self) -> str:
        """Show the file, the lines written and whether it is open."""
        state = "closed" if self._closed else "open"
        return f"<JsonLinesSink {self._path} {state}, {self._lines} lines>"

    def send(self, event: NoteEvent, state: KeyState) -> None:  # noqa: ARG002  the contract's argument
        """Write one line; raises ``SinkError`` when the disk is full or the file is closed."""
        if self._closed:
            raise SinkError(f"{self._path} is closed: events cannot be added")
        self._held.apply(event)
        self._write(event)

    def release_all(self) -> None:
        """Write an offset for every key that is held, and the pedal's end."""
        if not self._closed:
            for event in self._held.release():
                self._write(event)

    def close(self) -> None:
        """Release all and let the file appear complete."""
        if self._closed:
            return
        try:
            self.release_all()
        except SinkError:
            self.discard()
            raise
        self._closed = True
        if self._atomic is not None:
            self._atomic.commit()
        elif self._path != "-":
            self._file.close()

    def discard(self) -> None:
        """Close without leaving a file under the final name; lines already written live stay."""
        if not self._closed:
            self._closed = True
            if self._atomic is not None:
                self._atomic.discard()
            elif self._path != "-":
                with contextlib.suppress(OSError):  # closing flushes, which fails on a full disk
                    self._file.close()

    def _write(self, event: NoteEvent) -> None:
        if self._live:
            event.left_ns[self.name] = now_ns()  # before, so that the line can tell
        record = NoteRecord.of(event, self._origin_ns, one_clock=self._one_clock)
        try:
            self._file.write(self._encoder.encode(record) + b"\n")
            if self._live:
                self._file.flush()
        except OSError as error:
            raise SinkError(f"cannot write {self._path}: {error.strerror}") from error
        self._lines += 1
