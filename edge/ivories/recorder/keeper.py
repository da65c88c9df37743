"""Fills the rings of the recorder with what ears, eyes and notes drop into bounded mailboxes."""

import logging
import threading
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING, Final

import numpy as np

from ivories.clock import MILLISECOND, SECOND
from ivories.datatypes import AudioBlock, NoteEvent, VideoFrame, read_only
from ivories.errors import SinkError
from ivories.recorder.note_ring import NoteRing
from ivories.recorder.sound_ring import SoundRing
from ivories.recorder.take import Take
from ivories.runtime.mailbox import Mailbox, Overflow
from ivories.runtime.priority import stand_back
from ivories.runtime.worker import Worker

if TYPE_CHECKING:
    from ivories.recorder.picture_ring import PictureRing

_log = logging.getLogger(__name__)

POLL_S: Final = 0.1
"""How often the mailboxes are emptied: nobody is woken for a block of 5 ms"""
WAITING: Final = 1024
"""Blocks of sound and notes that may wait: five seconds at 5 ms a block"""
FRAMES: Final = 8
SPARE_S: Final = 3.0
"""Kept beyond what is asked for, since time goes on until a take is cut out"""
_EARLY_NS: Final = 3 * MILLISECOND  # a frame is taken so much before its turn


class Keeper:
    """The newest ``seconds`` of an instrument; it takes in what comes until ``close``.

    A fault in the pictures costs the pictures; one in the sound, all that follows.

    Args:
        seconds: how much to keep.
        fps: frames per second to keep at most; 0 for no pictures.
    """

    def __init__(self, seconds: float, fps: float) -> None:
        self._heard_ns = self._seen_ns = 0
        self._heard: Mailbox[AudioBlock | NoteEvent] = Mailbox("take_sound", WAITING, Overflow.REJECT)
        self._seen: Mailbox[VideoFrame] = Mailbox("take_frames", FRAMES, Overflow.KEEP_LATEST)
        self._sound = SoundRing(seconds + SPARE_S)
        self._notes = NoteRing(seconds + SPARE_S)
        self._pictures = _film(seconds + SPARE_S, fps) if fps else None
        if self._pictures is not None:
            self._frame_ns = round(SECOND / fps)
        self._due_ns = 0  # of the next frame
        self._hearing, self._seeing = threading.Lock(), threading.Lock()
        self._stop = threading.Event()
        self._listener = Worker("take sound", lambda: self._repeat(self._take_in_sound), _tell)
        self._watcher = Worker("take frames", lambda: self._repeat(self._take_in_frames), _tell)
        self._listener.start()
        if self._pictures is not None:
            self._watcher.start()

    @property
    def newest_ns(self) -> int:
        """The latest time of the sensors heard of."""
        return max(self._heard_ns, self._seen_ns)

    @property
    def dropped(self) -> dict[str, int]:
        """What a take will lack: blocks of sound and notes that found no room, notes, frames."""
        boxes: list[Mailbox[AudioBlock | NoteEvent] | Mailbox[VideoFrame]] = [self._heard, self._seen]
        return {box.name: box.dropped for box in boxes} | {"take_notes": self._notes.dropped}

    def hear(self, block: AudioBlock) -> None:
        """Keep a block of sound; for the thread of the ears."""
        self._heard.put(block)
        self._heard_ns = block.t_ns + len(block.samples) * SECOND // block.rate

    def see(self, frame: VideoFrame) -> None:
        """Keep a copy of a frame, or leave it out; for the thread of the eyes, who want it back soon."""
        self._seen_ns = frame.t_ns
        if self._pictures is None or self._watcher.failure is not None:
            return
        if _EARLY_NS < self._due_ns - frame.t_ns <= self._frame_ns:
            return
        self._due_ns = max(self._due_ns, frame.t_ns - self._frame_ns) + self._frame_ns
        self._seen.put(replace(frame, luma=read_only(np.array(frame.luma))))

    def note(self, event: NoteEvent) -> None:
        """Keep an event; for the thread of the instrument."""
        self._heard.put(event)

    def cut(self, start_ns: int, end_ns: int, when: datetime) -> Take:
        """Return what is kept between two times of the sensors, and ends at ``when`` of the wall clock.

        Raises:
            SinkError: nothing was taken in any more since a fault, which the log tells of.
        """
        if self._listener.failure is not None:
            raise SinkError("the recorder has failed: restart Ivories; its log tells why")
        self._take_in_sound()
        with self._hearing:
            sound = self._sound.cut(start_ns, end_ns)
            if sound is not None:
                start_ns = max(start_ns, sound.start_ns)
            notes = self._notes.cut(start_ns, end_ns)
        pieces = []
        if self._pictures is not None and self._watcher.failure is None:
            self._take_in_frames()
            with self._seeing:
                pieces = self._pictures.cut(start_ns, end_ns)
        if sound is None:
            times = [event.t_ns for event in notes] + [t for piece in pieces for t in piece.times_ns]
            start_ns = max(start_ns, min(times, default=start_ns))
        return Take(start_ns, end_ns, when, sound, notes, pieces)

    def close(self) -> None:
        """Take nothing in any more; what is kept can still be cut out."""
        self._stop.set()
        self._heard.close()
        self._seen.close()

    def _repeat(self, take_in: Callable[[], None]) -> None:
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
                if self._pictures is not None:
                    self._pictures.push(frame)


def _film(seconds: float, fps: float) -> "PictureRing | None":
    # Imported here, as is what writes films: without a camera nothing needs FFmpeg.
    import av

    from ivories.recorder.picture_ring import PictureRing

    if "libx264" not in av.codecs_available:
        _log.warning("takes get no pictures: the installed PyAV has no libx264; PyPI's has")
        return None
    return PictureRing(seconds, fps)


def _tell(worker: Worker) -> None:
    if worker.failure is not None:
        _log.error("the recorder failed (%s); the music goes on", worker.name, exc_info=worker.failure)
