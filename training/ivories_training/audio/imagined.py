"""Imagined pianos: additive synthesis with drawn string, hammer and soundboard constants.

Every seed is another instrument, so a network meets far more timbres than there are sampled pianos to load.
Partials of a stiff string lie at n f0 sqrt(1 + B n^2) (Fletcher and Rossing, "The Physics of Musical
Instruments", chapter 12); two or three slightly mistuned strings beat and decay in two stages.
"""

import numpy as np

from ivories.keyboard import KEYS, pitch_of_key
from ivories_training.audio.sample_bank import RATE, Float32, SampleBank, longest_s, make_bank

LAYER_TOPS = (45, 85, 127)
HIGHEST_HZ = 7600.0


def imagine(seed: int) -> SampleBank:
    """Return the piano of this seed."""
    rng = np.random.default_rng([seed, 0x91A0])
    piano = _Piano(rng)
    layers = [
        (top, {key: piano.strike(key, hardness) for key in range(KEYS)})
        for top, hardness in zip(LAYER_TOPS, (0.15, 0.5, 0.9), strict=True)
    ]
    return make_bank(f"imagined-{seed}", layers)


class _Piano:
    """The constants of one instrument."""

    def __init__(self, rng: np.random.Generator) -> None:
        self.rng = rng
        self.stretch = rng.uniform(0.0, 0.5)
        self.stiffness = rng.uniform(0.6, 2.2)
        self.strike_point = rng.uniform(0.08, 0.14)
        self.brightness = rng.uniform(0.7, 1.5)
        self.sustain = rng.uniform(0.5, 1.6)
        self.mistuning = rng.choice([0.3, 0.8, 2.5])
        self.hammer = rng.uniform(0.3, 2.0)
        grid = np.linspace(np.log2(40), np.log2(8000), 14)
        self.board = (grid, rng.normal(0, 5.0, len(grid)))
        self.voicing = rng.normal(0, 1.5, KEYS)
        self.detuning = rng.normal(0, rng.choice([0.5, 2.0, 6.0]), KEYS)

    def strike(self, key: int, hardness: float) -> Float32:
        """Return one note, (n,) float32 at 16 kHz."""
        rng, pitch = self.rng, pitch_of_key(key)
        cents = self.detuning[key] + self.stretch * ((pitch - 62) / 12) ** 3
        f0 = 440 * 2 ** ((pitch - 69 + cents / 100) / 12)
        inharmonicity = self.stiffness * 1e-4 * 2 ** ((pitch - 48) / 9.5) + 6e-5
        n = np.arange(1, int(HIGHEST_HZ / f0) + 2)[:60]
        frequency = n * f0 * np.sqrt(1 + inharmonicity * n**2)
        n, frequency = n[frequency < HIGHEST_HZ], frequency[frequency < HIGHEST_HZ]
        tilt = (self.brightness * (400 + 1500 * hardness)) * (pitch / 60) ** 1.2
        level = -20 * np.log10(1 + (frequency / tilt) ** 2) + np.interp(np.log2(frequency), *self.board)
        level += rng.normal(0, 2.5, len(n)) + self.voicing[key]
        comb = np.abs(np.sin(np.pi * n * self.strike_point)) + 0.05
        weak = 10 ** (
            -np.interp(pitch, [21, 40, 55], [14, 5, 0]) / 20 / n
        )  # a soundboard radiates no deep bass
        amplitude = 10 ** (level / 20) * comb * weak
        time = np.arange(int(longest_s(key) * RATE), dtype=np.float32) / RATE
        t60 = (
            self.sustain
            * np.interp(pitch, [21, 60, 90, 108], [9, 6, 1.6, 0.5])
            / (1 + (frequency / 2200) ** 1.2)
        )
        sound = np.zeros(len(time), np.float32)
        for f, a, decay in zip(frequency, amplitude, t60, strict=True):
            spread = self.mistuning * f * 6e-4 * rng.normal(size=2)
            phase = np.float32(2 * np.pi) * time
            fast = np.exp(-time * np.float32(6.9 / (0.45 * decay)))
            slow = np.exp(-time * np.float32(6.9 / (1.5 * decay)))
            first = np.sin(phase * np.float32(f + spread[0])) * fast
            second = np.sin(phase * np.float32(f + spread[1])) * slow
            sound += np.float32(a) * (np.float32(0.7) * first + np.float32(0.3) * second)
        sound *= np.minimum(time / np.float32(np.interp(pitch, [21, 108], [0.005, 0.0012])), 1)
        return (sound + self._thump(time, hardness, float(np.sqrt(np.mean(sound[:4000] ** 2))))).astype(
            np.float32
        )

    def _thump(self, time: Float32, hardness: float, level: float) -> Float32:
        """The hammer's and the key bed's knock."""
        noise = np.convolve(self.rng.normal(size=len(time)), np.hanning(24) / 12, "same")
        decay = np.exp(-time / self.rng.uniform(0.008, 0.03))
        return (noise * decay * level * self.hammer * (0.3 + hardness)).astype(np.float32)
