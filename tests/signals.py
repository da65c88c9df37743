"""Sounds made of whole numbers: the same float32 samples on every machine."""

import numpy as np

from ivories.audio.spec import FrontEndSpec, Window

RATE = 16_000

SPECS = {
    "ivories": FrontEndSpec(),
    "mel_128": FrontEndSpec(
        windows=(Window(2048, 1024),), scale="mel", bands=128, lowest=30.0, highest=7600.0
    ),
    "slice_512": FrontEndSpec(
        rate=44_100, hop=1024, windows=(Window(1024, 512),), scale="linear", bands=512, lowest=0
    ),
    "odd": FrontEndSpec(
        hop=37, windows=(Window(40, 8), Window(1000, 90)), bands=30, lowest=60.5, per_octave=9
    ),
}
"""The own front end, two of other systems, and one whose numbers divide nothing."""


def noise(n, seed=1):
    """(n,) float32 in -1..1 from a 32-bit xorshift generator (G. Marsaglia, 2003)."""
    values = np.empty(n, np.int64)
    x = seed
    for i in range(n):
        x ^= (x << 13) & 0xFFFFFFFF
        x ^= x >> 17
        x ^= (x << 5) & 0xFFFFFFFF
        values[i] = x
    return ((values >> 16) - 32768).astype(np.float32) / np.float32(32768)


def triangle(n, period):
    """(n,) float32 triangle wave, -1..1; ``period`` in 1/256 samples."""
    phase = np.arange(n, dtype=np.int64) * 256 * 65536 // period % 65536
    return (np.abs(phase - 32768).astype(np.float32) - np.float32(16384)) / np.float32(16384)


def melody(n):
    """(n,) float32: struck triangle waves that die away over faint noise, a silence, a full-scale end."""
    x = noise(n) * np.float32(2**-9)
    time = np.arange(n, dtype=np.int64)
    for start, period, shift in ((800, 37235, 3), (4000, 9309, 2), (4100, 3694, 4), (9000, 1200, 3)):
        since = time - start
        fading = np.where(since >= 0, 65536 >> np.clip(since // 1500, 0, 15), 0).astype(np.float32)
        x += triangle(n, period) * fading / np.float32(65536 * 2**shift)
    x[n // 2 : n // 2 + n // 8] = 0
    x[-n // 16 :] = np.sign(x[-n // 16 :])
    return x
