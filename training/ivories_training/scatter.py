"""A small scatter plot as an SVG file: panels side by side that share their vertical axis."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Final

Point = tuple[float, float]

_COLOURS: Final = ("#1f6f8b", "#c05621", "#5b7f2b", "#7a4f9a", "#8a6d3b", "#444444")
_PANEL: Final = (420.0, 330.0)  # width and height of a panel's axes, in pixels
_LEFT, _TOP, _GAP, _BOTTOM = 62.0, 46.0, 34.0, 64.0


@dataclass(frozen=True)
class Series:
    """Points of one colour."""

    name: str
    points: Sequence[Point]
    line: Sequence[Point] = ()
    """Joined by a line, in this order"""
    named: Sequence[tuple[str, Point]] = ()
    """Larger, with their names beside them"""


@dataclass(frozen=True)
class Panel:
    """One pair of axes."""

    x_title: str
    series: Sequence[Series]


def write(path: Path, title: str, y_title: str, panels: Sequence[Panel]) -> None:
    """Write the plot; points with a coordinate that is not finite are left out."""
    width = _LEFT + len(panels) * (_PANEL[0] + _GAP)
    names = [series.name for series in panels[0].series]
    height = _TOP + _PANEL[1] + _BOTTOM + 20 * math.ceil(len(names) / 3)
    low, high = _span([y for panel in panels for _, y in _everything(panel)], 0.02)
    size = f'width="{width:.0f}" height="{height:.0f}"'
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {height:.0f}" {size} ',
        'font-family="sans-serif" font-size="12">',
        f'<rect {size} fill="white"/>',
        _text(_LEFT, 24, title, size=15),
        _text(16, _TOP + _PANEL[1] / 2, y_title, anchor="middle", turned=True),
    ]
    for number, panel in enumerate(panels):
        parts += _panel(panel, _LEFT + number * (_PANEL[0] + _GAP), (low, high), labelled=number == 0)
    for i, name in enumerate(names):
        x, y = _LEFT + i % 3 * 280, _TOP + _PANEL[1] + _BOTTOM + 20 * (i // 3)
        parts += [_dot((x, y - 4), _colour(i), 5), _text(x + 12, y, name)]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join([*parts, "</svg>\n"]), "utf-8")


def _panel(panel: Panel, left: float, y_span: Point, *, labelled: bool) -> list[str]:
    x_span = _span([x for x, _ in _everything(panel)], 2.0)

    def place(point: Point) -> Point:
        across = (point[0] - x_span[0]) / (x_span[1] - x_span[0])
        up = (point[1] - y_span[0]) / (y_span[1] - y_span[0])
        return left + across * _PANEL[0], _TOP + (1 - up) * _PANEL[1]

    parts = [
        f'<rect x="{left}" y="{_TOP}" width="{_PANEL[0]}" height="{_PANEL[1]}" fill="none" stroke="#999"/>',
        _text(left + _PANEL[0] / 2, _TOP + _PANEL[1] + 38, panel.x_title, anchor="middle"),
    ]
    for tick in _ticks(*x_span):
        x, _ = place((tick, y_span[0]))
        parts += [_line([(x, _TOP), (x, _TOP + _PANEL[1])], "#eee", 1)]
        parts += [_text(x, _TOP + _PANEL[1] + 18, f"{tick:g}", anchor="middle")]
    for tick in _ticks(*y_span):
        _, y = place((x_span[0], tick))
        parts += [_line([(left, y), (left + _PANEL[0], y)], "#eee", 1)]
        if labelled:
            parts += [_text(left - 8, y + 4, f"{tick:g}", anchor="end")]
    for i, series in enumerate(panel.series):
        parts += [_dot(place(p), _colour(i), 2.5) for p in series.points if _finite(p)]
        parts.append(_line([place(p) for p in series.line if _finite(p)], _colour(i), 1.5))
        for name, point in series.named:
            if _finite(point):
                x, y = place(point)
                end = x > left + 0.8 * _PANEL[0]
                parts += [_dot((x, y), _colour(i), 5)]
                parts += [_text(x + (-8 if end else 8), y + 14, name, anchor="end" if end else "start")]
    return parts


def _everything(panel: Panel) -> list[Point]:
    return [
        point
        for series in panel.series
        for point in (*series.points, *series.line, *(p for _, p in series.named))
        if _finite(point)
    ]


def _finite(point: Point) -> bool:
    return all(math.isfinite(value) for value in point)


def _span(values: Sequence[float], least: float) -> Point:
    if not values:
        return 0.0, 1.0
    margin = max(least, 0.06 * (max(values) - min(values)))
    return min(values) - margin, max(values) + margin


def _ticks(low: float, high: float) -> list[float]:
    raw = (high - low) / 6
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(power * m for m in (1, 2, 5, 10) if power * m >= raw)
    first = math.ceil(low / step)
    return [round(i * step, 10) for i in range(first, math.floor(high / step) + 1)]


def _colour(number: int) -> str:
    return _COLOURS[number % len(_COLOURS)]


def _dot(at: Point, colour: str, radius: float) -> str:
    return f'<circle cx="{at[0]:.1f}" cy="{at[1]:.1f}" r="{radius}" fill="{colour}"/>'


def _line(points: Sequence[Point], colour: str, width: float) -> str:
    joined = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    return f'<polyline points="{joined}" fill="none" stroke="{colour}" stroke-width="{width}"/>'


def _text(
    x: float, y: float, text: str, *, anchor: str = "start", size: int = 12, turned: bool = False
) -> str:
    turn = f' transform="rotate(-90 {x:.1f} {y:.1f})"' if turned else ""
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-size="{size}" fill="#222"{turn}>'
        f"{escape(text)}</text>"
    )
