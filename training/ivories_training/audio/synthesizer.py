"""From a performance and a sample bank to sound: deterministic under a seed.

Mixed: velocity layers under a drawn loudness curve, dampers that fall by register (the top keys have none),
half pedal, quick damping when a key strikes again, the knock of key and damper, and the haze of undamped
strings while the pedal is down.
"""

from dataclasses import dataclass

import numpy as np
from scipy.signal import oaconvolve

from ivories_training.audio.sample_bank import RATE, Float32, SampleBank
from ivories_training.performances import Performance

FIRST_UNDAMPED = 69
"""Key index from which a piano has no dampers"""


@dataclass(frozen=True)
class Touch:
    """What is drawn once per excerpt."""

    range_db: float
    """Loudness between velocity 0 and 127"""
    damping_s: float
    """Time constant of a damped string in the middle register"""
    half_pedal: bool
    """Dampers touch the strings lightly after key-up: they ring on for a while"""
    haze_db: float
    """Level of sympathetic strings while the pedal is down"""
    knock_db: float
    """Level of key and damper noise, relative to a medium note"""

    @classmethod
    def draw(cls, rng: np.random.Generator) -> "Touch":
        """Draw an excerpt's touch."""
        return cls(
            range_db=rng.uniform(24, 44),
            damping_s=rng.uniform(0.02, 0.09),
            half_pedal=rng.random() < 0.12,
            haze_db=rng.uniform(-42, -22),
            knock_db=rng.uniform(-60, -26),
        )


def synthesize(
    played: Performance,
    bank: SampleBank,
    seconds: float,
    rng: np.random.Generator,
    touch: Touch | None = None,
) -> Float32:
    """Return (seconds * 16000,) float32; times of ``played`` are relative to sample 0.

    Notes with a negative onset began before and are heard from their middle. A note whose key the bank lacks
    is silent.
    """
    touch = touch or Touch.draw(rng)
    total = round(seconds * RATE)
    out = np.zeros(total, np.float32)
    next_strike = np.full(88, np.inf)
    plan = []
    for note in played.notes[::-1]:
        key = int(note["key"])
        plan.append((note, next_strike[key]))
        next_strike[key] = note["onset_s"]
    for note, again in reversed(plan):
        key, velocity = int(note["key"]), int(note["velocity"])
        recording = bank.sample(key, velocity)
        if len(recording):
            gain = 10 ** (-touch.range_db * (1 - velocity / 127) / 20) / 32767
            _add(out, recording, gain, note, again, touch)
    if touch.knock_db > -50:
        _add_knocks(out, played, touch, rng)
    if len(played.pedal) and touch.haze_db > -38:
        _add_haze(out, played, touch, rng)
    return out


def damping_s(key: int, touch: Touch) -> float:
    """Return the time constant of the damped string: bass strings resist, treble stops at once."""
    return touch.damping_s * float(np.interp(key, [0, 15, 40, 69], [4.0, 2.5, 1.0, 0.6]))


def _add(out: Float32, recording: np.ndarray, gain: float, note: np.void, again: float, touch: Touch) -> None:
    """Mix one note; ``again`` is when its key strikes next."""
    start = round(float(note["onset_s"]) * RATE)
    key, end_s = int(note["key"]), float(note["sounding_end_s"])
    restruck = again <= end_s + 1e-4
    if restruck or key < FIRST_UNDAMPED:
        constant = 0.012 if restruck else damping_s(key, touch)
        if touch.half_pedal and not restruck:
            constant *= 5
        held = min(max(round(end_s * RATE) - start, 0), len(recording))
        tail = min(len(recording) - held, round(4 * constant * RATE))
        recording = recording[: held + tail]
    else:
        held = tail = 0
    begin, end = max(start, 0), min(start + len(recording), len(out))
    if end <= begin:
        return
    part = recording[begin - start : end - start].astype(np.float32)
    part *= np.float32(gain)
    if tail:
        first = start + held - begin  # index in part where the damper falls
        if first < len(part):
            index = np.arange(max(first, 0), len(part), dtype=np.float32) - first
            part[max(first, 0) :] *= np.exp(index * np.float32(-1 / (constant * RATE)))
    out[begin:end] += part


def _add_knocks(out: Float32, played: Performance, touch: Touch, rng: np.random.Generator) -> None:
    """Short dull noises where keys land and dampers fall."""
    length = RATE // 25
    knock = np.convolve(rng.normal(size=length), np.hanning(30), "same") * np.exp(
        -np.arange(length) / (RATE * 0.008)
    )
    knock = (knock / np.sqrt(np.mean(knock**2)) * 0.05 * 10 ** (touch.knock_db / 20)).astype(np.float32)
    for time in (*played.notes["offset_s"], *played.notes["onset_s"], *played.pedal.ravel()):
        start = round(float(time + rng.normal(0, 0.004)) * RATE)
        if 0 <= start < len(out) - length:
            out[start : start + length] += knock * np.float32(rng.uniform(0.3, 1.5))


def _add_haze(out: Float32, played: Performance, touch: Touch, rng: np.random.Generator) -> None:
    """Strings without dampers answer what is played: a long, dense, quiet tail while the pedal is down."""
    gate = np.zeros(len(out), np.float32)
    for down, up in played.pedal:
        gate[max(0, round(down * RATE)) : max(0, round(up * RATE))] = 1.0
    if not gate.any():
        return
    length = RATE * 2
    tail = rng.normal(size=length) * np.exp(-np.arange(length) / (RATE * rng.uniform(0.3, 0.8)))
    tail = (tail / np.sqrt(np.sum(tail**2))).astype(np.float32)
    haze = oaconvolve(out * gate, tail)[: len(out)]
    ramp = np.convolve(gate, np.ones(RATE // 20, np.float32) / (RATE // 20), "same")
    out += (haze * ramp * 10 ** (touch.haze_db / 20)).astype(np.float32)
