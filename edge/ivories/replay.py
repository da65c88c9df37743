"""A recording in memory, played as sensors would deliver it, once or for hours: for measuring.

Decoding is done before, so that what is measured is the instrument and not a codec.
"""

import itertools
import logging
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, Generic, TypeVar

import numpy as np

from ivories.clock import MILLISECOND, SECOND, seconds
from ivories.datatypes import AudioBlock, Float32, VideoFrame, read_only
from ivories.errors import SourceError
from ivories.sources.pacing import Pace
from ivories.sources.sound_file import SoundFileSource
from ivories.sources.video_file import VideoFileSource

_log = logging.getLogger(__name__)

GRID_NS: Final = 100 * MILLISECOND
"""A repetition begins on this grid: whole hops, and whole frames at 30 or 60 per second"""
LIMIT_BYTES: Final = 600 * 1024 * 1024
_BLOCK_MS: Final = 10.0

Item = TypeVar("Item", AudioBlock, VideoFrame)


@dataclass(frozen=True)
class Material:
    """Decoded sound and pictures on one clock that starts at 0."""

    blocks: list[AudioBlock]
    frames: list[VideoFrame]
    period_ns: int
    """Its length, rounded up to ``GRID_NS``: where a repetition begins"""

    @property
    def rate(self) -> int:
        """Hertz; 0 without sound."""
        return self.blocks[0].rate if self.blocks else 0


def decode(
    audio: Path | None, video: Path | None, limit_bytes: int = LIMIT_BYTES, block_ms: float = _BLOCK_MS
) -> Material:
    """Return the decoded material, cut off with a warning where it would take more than ``limit_bytes``.

    Args:
        audio: take the sound of this file.
        video: take the pictures of this one.
        limit_bytes: of the pictures; sound takes little.
        block_ms: how much sound comes at a time.

    Raises:
        SourceError: a file cannot be read, or holds nothing.
    """
    end_ns: int | None = None
    frames: list[VideoFrame] = []
    if video is not None:
        room = limit_bytes
        for frame in VideoFileSource(video):
            room -= frame.luma.size
            if room < 0:
                end_ns = frame.t_ns
                _log.warning(
                    "%s: only the first %.0f s are played, for lack of memory", video, seconds(end_ns)
                )
                break
            frames.append(replace(frame, luma=read_only(np.array(frame.luma))))
    blocks: list[AudioBlock] = []
    if audio is not None:
        for block in SoundFileSource(audio, block_ms=block_ms):
            if end_ns is not None and block.t_ns > end_ns:
                break
            blocks.append(block)
    if not blocks and not frames:
        raise SourceError(f"{audio or video}: no sound and no pictures could be decoded")
    ends = [_end_ns(block) for block in blocks[-1:]] + [frame.t_ns + 1 for frame in frames[-1:]]
    return Material(blocks, frames, -(-max(ends) // GRID_NS) * GRID_NS)


def _end_ns(block: AudioBlock) -> int:
    return block.t_ns + len(block.samples) * SECOND // block.rate


class _Replayed(ABC, Generic[Item]):
    """Part of ``material``, ``times`` times without a seam in its clock.

    Args:
        material: holding that part.
        times: how often it is played; None = until ``close``.
        realtime: paced, with monotonic stamps.
        epoch_ns: monotonic time of the start, when ``realtime``.
        begun: called with the number of each repetition, from 0, before its first item.
    """

    def __init__(
        self,
        material: Material,
        times: int | None = 1,
        *,
        realtime: bool = False,
        epoch_ns: int | None = None,
        begun: Callable[[int], None] | None = None,
    ) -> None:
        self._material = material
        self._repetitions: Iterable[int] = itertools.count() if times is None else range(times)
        self._begun = begun
        self._pace = Pace(realtime, epoch_ns)
        self._look_at(material)

    @abstractmethod
    def _look_at(self, material: Material) -> None:
        """Set what this kind of source tells of itself."""

    def _repeated(
        self, items: Sequence[Item], end_ns: Callable[[Item], int]
    ) -> Iterator[tuple[int, int, Item]]:
        """Yield the number of the repetition, the time and the item, for each at its ``end_ns``."""
        for number in self._repetitions:
            if self._begun is not None:
                self._begun(number)
            start_ns = number * self._material.period_ns
            for item in items:
                stamp_ns = self._pace.stamp(start_ns + item.t_ns)
                if not self._pace.wait(stamp_ns + end_ns(item) - item.t_ns):
                    return
                yield number, stamp_ns, item

    def close(self) -> None:
        """Stop; calling again does nothing."""
        self._pace.stop()


class ReplayedSound(_Replayed[AudioBlock]):
    """The sound of ``material``; an ``AudioSource``."""

    rate: int

    def __repr__(self) -> str:
        """Name it for the log."""
        return f"sound from memory, {self.rate} Hz"

    def __iter__(self) -> Iterator[AudioBlock]:
        """Yield the blocks; between two repetitions it is silent up to the grid."""
        period = self.rate * self._material.period_ns // SECOND
        blocks = [*self._material.blocks, *self._silence(period)]
        for number, t_ns, block in self._repeated(blocks, _end_ns):
            yield replace(block, first_sample=number * period + block.first_sample, t_ns=t_ns)

    def _look_at(self, material: Material) -> None:
        self.rate = material.rate

    def _silence(self, period: int) -> Iterator[AudioBlock]:
        last = self._material.blocks[-1]
        at, t_ns = last.first_sample + len(last.samples), _end_ns(last)
        size = round(self.rate * _BLOCK_MS / 1000)
        while at < period:
            samples: Float32 = np.zeros(min(size, period - at), np.float32)
            yield AudioBlock(read_only(samples), self.rate, at, t_ns)
            at += len(samples)
            t_ns += len(samples) * SECOND // self.rate


class ReplayedPictures(_Replayed[VideoFrame]):
    """The pictures of ``material``; a ``VideoSource``."""

    width: int
    height: int

    def __repr__(self) -> str:
        """Name it for the log."""
        return f"pictures from memory, {self.width} x {self.height}"

    def __iter__(self) -> Iterator[VideoFrame]:
        """Yield the frames."""
        frames = self._repeated(self._material.frames, lambda frame: frame.t_ns)
        for sequence, (_, t_ns, frame) in enumerate(frames):
            yield replace(frame, t_ns=t_ns, sequence=sequence)

    def _look_at(self, material: Material) -> None:
        self.height, self.width = material.frames[0].luma.shape
