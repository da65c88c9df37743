"""The audio front end beside the same features by scipy: FFT, sparse matrix and logarithm in float32."""

import numpy as np
import pytest
import scipy.fft
import scipy.sparse
import soxr

from ivories.audio.frontend import AudioFrontEnd
from ivories.audio.resample import Resampler
from ivories.audio.spec import FrontEndSpec, tables
from ivories.datatypes import AudioBlock

RATE = 16_000
SECONDS = 10
SOUND = np.random.default_rng(1).uniform(-0.5, 0.5, RATE * SECONDS).astype(np.float32)


class ScipyFeatures:
    """What a user would write instead."""

    def __init__(self, spec):
        self.spec = spec
        made = tables(spec)
        self.windows = []
        for window, taper, bands in zip(spec.windows, made.tapers, made.bands, strict=True):
            row = np.repeat(np.arange(spec.bands), bands.count)
            spans = zip(bands.start, bands.count, strict=True)
            column = np.concatenate([np.arange(start, start + count) for start, count in spans])
            shape = (spec.bands, window.size // 2 + 1)
            self.windows.append(
                (window, taper, scipy.sparse.csr_array((bands.weights, (row, column)), shape))
            )

        self.longest = max(window.length for window in spec.windows)
        self.level = spec.floor_db

    def push(self, samples):
        """Bins (T, bands, windows) of all hops in ``samples``, whose first ``longest`` are of the past."""
        spec = self.spec
        db = np.empty(((len(samples) - self.longest) // spec.hop, *spec.shape), np.float32)
        for i, (window, taper, matrix) in enumerate(self.windows):
            views = np.lib.stride_tricks.sliding_window_view(samples, window.length)
            first = self.longest + spec.hop - window.length
            spectrum = scipy.fft.rfft(views[first :: spec.hop] * taper, window.size)
            power = spectrum.real**2 + spectrum.imag**2
            db[:, :, i] = 10 * np.log10((matrix @ power.T).T + np.float32(2.0**-40))
        level = np.empty(len(db), np.float32)
        for t, peak in enumerate(db.max(axis=(1, 2))):
            self.level = level[t] = max(self.level - spec.release_db, peak, spec.floor_db)
        scaled = np.rint((db - level[:, None, None]) / spec.step_db) + 127
        return np.clip(scaled, -128, 127).astype(np.int8)


@pytest.mark.benchmark(group="audio features")
def test_bulk(timed):
    bins, _ = timed(
        "features in bulk",
        lambda: AudioFrontEnd().process(SOUND),
        peer="features by scipy in bulk",
        seconds=SECONDS,
    )
    assert len(bins) == 100 * SECONDS


@pytest.mark.benchmark(group="audio features")
def test_stream(timed):
    front_end = AudioFrontEnd()
    blocks = [AudioBlock(SOUND[at : at + 160], RATE, at, 0) for at in range(0, len(SOUND), 160)]

    def stream():
        for block in blocks:
            front_end.push(block)

    timed("features streamed", stream, peer="features by scipy streamed", seconds=SECONDS)


@pytest.mark.benchmark(group="audio features")
def test_scipy_bulk(timed):
    past = np.zeros(ScipyFeatures(FrontEndSpec()).longest, np.float32)
    sound = np.concatenate([past, SOUND])
    bins = timed(
        "features by scipy in bulk", lambda: ScipyFeatures(FrontEndSpec()).push(sound), seconds=SECONDS
    )
    own, _ = AudioFrontEnd().process(SOUND)
    assert np.abs(bins.astype(int) - own).max() <= 1


@pytest.mark.benchmark(group="audio features")
def test_scipy_stream(timed):
    peer = ScipyFeatures(FrontEndSpec())
    sound = np.concatenate([np.zeros(peer.longest, np.float32), SOUND])

    def stream():
        for end in range(peer.longest + 160, len(sound) + 1, 160):
            peer.push(sound[end - 160 - peer.longest : end])

    timed("features by scipy streamed", stream, seconds=SECONDS)


@pytest.mark.benchmark(group="resampling from 48 kHz")
def test_resampler(timed):
    sound = np.repeat(SOUND, 3)
    blocks = [AudioBlock(sound[at : at + 480], 48_000, at, 0) for at in range(0, len(sound), 480)]

    def stream():
        resampler = Resampler(48_000, RATE)
        for block in blocks:
            resampler.push(block)

    timed("resampled from 48 kHz", stream, peer="resampled by soxr", seconds=SECONDS)


@pytest.mark.benchmark(group="resampling from 48 kHz")
def test_soxr(timed):
    sound = np.repeat(SOUND, 3)
    blocks = [sound[at : at + 480] for at in range(0, len(sound), 480)]

    def stream():
        resampler = soxr.ResampleStream(48_000, RATE, 1, dtype="float32", quality="MQ")
        for block in blocks:
            resampler.resample_chunk(block)

    timed("resampled by soxr", stream, seconds=SECONDS)
