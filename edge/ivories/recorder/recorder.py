"""Keeps the last minutes of a running instrument, and saves them as a take when asked to.

Ears, eyes and notes only drop what they have into bounded mailboxes. Two threads of the recorder fill rings
from them, a third one writes; a take that cannot be written is a sentence in the log and in the answer.
"""

import contextlib
import logging
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final

import av
import numpy as np

from ivories.clock import MILLISECOND, SECOND
from ivories.config import RecorderSection
from ivories.controls import Controls, Request, SavedTake, minutes_of
from ivories.datatypes import AudioBlock, KeyState, NoteEvent, VideoFrame, read_only
from ivories.errors import SinkError
from ivories.recorder.note_ring import NoteRing
from ivories.recorder.picture_ring import PictureRing
from ivories.recorder.shelf import Shelf
from ivories.recorder.sound_ring import SoundRing
from ivories.recorder.take import Take
from ivories.runtime.mailbox import Mailbox, Overflow
from ivories.runtime.priority import stand_back
from ivories.runtime.worker import Worker
from ivories.sinks.held import HeldNotes

_log = logging.getLogger(__name__)

POLL_S: Final = 0.1
"""How often the mailboxes are emptied: nobody is woken for a block of 5 ms"""
WAITING: Final = 1024
"""Blocks of sound and notes that may wait: five seconds at 5 ms a block"""
FRAMES: Final = 8
REQUESTS: Final = 4
SETTLE_NS: Final = 500 * MILLISECOND
"""How long after the moment of the request the instrument may still decide on notes before it"""
PATIENCE_S: Final = 2.0
"""How long to wait for that; the sensors may have gone. Also what ``close`` grants a take being written."""
SPARE_S: Final = 3.0
"""Kept beyond the minutes asked for, since time goes on until a take is cut out"""
_EARLY_NS: Final = 3 * MILLISECOND  # a frame is taken so much before its turn


@dataclass(frozen=True, slots=True)
class _Asked:
    request: Request
    end_ns: int
    when: datetime


class Recorder:
    """The last minutes, and the sink through which notes come and commands are taken.

    Args:
        settings: with ``minutes`` above 0.
        sees: there is a camera; its pictures are kept if ``settings`` says so.
    """

    name = "recorder"

    def __init__(self, settings: RecorderSection, *, sees: bool = True) -> None:
        seconds = 60 * settings.minutes
        self._span_ns = round(seconds * SECOND)
        self._shelf = Shelf.of(settings)
        self._shelf.tidy()
        self._controls: Controls | None = None
        self._heard_ns = self._seen_ns = 0  # newest time
        self._held = HeldNotes()
        self._heard: Mailbox[AudioBlock | NoteEvent] = Mailbox("take sound", WAITING, Overflow.REJECT)
        self._seen: Mailbox[VideoFrame] = Mailbox("take frames", FRAMES, Overflow.KEEP_LATEST)
        self._asked: Mailbox[_Asked] = Mailbox("takes", REQUESTS, Overflow.REJECT)
        self._sound = SoundRing(seconds + SPARE_S)
        self._notes = NoteRing(seconds + SPARE_S)
        self._hearing, self._seeing = threading.Lock(), threading.Lock()
        self._pictures: PictureRing | None = None
        if settings.video and sees:
            self._begin_pictures(seconds + SPARE_S, settings.video_fps)
        self._frame_ns = round(SECOND / settings.video_fps)
        self._due_ns = 0
        self._stop = threading.Event()
        self._workers = [
            Worker("take sound", lambda: self._empty_again_and_again(self._take_in_sound), self._ended),
            Worker("takes", self._save_all, self._ended),
        ]
        if self._pictures is not None:
            self._workers.append(
                Worker("take frames", lambda: self._empty_again_and_again(self._take_in_frames), self._ended)
            )
        for worker in self._workers:
            worker.start()

    def __repr__(self) -> str:
        """Show what is kept and where takes go."""
        state = "closed" if self._asked.closed else "open"
        return f"<Recorder {self._shelf.folder} {state}, {self._span_ns / (60 * SECOND):g} minutes>"

    @property
    def dropped(self) -> dict[str, int]:
        """What a take will lack, by mailbox: blocks and notes, frames."""
        boxes: list[Mailbox[AudioBlock | NoteEvent] | Mailbox[VideoFrame]] = [self._heard, self._seen]
        return {box.name: box.dropped for box in boxes}

    def hear(self, block: AudioBlock) -> None:
        """Keep a block of sound; for the thread of the ears."""
        self._heard.put(block)
        self._heard_ns = block.t_ns + len(block.samples) * SECOND // block.rate

    def see(self, frame: VideoFrame) -> None:
        """Keep a copy of a frame, or leave it out; for the thread of the eyes, who want it back soon."""
        self._seen_ns = frame.t_ns
        early_ns = self._due_ns - frame.t_ns
        if self._pictures is None or _EARLY_NS < early_ns <= self._frame_ns:
            return
        self._due_ns = max(self._due_ns, frame.t_ns - self._frame_ns) + self._frame_ns
        self._seen.put(replace(frame, luma=read_only(np.array(frame.luma))))

    def attach(self, controls: Controls) -> None:
        """Take the requests to save a take."""
        self._controls = controls
        controls.save = self.ask

    def ask(self, request: Request) -> bool:
        """Save what was played up to now, soon and elsewhere; return False when too many takes wait."""
        end_ns = max(self._heard_ns, self._seen_ns)
        return self._asked.put(_Asked(request, end_ns, datetime.now().astimezone()))

    def send(self, event: NoteEvent, state: KeyState) -> None:  # noqa: ARG002  the contract's argument
        """Keep a note; raises ``SinkError`` after ``close``."""
        if self._heard.closed:
            raise SinkError("the recorder is closed: it keeps no more notes")
        self._held.apply(event)
        self._heard.put(event)

    def release_all(self) -> None:
        """Keep an end of every note that sounds."""
        for event in self._held.release():
            self._heard.put(event)

    def close(self) -> None:
        """Write what was asked for, within ``PATIENCE_S``; keep nothing more."""
        self.discard()
        for worker in self._workers:
            worker.join(PATIENCE_S)

    def discard(self) -> None:
        """Keep nothing more and wait for nothing."""
        self.release_all()
        self._stop.set()
        for box in (self._heard, self._seen, self._asked):
            box.close()

    def _begin_pictures(self, seconds: float, fps: float) -> None:
        if "libx264" in av.codecs_available:
            self._pictures = PictureRing(seconds, fps)
        else:
            _log.warning("takes get no pictures: the installed PyAV has no libx264; PyPI's has")

    def _empty_again_and_again(self, take_in: Callable[[], None]) -> None:
        stand_back()
        while not self._stop.wait(POLL_S):
            take_in()

    def _take_in_sound(self) -> None:
        with self._hearing:
            while (item := self._heard.get(timeout=0)) is not None:
                if isinstance(item, NoteEvent):
                    self._notes.push(item)
                else:
                    self._sound.push(item)

    def _take_in_frames(self) -> None:
        while (frame := self._seen.get(timeout=0)) is not None:
            with self._seeing:
                assert self._pictures is not None  # noqa: S101 - there is no such thread without
                self._pictures.push(frame)

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
        if failed := [worker.name for worker in self._workers if worker.failure is not None]:
            raise SinkError(f"the recorder has failed ({failed[0]}): restart Ivories; its log tells why")
        self._settle(asked.end_ns)
        take = self._cut(asked)
        if take.empty:
            raise SinkError("nothing was heard, seen or played yet: there is nothing to save")
        path, files = self._shelf.put(asked.when, take.most_bytes, take.write)
        sizes = [(path / file.name).stat().st_size for file in files]
        saved = SavedTake(
            path.name, take.length_s, take.onsets, tuple(file.name for file in files), sum(sizes),
            asked.when.timestamp(),
        )  # fmt: skip
        _log.info("take saved: %s, %.0f s, %d notes", path, saved.length_s, saved.notes)
        if self._controls is not None:
            self._controls.tell_saved(saved)

    def _settle(self, end_ns: int) -> None:
        """Wait until all notes before ``end_ns`` have been decided on."""
        deadline = time.monotonic() + PATIENCE_S
        while max(self._heard_ns, self._seen_ns) < end_ns + SETTLE_NS and time.monotonic() < deadline:
            if self._stop.wait(POLL_S):
                return

    def _cut(self, asked: _Asked) -> Take:
        span_ns = round(min(self._span_ns, 60 * SECOND * minutes_of(asked.request.value)))
        start_ns, end_ns = asked.end_ns - span_ns, asked.end_ns
        self._take_in_sound()
        with self._hearing:
            sound = self._sound.cut(start_ns, end_ns)
            if sound is not None:
                start_ns = max(start_ns, sound.start_ns)
            notes = self._notes.cut(start_ns, end_ns)
        pieces = []
        if self._pictures is not None:
            self._take_in_frames()
            with self._seeing:
                pieces = self._pictures.cut(start_ns, end_ns)
        if sound is None:
            times = [event.t_ns for event in notes] + [t for piece in pieces for t in piece.times_ns]
            start_ns = max(start_ns, min(times, default=start_ns))
        return Take(start_ns, end_ns, asked.when, sound, notes, pieces)

    def _ended(self, worker: Worker) -> None:
        if worker.failure is not None:
            _log.error("the recorder failed (%s); the music goes on", worker.name, exc_info=worker.failure)


@contextlib.contextmanager
def _giving_way() -> Iterator[None]:
    """Let who wants the interpreter wait for half a millisecond at most, instead of the usual five."""
    usual_s = sys.getswitchinterval()
    sys.setswitchinterval(0.0005)
    try:
        yield
    finally:
        sys.setswitchinterval(usual_s)
