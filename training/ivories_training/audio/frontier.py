"""What a wait is worth: onset F1 against the delay of decisions, over policies and a sweep of thresholds."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from ivories_training import scatter
from ivories_training.audio.judged import decide
from ivories_training.audio.measures import delays_and_f1
from ivories_training.audio.takes import Take
from ivories_training.thresholds import NEVER

EARLY: Final = (-2.0, -1.0, 0.0, 1.0, 2.0, 3.0, 4.5, 6.0, 8.0)
"""Posterior log-odds at which the horizons before the last may decide"""


@dataclass(frozen=True)
class FrontierPoint:
    """One setting of the tracker on one kind of material."""

    material: str
    policy: str
    """Empty for a point of the sweep"""
    thresholds: tuple[float, ...]
    f1: float
    delay_mean_ms: float
    delay_p95_ms: float
    best: bool = False
    """No setting on this material is as good at a shorter mean delay"""


def sweep(policies: Mapping[str, Sequence[float]]) -> list[tuple[str, tuple[float, ...]]]:
    """Return (policy or empty, thresholds) to try: the policies, and a family around the surest one."""
    last = policies["surest"][-1] if "surest" in policies else next(iter(policies.values()))[-1]
    horizons = len(next(iter(policies.values())))
    tried = [(name, tuple(values)) for name, values in policies.items()]
    for first in range(horizons - 1):
        tried += [("", (*[NEVER] * first, *[early] * (horizons - 1 - first), last)) for early in EARLY]
    return tried


def measure(
    material: str, takes: Sequence[Take], policies: Mapping[str, Sequence[float]]
) -> list[FrontierPoint]:
    """Run the tracker over ``takes`` with every setting of the sweep."""
    points = []
    for policy, thresholds in sweep(policies):
        f1, mean, p95 = delays_and_f1([decide(take, thresholds) for take in takes])
        points.append(FrontierPoint(material, policy, thresholds, f1, mean, p95))
    best = front(points, "delay_mean_ms")
    return [replace(point, best=point in best) for point in points]


def front(points: Sequence[FrontierPoint], field: str) -> list[FrontierPoint]:
    """Return the points that no other one beats, in F1 at the same or a shorter delay; by delay."""
    kept: list[FrontierPoint] = []
    ranked = [p for p in points if math.isfinite(getattr(p, field)) and math.isfinite(p.f1)]
    for point in sorted(ranked, key=lambda p: (getattr(p, field), -p.f1)):
        if not kept or point.f1 > kept[-1].f1:
            kept.append(point)
    return kept


def picture(points: Sequence[FrontierPoint], path: Path) -> None:
    """Write the frontier as an SVG file: F1 against mean delay, and against its 95th percentile."""
    panels = [
        scatter.Panel(
            f"{words} from acoustic onset to decision, ms",
            [_series(material, points, field) for material in dict.fromkeys(p.material for p in points)],
        )
        for words, field in (
            ("mean delay", "delay_mean_ms"),
            ("95th percentile of the delay", "delay_p95_ms"),
        )
    ]
    scatter.write(path, "Onset F1 against delay, exported int8 file", "onset F1 (50 ms)", panels)


def _series(material: str, points: Sequence[FrontierPoint], field: str) -> scatter.Series:
    own = [p for p in points if p.material == material]

    def at(point: FrontierPoint) -> scatter.Point:
        return getattr(point, field), point.f1

    return scatter.Series(
        material,
        points=[at(p) for p in own if not p.policy],
        line=[at(p) for p in front(own, field)],
        named=[(p.policy, at(p)) for p in own if p.policy],
    )
