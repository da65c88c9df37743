"""How values in milliseconds lie: as lines for the terminal, as a picture (SVG) for everybody else."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
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
_SAME_MS: Final = 1e-6  # values no farther apart differ by rounding alone
_LONGEST: Final = 50  # characters of a bar
_BARS: Final = "▁▂▃▄▅▆▇█"
_WIDTH, _PANEL, _MARGIN, _TOP = 760, 174, 60, 46  # pixels
_SMALL: Final = 154  # height of a step's panel, two of them side by side
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


def shape(values: ArrayLike, width: int = 16) -> str:
    """Return a histogram of one line: ``width`` bins from the smallest of ``values`` to p99 and beyond."""
    array = np.asarray(values, np.float64)
    low, high = float(array.min()), float(np.percentile(array, 99))
    if high - low < _SAME_MS:
        high = low + 1.0
    counts, _ = np.histogram(np.minimum(array, high), width, (low, high))
    heights = np.ceil(len(_BARS) * counts / max(1, counts.max())).astype(int)
    return "".join(_BARS[height - 1] if height else " " for height in heights)


@dataclass(frozen=True, slots=True)
class _Panel:
    """One histogram's place in the picture."""

    left: float
    top: float
    width: float
    height: float
    edges: NDArray[np.float64]
    colour: str

    def x(self, ms: float) -> float:
        """Return where ``ms`` lies on the axis."""
        span = float(self.edges[-1] - self.edges[0])
        return self.left + (ms - float(self.edges[0])) / span * self.width

    @property
    def base(self) -> float:
        """Return the height of the axis."""
        return self.top + self.height - 38

    def bars(self, values: NDArray[np.float64]) -> list[str]:
        """Return one bar per bin of ``values``."""
        counts, _ = np.histogram(values, bins=self.edges)
        parts = []
        for count, low, high in zip(counts, self.edges, self.edges[1:], strict=False):
            bar = (self.height - 74) * count / max(1, counts.max())
            parts.append(
                f'<rect x="{self.x(low) + 0.5:.1f}" y="{self.base - bar:.1f}" '
                f'width="{self.x(high) - self.x(low) - 1:.1f}" height="{bar:.1f}" fill="{self.colour}"/>'
            )
        return parts

    def axis(self) -> list[str]:
        """Return the axis with its numbers, and a line where 0 is inside."""
        base, right = self.base, self.left + self.width
        parts = [f'<line x1="{self.left}" x2="{right}" y1="{base}" y2="{base}" stroke="black"/>']
        every = max(1, math.ceil(len(self.edges) * 50 / self.width))
        parts += [
            f'<text x="{self.x(edge):.1f}" y="{base + 15}" text-anchor="middle">{edge:.6g}</text>'
            for edge in self.edges[::every]
        ]
        parts.append(f'<text x="{right + 24}" y="{base + 15}">ms</text>')
        if self.edges[0] < 0 < self.edges[-1]:
            parts.append(self.mark(0, 0, 'stroke-dasharray="2 3"'))
        return parts

    def mark(self, ms: float, above: float, style: str) -> str:
        """Return an upright line at ``ms``."""
        x, top = self.x(ms), self.base - (self.height - 74) - above
        return f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{self.base}" y2="{top}" stroke="black" {style}/>'

    def drawn(self, name: str, unit: str, values: NDArray[np.float64]) -> list[str]:
        """Return all of it, ``values`` being so many of ``unit``."""
        spread = Spread.of(values)
        figures = ", ".join(
            f"{what} {_short(ms)}"
            for what, ms in (("median", spread.median), ("p95", spread.p95), ("p99", spread.p99),
                             ("max", spread.maximum), ("jitter", spread.jitter))
        )  # fmt: skip
        label, size = [f"{name}: {spread.count} {unit}", f"{figures} ms"], 11
        if self.width > _WIDTH / 2:
            label, size = [", ".join(label)], 12
        texts = [
            f'<text x="{self.left}" y="{self.top + 14 * row}" font-size="{size}">{escape(line)}</text>'
            for row, line in enumerate(label, 1)
        ]
        return [
            *texts,
            *self.bars(values),
            *self.axis(),
            self.mark(spread.median, 4, 'stroke-width="2"'),
        ]


def picture(title: str, groups: Mapping[str, ArrayLike], steps: Mapping[str, ArrayLike] | None = None) -> str:
    """Return an SVG document of histograms.

    Args:
        title: above all.
        groups: by name, of notes: under each other, on one axis of milliseconds.
        steps: by name: below them, each on an axis of its own that ends at p99 (the label tells the maximum).
    """
    notes, single = _filled(groups), _filled(steps or {})
    edges = edges_ms(np.concatenate(list(notes.values()))) if notes else np.zeros(1)
    below = _TOP + _PANEL * len(notes)
    height = below + _SMALL * math.ceil(len(single) / 2) + 20
    size = f'width="{_WIDTH}" height="{height}" viewBox="0 0 {_WIDTH} {height}"'
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} font-family="sans-serif" font-size="12">',
        f'<rect width="{_WIDTH}" height="{height}" fill="white"/>',
        f'<text x="{_MARGIN}" y="26" font-size="16">{escape(title)}</text>',
    ]
    for row, (name, values) in enumerate(notes.items()):
        colour = _COLOURS[row % len(_COLOURS)]
        panel = _Panel(_MARGIN, _TOP + row * _PANEL, _WIDTH - 2 * _MARGIN, _PANEL, edges, colour)
        parts += panel.drawn(name, "notes", values)
    for number, (name, values) in enumerate(single.items()):
        usual = values[values <= np.percentile(values, 99)]
        left, top = 20 + number % 2 * _WIDTH / 2, below + number // 2 * _SMALL
        parts += _Panel(left, top, _WIDTH / 2 - 65, _SMALL, edges_ms(usual), "#555555").drawn(
            name, "times", values
        )
    return "\n".join([*parts, "</svg>", ""])


def _short(ms: float) -> str:
    """Return about three digits, without an exponent."""
    return f"{ms:.{2 if abs(ms) < 10 else 1 if abs(ms) < 100 else 0}f}"


def _filled(groups: Mapping[str, ArrayLike]) -> dict[str, NDArray[np.float64]]:
    return {name: np.asarray(group, np.float64) for name, group in groups.items() if np.size(group)}


def write_picture(
    path: Path,
    title: str,
    groups: Mapping[str, ArrayLike],
    steps: Mapping[str, ArrayLike] | None = None,
) -> None:
    """Write ``picture`` to ``path``, complete or not at all.

    Raises:
        ConfigError: the name does not end in .svg.
        SinkError: the file cannot be written.
    """
    check_name(path)
    file = AtomicFile(path)
    file.file.write(picture(title, groups, steps).encode())
    file.commit()


def check_name(path: Path) -> None:
    """Refuse a name that is none for a picture; raises ConfigError."""
    if path.suffix.lower() != ".svg":
        raise ConfigError(f"the picture {path} cannot be written: it is an SVG, use a name that ends in .svg")
