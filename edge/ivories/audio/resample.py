"""From the microphone's rate to the front end's, waiting no longer than the filter must.

A polyphase filter (Crochiere and Rabiner, "Multirate Digital Signal Processing", 1983) with a Kaiser window:
80 dB down, flat to 91 % of the lower Nyquist frequency. Libraries made for files work in large blocks: soxr
hands a 48 kHz stream over in lumps, up to 20 ms late at its lowest band-limited quality and 37 ms at its
default one. Here an output leaves 1.8 ms after its place in the input.
"""

import math
from functools import lru_cache
from typing import Final

import numpy as np

from ivories.clock import SECOND
from ivories.datatypes import AudioBlock, Float32, read_only
from ivories.errors import ConfigError
from ivories.native import resample

_ATTENUATION_DB: Final = 80.0
_TRANSITION: Final = 0.0875
"""Width of the transition band around the lower Nyquist frequency, as a part of the lower rate."""
_MOST_PHASES: Final = 4096


class Resampler:
    """Stage AudioBlock -> AudioBlock of ``rate_out``; hands blocks through untouched when the rates agree.

    Output sample m lies at input time m * rate_in / rate_out exactly, whatever the block sizes, and
    ``first_sample``, ``t_ns`` and ``gap`` say so. After a gap the filter starts from silence, and the outputs
    whose filter had not been filled before it are counted into the gap.
    """

    def __init__(self, rate_in: int, rate_out: int) -> None:
        if rate_in < 1 or rate_out < 1:
            raise ConfigError(f"cannot resample from {rate_in} Hz to {rate_out} Hz: rates must be above 0")
        self.rate_in = rate_in
        self.rate_out = rate_out
        common = math.gcd(rate_in, rate_out)
        self._up, self._down = rate_out // common, rate_in // common
        if self._up > _MOST_PHASES:
            raise ConfigError(
                f"cannot resample from {rate_in} Hz to {rate_out} Hz: "
                "set the device to a common rate such as 16000, 44100 or 48000 Hz"
            )
        self._filter = _filter(self._up, self._down)
        self._half = self._filter.shape[1] // 2
        self.reset()

    @property
    def delay_ns(self) -> int:
        """Half a filter; 0 when the rates agree."""
        return 0 if self._up == self._down else round(self._half * SECOND / self.rate_in)

    def reset(self) -> None:
        """Forget all samples."""
        self._history: Float32 | None = None
        self._due = 0  # index of the next output sample

    def push(self, block: AudioBlock, /) -> list[AudioBlock]:
        """Take a block and return the output that it completes: one block, or none.

        Raises:
            ValueError: the block's rate is not ``rate_in``.
        """
        if block.rate != self.rate_in:
            raise ValueError(
                f"the resampler was made for {self.rate_in} Hz and got a block at {block.rate} Hz"
            )
        if self._up == self._down:
            return [block]
        lost = 0
        if self._history is None or block.gap:
            # The first output at or after the first sample that was heard.
            due = -(-block.first_sample * self._up // self._down)
            if self._history is not None:
                lost = due - self._due
            elif block.gap:
                lost = due - -(-(block.first_sample - block.gap) * self._up // self._down)
            self._due = due
            self._lost = lost
            self._history = np.zeros(self._half - 1, np.float32)
            self._start = block.first_sample - (self._half - 1)  # input index of history[0]
        x = np.concatenate([self._history, block.samples])
        # Output m needs input up to floor(m down / up) + half.
        end = self._start + len(x) - self._half
        stop = max(self._due, -(-end * self._up // self._down))
        out = np.empty(stop - self._due, np.float32)
        # Input index of the first tap of output m is floor(m down / up) - half + 1.
        offset = self._due * self._down - (self._start + self._half - 1) * self._up
        resample(x, self._filter, self._up, self._down, offset, out)
        first, self._due = self._due, stop
        place = stop * self._down // self._up - self._half + 1
        keep = min(len(x), place - self._start)
        self._history = x[keep:]
        self._start += keep
        if not len(out):
            return []
        after = first * self._down - block.first_sample * self._up  # in 1 / (up rate_in) seconds
        t_ns = block.t_ns + round(after * SECOND / (self._up * self.rate_in))
        gap, self._lost = self._lost, 0
        return [AudioBlock(read_only(out), self.rate_out, first, t_ns, gap)]


@lru_cache(maxsize=8)
def _filter(up: int, down: int) -> Float32:
    """Return (up, taps): row p weighs the inputs around an output that lies p / up after an input sample."""
    lower = min(1.0, up / down)  # the lower of the two rates, in input rates
    taps = (_ATTENUATION_DB - 7.95) / (14.36 * _TRANSITION * lower)
    half = 2 * math.ceil(taps / 4)
    away = np.arange(2 * half) - (half - 1) - np.arange(up)[:, np.newaxis] / up
    beta = 0.1102 * (_ATTENUATION_DB - 8.7)
    window = np.i0(beta * np.sqrt(np.maximum(0.0, 1 - (away / half) ** 2)))
    rows = np.sinc(lower * away) * window
    rows /= rows.sum(axis=1, keepdims=True)
    return read_only(np.ascontiguousarray(rows, np.float32))
