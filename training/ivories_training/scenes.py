"""Unseen pieces in unseen rooms, on a piano that no network was trained on, as both networks judged them.

A clip is filmed and watched once; it is heard once for every kind of sound.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from ivories.clock import seconds as to_seconds
from ivories.datatypes import Float32, KeyEvidence
from ivories.inference.manifest import load_manifest
from ivories.keyboard import LOWEST_PITCH
from ivories_training.audio import instruments
from ivories_training.audio.listener import Listener
from ivories_training.audio.room import Recorder, coloured_noise
from ivories_training.audio.sample_bank import RATE, SampleBank
from ivories_training.audio.synthesizer import Touch, synthesize
from ivories_training.performances import performance
from ivories_training.video.clips import QUIET_S, Clip
from ivories_training.video.evaluate import Watcher
from ivories_training.video.recipe import unseen_clips

ONE_INSTRUMENT: Final = "one instrument"
SOUNDS: Final = ("clean", "room", "5 dB", ONE_INSTRUMENT)
"""Dry piano; a drawn room and microphone; coloured noise 5 dB below the piano; a dry piano that is equally
loud in all scenes, as one that stays where it stands"""
_NOISE_DB: Final = 5.0
_RANGE_DB: Final = 34.0  # loudness between velocity 0 and 127 of the one instrument
_HISS_DB: Final = -80.0  # of its microphone


@dataclass(frozen=True)
class Scene:
    """One clip with one sound, as both networks judged them."""

    truth: NDArray[np.void]
    """NOTE_DTYPE"""
    seconds: float
    """Length"""
    heard: list[KeyEvidence]
    seen: list[KeyEvidence]

    def merged(self) -> list[KeyEvidence]:
        """Return the evidence of both in the order of its times."""
        return sorted([*self.heard, *self.seen], key=lambda e: e.t_ns)


def scenes(
    models: Path,
    performances: Path | None,
    sounds: Sequence[str],
    count: int,
    seconds: float,
    rate: float | None = None,
) -> Iterator[Mapping[str, Scene]]:
    """Yield ``count`` clips of the test split, each with every one of ``sounds``.

    Args:
        models: folder with audio.toml and video.toml.
        performances: folder of MIDI performances; None = invented pieces alone.
        sounds: of ``SOUNDS``.
        count: how many clips.
        seconds: their length.
        rate: frames per second; None = drawn.
    """
    listener = Listener(load_manifest(models / "audio.toml"), models)
    watcher = Watcher(models / "video.toml")
    bank = instruments.test_bank(instruments.InstrumentConfig().cache)
    recorder = Recorder(np.random.default_rng(11), rooms=8, voices=8)
    for seed, clip in enumerate(unseen_clips(performances, "test", count, seconds, rate)):
        seen = watcher.watch(clip)
        yield {
            sound: Scene(
                clip.notes,
                to_seconds(int(clip.t_ns[-1])),
                listener.hear(_sound_of(clip, sound, bank, recorder, seconds + 0.5, seed)),
                seen,
            )
            for sound in sounds
        }


def _sound_of(
    clip: Clip, sound: str, bank: SampleBank, recorder: Recorder, seconds: float, seed: int
) -> Float32:
    """Return (n,) float32 at ``RATE``: what a microphone takes down of ``clip``."""
    rng = np.random.default_rng([seed, 77])
    rows = [
        (float(n["onset_s"]), float(n["offset_s"]), int(n["pitch"]) - LOWEST_PITCH, int(n["velocity"]))
        for n in clip.notes
    ]
    played = performance(clip.name, rows, [])
    if sound == ONE_INSTRUMENT:
        samples = synthesize(played, bank, seconds, rng, replace(Touch.draw(rng), range_db=_RANGE_DB))
        hiss = rng.normal(0, 10 ** (_HISS_DB / 20), len(samples))
        return np.asarray(0.5 * samples + hiss, np.float32)
    samples = synthesize(played, bank, seconds, rng)
    if sound == "5 dB":
        level = np.sqrt(np.mean(samples[round(QUIET_S * RATE) :] ** 2)) * 10 ** (-_NOISE_DB / 20)
        samples = samples + np.float32(level) * coloured_noise(len(samples), rng)
    return recorder.record(samples, rng, 1.0 if sound == "room" else 0.0)
