"""What the audio front end computes, as data: the spec, its tables, and the fingerprint of both.

At the end of every hop each window looks back over its newest samples, so nothing is seen that has not been
heard. Its power spectrum is gathered into bands (log-frequency, mel, or single FFT bins) and becomes
decibels; bins are int8 steps below a level that follows the loudest band up at once and falls slowly.
"""

import hashlib
import json
from functools import cached_property, lru_cache
from typing import Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from ivories.datatypes import Float32, read_only

Float64 = NDArray[np.float64]
Int32 = NDArray[np.int32]


class Window(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An asymmetric taper: a slow sin^2 rise, then a cos^2 fall over the newest samples.

    The short fall lets the newest samples count almost at once, the long rise keeps the side lobes of steady
    tones low. With ``fall = length / 2`` it is the (periodic-centred) Hann window.
    """

    length: int
    """Samples, a multiple of 8, at most 8192"""
    fall: int
    """Samples, below length"""

    @property
    def size(self) -> int:
        """Return the FFT size: the next power of two, at least 32."""
        return max(32, 1 << (self.length - 1).bit_length())

    def taper(self) -> Float64:
        """Return the window's values, (length,) 0..1, oldest sample first, on a grid of 2^-20."""
        rise = self.length - self.fall
        up = np.sin(np.pi / 2 * (np.arange(rise) + 0.5) / rise) ** 2
        down = np.cos(np.pi / 2 * (np.arange(self.fall) + 0.5) / self.fall) ** 2
        return _on_grid(np.concatenate([up, down]), 20)


class FrontEndSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """All numbers of the audio front end. The default is the one Ivories' own models hear through."""

    rate: int = 16_000
    """Hz"""
    hop: int = 160
    """Samples between two spectra"""
    windows: tuple[Window, ...] = (Window(4096, 512), Window(2048, 256), Window(768, 128))
    scale: Literal["log", "mel", "linear"] = "log"
    """How the band centres are spaced; ``linear``: single FFT bins, for one window"""
    bands: int = 291
    lowest: float = 62 / 3
    """Centre of band 0: a MIDI pitch (log), Hz (mel) or an FFT bin (linear)"""
    highest: float = 0.0
    """Centre of the last band, mel only: Hz"""
    per_octave: int = 36
    """Bands per octave, log only"""
    step_db: float = 80 / 255
    """dB per int8 step: 127 is the level, -128 is 80 dB below"""
    floor_db: float = -55.0
    """Lowest level, dB full scale"""
    release_db_per_s: float = 6.0
    """How fast the level falls when the sound does"""

    def __post_init__(self) -> None:
        if self.rate < 1 or self.hop < 1 or self.bands < 1 or not self.windows:
            raise ValueError("a front end needs a rate, a hop, at least one band and at least one window")
        if not self.step_db > 0 or not self.release_db_per_s >= 0:
            raise ValueError("step_db must be above 0 and release_db_per_s not below 0")
        for window in self.windows:
            if not 8 <= window.length <= 8192 or window.length % 8:
                raise ValueError(f"window length {window.length} is not a multiple of 8 from 8 to 8192")
            if not 0 < window.fall < window.length:
                raise ValueError(f"a fall of {window.fall} does not fit a window of {window.length} samples")
        if self.scale == "linear" and len(self.windows) > 1:
            raise ValueError("single FFT bins need a single window: several would not share frequencies")
        low, high = self.centres()[[0, -1]]
        if not (0 <= low <= high < self.rate / 2) or (low == 0 and self.scale != "linear"):
            raise ValueError(
                f"bands from {low:.1f} to {high:.1f} Hz do not fit between 0 and {self.rate / 2:.1f} Hz"
            )

    @property
    def shape(self) -> tuple[int, int]:
        """Return (bands, windows), the shape of one spectrum."""
        return self.bands, len(self.windows)

    @property
    def hop_ns(self) -> int:
        """Return the time between two spectra, rounded to nanoseconds; add samples, not this."""
        return round(self.hop * 1_000_000_000 / self.rate)

    @property
    def release_db(self) -> float:
        """Return how far the level falls per hop, dB."""
        return self.release_db_per_s * self.hop / self.rate

    def edges(self) -> Float64:
        """Return the band centres with one more on each side, (bands + 2,) Hz."""
        steps = np.arange(-1, self.bands + 1, dtype=np.float64)
        if self.scale == "log":
            edges: Float64 = 440.0 * 2.0 ** ((self.lowest - 69.0) / 12 + steps / self.per_octave)
        elif self.scale == "mel":
            low, high = _mel(self.lowest), _mel(self.highest)
            edges = 700.0 * (10.0 ** ((low + steps * (high - low) / max(1, self.bands - 1)) / 2595.0) - 1.0)
        else:
            edges = (self.lowest + steps) * self.rate / self.windows[0].size
        return edges

    def centres(self) -> Float64:
        """Return the centre of each band, (bands,) Hz."""
        return self.edges()[1:-1]

    def decibels(self, bins: NDArray[np.int8], level_db: Float32 | float) -> Float32:
        """Return int8 ``bins`` (..., bands, windows) as dB full scale; ``level_db`` is (...)."""
        level = np.asarray(level_db, np.float32)[..., np.newaxis, np.newaxis]
        return np.asarray((bins.astype(np.float32) - 127) * np.float32(self.step_db) + level, np.float32)


class Bands(msgspec.Struct, frozen=True):
    """The sparse matrix from FFT power to band power of one window; band b holds count[b] weights."""

    start: Int32
    """(bands,) first FFT bin"""
    count: Int32
    """(bands,)"""
    weights: Float32
    """(sum of count,)"""


class Tables(msgspec.Struct, frozen=True, dict=True):
    """Everything the C code needs, computed once in float64.

    Values are rounded to a dyadic grid much coarser than the differences between mathematical libraries, so
    that every machine builds the same bytes.
    """

    spec: FrontEndSpec
    circle: Float32
    """(points, 2): cos and -sin of 2 pi k / points"""
    tapers: tuple[Float32, ...]
    bands: tuple[Bands, ...]

    @cached_property
    def content(self) -> bytes:
        """Return the bytes of all tables, little-endian, in a fixed order."""
        arrays: list[NDArray[np.generic]] = [self.circle, *self.tapers]
        for band in self.bands:
            arrays += [band.start, band.count, band.weights]
        return b"".join(array.astype(array.dtype.newbyteorder("<")).tobytes() for array in arrays)


@lru_cache(maxsize=8)
def tables(spec: FrontEndSpec) -> Tables:
    """Return the tables of ``spec``; arrays are read-only."""
    points = max(window.size for window in spec.windows)
    angle = 2 * np.pi * np.arange(points) / points
    circle = _on_grid(np.stack([np.cos(angle), -np.sin(angle)], axis=1), 23)
    tapers = tuple(window.taper() for window in spec.windows)
    bands = tuple(
        _bands(spec, window.size, taper) for window, taper in zip(spec.windows, tapers, strict=True)
    )
    return Tables(spec, _float32(circle), tuple(_float32(taper) for taper in tapers), bands)


def fingerprint(spec: FrontEndSpec, kernel_revision: int) -> str:
    """Return the SHA-256 (hexadecimal) over the spec, its tables and the revision of the C code."""
    words = json.dumps(
        {"spec": msgspec.to_builtins(spec), "kernel_revision": kernel_revision}, sort_keys=True
    ).encode()
    return hashlib.sha256(words + b"\0" + tables(spec).content).hexdigest()


def _bands(spec: FrontEndSpec, size: int, taper: Float64) -> Bands:
    """Return triangular bands on the FFT of ``size``; a full-scale sine at a band's centre reads 0 dB."""
    resolution = spec.rate / size
    edges = spec.edges()
    fine, coarse = np.arange(64), np.arange(0, len(taper), 64)
    starts, counts, weights = [], [], []
    for below, centre, above in zip(edges[:-2], edges[1:-1], edges[2:], strict=True):
        if spec.scale == "linear":
            bins, row = np.array([round(centre / resolution)]), np.ones(1)
        else:
            fall, rise = max(above - centre, resolution), max(centre - below, resolution)
            # A constant offset of the microphone is no sound: FFT bin 0 belongs to no band.
            first = max(1, int((centre - rise) / resolution))
            last = min(size // 2, int((centre + fall) / resolution) + 1)
            bins = np.arange(first, last + 1)
            away = bins * resolution - centre
            row = 1 - np.where(away < 0, -away / rise, away / fall)
            # Weights at the very tip depend on the last bit of the frequency; they say nothing.
            bins, row = bins[row > 1e-6], row[row > 1e-6]
        # Power that a sine of amplitude 1 at the centre leaves in FFT bin k: |sum w exp(...)|^2 / 4. The same
        # transform of the taper, turned by the centre frequency, serves all bins of the band.
        step = 2j * np.pi * centre / spec.rate
        turn = np.outer(np.exp(step * coarse), np.exp(step * fine)).ravel()  # far cheaper than exp of each
        turned = np.fft.fft(taper * turn[: len(taper)], size)
        row = row / (row @ (np.abs(turned[bins]) ** 2 / 4))
        starts.append(bins[0])
        counts.append(len(bins))
        weights.append(row)
    return Bands(
        read_only(np.array(starts, np.int32)),
        read_only(np.array(counts, np.int32)),
        _float32(_significant(np.concatenate(weights), 14)),
    )


def _on_grid(values: Float64, bits: int) -> Float64:
    """Round to multiples of 2^-bits."""
    grid: Float64 = np.round(values * 2.0**bits) / 2.0**bits
    return grid


def _significant(values: Float64, bits: int) -> Float64:
    """Round to ``bits`` significant binary digits."""
    mantissa, exponent = np.frexp(values)
    return np.asarray(np.ldexp(np.round(mantissa * 2.0**bits), exponent - bits), np.float64)


def _float32(values: Float64) -> Float32:
    return read_only(np.ascontiguousarray(values, np.float32))


def _mel(hertz: float) -> float:
    return float(2595.0 * np.log10(1.0 + hertz / 700.0))
