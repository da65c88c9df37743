"""Every build of the C path gives the bytes that the Python extension gives."""

import struct

import numpy as np
import pytest

from ivories import native
from ivories.audio.frontend import AudioFrontEnd
from ivories.audio.resample import Resampler, _filter
from ivories.audio.spec import tables
from ivories.datatypes import AudioBlock
from signals import RATE, SPECS, melody, noise

CUTS = (1, 17, 159, 160, 161, 0, 509, 5000, -300, 4096, 33)
"""Samples per push; the negative one is lost samples"""


def integers(*values):
    return struct.pack(f"<{len(values)}i", *values)


def cut(sound):
    """Pushes that together take ``sound``: samples, or how many are lost."""
    pushes, at = [], 0
    while at < len(sound):
        for length in CUTS:
            pushes.append(length if length < 0 else sound[at : at + length])
            at += max(0, length)
    return pushes


def audio_job(spec, pushes):
    made = tables(spec)
    job = [integers(spec.hop, spec.bands, len(spec.windows))]
    job.append(struct.pack("<3f", spec.step_db, spec.floor_db, spec.release_db))
    job += [integers(len(made.circle)), made.circle.tobytes()]
    for window, taper, bands in zip(spec.windows, made.tapers, made.bands, strict=True):
        job += [integers(window.size, window.length), taper.tobytes()]
        job += [bands.start.tobytes(), bands.count.tobytes()]
        job += [integers(len(bands.weights)), bands.weights.tobytes()]
    job.append(integers(len(pushes)))
    for push in pushes:
        job += [integers(push)] if isinstance(push, int) else [integers(len(push)), push.tobytes()]
    return b"".join(job)


def test_build_runs_on_the_instruction_set_meant(replay):
    assert replay.simd == (replay.build.simd or native.simd())


@pytest.mark.parametrize("name", SPECS)
def test_audio_features(replay, name):
    spec = SPECS[name]
    sound = melody(RATE // 2)
    sound[1000:1003] = np.nan, np.inf, 1e20
    pushes = cut(sound)
    front_end = AudioFrontEnd(spec)
    expected = []
    for push in pushes:
        source, count = (-push, -push) if isinstance(push, int) else (push, len(push))
        bins, level = front_end._run(front_end._stream, source, count)
        expected += [bins.tobytes(), level.tobytes()]
    assert replay("audio", audio_job(spec, pushes)) == b"".join(expected)


@pytest.mark.parametrize("rate", [48_000, 44_100, 8_000])
def test_resampler(replay, rate):
    sound = noise(3000)
    (block,) = Resampler(rate, RATE).push(AudioBlock(sound, rate, 0, 0))
    common = np.gcd(rate, RATE)
    up, down = int(RATE // common), int(rate // common)
    rows = _filter(up, down)
    history = np.zeros(rows.shape[1] // 2 - 1, np.float32)
    x = np.concatenate([history, sound])
    job = struct.pack("<3q", up, down, 0) + integers(rows.shape[1], len(x), len(block.samples))
    assert replay("resample", job + rows.tobytes() + x.tobytes()) == block.samples.tobytes()


@pytest.mark.parametrize("size", [32, 64, 128, 256, 512, 1024, 2048, 4096, 8192])
def test_fft_agrees_with_numpy(replay, size):
    length = size - 8 if size > 64 else size
    samples, window = noise(length, seed=size), np.abs(noise(length, seed=7))
    angle = 2 * np.pi * np.arange(8192) / 8192
    circle = np.stack([np.cos(angle), -np.sin(angle)], axis=1).astype(np.float32)
    job = integers(size, length, 8192) + circle.tobytes() + samples.tobytes() + window.tobytes()
    power = np.frombuffer(replay("fft", job), np.float32)
    expected = np.abs(np.fft.rfft(samples.astype(float) * window, size)) ** 2
    assert power.shape == (size // 2 + 1,)
    np.testing.assert_allclose(power, expected, rtol=1e-5, atol=1e-6 * expected.max())
