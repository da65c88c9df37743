"""What the terminal shows of the music: notes rising from the keyboard, keys that are down, recent events."""

import statistics
from collections import deque
from dataclasses import dataclass
from typing import Final

from rich.console import Console, ConsoleOptions, RenderResult
from rich.padding import Padding
from rich.segment import Segment
from rich.table import Table
from rich.text import Text

from ivories import clock
from ivories.datatypes import KeyState, NoteEvent, NoteKind
from ivories.keyboard import KEYS, key_name
from ivories.sinks.keyboard_picture import (
    NARROWEST,
    Colour,
    KeyboardPicture,
    mix,
    row_segments,
    velocity_colour,
)
from ivories.sinks.records import event_name

AIR: Final[Colour] = (14, 14, 18)
ROW_NS: Final = 100 * clock.MILLISECOND
"""Time that one text row of the roll stands for"""
LINES: Final = 6
"""Keys and events listed"""
BAR: Final = 16
_OTHER_LINES: Final = LINES + 8  # everything but the roll


@dataclass(slots=True)
class _Bar:
    key: int
    velocity: int
    start_ns: int
    end_ns: int | None = None


class LiveView:
    """A rich renderable of the latest second and the keys as they are; touched by one thread only."""

    def __init__(self, *, title: str, origin_ns: int) -> None:
        """Show ``title`` above; times count from ``origin_ns``."""
        self._title = title
        self._origin_ns = origin_ns
        self._roll: deque[_Bar] = deque(maxlen=512)
        self._recent: deque[NoteEvent] = deque(maxlen=LINES)
        self._delays_ms: deque[float] = deque(maxlen=200)
        self._onsets = 0
        self._pedal = 0
        self._state: KeyState | None = None
        self._now_ns = origin_ns

    def take(self, event: NoteEvent) -> None:
        """Add one event."""
        self._recent.append(event)
        self._now_ns = max(self._now_ns, event.decided_ns)
        if event.kind is NoteKind.PEDAL:
            self._pedal = event.velocity
            return
        last = next((bar for bar in reversed(self._roll) if bar.key == event.key), None)
        if last is not None and last.end_ns is None:
            last.end_ns = max(event.t_ns, last.start_ns)
            if event.retracts:
                self._roll.remove(last)
        if event.kind is NoteKind.ONSET:
            self._onsets += 1
            self._delays_ms.append((event.decided_ns - event.t_ns) / clock.MILLISECOND)
            self._roll.append(_Bar(event.key, event.velocity, event.t_ns))

    def show(self, state: KeyState | None, now_ns: int) -> None:
        """Set what is down (None: nothing) and the time at the roll's lower edge."""
        self._state = state
        self._now_ns = max(self._now_ns, now_ns)

    @property
    def moving(self) -> bool:
        """True while the picture changes by itself."""
        oldest = self._now_ns - 20 * ROW_NS
        return any(bar.end_ns is None or bar.end_ns > oldest for bar in self._roll)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Draw for the console's present size."""
        width, height = options.max_width, console.size.height
        if width < NARROWEST:
            yield self._head()
            yield self._lists(width)
            return
        picture = KeyboardPicture(min(width, 4 * NARROWEST))
        margin = (width - picture.cells) // 2
        yield Padding(self._head(), (0, width - picture.cells - margin, 0, margin))
        yield from self._picture(picture, margin, height)
        yield Padding(self._lists(picture.cells), (1, width - picture.cells - margin, 0, margin))

    def _down(self) -> dict[int, int]:
        if self._state is None:
            return {}
        return {key: int(self._state.velocity[key]) for key in range(KEYS) if self._state.pressed[key]}

    def _head(self) -> Table:
        table = Table.grid(expand=True)
        table.add_column()
        table.add_column(justify="right")
        seconds = clock.seconds(self._now_ns - self._origin_ns)
        left = Text.assemble(
            (self._title, "bold"), (f"  {int(seconds) // 60}:{seconds % 60:04.1f}", "cyan"), no_wrap=True
        )
        lamp = ("● pedal", "bold yellow") if self._pedal >= 64 else ("○ pedal", "dim")
        right = Text.assemble(lamp, ("   ", ""), (f"{self._onsets} notes", ""), no_wrap=True)
        if self._delays_ms:
            right.append("   decided after ")
            right.append(f"{statistics.median(self._delays_ms):.0f} ms", "bold green")
        table.add_row(left, right)
        return table

    def _picture(self, picture: KeyboardPicture, margin: int, height: int) -> RenderResult:
        far = 1 if height < 20 else 2 + (picture.unit >= 6)
        near = 1 + (picture.unit >= 7)
        lanes = max(2, min(20, height - _OTHER_LINES - far - near))
        rows = [picture.lane(lit, AIR) for lit in self._lanes(lanes)]
        lit = {key: velocity_colour(velocity) for key, velocity in self._down().items()}
        rows += [picture.keys(lit, far=True)] * far + [picture.keys(lit, far=False)] * near
        for row in rows:
            yield Segment(" " * margin)
            yield from row_segments(row)
            yield Segment.line()
        yield Text(" " * margin + picture.octave_names(), "dim", no_wrap=True)

    def _lanes(self, count: int) -> list[dict[int, Colour]]:
        """Return what is lit in each row of the roll, oldest (top) first."""
        newest = self._now_ns // ROW_NS
        lanes = []
        for age in reversed(range(count)):
            start, end = (newest - age) * ROW_NS, (newest - age + 1) * ROW_NS
            fade = 0.85 * age / count
            lanes.append(
                {
                    bar.key: mix(velocity_colour(bar.velocity), AIR, fade)
                    for bar in self._roll
                    if bar.start_ns < end and (bar.end_ns is None or bar.end_ns > start)
                }
            )
        return lanes

    def _lists(self, width: int) -> Table:
        columns = max(1, min(3, (width - 50) // (BAR + 12)))
        table = Table.grid(expand=True)
        for _ in range(columns):
            table.add_column(width=BAR + 12)
        table.add_column(justify="right", ratio=1)
        down = [self._bar(key, velocity) for key, velocity in self._down().items()]
        if len(down) > columns * LINES:
            hidden = len(down) - columns * LINES + 1
            down[columns * LINES - 1 :] = [Text(f"and {hidden} more", "dim")]
        down += [Text()] * (columns * LINES - len(down))
        recent = [self._line(event) for event in reversed(self._recent)]
        recent += [Text()] * (LINES - len(recent))
        for line in range(LINES):
            table.add_row(*down[line::LINES], recent[line])
        return table

    def _bar(self, key: int, velocity: int) -> Text:
        r, g, b = velocity_colour(velocity)
        filled = max(1, round(BAR * velocity / 127))
        return Text.assemble(
            (f"{key_name(key):<4}", "bold"),
            ("━" * filled, f"rgb({r},{g},{b})"), ("─" * (BAR - filled), "bright_black"), f" {velocity:3d}",
        )  # fmt: skip

    def _line(self, event: NoteEvent) -> Text:
        seconds = clock.seconds(event.t_ns - self._origin_ns)
        delay = (event.decided_ns - event.t_ns) / clock.MILLISECOND
        kind, style = str(event.kind), "bold" if event.kind is NoteKind.ONSET else "dim"
        if event.retracts:
            kind, style = "taken back", "red"
        return Text.assemble(
            (f"{seconds:9.3f} s  ", "cyan"), (f"{kind:<11}", style), (f"{event_name(event):<6}", style),
            (f"{event.velocity:3d} {delay:+6.0f} ms", "dim"), no_wrap=True,
        )  # fmt: skip
