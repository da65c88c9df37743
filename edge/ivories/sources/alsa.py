"""Sound from a microphone through ALSA, with the time of every sample.

A capture stream can fail in three ways, and each ends in a gap of the right length instead of silence: an
overrun (the reader was late), a stream that stands still without any error (seen after some recoveries), and
a device that is unplugged and comes back.
"""

import ctypes
import logging
import select
import threading
from collections.abc import Iterator
from functools import cache
from typing import Any, Final

import alsaaudio
import numpy as np

from ivories.clock import SECOND, now_ns, seconds
from ivories.datatypes import AudioBlock, Float32, read_only
from ivories.errors import SourceError
from ivories.sources.sample_clock import SampleClock

if not hasattr(alsaaudio, "PCM_FORMAT_S24_3LE"):
    raise ImportError("pyalsaaudio is older than 0.11", name="alsaaudio")

log = logging.getLogger(__name__)

RATE: Final = 16_000
BUFFER_S: Final = 0.25
"""How late a reader may be before sound is lost; it adds no latency."""
STALL_S: Final = 0.5
"""A stream that gives nothing for this long is opened again."""
RETRY_S: Final = 0.25
WAIT_MS: Final = 100
"""How long one wait lasts: ``close`` takes effect within it."""
HOLE_S: Final = 0.02
"""A jump of the card's time that is a loss and not noise; below what starts the SampleClock anew."""
OVERRUN: Final = -32  # -EPIPE
OVERRUNS_IN_A_ROW: Final = 3

_PCM_FORMATS: Final = {
    "S16_LE": alsaaudio.PCM_FORMAT_S16_LE,
    "S24_LE": alsaaudio.PCM_FORMAT_S24_LE,
    "S24_3LE": alsaaudio.PCM_FORMAT_S24_3LE,
    "S32_LE": alsaaudio.PCM_FORMAT_S32_LE,
    "FLOAT_LE": alsaaudio.PCM_FORMAT_FLOAT_LE,
}


class AlsaSource:
    """Mono blocks of one period from an ALSA capture device; several channels are averaged.

    Args:
        device: ALSA's name, such as ``default``, ``hw:1`` or ``plughw:CARD=Mic``.
        period_ms: length of a block.
        rate: Hertz wanted; the nearest that the device offers is taken (see ``self.rate``).

    Raises:
        SourceError: the device is not there, is busy, or has no format that is understood.
    """

    def __init__(self, device: str = "default", period_ms: float = 5.0, rate: int = RATE) -> None:
        self._device = device
        self._period_ms = period_ms
        self._stop = threading.Event()
        self._iterated = False
        self.attempts = 0
        """How often it tried to get a lost device back"""
        self.rate = rate
        self._pcm: Any = None
        self._poll = select.poll()
        self._format = ""
        self._channels = 1
        self._started = False
        self._period = 1
        self._unread = 0
        """Samples that were waiting after the last read"""
        self._heard_ns = 0
        self._overruns = 0
        self._lost = False
        _quieten()
        try:
            self._open()
        except alsaaudio.ALSAAudioError as error:
            raise SourceError(
                f"microphone {device!r} cannot be opened: {error}; `ivories devices` lists what there is"
            ) from error
        self._clock = SampleClock(self.rate)
        self._next = 0
        self.gaps = 0
        """How often sound was lost"""

    def __repr__(self) -> str:
        """Name it for the log."""
        return f"ALSA {self._device}, {self.rate} Hz"

    def __iter__(self) -> Iterator[AudioBlock]:
        """Yield blocks until ``close``. A lost device is waited for, as long as it takes."""
        self._iterated = True
        try:
            while not self._stop.is_set():
                if self._pcm is None and not self._reopen():
                    self._stop.wait(RETRY_S)
                    continue
                try:
                    block = self._read()
                except (alsaaudio.ALSAAudioError, OSError) as error:
                    self._lose(str(error))
                    continue
                if block is not None:
                    yield block
                elif now_ns() - self._heard_ns > STALL_S * SECOND:
                    self._lose(f"it gave nothing for {STALL_S:g} s")
        finally:
            self._close_device()

    def close(self) -> None:
        """Stop and free the device; calling again does nothing."""
        self._stop.set()
        if not self._iterated:  # else the thread that reads frees it
            self._close_device()

    def _open(self) -> None:
        pcm = alsaaudio.PCM(
            alsaaudio.PCM_CAPTURE,
            alsaaudio.PCM_NONBLOCK,
            device=self._device,
            rate=self.rate,
            channels=1,
            # The widest format: a card that has only 16 bits answers with its own.
            format=alsaaudio.PCM_FORMAT_S32_LE,
            periodsize=max(1, round(self.rate * self._period_ms / 1000)),
            periods=max(4, round(BUFFER_S * 1000 / self._period_ms)),
        )
        info = pcm.info()
        names = {number: name for name, number in _PCM_FORMATS.items()}
        if info["format"] not in names:
            pcm.close()
            raise SourceError(
                f"microphone {self._device!r} speaks {info['format_name']}, which is not understood: "
                f"try plug{self._device}"
            )
        try:
            pcm.set_tstamp_mode(alsaaudio.PCM_TSTAMP_ENABLE)
            pcm.set_tstamp_type(alsaaudio.PCM_TSTAMP_TYPE_MONOTONIC)
        except (RuntimeError, alsaaudio.ALSAAudioError):
            log.debug("microphone %r stamps no time of its own", self._device)
        self._format = names[info["format"]]
        self._channels = info["channels"]
        self.rate = info["rate"]
        self._pcm = pcm
        self._poll = select.poll()
        for descriptor, events in pcm.polldescriptors():
            self._poll.register(descriptor, events)
        self._period = info["period_size"]
        self._unread = 0
        self._started = False
        self._overruns = 0
        self._heard_ns = now_ns()
        log.info(
            "microphone %r: %d Hz, %s, %d channel(s), %d samples a period",
            self._device, self.rate, self._format, self._channels, info["period_size"],
        )  # fmt: skip

    def _reopen(self) -> bool:
        self.attempts += 1
        rate = self.rate
        try:
            self._open()
        except (alsaaudio.ALSAAudioError, SourceError):
            return False
        if self.rate != rate:
            found, self.rate = self.rate, rate
            self._close_device()
            raise SourceError(f"microphone {self._device!r} came back with {found} Hz instead of {rate} Hz")
        return True

    def _lose(self, reason: str) -> None:
        self._close_device()
        if self._lost:  # it opened, but gave no sound: do not hammer on it
            self._stop.wait(RETRY_S)
            return
        self._lost = True
        log.warning("microphone %r is lost: %s; trying again until it is back", self._device, reason)

    def _close_device(self) -> None:
        if self._pcm is not None:
            self._pcm.close()
            self._pcm = None

    def _read(self) -> AudioBlock | None:
        """Wait for one period; return None when there was none."""
        # The first read starts the stream; before that there is nothing to wait for.
        if self._started and self._unread < self._period and not self._wait():
            return None
        self._unread = 0
        length, data = self._pcm.read()
        self._started = length != OVERRUN
        if length == OVERRUN:
            self._overruns += 1
            if self._overruns > OVERRUNS_IN_A_ROW:  # what some plugins say of a device that is gone
                raise OSError("nothing but overruns")
            self._heard_ns = now_ns()
            return None
        if length <= 0:
            return None
        if self._lost:
            self._lost = False
            log.info("microphone %r is back", self._device)
        self._overruns = 0
        self._heard_ns = now_ns()
        samples = to_mono(data, self._format, self._channels)
        return self._stamped(samples)

    def _wait(self) -> bool:
        ready = self._poll.poll(WAIT_MS)
        # Plugins do their work in this call: without it their descriptor stays ready for ever.
        events = self._pcm.polldescriptors_revents(ready) if ready else 0
        if ready and not events:
            self._stop.wait(0.001)
        return bool(events)

    def _stamped(self, samples: Float32) -> AudioBlock:
        stamp_ns, unread = self._position()
        self._unread = unread
        behind = len(samples) + unread  # samples between the first of this block and the stamp
        gap = 0
        if self._clock.running:
            late_ns = stamp_ns - self._clock.time_of(self._next + behind)
            if late_ns > HOLE_S * SECOND:
                gap = round(late_ns * self.rate / SECOND)
                self.gaps += 1
                log.warning("microphone %r: %.3f s of sound are missing", self._device, seconds(late_ns))
        first = self._next + gap
        self._next = first + len(samples)
        self._clock.observe(first + behind, stamp_ns)
        return AudioBlock(read_only(samples), self.rate, first, self._clock.time_of(first), gap)

    def _position(self) -> tuple[int, int]:
        """Return a monotonic time and how many samples were unread at it."""
        whole, fraction, unread = self._pcm.htimestamp()
        stamp_ns = whole * SECOND + fraction
        now = now_ns()
        if 0 <= now - stamp_ns < SECOND:
            return stamp_ns, int(unread)
        return now, max(0, int(self._pcm.avail()))


def to_mono(data: bytes, layout: str, channels: int) -> Float32:
    """Return interleaved little-endian samples as the average of their channels, (n,) float32 in -1..1."""
    if layout == "S24_3LE":
        packed = np.frombuffer(data, np.uint8).reshape(-1, 3)
        wide = np.zeros((len(packed), 4), np.uint8)
        wide[:, 1:] = packed
        values = wide.reshape(-1).view("<i4").astype(np.float32) * np.float32(2**-31)
    elif layout == "S24_LE":  # the top byte is undefined
        values = (np.frombuffer(data, "<u4") << 8).view("<i4").astype(np.float32) * np.float32(2**-31)
    elif layout == "S32_LE":
        values = np.frombuffer(data, "<i4").astype(np.float32) * np.float32(2**-31)
    elif layout == "S16_LE":
        values = np.frombuffer(data, "<i2").astype(np.float32) * np.float32(2**-15)
    else:
        values = np.clip(np.nan_to_num(np.frombuffer(data, "<f4")), -1, 1).astype(np.float32)
    mono: Float32 = values.reshape(-1, channels).mean(axis=1, dtype=np.float32)
    return mono


_ErrorHandler = ctypes.CFUNCTYPE(
    None, ctypes.c_char_p, ctypes.c_int, ctypes.c_char_p, ctypes.c_int, ctypes.c_char_p
)


_SAY_NOTHING: Final = _ErrorHandler(lambda *_: None)
"""Stands in for alsa-lib's habit of printing each failed attempt on the terminal"""


@cache
def _quieten() -> None:
    try:
        ctypes.CDLL("libasound.so.2").snd_lib_error_set_handler(_SAY_NOTHING)
    except (OSError, AttributeError):
        log.debug("alsa-lib keeps printing its own messages")


def microphones() -> list[str]:
    """Return the names of ALSA's capture devices, for ``ivories devices``; ``null`` hears nothing."""
    return [str(name) for name in alsaaudio.pcms(alsaaudio.PCM_CAPTURE) if name != "null"]
