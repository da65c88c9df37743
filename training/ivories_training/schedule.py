"""How long a phase of training is, and how its learning rate falls: by the clock, or without gain."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Literal

import numpy as np

WARM_STEPS: Final = 100
LOWEST_SHARE: Final = 0.02


def cosine(step: int, progress: float, highest: float) -> float:
    """Return the rate at ``progress`` 0..1 of a phase: a short warm-up, then a half cosine to a fiftieth."""
    warm = min(1.0, (step + 1) / WARM_STEPS)
    return float(highest * warm * (LOWEST_SHARE + (1 - LOWEST_SHARE) * 0.5 * (1 + np.cos(np.pi * progress))))


@dataclass(frozen=True)
class PlateauConfig:
    """When the rate falls and training stops; counted in looks at the validation material."""

    factor: float = 0.5
    patience: int = 10
    """Looks without gain until the rate is multiplied by ``factor``"""
    stop_after: int = 20
    """Looks without gain until training ends, with the best weights seen"""
    lowest_rate: float = 1e-6


@dataclass(frozen=True)
class PhaseConfig:
    """One stretch of training: ends after ``steps`` batches or ``minutes``, whichever comes first."""

    steps: int = 20_000
    minutes: float = 60.0
    learning_rate: float = 1e-3
    """falls to a fiftieth along a half cosine, or as ``schedule`` says"""
    batch: int = 16
    precision: str = "mixed_bfloat16"
    schedule: Literal["cosine", "plateau"] = "cosine"
    """``plateau``: falls when validation stops gaining; the phase may end early, the best weights are kept"""
    plateau: PlateauConfig = field(default_factory=PlateauConfig)


class Plateau:
    """A constant rate that falls when the validation loss stops falling.

    Args:
        config: when.
        rate: to begin with.
    """

    def __init__(self, config: PlateauConfig, rate: float) -> None:
        self.config, self.rate = config, rate
        self.best = math.inf
        self._since_best = self._since_cut = 0

    def look(self, loss: float) -> bool:
        """Take the newest validation loss; return whether it is the best so far."""
        if loss < self.best:
            self.best = loss
            self._since_best = self._since_cut = 0
            return True
        self._since_best += 1
        self._since_cut += 1
        if self._since_cut >= self.config.patience:
            self.rate = max(self.rate * self.config.factor, self.config.lowest_rate)
            self._since_cut = 0
        return False

    @property
    def over(self) -> bool:
        """Whether nothing was gained for too long."""
        return self._since_best >= self.config.stop_after

    def numbers(self) -> dict[str, float]:
        """Return what ``restore`` wants."""
        return {
            "rate": self.rate,
            "best": self.best,
            "since_best": self._since_best,
            "since_cut": self._since_cut,
        }

    def restore(self, numbers: Mapping[str, float]) -> None:
        """Go on where another object was."""
        self.rate, self.best = numbers["rate"], numbers["best"]
        self._since_best, self._since_cut = int(numbers["since_best"]), int(numbers["since_cut"])
