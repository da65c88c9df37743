"""How values in milliseconds lie: as lines for the terminal, as a picture (SVG) for everybody else."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Final
from xml.sax.saxutils import escape

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ivories.errors import ConfigError
from ivories.runtime.timing import Spread
from ivories.sinks.atomic_file import AtomicFile

_STEPS_MS: Final = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0)
_BINS: Final = 24
_LONGEST: Final = 50  # characters of a bar
_WIDTH, _PANEL, _MARGIN, _TOP = 760, 170, 60, 46  # pixels
_COLOURS: Final = ("#0072b2", "#d55e00", "#009e73", "#cc79a7")  # told apart by colour-blind eyes too


def edges_ms(values: ArrayLike) -> NDArray[np.float64]:
    """Return the edges of at most about ``_BINS`` equal bins with round limits that hold all ``values``."""
    array = np.asarray(values, np.float64)
    low, high = float(array.min()), float(array.max())
    step = next((s for s in _STEPS_MS if (high - low) / s <= _BINS), (high - low) / _BINS)
    first = math.floor(low / step)
    last = max(math.floor(high / step) + 1, first + 1)
    return np.arange(first, last + 1, dtype=np.float64) * step


def lines(values: ArrayLike) -> list[str]:
    """Return one line per bin: its lower edge, a bar, the count."""
    edges = edges_ms(values)
    counts, _ = np.histogram(np.asarray(values), bins=edges)
    decimals = max(0, -math.floor(math.log10(edges[1] - edges[0]) + 1e-9))
    return [
        f"{low:9.{decimals}f} ms {'#' * round(_LONGEST * count / counts.max())} {count}".rstrip()
        for count, low in zip(counts, edges, strict=False)
    ]


def picture(title: str, groups: Mapping[str, ArrayLike]) -> str:
    """Return an SVG document: one histogram per group under each other, on one axis of milliseconds."""
    values = {name: np.asarray(group, np.float64) for name, group in groups.items() if np.size(group)}
    together = np.concatenate(list(values.values())) if values else np.zeros(1)
    edges = edges_ms(together)
    height = _TOP + _PANEL * len(values) + 20
    size = f'width="{_WIDTH}" height="{height}" viewBox="0 0 {_WIDTH} {height}"'
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} font-family="sans-serif" font-size="12">',
        f'<rect width="{_WIDTH}" height="{height}" fill="white"/>',
        f'<text x="{_MARGIN}" y="26" font-size="16">{escape(title)}</text>',
    ]
    for row, (name, group) in enumerate(values.items()):
        parts += _panel(name, group, edges, _TOP + row * _PANEL, _COLOURS[row % len(_COLOURS)])
    return "\n".join([*parts, "</svg>", ""])


def write_picture(path: Path, title: str, groups: Mapping[str, ArrayLike]) -> None:
    """Write ``picture`` to ``path``, complete or not at all.

    Raises:
        ConfigError: the name does not end in .svg.
        SinkError: the file cannot be written.
    """
    check_name(path)
    file = AtomicFile(path)
    file.file.write(picture(title, groups).encode())
    file.commit()


def check_name(path: Path) -> None:
    """Refuse a name that is none for a picture; raises ConfigError."""
    if path.suffix.lower() != ".svg":
        raise ConfigError(f"the picture {path} cannot be written: it is an SVG, use a name that ends in .svg")


def _panel(
    name: str, group: NDArray[np.float64], edges: NDArray[np.float64], top: int, colour: str
) -> list[str]:
    counts, _ = np.histogram(group, bins=edges)
    spread = Spread.of(group)
    span = float(edges[-1] - edges[0])
    base, tallest = top + _PANEL - 38, _PANEL - 70

    def x(ms: float) -> float:
        return _MARGIN + (ms - float(edges[0])) / span * (_WIDTH - 2 * _MARGIN)

    label = (
        f"{name}: {spread.count} notes, median {spread.median:.1f}, p95 {spread.p95:.1f}, "
        f"p99 {spread.p99:.1f}, max {spread.maximum:.1f}, jitter {spread.jitter:.1f} ms"
    )
    parts = [f'<text x="{_MARGIN}" y="{top + 14}">{escape(label)}</text>']
    for count, low, high in zip(counts, edges, edges[1:], strict=False):
        bar = tallest * count / counts.max()
        parts.append(
            f'<rect x="{x(low) + 0.5:.1f}" y="{base - bar:.1f}" width="{x(high) - x(low) - 1:.1f}" '
            f'height="{bar:.1f}" fill="{colour}"/>'
        )
    parts.append(f'<line x1="{_MARGIN}" x2="{_WIDTH - _MARGIN}" y1="{base}" y2="{base}" stroke="black"/>')
    every = max(1, math.ceil(len(edges) / 12))
    parts += [
        f'<text x="{x(edge):.1f}" y="{base + 15}" text-anchor="middle">{edge:g}</text>'
        for edge in edges[::every]
    ]
    parts.append(f'<text x="{_WIDTH - _MARGIN + 24}" y="{base + 15}">ms</text>')
    if edges[0] < 0 < edges[-1]:
        parts.append(
            f'<line x1="{x(0):.1f}" x2="{x(0):.1f}" y1="{base}" y2="{base - tallest}" stroke="black" '
            'stroke-dasharray="2 3"/>'
        )
    at = x(spread.median)
    parts.append(
        f'<line x1="{at:.1f}" x2="{at:.1f}" y1="{base}" y2="{base - tallest - 4}" stroke="black" '
        'stroke-width="2"/>'
    )
    return parts
