"""Sound from a file: WAV, FLAC, Ogg, MP3, or the sound track of anything that FFmpeg reads."""

import logging
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final, Protocol

import av
import numpy as np
import soundfile
from numpy.typing import NDArray

from ivories.clock import SECOND
from ivories.datatypes import AudioBlock, Float32, read_only
from ivories.errors import SourceError
from ivories.sources.container import (
    check_file,
    duration_ns,
    open_container,
    reason,
    ticks_ns,
    zero_ns,
)
from ivories.sources.pacing import Pace

log = logging.getLogger(__name__)

BLOCK_MS: Final = 10.0
RESYNC_NS: Final = 50_000_000
"""A time stamp this far from the count of samples tells of a hole in the track, not of rounding."""


class SoundFileSource:
    """Mono blocks of one file; several channels are averaged.

    The time of a block is that of the container, so that the sound track and the pictures of one video file
    agree: encoder delay is cut off, a track that starts late starts late here too.

    Args:
        path: the file.
        realtime: blocks come when a microphone would have delivered them, with monotonic stamps.
        block_ms: length of a block; the last one may be shorter.
        epoch_ns: monotonic time of the file's time 0, when ``realtime``.

    Raises:
        SourceError: the file is missing, empty, unreadable, or has no sound.
    """

    def __init__(
        self,
        path: Path | str,
        *,
        realtime: bool = False,
        block_ms: float = BLOCK_MS,
        epoch_ns: int | None = None,
    ) -> None:
        path = Path(path)
        check_file(path)
        self._track = _open_track(path)
        self.rate = self._track.rate
        self.duration_ns = self._track.duration_ns
        self._block = max(1, round(self.rate * block_ms / 1000))
        self._pace = Pace(realtime, epoch_ns)
        self._begun = False

    def __repr__(self) -> str:
        """Name it for the log."""
        return f"{self._track.path}, {self.rate} Hz"

    def __iter__(self) -> Iterator[AudioBlock]:
        """Yield the blocks, once. Raises SourceError when the file breaks off unreadably."""
        if self._begun:
            return
        self._begun = True
        with ExitStack() as stack:
            stack.callback(self._track.close)
            sample = 0
            for start_ns, gap, samples in self._track.blocks(self._block):
                sample += gap
                t_ns = self._pace.stamp(start_ns + sample * SECOND // self.rate)
                if not self._pace.wait(t_ns + len(samples) * SECOND // self.rate):
                    return
                yield AudioBlock(read_only(samples), self.rate, sample, t_ns, gap)
                sample += len(samples)
            if sample == 0:
                raise SourceError(f"{self._track.path} holds no sound: its track is empty")

    def close(self) -> None:
        """Stop and free the file; calling again does nothing."""
        self._pace.stop()
        if not self._begun:
            self._begun = True
            self._track.close()


class _Track(Protocol):
    path: Path
    rate: int
    duration_ns: int | None

    def blocks(self, size: int) -> Iterator[tuple[int, int, Float32]]:
        """Yield (time of sample 0, samples missing before, samples (n,)), n = ``size`` but for the last."""
        ...

    def close(self) -> None: ...


def _open_track(path: Path) -> _Track:
    try:
        return _PlainTrack(path)
    except (soundfile.LibsndfileError, TypeError):  # TypeError: headerless audio, which needs to be described
        return _ContainerTrack(path)


class _PlainTrack:
    """What libsndfile reads."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = soundfile.SoundFile(path)
        self.rate = int(self._file.samplerate)
        self.duration_ns: int | None = self._file.frames * SECOND // self.rate
        if self._file.frames == 0:
            self._file.close()
            raise SourceError(f"{path} holds no sound: it is a header without samples")

    def blocks(self, size: int) -> Iterator[tuple[int, int, Float32]]:
        while True:
            try:
                samples = self._file.read(size, dtype="float32", always_2d=True)
            except soundfile.LibsndfileError as error:
                raise SourceError(f"{self.path} cannot be read to its end: {error.error_string}") from error
            if len(samples) == 0:
                return
            yield 0, 0, _mono(samples.T)

    def close(self) -> None:
        self._file.close()


class _ContainerTrack:
    """The first sound track of what FFmpeg reads."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._container = open_container(path)
        if not self._container.streams.audio:
            self._container.close()
            raise SourceError(f"{path} has no sound track: nothing to hear in it")
        self._stream = self._container.streams.audio[0]
        self.rate = int(self._stream.codec_context.sample_rate or 0)
        self.duration_ns = duration_ns(self._container)
        if self.rate == 0:
            self._container.close()
            raise SourceError(f"{path}: its sound track tells no sampling rate, it is damaged")

    def blocks(self, size: int) -> Iterator[tuple[int, int, Float32]]:
        """Cut the decoded frames anew; a hole in the time stamps becomes a gap."""
        start_ns: int | None = None
        sample = 0
        kept = np.empty(0, np.float32)
        for t_ns, samples in self._frames():
            if start_ns is None:
                start_ns = t_ns
            missing_ns = t_ns - start_ns - (sample + len(kept)) * SECOND // self.rate
            gap = 0
            if missing_ns > RESYNC_NS:
                gap = round(missing_ns * self.rate / SECOND)
                if len(kept):
                    yield start_ns, 0, kept
                sample += len(kept) + gap
                kept = np.empty(0, np.float32)
            kept = np.concatenate([kept, samples])
            while len(kept) >= size:
                yield start_ns, gap, kept[:size].copy()
                gap = 0
                sample += size
                kept = kept[size:]
            if gap:  # a frame shorter than a block right after a hole
                yield start_ns, gap, kept
                sample += len(kept)
                kept = np.empty(0, np.float32)
        if start_ns is not None and len(kept):
            yield start_ns, 0, kept

    def _frames(self) -> Iterator[tuple[int, Float32]]:
        """Yield (time, samples (n,)) of each decoded frame, nothing before time 0."""
        zero = zero_ns(self._container)
        to_float = av.AudioResampler(format="fltp", rate=self.rate)
        damaged = 0
        next_ns = 0
        for packet in self._packets():
            try:
                frames = packet.decode()
            except av.error.FFmpegError:
                damaged += 1
                continue
            for frame in frames:
                t_ns = next_ns if frame.pts is None else ticks_ns(frame.pts, frame.time_base) - zero
                parts = [_mono(part.to_ndarray()) for part in to_float.resample(frame)]
                samples = np.concatenate(parts) if parts else np.empty(0, np.float32)
                early = min(len(samples), max(0, -t_ns * self.rate // SECOND))
                t_ns += early * SECOND // self.rate
                next_ns = t_ns + (len(samples) - early) * SECOND // self.rate
                if early < len(samples):
                    yield t_ns, samples[early:]
        if damaged:
            log.warning("%s: %d damaged pieces of its sound track were left out", self.path, damaged)

    def _packets(self) -> Iterator[Any]:
        try:
            yield from self._container.demux(self._stream)
        except av.error.FFmpegError as error:
            log.warning("%s breaks off: %s", self.path, reason(error))

    def close(self) -> None:
        self._container.close()


def _mono(channels: NDArray[Any]) -> Float32:
    """Return the average (n,) of ``channels`` (c, n) within -1..1; NaN of a broken float file becomes 0."""
    mixed: Float32 = channels.mean(axis=0, dtype=np.float32) if len(channels) > 1 else channels[0]
    return np.clip(np.nan_to_num(mixed, copy=False), np.float32(-1), np.float32(1))
