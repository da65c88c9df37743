"""The time of every sample of a sound card, from noisy observations of its position."""

from typing import Final

from ivories.clock import SECOND

BANDWIDTH_HZ: Final = 0.5
FARTHEST_NS: Final = 30_000_000
"""An observation farther off than this starts the clock anew instead of pulling it."""
FASTEST: Final = 1e-3
"""No sound card's crystal is farther from its nominal rate than this."""


class SampleClock:
    """A second-order delay-locked loop (F. Adriaensen, "Using a DLL to filter time", 2005).

    It irons out the scheduling noise in the observations and learns the card's true rate.

    Args:
        rate: nominal, Hertz.
    """

    def __init__(self, rate: int) -> None:
        self._nominal = SECOND / rate
        self._period = self._nominal
        self._sample = 0
        self._t_ns = 0.0
        self.running = False
        """False before the first observation"""

    def observe(self, sample: int, t_ns: int) -> None:
        """Take in that the card stood at ``sample`` at ``t_ns``; samples must not go back."""
        steps = sample - self._sample
        error = t_ns - (self._t_ns + steps * self._period)
        if not self.running or abs(error) > FARTHEST_NS:
            self.running = True
            self._period = self._nominal
            self._sample, self._t_ns = sample, float(t_ns)
            return
        if steps <= 0:
            return
        # Long after the last observation the loop takes over what it is told, but does not overshoot.
        omega = min(0.5, 2 * 3.141592653589793 * BANDWIDTH_HZ * steps * self._nominal / SECOND)
        self._t_ns += steps * self._period + 2**0.5 * omega * error
        self._period += omega * omega * error / steps
        slack = FASTEST * self._nominal
        self._period = min(max(self._period, self._nominal - slack), self._nominal + slack)
        self._sample = sample

    def time_of(self, sample: int) -> int:
        """Return the estimated time of ``sample`` in nanoseconds."""
        return round(self._t_ns + (sample - self._sample) * self._period)
