"""People who talk: what a living room's microphone hears most, and most easily mistakes for a piano.

espeak-ng says invented words in many languages and voices; without it, and for singing, a voice is made from
formants here.
"""

import io
import shutil
import subprocess

import numpy as np
import soundfile
import soxr
from numpy.typing import NDArray
from scipy import signal

from ivories_training.audio.sample_bank import RATE, Float32

SPEAKER = "espeak-ng"
LANGUAGES = ("en-us", "en-gb", "de", "fr-fr", "it", "es", "nl", "pl", "pt-br", "ru", "cs", "fi", "ro", "ko")
VARIANTS = ("", "+m1", "+m3", "+m5", "+m7", "+f1", "+f3", "+f4", "+klatt", "+klatt4", "+croak", "+linda")
UNHEARD = (("sv", "+m2"), ("hu", "+f2"), ("el", "+m4"), ("tr", "+f5"), ("da", "+klatt2"), ("ja", "+m6"))
"""Languages and voices that no training excerpt holds"""
_SOUNDS = (
    (
        "b",
        "br",
        "d",
        "dr",
        "f",
        "fl",
        "g",
        "h",
        "k",
        "kl",
        "l",
        "m",
        "n",
        "p",
        "pr",
        "r",
        "s",
        "sh",
        "t",
        "v",
        "z",
    ),
    ("a", "e", "i", "o", "u", "ai", "au", "ee", "oo", "ea"),
    ("", "", "n", "r", "s", "l", "t", "m"),
)


def spoken(voice: str, length: int, rng: np.random.Generator) -> Float32 | None:
    """Return (length,) of unit power said by the espeak-ng ``voice`` (``de+f3``); None without espeak-ng."""
    program = shutil.which(SPEAKER)
    if program is None:
        return None
    words = [
        "".join(str(rng.choice(sounds)) for _ in range(rng.integers(1, 4)) for sounds in _SOUNDS)
        for _ in range(60)
    ]
    text = " ".join(word + str(rng.choice(["", "", "", "", ",", ".", "?"])) for word in words)
    said = subprocess.run(  # noqa: S603 - nothing in it comes from outside
        [program, "-v", voice, "-s", str(rng.integers(110, 210)), "-p", str(rng.integers(15, 85)),
         "--stdout", text],
        capture_output=True, check=True, timeout=60,
    )  # fmt: skip
    samples, rate = soundfile.read(io.BytesIO(said.stdout), dtype="float32")
    heard = soxr.resample(samples, rate, RATE, quality="MQ")
    begin = int(rng.integers(0, max(1, len(heard) - length)))
    heard = np.pad(heard[begin : begin + length], (0, max(0, length - len(heard))))
    return _unit(heard)


class Stock:
    """Drawn stretches of talk, each said when it is first wanted; from formants where espeak-ng is missing.

    Args:
        rng: draws who says what.
        count: how many.
        seconds: how long each is.
    """

    def __init__(self, rng: np.random.Generator, count: int, seconds: float) -> None:
        self.samples = round(seconds * RATE)
        self._seeds = rng.integers(2**31, size=count)
        self._said: dict[int, Float32] = {}

    def any(self, rng: np.random.Generator) -> Float32:
        """Return one of them, (samples,) of unit power."""
        number = int(rng.integers(len(self._seeds)))
        if number not in self._said:
            own = np.random.default_rng(self._seeds[number])
            voice = str(own.choice(LANGUAGES)) + str(own.choice(VARIANTS))
            said = spoken(voice, self.samples, own)
            self._said[number] = formant_voice(self.samples, own) if said is None else said
        return self._said[number]


def formant_voice(length: int, rng: np.random.Generator) -> Float32:
    """Return a voice of unit power that talks or sings: gliding syllables under formants, hisses, pauses."""
    out = np.zeros(length)
    speaker, sings = rng.uniform(80, 330), rng.random() < 0.5
    now = int(rng.uniform(0, RATE / 2))
    while now < length - RATE // 4:
        seconds = rng.uniform(0.25, 1.2) if sings else rng.uniform(0.06, 0.35)
        count = min(int(seconds * RATE), length - now)
        if sings or rng.random() < 0.75:
            syllable = _vowel(count, speaker * 2 ** rng.normal(0, 0.5 if sings else 0.2), sings, rng)
        else:
            hiss = signal.butter(2, rng.uniform(2500, 5000), "high", fs=RATE, output="sos")
            syllable = signal.sosfilt(hiss, rng.normal(size=count)) * np.hanning(count) * 0.4
        out[now : now + count] += syllable * rng.uniform(0.3, 1)
        now += int(count * rng.uniform(0.8, 1.0)) + int((rng.random() < 0.3) * rng.exponential(0.3) * RATE)
    return _unit(out)


def _vowel(count: int, pitch: float, sung: bool, rng: np.random.Generator) -> NDArray[np.float64]:
    """Return (count,) partials of a glottal tone, each as loud as formants that glide make it."""
    time = np.arange(count) / RATE
    vibrato = rng.uniform(0.003, 0.03) * np.sin(2 * np.pi * rng.uniform(4.5, 6.5) * time)
    glide = rng.normal(0, 0.05 if sung else 0.7) * time
    hertz = pitch * 2 ** (glide + vibrato * sung + 0.004 * np.cumsum(rng.normal(size=count)) / RATE**0.5)
    phase = 2 * np.pi * np.cumsum(hertz) / RATE
    centres = np.array([rng.uniform(250, 850), rng.uniform(800, 2500), rng.uniform(2300, 3400)])
    moved = centres if sung else centres * rng.uniform(0.7, 1.4, 3)
    tilt, width = rng.uniform(0.8, 1.8), rng.uniform(60, 140, 3) * (1, 1.5, 2)
    ramp = time / max(time[-1], 1e-3)
    tone = np.zeros(count)
    for n in range(1, int(min(40, 4000 / pitch)) + 1):
        begin, end = (
            np.sum((1, 0.5, 0.25) / (1 + ((n * pitch - f) / width) ** 2)) + 0.02 for f in (centres, moved)
        )
        tone += (begin + (end - begin) * ramp) / n**tilt * np.sin(n * phase)
    edge = max(2, int(rng.uniform(0.01, 0.06) * RATE))
    index = np.arange(count)
    return tone * np.minimum(1, np.minimum(index, index[::-1]) / edge) / (np.abs(tone).max() + 1e-9)


def _unit(samples: NDArray[np.floating]) -> Float32:
    return (samples / (np.sqrt(np.mean(samples**2)) + 1e-9)).astype(np.float32)
