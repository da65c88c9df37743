"""What may be asked of a running instrument from outside: any thread asks, its own thread does it."""

import threading
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final, Literal

CommandName = Literal["policy", "panic"]
WAITING: Final = 16
"""Requests that may wait; the instrument looks for them at least every 0.1 s"""


@dataclass(frozen=True, slots=True)
class Request:
    """One thing to do."""

    name: CommandName
    value: str
    """Of ``policy``: the policy to decide by from now on"""
    done: Callable[[str], None]
    """Called in the instrument's thread with an empty text, or with why it was refused; must be quick"""


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
    _waiting: deque[Request] = field(default_factory=deque, repr=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def ask(self, request: Request) -> bool:
        """Put ``request`` in the box; return False when it is full and nothing will be done."""
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
