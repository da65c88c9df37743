"""The audio front end: AudioBlock in, one Spectrum per hop out. The work is done in C."""

import threading
from typing import Final

import numpy as np

from ivories import native
from ivories.audio.spec import FrontEndSpec, fingerprint, tables
from ivories.clock import SECOND
from ivories.datatypes import AudioBlock, Float32, Int8, Spectrum, read_only

DEFAULT_SPEC: Final = FrontEndSpec()


class AudioFrontEnd:
    """Streaming and bulk form of the same C code: the cut into blocks never changes a bit.

    Samples that are no finite number count as 0. Lost samples (``AudioBlock.gap``) shorter than the longest
    window are heard as silence, so that the hops keep their places; after a longer gap the front end starts
    afresh and ``Spectrum.frame`` counts from 0 again.
    """

    def __init__(self, spec: FrontEndSpec = DEFAULT_SPEC) -> None:
        self.spec = spec
        self.fingerprint: str = fingerprint(spec, native.AUDIO_KERNEL_REVISION)
        """Changes whenever the bins would: models state the one they were trained behind."""
        self._stream = _kernel(spec)
        self._bulk = _kernel(spec)
        self._bulk_lock = threading.Lock()
        self._pending = 0  # samples heard since the last hop's end
        self._frame = 0

    @property
    def delay_ns(self) -> int:
        """Worst case from a sound to the Spectrum that clearly shows it.

        One hop, plus half the fall of the shortest window (where an event reaches a quarter of its power).
        On average it is half a hop less.
        """
        samples = self.spec.hop + min(window.fall for window in self.spec.windows) / 2
        return round(samples * SECOND / self.spec.rate)

    def reset(self) -> None:
        """Forget all samples; the next Spectrum has frame 0."""
        self._stream.reset()
        self._pending = 0
        self._frame = 0

    def push(self, block: AudioBlock, /) -> list[Spectrum]:
        """Take the next block and return the spectra of the hops that it completes.

        Raises:
            ValueError: the block's rate is not the spec's, its gap is negative, or its samples are not (n,).
            TypeError: the samples are not float32.
        """
        samples = _checked(block.samples)
        if block.rate != self.spec.rate:
            raise ValueError(
                f"the audio front end works at {self.spec.rate} Hz and got a block at {block.rate} Hz: "
                "put ivories.audio.resample.Resampler before it"
            )
        if block.gap < 0:
            raise ValueError(f"an audio block cannot follow {block.gap} lost samples")
        spectra: list[Spectrum] = []
        if block.gap >= max(window.length for window in self.spec.windows):
            self.reset()
        elif block.gap:
            spectra += self._take(block.gap, block.gap, block.t_ns, -block.gap)
        spectra += self._take(samples, len(samples), block.t_ns, 0)
        return spectra

    def process(self, samples: Float32) -> tuple[Int8, Float32]:
        """Return all spectra of a whole recording at once; the stream of ``push`` is left alone.

        Args:
            samples: (n,) float32 at the spec's rate, -1..1.

        Returns:
            bins (T, bands, windows) int8 and level (T,) float32 dB full scale, T = n // hop. Bit for bit
            what ``push`` gives. The interpreter lock is released.

        Raises:
            ValueError: the samples are not (n,).
            TypeError: they are not float32.
        """
        samples = _checked(samples)
        with self._bulk_lock:
            self._bulk.reset()
            return self._run(self._bulk, samples, len(samples))

    def _run(self, kernel: native.AudioFrontEnd, source: Float32 | int, count: int) -> tuple[Int8, Float32]:
        due = kernel.due(count)
        bins = np.empty((due, *self.spec.shape), np.int8)
        level = np.empty(due, np.float32)
        kernel.push(source, bins, level)
        return bins, level

    def _take(self, source: Float32 | int, count: int, t_ns: int, offset: int) -> list[Spectrum]:
        """Push samples whose first one lies ``offset`` samples after ``t_ns``."""
        bins, level = self._run(self._stream, source, count)
        read_only(bins)
        ends = range(self.spec.hop - self._pending, count + 1, self.spec.hop)
        first = self._frame
        self._frame += len(ends)
        self._pending = (self._pending + count) % self.spec.hop
        return [
            Spectrum(
                bins=bins[i],
                frame=first + i,
                t_ns=t_ns + round((offset + end) * SECOND / self.spec.rate),
                level_db=float(level[i]),
            )
            for i, end in enumerate(ends)
        ]


def _kernel(spec: FrontEndSpec) -> native.AudioFrontEnd:
    t = tables(spec)
    windows = tuple(
        (window.size, taper, bands.start, bands.count, bands.weights)
        for window, taper, bands in zip(spec.windows, t.tapers, t.bands, strict=True)
    )
    return native.AudioFrontEnd(
        hop=spec.hop,
        bands=spec.bands,
        windows=windows,
        circle=t.circle,
        step=spec.step_db,
        floor=spec.floor_db,
        release=spec.release_db,
    )


def _checked(samples: Float32) -> Float32:
    if not isinstance(samples, np.ndarray) or samples.dtype != np.float32:
        what = samples.dtype if isinstance(samples, np.ndarray) else type(samples).__name__
        raise TypeError(f"samples must be a float32 array, not {what}")
    if samples.ndim != 1:
        raise ValueError(f"samples must be mono, of shape (n,), not {samples.shape}")
    return np.ascontiguousarray(samples)
