"""How much surer a key must be where its octave is surer: the numbers of ``ivories.audio.octaves``.

Validation pieces on pianos that no network trains on, without room or noise, go through network and tracker
once per setting. The sternest setting that costs hardly any onset F1 is told of: what it takes from the
false notes it takes from the right ones, too, from repeats and large chords above all.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import msgspec
import numpy as np

from ivories.audio.frontend import AudioFrontEnd
from ivories.audio.octaves import OctaveDoubt
from ivories_training.audio import instruments
from ivories_training.audio.calibrate import notes_of
from ivories_training.audio.dataset import VALIDATION_SEED, performances
from ivories_training.audio.excerpts import PREROLL_S, ExcerptMaker
from ivories_training.audio.imagined import imagine
from ivories_training.audio.judged import decide
from ivories_training.audio.listener import Listener
from ivories_training.audio.measures import octave_share_by_chance, row
from ivories_training.audio.sample_bank import RATE, SampleBank, cached
from ivories_training.audio.settings import Settings
from ivories_training.audio.takes import Take

IMAGINED: Final = (1000, 1001, 1002)
"""Pianos imagined for this: training imagines those from 0 on"""
TRIED: Final = ((0.0, 0.0), (0.5, 2.0), (0.5, 1.0), (0.5, 0.5), (0.75, 0.5), (0.5, 0.0), (0.5, -1.0))
"""Share and margin, from mild to stern; the first doubts nothing"""
PRICE: Final = 0.0025
"""Onset F1 that fewer octaves may cost"""
POLICY: Final = "balanced"


@dataclass(frozen=True)
class Outcome:
    """What one setting comes to."""

    share: float
    margin: float
    f1: float
    """Onset F1, 50 ms"""
    octaves: float
    """Share of the false notes that lie an octave or two from a note struck at the time"""
    by_chance: float
    """That share, had the false notes any other pitches of the take"""
    repeat_recall: float
    delay_ms: float
    """Mean, from the acoustic onset to the decision"""

    def line(self) -> str:
        """Return all of it in words."""
        return (
            f"share {self.share}, margin {self.margin}: F1 {self.f1:.4f}, octaves {self.octaves:.3f} of the "
            f"false notes (by chance {self.by_chance:.3f}), repeats {self.repeat_recall:.3f}, "
            f"{self.delay_ms:.1f} ms"
        )


def material(settings: Settings) -> Iterator[ExcerptMaker]:
    """Yield what draws the validation pieces: on the pianos held out, then on imagined ones."""
    _, held_out = instruments.load(settings.instruments)
    cache = Path(settings.instruments.cache).expanduser()
    unheard = [cached(cache, f"imagined 2 {seed}", lambda seed=seed: imagine(seed)) for seed in IMAGINED]  # type: ignore[misc]
    yield pieces(settings, list(held_out.values()))
    yield pieces(settings, unheard)


def pieces(settings: Settings, banks: Sequence[SampleBank]) -> ExcerptMaker:
    """Return what draws validation pieces on ``banks``, without room, microphone or noise."""
    dry = replace(settings.excerpts, background=0.0, strength=0.0, invented=0.0)
    settings = msgspec.structs.replace(settings, excerpts=dry)
    played = performances(settings, "validation")
    return ExcerptMaker(played, banks, AudioFrontEnd(), dry, VALIDATION_SEED)


def hear(listener: Listener, drawn: ExcerptMaker, count: int) -> list[Take]:
    """Return ``count`` excerpts with the network's own evidence."""
    takes = []
    for index in range(count):
        samples, played = drawn.sound(index)
        bins, _ = listener.frontend.process(samples)
        truth = notes_of(played, -np.inf, np.inf)
        for name in ("onset_s", "offset_s"):
            truth[name] += PREROLL_S
        span = PREROLL_S, PREROLL_S + drawn.config.seconds - listener.model.delay_ns / 1e9
        takes.append(
            Take(played.name, listener.follow(bins), truth, played.pedal + PREROLL_S, *span, samples, RATE)
        )
    return takes


def measure(takes: Sequence[Take], thresholds: Sequence[float], share: float, margin: float) -> Outcome:
    """Return what this setting comes to."""
    doubted = [
        replace(take, evidence=OctaveDoubt(share, margin).enter(take.evidence) if share else take.evidence)
        for take in takes
    ]
    judged = [decide(take, thresholds) for take in doubted]
    scores = row("octaves", POLICY, judged)
    return Outcome(
        share,
        margin,
        scores.f1,
        scores.octave_share,
        octave_share_by_chance(judged),
        scores.repeat_recall,
        scores.delay_mean_ms,
    )


def sternest(outcomes: Sequence[Outcome]) -> Outcome:
    """Return the last of ``outcomes``, from mild to stern, whose F1 is within ``PRICE`` of the first's."""
    return [one for one in outcomes if one.f1 >= outcomes[0].f1 - PRICE][-1]
