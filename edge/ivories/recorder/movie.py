"""The pictures of a take as a film that any player shows, with the take's sound."""

from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any, Final

import av
import numpy as np

from ivories.clock import SECOND
from ivories.recorder.picture_ring import Piece
from ivories.recorder.sound_ring import RATE, Int16

_TICKS: Final = 90_000
"""Per second, in the film"""
_SAMPLES: Final = 1024  # of an AAC frame
_BITS_PER_SECOND: Final = 64_000
_CODER: Final = {"aac_coder": "fast"}
"""A quarter of the time that FFmpeg's usual one takes"""


def write_movie(path: Path, pieces: Sequence[Piece], end_ns: int, samples: Int16 | None) -> None:
    """Write an MP4 of the pictures, as they are, and of the sound, as AAC.

    Args:
        path: the file.
        pieces: at least one, of one size, in order; their times are those in the film, from 0 on.
        end_ns: how long the film is.
        samples: (n,) the sound from time 0; None for a silent film.

    Raises:
        OSError: the file cannot be written.
    """
    with av.open(str(path), "w", format="mp4") as film, pieces[0].open() as model:
        seen: Any = film.add_stream_from_template(model.streams.video[0])
        heard = _Heard(film, samples) if samples is not None else None
        tick = -1
        for packet, t_ns in _pictures(pieces):
            if t_ns > end_ns:
                break
            tick = max(tick + 1, round(t_ns * _TICKS / SECOND))  # each needs a time of its own
            packet.stream = seen
            packet.time_base = Fraction(1, _TICKS)
            packet.pts = packet.dts = tick
            packet.duration = 0  # up to the next one
            if heard is not None:
                heard.go_on_to(t_ns * RATE // SECOND)
            film.mux(packet)
        if heard is not None:
            heard.finish()


def _pictures(pieces: Sequence[Piece]) -> Iterator[tuple[Any, int]]:
    """Yield packets and their times."""
    for piece in pieces:
        with piece.open() as container:
            packets = (packet for packet in container.demux(video=0) if packet.size)
            yield from zip(packets, piece.times_ns, strict=True)


class _Heard:
    """The sound track, written as the pictures go on."""

    def __init__(self, film: Any, samples: Int16) -> None:
        self._film = film
        self._samples = samples
        self._stream = film.add_stream("aac", rate=RATE, layout="mono", options=_CODER)
        self._stream.bit_rate = _BITS_PER_SECOND
        self._next = 0

    def go_on_to(self, sample: int) -> None:
        while self._next < min(sample, len(self._samples)):
            part = self._samples[self._next : self._next + _SAMPLES].astype(np.float32) / np.float32(32768)
            frame = av.AudioFrame.from_ndarray(part[np.newaxis], format="fltp", layout="mono")
            frame.sample_rate = RATE
            frame.pts = self._next
            frame.time_base = Fraction(1, RATE)
            self._next += len(part)
            for packet in self._stream.encode(frame):
                self._film.mux(packet)

    def finish(self) -> None:
        self.go_on_to(len(self._samples))
        for packet in self._stream.encode():
            self._film.mux(packet)
