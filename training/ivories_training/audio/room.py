"""Between piano and converter: rooms, microphones, noise, level control. Samples in, samples out, 16 kHz."""

import numpy as np
from numpy.typing import NDArray
from scipy import signal

from ivories_training.audio.sample_bank import RATE, Float32
from ivories_training.audio.voices import Stock, formant_voice

SPEED_OF_SOUND = 343.0
TALK_S = 14.0
EQ_HZ = (30.0, 80.0, 200.0, 500.0, 1200.0, 2800.0, 5000.0, 8000.0)


def impulse_response(rng: np.random.Generator) -> Float32:
    """Return the impulse response of a drawn room."""
    reverberation = rng.uniform(0.15, 1.0)
    box = np.array([rng.uniform(2.5, 9), rng.uniform(2.5, 7), rng.uniform(2.2, 4)])
    return box_response(reverberation, box, rng)


def box_response(reverberation: float, box: NDArray[np.float64], rng: np.random.Generator) -> Float32:
    """Return a synthetic room: early reflections of a box (image sources), then an exponential noise tail.

    Args:
        reverberation: seconds until sound has fallen by 60 dB.
        box: (3,) its sides in metres.
        rng: draws piano, microphone and walls.
    """
    source, microphone = box * rng.uniform(0.15, 0.85, 3), box * rng.uniform(0.15, 0.85, 3)
    reflection = rng.uniform(0.5, 0.85)
    grid = np.stack(np.meshgrid(*[np.arange(-3, 4)] * 3, indexing="ij"), -1).reshape(-1, 3)
    image = grid * box + np.where(grid % 2 == 0, source, box - source)
    distance = np.linalg.norm(image - microphone, axis=1) + 0.3
    order = np.abs(grid).sum(axis=1)
    sign = np.where(order == 0, 1.0, rng.choice([-0.9, 0.9], len(order)))
    response = np.zeros(int(reverberation * RATE))
    at = (distance / SPEED_OF_SOUND * RATE).astype(int)
    inside = at < len(response)
    np.add.at(response, at[inside], (reflection**order / distance * sign)[inside])
    direct = int(distance[order == 0][0] / SPEED_OF_SOUND * RATE)
    time = np.arange(len(response)) / RATE
    tail = rng.normal(size=len(response)) * np.exp(-6.9 * time / reverberation) * rng.uniform(0.002, 0.02)
    response += tail * (time > direct / RATE + 0.01)
    response = response[direct:]
    return (response / np.sqrt(np.sum(response**2))).astype(np.float32)


def coloured_noise(length: int, rng: np.random.Generator) -> Float32:
    """Return noise of unit power whose spectrum falls by a drawn slope (white to brown)."""
    spectrum = np.fft.rfft(rng.normal(size=length))
    frequency = np.fft.rfftfreq(length, 1 / RATE)
    noise = np.fft.irfft(spectrum / np.maximum(frequency, 25) ** rng.uniform(0.0, 1.0), length)
    return (noise / np.sqrt(np.mean(noise**2))).astype(np.float32)


def claps(length: int, rng: np.random.Generator) -> Float32:
    """Return claps, taps and clicks: short bursts of filtered noise, unit power."""
    out = np.zeros(length)
    for _ in range(int(rng.integers(2, 25))):
        count = int(rng.uniform(0.003, 0.09) * RATE)
        at = int(rng.uniform(0, max(1, length - count)))
        burst = rng.normal(size=count) * np.exp(-np.arange(count) / (count * rng.uniform(0.1, 0.4)))
        if rng.random() < 0.6:
            centre = rng.uniform(120, 3000)
            band = signal.butter(
                2, [centre, min(centre * rng.uniform(1.5, 4), 7800)], "band", fs=RATE, output="sos"
            )
            burst = signal.sosfilt(band, burst)
        part = out[at : at + count]
        part += burst[: len(part)] * rng.uniform(0.2, 1) / (np.abs(burst).max() + 1e-9)
    return (out / (np.sqrt(np.mean(out**2)) + 1e-9)).astype(np.float32)


def hum(length: int, rng: np.random.Generator) -> Float32:
    """Return mains hum and its harmonics, unit power."""
    time, mains = np.arange(length) / RATE, rng.choice([50.0, 60.0])
    out = sum(
        rng.uniform(0, 1) / n * np.sin(2 * np.pi * mains * n * time + rng.uniform(0, 6.3))
        for n in range(1, 9)
    )
    return (out / (np.sqrt(np.mean(out**2)) + 1e-9)).astype(np.float32)


class Recorder:
    """A drawn stock of rooms and of people who talk, and all that happens to a sound before it is samples.

    Args:
        rng: draws the stock.
        rooms: how many.
        voices: how many.
    """

    def __init__(self, rng: np.random.Generator, rooms: int = 40, voices: int = 120) -> None:
        self.rooms = [impulse_response(rng) for _ in range(rooms)]
        self.talk = Stock(rng, voices, TALK_S)

    def voice(self, length: int, rng: np.random.Generator) -> Float32:
        """Return talk or song of unit power."""
        if length > self.talk.samples or rng.random() < 0.3:
            return formant_voice(length, rng)
        return np.roll(self.talk.any(rng), rng.integers(RATE))[:length]

    def voice_in_room(self, length: int, rng: np.random.Generator) -> Float32:
        """Return talk or song, peak 1, through a drawn room and microphone, without noise."""
        x = self.voice(length, rng)
        if rng.random() < 0.5:
            x = signal.oaconvolve(x, self.rooms[rng.integers(len(self.rooms))])[:length]
        if rng.random() < 0.6:
            x = _equalize(x, rng.normal(0, 4, len(EQ_HZ)))
        return (x / (np.max(np.abs(x)) + 1e-9)).astype(np.float32)

    def record(self, sound: Float32, rng: np.random.Generator, strength: float = 1.0) -> Float32:
        """Return ``sound`` as recorded somewhere; ``strength`` 0..1 scales how often each effect occurs."""
        n, x = len(sound), sound
        if rng.random() < 0.5 * strength:
            x = signal.oaconvolve(x, self.rooms[rng.integers(len(self.rooms))])[:n]
        if rng.random() < 0.75 * strength:
            x = _equalize(x, rng.normal(0, 4.5, len(EQ_HZ)))
        if rng.random() < 0.3 * strength:
            x = signal.sosfilt(signal.butter(2, rng.uniform(50, 320), "high", fs=RATE, output="sos"), x)
        if rng.random() < 0.25 * strength:
            x = signal.sosfilt(signal.butter(2, rng.uniform(2500, 7500), "low", fs=RATE, output="sos"), x)
        x = x + self._noise(n, float(np.sqrt(np.mean(x**2))) + 1e-9, rng, strength)
        if rng.random() < 0.22 * strength:
            x = _level_control(x, rng)
        peak = float(np.max(np.abs(x))) + 1e-9
        x = x / peak * 10 ** (-rng.uniform(0, 26) / 20)
        return (x + rng.normal(0, 10 ** (-rng.uniform(72, 96) / 20), n)).astype(np.float32)

    def background(self, length: int, rng: np.random.Generator) -> Float32:
        """Return an excerpt without any piano: noise, talk, claps, hum, or near silence."""
        if rng.random() < 0.2:
            return rng.normal(0, 10 ** (-rng.uniform(60, 96) / 20), length).astype(np.float32)
        makers = (self.voice, coloured_noise, claps, hum)
        # Every other time a voice alone, the sound most like a piano.
        chosen = [0] if rng.random() < 0.5 else rng.choice(4, rng.integers(1, 4), replace=False)
        x = sum(makers[i](length, rng) * rng.uniform(0.1, 1) for i in chosen)
        if rng.random() < 0.5:
            x = signal.oaconvolve(x, self.rooms[rng.integers(len(self.rooms))])[:length]
        x = _equalize(np.asarray(x), rng.normal(0, 4, len(EQ_HZ)))
        return (x / (np.max(np.abs(x)) + 1e-9) * 10 ** (-rng.uniform(3, 45) / 20)).astype(np.float32)

    def _noise(self, n: int, level: float, rng: np.random.Generator, strength: float) -> Float32:
        out = np.zeros(n, np.float32)
        for maker, chance, low, high in (
            (coloured_noise, 0.55, 12, 48),
            (hum, 0.15, 20, 50),
            (claps, 0.2, 8, 35),
            (self.voice, 0.15, 5, 35),
        ):
            if rng.random() < chance * strength:
                swell = 1.0
                if rng.random() < 0.3:
                    swell = 1 + 0.8 * np.sin(2 * np.pi * rng.uniform(0.1, 0.6) * np.arange(n) / RATE)
                out += (maker(n, rng) * swell * level * 10 ** (-rng.uniform(low, high) / 20)).astype(
                    np.float32
                )
        return out


def _equalize(x: Float32, gains_db: np.ndarray) -> Float32:
    spectrum = np.fft.rfft(x)
    frequency = np.maximum(np.fft.rfftfreq(len(x), 1 / RATE), 20)
    gain = np.interp(np.log2(frequency), np.log2(EQ_HZ), gains_db)
    return np.fft.irfft(spectrum * 10 ** (gain / 20), len(x)).astype(np.float32)


def _level_control(x: Float32, rng: np.random.Generator) -> Float32:
    """Automatic gain that follows the level, then soft clipping."""
    envelope = signal.lfilter([0.0015], [1, -0.9985], np.abs(x))
    gain = 1 / np.maximum(envelope / (envelope.max() + 1e-9), 0.08) ** rng.uniform(0.15, 0.5)
    y = x * gain
    return np.tanh(rng.uniform(0.8, 2.5) * y / (np.max(np.abs(y)) + 1e-9)).astype(np.float32)
