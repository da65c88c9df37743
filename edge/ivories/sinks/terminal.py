"""Notes on the terminal: a live keyboard where there is one, else a line per event."""

import contextlib
import threading
import time
from collections import deque
from typing import Final

from rich.console import Console
from rich.live import Live

from ivories import clock
from ivories.datatypes import KeyState, NoteEvent, NoteKind
from ivories.errors import SinkError
from ivories.sinks.held import HeldNotes
from ivories.sinks.keyboard_picture import NARROWEST
from ivories.sinks.live_view import LiveView
from ivories.sinks.records import event_name

REFRESH_S: Final = 1 / 15
WAITING: Final = 4096
"""Events that may wait for a terminal that takes no text; older ones are not shown"""
LEAVE_S: Final = 2.0
"""How long ``close`` waits for the terminal"""


class TerminalSink:
    """Shows the music. A thread of its own draws, at most 15 times a second: no terminal delays the music.

    The live view needs a terminal of 78 columns with colours; otherwise, as in a pipe, each event is a line
    such as ``onset A4 vel 64 at 1.234 s (+38 ms)``, the last figure being the time it took to decide.
    """

    name = "terminal"

    def __init__(
        self,
        *,
        title: str = "Ivories",
        origin_ns: int = 0,
        plain: bool | None = None,
        console: Console | None = None,
    ) -> None:
        """Start showing; times count from ``origin_ns``.

        Args:
            title: text above the keyboard.
            origin_ns: sensor time called 0.
            plain: True for lines, False for the live view, None to choose by the console.
            console: where to draw; by default standard output.
        """
        self.console = console or Console(highlight=False)
        self.plain = not _can_draw(self.console) if plain is None else plain
        self._origin_ns = origin_ns
        self._events: deque[NoteEvent] = deque(maxlen=WAITING)
        self._latest: tuple[KeyState | None, int, float] = (None, origin_ns, time.monotonic())
        self._held = HeldNotes()
        self._sent = 0
        self._shown = 0
        self._news = threading.Event()
        self._closed = False
        self._view = LiveView(title=title, origin_ns=origin_ns)
        self._thread = threading.Thread(target=self._show, name="terminal", daemon=True)
        self._thread.start()

    def __repr__(self) -> str:
        """Show the form, the state and the counters."""
        return (
            f"<TerminalSink {'lines' if self.plain else 'live'} {'closed' if self._closed else 'open'}, "
            f"{self._sent} sent, {self._shown} shown>"
        )

    def send(self, event: NoteEvent, state: KeyState) -> None:
        """Hand ``event`` to the drawing thread; raises ``SinkError`` after ``close``."""
        if self._closed:
            raise SinkError("the terminal view is closed")
        self._held.apply(event)
        self._hand_over(event, state)

    def release_all(self) -> None:
        """Show every key up."""
        for event in self._held.release():
            self._hand_over(event, None)

    def close(self) -> None:
        """Release all, draw for the last time, give the terminal back."""
        if not self._closed:
            self.release_all()
            self._closed = True
            self._news.set()
            self._thread.join(LEAVE_S)

    def _hand_over(self, event: NoteEvent, state: KeyState | None) -> None:
        self._events.append(event)
        self._sent += 1
        self._latest = (state, event.decided_ns, time.monotonic())
        self._news.set()

    def _show(self) -> None:
        if self.plain:
            self._show_lines()
        else:
            # A terminal that goes away (closed window) must not take the music with it.
            with (
                contextlib.suppress(OSError),
                Live(self._view, console=self.console, auto_refresh=False) as live,
            ):
                self._show_live(live)

    def _show_lines(self) -> None:
        while not self._closed or self._events:
            self._news.wait()
            self._news.clear()
            events = self._waiting()
            lines = "\n".join(event_line(event, self._origin_ns) for event in events)
            with contextlib.suppress(OSError):
                self.console.print(lines, soft_wrap=True, markup=False) if lines else None
                self._left(events)

    def _show_live(self, live: Live) -> None:
        while True:
            last = self._closed
            self._news.clear()
            events = self._waiting()
            for event in events:
                self._view.take(event)
            state, decided_ns, arrived = self._latest
            # Between events the roll goes on with the wall clock, as the sensors do.
            ahead_ns = 0 if last else clock.nanoseconds(time.monotonic() - arrived)
            self._view.show(None if last else state, decided_ns + ahead_ns)
            live.refresh()
            self._left(events)
            if last:
                return
            time.sleep(REFRESH_S)
            if not self._view.moving:
                self._news.wait()

    def _waiting(self) -> list[NoteEvent]:
        events = []
        while self._events:
            events.append(self._events.popleft())
            self._shown += 1
        return events

    def _left(self, events: list[NoteEvent]) -> None:
        for event in events:
            event.left_ns[self.name] = clock.now_ns()


def event_line(event: NoteEvent, origin_ns: int) -> str:
    """Return the one-line form of ``event``."""
    at_s = clock.seconds(event.t_ns - origin_ns)
    delay_ms = (event.decided_ns - event.t_ns) / clock.MILLISECOND
    what = f"{event.kind} {event_name(event)} vel {event.velocity}"
    if event.kind is NoteKind.PEDAL:
        what = f"pedal {event.velocity}"
    elif event.retracts:
        what = f"taken back {event_name(event)}"
    return f"{what} at {at_s:.3f} s ({delay_ms:+.0f} ms)"


def _can_draw(console: Console) -> bool:
    return (
        console.is_terminal
        and not console.is_dumb_terminal
        and console.color_system is not None
        and console.encoding.startswith("utf")
        and console.width >= NARROWEST
    )
