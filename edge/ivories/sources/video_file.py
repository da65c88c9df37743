"""Pictures from a video file: luma straight from the decoder, at the times the file tells."""

import logging
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final

import av
import numpy as np

from ivories.clock import SECOND, seconds
from ivories.datatypes import UInt8, VideoFrame, read_only
from ivories.errors import SourceError
from ivories.sources.container import duration_ns, open_container, reason, ticks_ns, zero_ns
from ivories.sources.pacing import Pace

log = logging.getLogger(__name__)

_LUMA_FIRST: Final = frozenset(
    ["gray", "nv12", "nv21", "yuva420p"]
    + [f"{family}{sampling}" for family in ("yuv", "yuvj") for sampling in ("420p", "422p", "444p")]
)
"""Pixel formats whose first plane is 8-bit luma; others go through FFmpeg's converter."""
_LUMA_BETWEEN: Final = {"yuyv422": 0, "yvyu422": 0, "uyvy422": 1}
"""Packed formats of cameras: luma is every second byte from here"""


class VideoFileSource:
    """The frames of one video, turned upright as the file says, each at its own time (rate may vary).

    Args:
        path: the file.
        realtime: frames come when a camera would have delivered them, with monotonic stamps.
        epoch_ns: monotonic time of the file's time 0, when ``realtime``.

    Raises:
        SourceError: the file is missing, empty, unreadable, or has no pictures.
    """

    def __init__(self, path: Path | str, *, realtime: bool = False, epoch_ns: int | None = None) -> None:
        self._path = Path(path)
        self._container = open_container(self._path)
        streams = [s for s in self._container.streams.video if not _is_cover(s)]
        if not streams:
            self._container.close()
            raise SourceError(f"{path} has no pictures: nothing to see in it")
        self._stream = streams[0]
        self._stream.thread_type = "AUTO"
        self._zero_ns = zero_ns(self._container)
        self.duration_ns = duration_ns(self._container)
        rate = self._stream.average_rate
        self.fps = float(rate) if rate else 0.0
        """0 when the file does not tell"""
        self._pace = Pace(realtime, epoch_ns)
        self._begun = False
        # How the picture is turned is told with the frames, so the first one is decoded now.
        self._frames = self._decoded()
        self._first = next(self._frames, None)
        if self._first is None:
            self._container.close()
            raise SourceError(f"{path}: not one picture of it can be decoded")
        self.height, self.width = self._first[1].shape

    def __repr__(self) -> str:
        """Name it for the log."""
        return f"{self._path}, {self.width} x {self.height}"

    def __iter__(self) -> Iterator[VideoFrame]:
        """Yield the frames, once."""
        if self._begun or self._first is None:
            return
        self._begun = True
        with ExitStack() as stack:
            stack.callback(self._container.close)
            stack.callback(self._frames.close)
            item: tuple[int, UInt8] | None = self._first
            self._first = None
            sequence = 0
            while item is not None:
                t_ns = self._pace.stamp(item[0])
                if not self._pace.wait(t_ns):
                    return
                yield VideoFrame(read_only(item[1]), t_ns, 0, sequence)
                sequence += 1
                item = next(self._frames, None)

    def close(self) -> None:
        """Stop and free the file; calling again does nothing."""
        self._pace.stop()
        if not self._begun:
            self._begun = True
            self._frames.close()
            self._container.close()

    def _decoded(self) -> Any:  # a generator: Iterator[tuple[int, UInt8]] with close()
        last_ns: int | None = None
        shape: tuple[int, ...] | None = None
        left_out = 0
        for packet in self._packets():
            try:
                frames = packet.decode()
            except av.error.FFmpegError:
                left_out += 1
                continue
            for frame in frames:
                t_ns = self._time_ns(frame, last_ns)
                if last_ns is not None and t_ns <= last_ns:
                    left_out += 1
                    continue
                luma = _upright(luma_plane(frame), frame.rotation)
                shape = shape or luma.shape
                if luma.shape != shape:  # what follows is calibrated for one size
                    raise SourceError(
                        f"{self._path} changes its picture from {shape[1]} x {shape[0]} to "
                        f"{luma.shape[1]} x {luma.shape[0]} at {seconds(t_ns):.1f} s: cut it there"
                    )
                last_ns = t_ns
                yield t_ns, luma
        if left_out:
            log.warning("%s: %d damaged or doubled frames were left out", self._path, left_out)

    def _packets(self) -> Iterator[Any]:
        try:
            yield from self._container.demux(self._stream)
        except av.error.FFmpegError as error:
            log.warning("%s breaks off: %s", self._path, reason(error))

    def _time_ns(self, frame: Any, last_ns: int | None) -> int:
        if frame.pts is not None:
            return ticks_ns(frame.pts, frame.time_base) - self._zero_ns
        if last_ns is None:
            return 0
        return last_ns + round(SECOND / (self.fps or 30.0))


def luma_plane(frame: Any) -> UInt8:
    """Return the luma (H, W) uint8 of a decoded frame: a view of the decoder's memory where that is luma."""
    name = frame.format.name
    if name not in _LUMA_FIRST and name not in _LUMA_BETWEEN:
        frame = frame.reformat(format="yuv420p")
    plane = frame.planes[0]
    rows: UInt8 = np.frombuffer(plane, np.uint8).reshape(-1, plane.line_size)[: frame.height]
    if name in _LUMA_BETWEEN:
        return np.ascontiguousarray(rows[:, _LUMA_BETWEEN[name] : 2 * frame.width : 2])
    return rows[:, : frame.width]


def _upright(luma: UInt8, degrees: int) -> UInt8:
    quarters = round(degrees / 90) % 4
    return np.ascontiguousarray(np.rot90(luma, quarters)) if quarters else luma


def _is_cover(stream: Any) -> bool:
    """Tell whether a "video" stream is the cover picture of a sound file."""
    return bool(stream.disposition & av.stream.Disposition.attached_pic)
