"""Keeps the last minutes of a running instrument, and saves them as a take when asked to.

A thread of its own writes. A take that cannot be written is a sentence in the log and in the answer, no more.
"""

import contextlib
import logging
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from ivories.clock import MILLISECOND, SECOND
from ivories.config import RecorderSection
from ivories.controls import Controls, Request, SavedTake, minutes_of
from ivories.datatypes import AudioBlock, KeyState, NoteEvent, VideoFrame
from ivories.errors import SinkError
from ivories.recorder.keeper import POLL_S, Keeper
from ivories.recorder.shelf import Shelf
from ivories.runtime.mailbox import Mailbox, Overflow
from ivories.runtime.priority import stand_back
from ivories.runtime.worker import Worker
from ivories.sinks.held import HeldNotes

_log = logging.getLogger(__name__)

REQUESTS: Final = 4
"""Takes that may wait to be written"""
SETTLE_NS: Final = 500 * MILLISECOND
"""How long after the moment of the request the instrument may still decide on notes before it"""
PATIENCE_S: Final = 2.0
"""How long to wait for that; the sensors may have gone. Also what ``close`` grants a take being written."""


@dataclass(frozen=True, slots=True)
class _Asked:
    request: Request
    end_ns: int
    when: datetime


class Recorder:
    """What ears and eyes tell of what they get, and the sink for the notes; it takes requests for takes.

    Args:
        settings: with ``minutes`` above 0.
        sees: there is a camera; its pictures are kept if ``settings`` says so.
    """

    name = "recorder"

    def __init__(self, settings: RecorderSection, *, sees: bool = True) -> None:
        self._span_ns = round(60 * SECOND * settings.minutes)
        self._shelf = Shelf.of(settings)
        self._shelf.tidy()
        self._keeper = Keeper(60 * settings.minutes, settings.video_fps if settings.video and sees else 0)
        self._controls: Controls | None = None
        self._held = HeldNotes()
        self._asked: Mailbox[_Asked] = Mailbox("takes", REQUESTS, Overflow.REJECT)
        self._stop = threading.Event()
        self._writer = Worker("takes", self._save_all)
        self._writer.start()

    def __repr__(self) -> str:
        """Show what is kept and where takes go."""
        state = "closed" if self._asked.closed else "open"
        return f"<Recorder {self._shelf.folder} {state}, {self._span_ns / (60 * SECOND):g} minutes>"

    @property
    def dropped(self) -> dict[str, int]:
        """What a take will lack, see ``Keeper``."""
        return self._keeper.dropped

    def hear(self, block: AudioBlock) -> None:
        """Keep a block of sound; for the thread of the ears."""
        self._keeper.hear(block)

    def see(self, frame: VideoFrame) -> None:
        """Keep a frame, or leave it out; for the thread of the eyes."""
        self._keeper.see(frame)

    def attach(self, controls: Controls) -> None:
        """Take the requests to save a take."""
        self._controls = controls
        controls.save = self.ask

    def ask(self, request: Request) -> bool:
        """Save what was played up to now, soon and elsewhere; return False when too many takes wait."""
        return self._asked.put(_Asked(request, self._keeper.newest_ns, datetime.now().astimezone()))

    def send(self, event: NoteEvent, state: KeyState) -> None:  # noqa: ARG002  the contract's argument
        """Keep a note; raises ``SinkError`` after ``close``."""
        if self._asked.closed:
            raise SinkError("the recorder is closed: it keeps no more notes")
        self._held.apply(event)
        self._keeper.note(event)

    def release_all(self) -> None:
        """Keep an end of every note that sounds."""
        for event in self._held.release():
            self._keeper.note(event)

    def close(self) -> None:
        """Write what was asked for, within ``PATIENCE_S``; keep nothing more."""
        self.discard()
        if not self._writer.join(PATIENCE_S):
            _log.warning("the take that is being written is lost: Ivories ends before it is complete")

    def discard(self) -> None:
        """Keep nothing more and wait for nothing."""
        self.release_all()
        self._stop.set()
        self._asked.close()
        self._keeper.close()

    def _save_all(self) -> None:
        stand_back()
        for asked in self._asked:
            asked.request.done(self._answer(asked))

    def _answer(self, asked: _Asked) -> str:
        """Save a take; return an empty text, or why it could not be."""
        try:
            with _giving_way():
                self._save(asked)
        except SinkError as error:
            _log.warning("no take is saved: %s", error)
            return str(error)
        except Exception:  # a fault here must not end the music
            _log.exception("no take is saved")
            return "the recorder failed; the log of the service tells how"
        return ""

    def _save(self, asked: _Asked) -> None:
        self._settle(asked.end_ns)
        span_ns = round(min(self._span_ns, 60 * SECOND * minutes_of(asked.request.value)))
        take = self._keeper.cut(asked.end_ns - span_ns, asked.end_ns, asked.when)
        if take.empty:
            raise SinkError("nothing was heard, seen or played yet: there is nothing to save")
        path, files = self._shelf.put(asked.when, take.most_bytes, take.write)
        names = tuple(file.name for file in files)
        size = sum((path / name).stat().st_size for name in names)
        saved = SavedTake(path.name, take.length_s, take.onsets, names, size, asked.when.timestamp())
        _log.info("take saved: %s, %.0f s, %d notes", path, saved.length_s, saved.notes)
        if self._controls is not None:
            self._controls.tell_saved(saved)

    def _settle(self, end_ns: int) -> None:
        """Wait until all notes before ``end_ns`` have been decided on."""
        deadline = time.monotonic() + PATIENCE_S
        while self._keeper.newest_ns < end_ns + SETTLE_NS and time.monotonic() < deadline:
            if self._stop.wait(POLL_S):
                return


@contextlib.contextmanager
def _giving_way() -> Iterator[None]:
    """Let who wants the interpreter wait for half a millisecond at most, instead of the usual five."""
    usual_s = sys.getswitchinterval()
    sys.setswitchinterval(0.0005)
    try:
        yield
    finally:
        sys.setswitchinterval(usual_s)
