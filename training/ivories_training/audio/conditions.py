"""The same playing under other circumstances, and sounds that hold no piano: one named change at a time."""

from collections.abc import Callable, Iterator
from typing import Final

import numpy as np
from scipy import signal

from ivories_training.audio.room import box_response, claps, coloured_noise
from ivories_training.audio.sample_bank import RATE, Float32
from ivories_training.audio.voices import UNHEARD, formant_voice, spoken

CLEAN: Final = "clean"
NOISE_DB: Final = 20.0
"""Piano over noise, mean powers"""
SMALL_ROOM: Final = (0.4, np.array([3.6, 3.0, 2.5]))
"""Reverberation time in seconds, sides in metres"""
LAPTOP_HZ: Final = (200.0, 6500.0)
"""What the microphone behind a laptop's lid hands on"""
LEVELS_DB: Final = (-6.0, -18.0, -30.0)
"""Peaks of the sounds without a piano, dB full scale"""

Change = Callable[[Float32, np.random.Generator], Float32]
Sound = Callable[[int, np.random.Generator], Float32]


def _same(x: Float32, _rng: np.random.Generator) -> Float32:
    return x


def noisy(x: Float32, rng: np.random.Generator) -> Float32:
    """Return ``x`` with noise of a drawn colour, ``NOISE_DB`` below its mean power."""
    level = float(np.sqrt(np.mean(x**2))) * 10 ** (-NOISE_DB / 20)
    return (x + np.float32(level) * coloured_noise(len(x), rng)).astype(np.float32)


def in_small_room(x: Float32, rng: np.random.Generator) -> Float32:
    """Return ``x`` as heard across a small room, its direct sound unshifted."""
    return signal.oaconvolve(x, box_response(*SMALL_ROOM, rng))[: len(x)].astype(np.float32)


def by_laptop(x: Float32, _rng: np.random.Generator) -> Float32:
    """Return ``x`` through a laptop-like microphone band."""
    band = signal.butter(2, LAPTOP_HZ, "band", fs=RATE, output="sos")
    return signal.sosfilt(band, x).astype(np.float32)


def all_at_once(x: Float32, rng: np.random.Generator) -> Float32:
    """Return ``x`` played in the small room, with noise, through the laptop's microphone."""
    return by_laptop(noisy(in_small_room(x, rng), rng), rng)


CONDITIONS: Final[dict[str, Change]] = {
    CLEAN: _same,
    "20 dB noise": noisy,
    "small room": in_small_room,
    "laptop microphone": by_laptop,
    "all at once": all_at_once,
}


def changed(x: Float32, condition: str, seed: int) -> Float32:
    """Return ``x`` under a condition of ``CONDITIONS``; deterministic, and never louder than full scale."""
    rng = np.random.default_rng([seed, 41])
    made = CONDITIONS[condition](x, rng)
    peak = float(np.max(np.abs(made), initial=0.0))
    return made if peak <= 1 else (made / np.float32(peak)).astype(np.float32)


def _silence(length: int, rng: np.random.Generator) -> Float32:
    return rng.normal(size=length).astype(np.float32)


def pink_noise(length: int, rng: np.random.Generator) -> Float32:
    """Return noise whose power falls by 3 dB per octave, unit power."""
    spectrum = np.fft.rfft(rng.normal(size=length))
    spectrum /= np.sqrt(np.maximum(np.fft.rfftfreq(length, 1 / RATE), 20.0))
    noise = np.fft.irfft(spectrum, length)
    return (noise / np.sqrt(np.mean(noise**2))).astype(np.float32)


def talk(length: int, rng: np.random.Generator) -> Float32:
    """Return talk in a language and a voice that no training excerpt holds, unit power."""
    said = spoken("".join(UNHEARD[rng.integers(len(UNHEARD))]), length, rng)
    return formant_voice(length, rng) if said is None else said


SOUNDS: Final[dict[str, Sound]] = {
    "silence": _silence,
    "talk": talk,
    "talk or song from formants": formant_voice,
    "claps": claps,
    "pink noise": pink_noise,
}


def without_piano(name: str, seconds: float) -> Iterator[Float32]:
    """Yield a sound of ``SOUNDS`` at each of ``LEVELS_DB``, ``seconds`` each; silence lies 70 dB below."""
    for number, level in enumerate(LEVELS_DB):
        made = SOUNDS[name](round(seconds * RATE), np.random.default_rng([number, 43]))
        below = 70.0 if name == "silence" else 0.0
        gain = 10 ** ((level - below) / 20) / (float(np.max(np.abs(made))) + 1e-9)
        yield (made * np.float32(gain)).astype(np.float32)
