"""What may be asked of a running instrument from outside: any thread asks, its own thread does it."""

import math
import threading
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final, Literal, get_args

CommandName = Literal["policy", "dynamics", "panic", "take"]
WAITING: Final = 16
"""Requests that may wait; the instrument looks for them at least every 0.1 s"""


@dataclass(frozen=True, slots=True)
class Request:
    """One thing to do."""

    name: CommandName
    value: str
    """Of ``policy``, ``dynamics``: what to decide by now; of ``take``: minutes, empty or PRESS for all"""
    done: Callable[[str], None]
    """Called in the thread that did it with an empty text, or with why it was refused; must be quick"""


@dataclass(frozen=True, slots=True)
class SavedTake:
    """A take that lies on the disk."""

    name: str
    """Of its folder, and of its files without their ending"""
    length_s: float
    notes: int
    files: tuple[str, ...]
    nbytes: int
    unix_s: float
    """Wall clock at its end"""


def minutes_of(value: str) -> float:
    """Return how many minutes the ``value`` of a request for a take asks for; infinity for all.

    Raises:
        ValueError: it is no number above 0.
    """
    if value.lower() in {"", "press"}:
        return math.inf
    minutes = float(value)
    if not 0 < minutes < math.inf:
        raise ValueError(f"{value} is no number of minutes")
    return minutes


@dataclass
class Controls:
    """The instrument's side panel: gauges to read, and a bounded box of requests."""

    policy: str = ""
    """Decided by at present; empty where there is nothing to choose"""
    policies: tuple[str, ...] = ()
    """What ``policy`` may be set to"""
    health: Callable[[], Mapping[str, float]] = dict
    """Returns how much each sensor counts, 0..1, by name"""
    lost: Callable[[], Mapping[str, int]] = dict
    """Returns how many items were lost under load since the start, by name"""
    save: Callable[[Request], bool] | None = None
    """Takes the requests to save a take, as ``ask`` does; None where nothing is recorded"""
    saved: SavedTake | None = None
    """The newest one saved since the start"""
    dynamics: str = ""
    """Decided by at present; empty where there is nothing to choose"""
    all_dynamics: tuple[str, ...] = ()
    """What ``dynamics`` may be set to: nothing where there is one sense only"""
    listeners: list[Callable[[], None]] = field(default_factory=list, repr=False)
    """Called when ``saved`` has changed, in the recorder's thread"""
    _waiting: deque[Request] = field(default_factory=deque, repr=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    @property
    def commands(self) -> tuple[CommandName, ...]:
        """What may be asked for here."""
        absent = {"dynamics": not self.all_dynamics, "take": self.save is None}
        return tuple(name for name in get_args(CommandName) if not absent.get(name))

    def tell_saved(self, saved: SavedTake) -> None:
        """``saved`` is the newest take from now on."""
        self.saved = saved
        for listener in self.listeners:
            listener()

    def ask(self, request: Request) -> bool:
        """Put ``request`` in the box; return False when it is full and nothing will be done."""
        if request.name == "take" and self.save is not None:
            return self.save(request)
        with self._lock:
            if len(self._waiting) >= WAITING:
                return False
            self._waiting.append(request)
            return True

    def due(self) -> list[Request]:
        """Take out and return all that waits, oldest first; for the instrument's thread."""
        if not self._waiting:
            return []
        with self._lock:
            requests = list(self._waiting)
            self._waiting.clear()
            return requests
