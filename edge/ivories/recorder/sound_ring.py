"""The last minutes of sound in a fixed piece of memory, and when each of its samples was heard."""

from collections import deque
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from ivories.audio.resample import Resampler
from ivories.clock import MILLISECOND, SECOND
from ivories.datatypes import AudioBlock, Float32

RATE: Final = 16_000
"""Hertz; what the ears of the instrument go by"""
HOLE_NS: Final = 20 * MILLISECOND
"""A block that comes this much later than its samples tell follows a loss; less is noise in its time"""
BACK_NS: Final = SECOND
"""A block that comes this much earlier is on another clock: what was kept before does not go with it"""
_MARK_EVERY: Final = RATE // 4

Int16 = NDArray[np.int16]


@dataclass(frozen=True, slots=True)
class Sound:
    """A piece of sound and the way from the time of the sensors to its own."""

    samples: Int16
    """(n,) mono, at ``RATE``"""
    marks: NDArray[np.int64]
    """(m, 2): place of a sample, counted from sample 0, and when it was heard in nanoseconds; ascending"""

    @property
    def length_ns(self) -> int:
        """How long it plays."""
        return len(self.samples) * SECOND // RATE

    @property
    def start_ns(self) -> int:
        """When sample 0 was heard."""
        places, times = self.marks[:, 0], self.marks[:, 1]
        inside = min(max(0, int(places[0])), int(places[-1]))
        since_ns = float(np.interp(inside, places, times - times[0])) - inside * SECOND / RATE
        return int(times[0]) + round(since_ns)

    def moment(self, t_ns: int) -> int:
        """Return where in this sound, in nanoseconds from its start, ``t_ns`` of the sensors is.

        A sound card's crystal is up to 0.1 % off, 0.3 s in five minutes: what a player shows at a moment of
        the file must be what was heard with it.
        """
        return round(_place(self.marks, t_ns) * SECOND / RATE)


class SoundRing:
    """Keeps the newest ``seconds`` of what is pushed, two bytes a sample; not for several threads at once.

    Lost sound becomes silence of the same length.
    """

    def __init__(self, seconds: float) -> None:
        # Written now: zeros would be a promise of the kernel, and memory would grow for minutes.
        self._samples: Int16 = np.full(round(seconds * RATE), 0, np.int16)
        self._resampler: Resampler | None = None
        self._next_sample = 0  # of the source
        self._end_ns = 0  # when the sample after the newest will be heard
        self._forget()

    @property
    def nbytes(self) -> int:
        """Memory in use."""
        return self._samples.nbytes

    def push(self, block: AudioBlock) -> None:
        """Keep ``block``, of any rate; one that begins before the last one's end is of a new source."""
        if (
            self._resampler is None
            or block.rate != self._resampler.rate_in
            or block.first_sample < self._next_sample
        ):
            self._resampler = Resampler(block.rate, RATE)
        self._next_sample = block.first_sample + len(block.samples)
        for part in self._resampler.push(block):
            self._append(part)

    def cut(self, start_ns: int, end_ns: int) -> Sound | None:
        """Return what is kept of the sound between two times of the sensors; None when that is nothing."""
        if not self._marks:
            return None
        # The newest sample has no mark of its own yet.
        newest = [(self._total, self._end_ns)] if self._end_ns > self._marks[-1][1] else []
        marks = np.array([*self._marks, *newest], np.int64)
        oldest = max(0, self._total - len(self._samples))
        first = max(oldest, int(np.ceil(_place(marks, start_ns))))
        last = min(self._total, int(np.floor(_place(marks, end_ns))))
        if last <= first:
            return None
        at = first % len(self._samples)
        end = at + last - first
        samples = np.concatenate((self._samples[at:end], self._samples[: max(0, end - len(self._samples))]))
        return Sound(samples, marks - (first, 0))

    def _append(self, part: AudioBlock) -> None:
        lost = part.gap
        if self._total:
            late_ns = part.t_ns - self._end_ns
            if late_ns < -BACK_NS or late_ns > len(self._samples) * SECOND // RATE:
                self._forget()
                lost = 0
            elif not lost and late_ns > HOLE_NS:
                lost = round(late_ns * RATE / SECOND)
        if lost and self._total:
            self._write(np.zeros(min(lost, len(self._samples)), np.int16))
            self._marked = -_MARK_EVERY
        if self._total - self._marked >= _MARK_EVERY and (not self._marks or part.t_ns > self._marks[-1][1]):
            self._marked = self._total
            self._marks.append((self._total, part.t_ns))
        self._write(_sixteen_bits(part.samples))
        self._end_ns = part.t_ns + len(part.samples) * SECOND // RATE
        while len(self._marks) > 1 and self._marks[1][0] <= self._total - len(self._samples):
            self._marks.popleft()

    def _write(self, values: Int16) -> None:
        size = len(self._samples)
        values = values[-size:]
        at = self._total % size
        before_end = min(len(values), size - at)
        self._samples[at : at + before_end] = values[:before_end]
        self._samples[: len(values) - before_end] = values[before_end:]
        self._total += len(values)

    def _forget(self) -> None:
        self._total = 0  # samples written
        self._marked = -_MARK_EVERY
        self._marks: deque[tuple[int, int]] = deque()


def _sixteen_bits(samples: Float32) -> Int16:
    scaled: Int16 = np.rint(np.clip(samples, -1, 1) * np.float32(32767)).astype(np.int16)
    return scaled


def _place(marks: NDArray[np.int64], t_ns: int) -> float:
    """Return the place of the sample that was heard at ``t_ns``; beyond the marks it goes on as nominal."""
    places, times = marks[:, 0], marks[:, 1]
    origin = int(times[0])  # so that a float holds the rest exactly
    inside = min(max(t_ns, origin), int(times[-1]))
    place = float(np.interp(inside - origin, times - origin, places))
    return place + (t_ns - inside) * RATE / SECOND
