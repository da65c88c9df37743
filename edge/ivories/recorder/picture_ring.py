"""The pictures of the last minutes as H.264, in pieces of two seconds that stand for themselves."""

import io
from collections import deque
from dataclasses import dataclass
from typing import Any, Final

import av
import cv2
import numpy as np

from ivories.clock import MILLISECOND, SECOND
from ivories.datatypes import UInt8, VideoFrame
from ivories.sources.video_file import luma_plane

WIDEST: Final = 640
"""Pixels; wider pictures are made smaller"""
PIECE_NS: Final = 2 * SECOND
BITS_PER_SECOND: Final = 600_000
"""At most, on average; a still camera needs a third"""
# The fastest setting costs a seventh of what seeing and hearing cost; the next one half as much again.
_OPTIONS: Final = {
    "preset": "ultrafast",
    "tune": "zerolatency",  # every frame gives its packet at once, in order
    "crf": "28",
    "maxrate": str(BITS_PER_SECOND),
    "bufsize": str(BITS_PER_SECOND),
}


@dataclass(frozen=True, slots=True)
class Piece:
    """A few pictures in a Matroska container in memory; the first one needs no other."""

    data: bytes
    times_ns: tuple[int, ...]
    """When each picture was seen"""
    shape: tuple[int, int]
    """Height, width"""

    def open(self) -> Any:
        """Return the container, to be read and closed."""
        return av.open(io.BytesIO(self.data))


class PictureRing:
    """Keeps the newest ``seconds`` of what is pushed, each frame a packet; not for several threads at once.

    Args:
        seconds: how much to keep.
        fps: frames per second that ``push`` is to expect.
    """

    def __init__(self, seconds: float, fps: float) -> None:
        self._span_ns = round(seconds * SECOND)
        self._fps = fps
        self._most = round(seconds * BITS_PER_SECOND / 8)
        self._pieces: deque[Piece] = deque()
        self._encoder: _Encoder | None = None
        self.nbytes = 0
        """Memory in use; never more than 4.5 MB a minute and one piece"""

    def push(self, frame: VideoFrame) -> None:
        """Keep ``frame``, made smaller where it is wider than ``WIDEST``."""
        luma = _fitting(frame.luma)
        encoder = self._encoder
        if encoder is not None and not encoder.takes(luma, frame.t_ns):
            self._finish_piece()
            encoder = None
        if encoder is None:
            encoder = self._encoder = _Encoder(luma, frame.t_ns, self._fps)
        encoder.push(luma, frame.t_ns)

    def cut(self, start_ns: int, end_ns: int) -> list[Piece]:
        """Return the pieces that hold pictures between two times, all of one size, none before the start."""
        self._finish_piece()
        pieces = [p for p in self._pieces if p.times_ns[-1] >= start_ns and p.times_ns[0] <= end_ns]
        return [self._from(piece, start_ns) for piece in pieces if piece.shape == pieces[-1].shape]

    def _from(self, piece: Piece, start_ns: int) -> Piece:
        """Return ``piece`` without the pictures before ``start_ns``; those after them are coded anew."""
        if piece.times_ns[0] >= start_ns:
            return piece
        encoder: _Encoder | None = None
        with piece.open() as container:
            for frame, t_ns in zip(container.decode(video=0), piece.times_ns, strict=True):
                if t_ns >= start_ns:
                    luma = luma_plane(frame)
                    encoder = encoder or _Encoder(luma, t_ns, self._fps)
                    encoder.push(luma, t_ns)
        return encoder.finish() if encoder else piece

    def _finish_piece(self) -> None:
        if self._encoder is None:
            return
        piece = self._encoder.finish()
        self._encoder = None
        if self._pieces and piece.times_ns[0] <= self._pieces[-1].times_ns[-1]:
            self._pieces.clear()  # another clock: what was kept before does not go with it
            self.nbytes = 0
        self._pieces.append(piece)
        self.nbytes += len(piece.data)
        newest_ns = piece.times_ns[-1]
        while self.nbytes > self._most or self._pieces[0].times_ns[-1] < newest_ns - self._span_ns:
            self.nbytes -= len(self._pieces.popleft().data)
            if not self._pieces:
                return


class _Encoder:
    """Makes one piece."""

    def __init__(self, luma: UInt8, t_ns: int, fps: float) -> None:
        self._shape = luma.shape
        self._times: list[int] = []
        self._start_ns = t_ns
        self._memory = io.BytesIO()
        self._container = av.open(self._memory, "w", format="matroska")
        self._stream: Any = self._container.add_stream("libx264", rate=round(fps), options=_OPTIONS)
        self._stream.height, self._stream.width = luma.shape
        self._stream.pix_fmt = "yuv420p"
        self._stream.codec_context.thread_count = 1
        self._stream.codec_context.gop_size = 10_000  # only the first picture stands for itself
        self._grey = np.full((luma.shape[0] // 2, luma.shape[1]), 128, np.uint8)

    def takes(self, luma: UInt8, t_ns: int) -> bool:
        """Return whether a picture of ``t_ns`` goes into this piece."""
        soon = self._times[-1] + MILLISECOND < t_ns < self._start_ns + PIECE_NS
        return soon and luma.shape == self._shape

    def push(self, luma: UInt8, t_ns: int) -> None:
        frame = av.VideoFrame.from_ndarray(np.concatenate((luma, self._grey)), format="yuv420p")
        frame.pts = len(self._times)
        self._times.append(t_ns)
        for packet in self._stream.encode(frame):
            self._container.mux(packet)

    def finish(self) -> Piece:
        for packet in self._stream.encode():
            self._container.mux(packet)
        self._container.close()
        return Piece(self._memory.getvalue(), tuple(self._times), self._shape)


def _fitting(luma: UInt8) -> UInt8:
    """Return ``luma`` with even sides and no wider than ``WIDEST``."""
    height, width = luma.shape
    shrink = min(1.0, WIDEST / width)
    size = (int(width * shrink) // 2 * 2, int(height * shrink) // 2 * 2)
    if shrink < 1:
        return np.asarray(cv2.resize(luma, size, interpolation=cv2.INTER_AREA), np.uint8)
    return luma[: size[1], : size[0]]
