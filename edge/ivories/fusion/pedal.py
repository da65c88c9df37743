"""The sustain pedal, as one sensor hears it: down or up, without flutter."""

from typing import Final

import numpy as np

from ivories.datatypes import NoteEvent, NoteKind

_DOWN, _UP = 1.0, -1.0  # log-odds, apart so that doubt does not make the pedal flutter
_KEY: Final = -1


class Pedal:
    """Where the pedal is by now."""

    def __init__(self) -> None:
        self._down = False

    def push(self, log_odds: float, t_ns: int) -> list[NoteEvent]:
        """Take the log-odds of its being down at ``t_ns``; return the event of a move."""
        down = log_odds > (_UP if self._down else _DOWN)
        if down == self._down:
            return []
        self._down = down
        confidence = float(1 / (1 + np.exp(-abs(log_odds))))
        return [NoteEvent(NoteKind.PEDAL, _KEY, 127 * down, t_ns, t_ns, confidence)]

    def lift(self, t_ns: int) -> list[NoteEvent]:
        """Let go of it, as at the end of a take."""
        events = [NoteEvent(NoteKind.PEDAL, _KEY, 0, t_ns, t_ns, 1.0)] if self._down else []
        self._down = False
        return events
