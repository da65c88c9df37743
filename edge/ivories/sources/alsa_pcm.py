"""An ALSA capture device, straight to libasound, which is there wherever sound is.

The library for it, ``pyalsaaudio``, comes compiled from distributions only, and Debian 12 and Raspberry Pi
OS of that age have a version without time stamps and without what plugins need of their poller.
"""

import ctypes
import errno
import os
from collections.abc import Sequence
from functools import cache
from typing import Any, Final

# Numbers of <alsa/pcm.h>
_CAPTURE: Final = 1
_NONBLOCK: Final = 1
_INTERLEAVED: Final = 3
_TIME_STAMPS: Final = 1
_MONOTONIC: Final = 1
FORMATS: Final = {"S32_LE": 10, "S24_LE": 6, "S24_3LE": 32, "FLOAT_LE": 14, "S16_LE": 2}
"""Layouts of samples that can be asked for, the widest first, little-endian"""
_WIDTHS: Final = {"S32_LE": 4, "S24_LE": 4, "S24_3LE": 3, "FLOAT_LE": 4, "S16_LE": 2}  # bytes
OVERRUN: Final = -errno.EPIPE


class AlsaError(OSError):
    """libasound refused; the message names what and why."""


class _Poll(ctypes.Structure):
    _fields_ = (("fd", ctypes.c_int), ("events", ctypes.c_short), ("revents", ctypes.c_short))


class _Time(ctypes.Structure):
    _fields_ = (("seconds", ctypes.c_long), ("nanoseconds", ctypes.c_long))


class CapturePcm:
    """A capture device that never blocks; samples are interleaved.

    Args:
        device: ALSA's name, such as ``default`` or ``hw:1``.
        rate: Hertz wanted.
        period: samples wanted per period.
        periods: how many of them the buffer shall hold.

    Raises:
        AlsaError: the device is not there or busy.
        ImportError: libasound is not installed.
    """

    def __init__(self, device: str, *, rate: int, period: int, periods: int) -> None:
        self._library = library()
        self._library.snd_lib_error_set_handler(_say_nothing)  # what is raised says it all
        self._pcm = ctypes.c_void_p()
        self._check(self._library.snd_pcm_open(ctypes.byref(self._pcm), device.encode(), _CAPTURE, _NONBLOCK))
        try:
            self._configure(rate, period, periods)
        except AlsaError:
            self.close()
            raise
        self._buffer = ctypes.create_string_buffer(self.period * self.channels * _WIDTHS[self.format])

    def _configure(self, rate: int, period: int, periods: int) -> None:
        alsa, pcm = self._library, self._pcm
        params = ctypes.create_string_buffer(alsa.snd_pcm_hw_params_sizeof())
        self._check(alsa.snd_pcm_hw_params_any(pcm, params))
        self._check(alsa.snd_pcm_hw_params_set_access(pcm, params, _INTERLEAVED))
        offered = [n for n, v in FORMATS.items() if alsa.snd_pcm_hw_params_test_format(pcm, params, v) == 0]
        if not offered:
            raise AlsaError(errno.EINVAL, f"it offers none of {', '.join(FORMATS)}: try plug")
        self.format = offered[0]
        """A key of ``FORMATS``"""
        self._check(alsa.snd_pcm_hw_params_set_format(pcm, params, FORMATS[self.format]))
        self.channels = self._near(params, "channels", ctypes.c_uint(1))
        self.rate = self._near(params, "rate", ctypes.c_uint(rate), None)
        """Hertz, the nearest that it offers"""
        self.period = self._near(params, "period_size", ctypes.c_ulong(period), None)
        """Samples"""
        self._near(params, "buffer_size", ctypes.c_ulong(self.period * periods))
        self._check(alsa.snd_pcm_hw_params(pcm, params))
        params = ctypes.create_string_buffer(alsa.snd_pcm_sw_params_sizeof())
        self._check(alsa.snd_pcm_sw_params_current(pcm, params))
        self._check(alsa.snd_pcm_sw_params_set_avail_min(pcm, params, self.period))
        # What cannot stamp times of its own is asked for the number of unread samples instead.
        alsa.snd_pcm_sw_params_set_tstamp_mode(pcm, params, _TIME_STAMPS)
        alsa.snd_pcm_sw_params_set_tstamp_type(pcm, params, _MONOTONIC)
        self._check(alsa.snd_pcm_sw_params(pcm, params))

    def close(self) -> None:
        """Free the device; calling again does nothing."""
        if self._pcm:
            self._library.snd_pcm_close(self._pcm)
            self._pcm = ctypes.c_void_p()

    def read(self) -> tuple[int, bytes]:
        """Return number and bytes of the samples that wait, at most a period; the first call starts it.

        The number is 0 when none wait, and ``OVERRUN`` after samples were lost: the next call starts it
        again. Raises AlsaError for any other failure.
        """
        got = self._library.snd_pcm_readi(self._pcm, self._buffer, self.period)
        if got == -errno.EAGAIN:
            return 0, b""
        if got in {OVERRUN, -errno.ESTRPIPE}:
            self._check(self._library.snd_pcm_recover(self._pcm, got, 1))
            return OVERRUN, b""
        count = self._check(got)
        return count, ctypes.string_at(self._buffer, count * self.channels * _WIDTHS[self.format])

    def descriptors(self) -> list[tuple[int, int]]:
        """Return what to poll: descriptors and events."""
        polled = self._poll_array()
        return [(entry.fd, entry.events) for entry in polled]

    def events(self, ready: Sequence[tuple[int, int]]) -> int:
        """Return what ``ready``, the result of a poll, means for the device: POLLIN, POLLERR or nothing."""
        polled, happened = self._poll_array(), dict(ready)
        for entry in polled:
            entry.revents = happened.get(entry.fd, 0)
        told = ctypes.c_ushort()
        self._check(
            self._library.snd_pcm_poll_descriptors_revents(self._pcm, polled, len(polled), ctypes.byref(told))
        )
        return told.value

    def stamp(self) -> tuple[int, int]:
        """Return a CLOCK_MONOTONIC time, ns, and how many samples were unread then; 0, 0 if unknown."""
        unread, at = ctypes.c_ulong(), _Time()
        if self._library.snd_pcm_htimestamp(self._pcm, ctypes.byref(unread), ctypes.byref(at)) < 0:
            return 0, 0
        return at.seconds * 1_000_000_000 + at.nanoseconds, unread.value

    def unread(self) -> int:
        """Return how many samples wait now; not below 0."""
        return max(0, int(self._library.snd_pcm_avail(self._pcm)))

    def _poll_array(self) -> "ctypes.Array[_Poll]":
        count = self._check(self._library.snd_pcm_poll_descriptors_count(self._pcm))
        polled = (_Poll * count)()
        self._check(self._library.snd_pcm_poll_descriptors(self._pcm, polled, count))
        return polled

    def _near(self, params: Any, what: str, wanted: Any, *rest: None) -> int:
        """Set a parameter to the nearest value that the device offers and return that."""
        name = f"snd_pcm_hw_params_set_{what}_near"
        self._check(getattr(self._library, name)(self._pcm, params, ctypes.byref(wanted), *rest))
        return int(wanted.value)

    def _check(self, status: int) -> int:
        if status < 0:
            raise AlsaError(-status, os.strerror(-status))
        return status


_ErrorHandler = ctypes.CFUNCTYPE(None, ctypes.c_char_p, ctypes.c_int, ctypes.c_char_p, ctypes.c_int)
_say_nothing: Final = _ErrorHandler(lambda *_: None)


@cache
def library() -> Any:
    """Return libasound; raises ImportError where it is not installed."""
    try:
        alsa = ctypes.CDLL("libasound.so.2")
    except OSError as error:
        raise ImportError(f"{error}; install it with 'apt-get install libasound2'") from error
    pointer, number, size = ctypes.c_void_p, ctypes.c_int, ctypes.c_ulong
    for name, arguments in {
        "open": [pointer, ctypes.c_char_p, number, number],
        "close": [pointer],
        "hw_params_any": [pointer, pointer],
        "hw_params_set_access": [pointer, pointer, number],
        "hw_params_test_format": [pointer, pointer, number],
        "hw_params_set_format": [pointer, pointer, number],
        "hw_params_set_channels_near": [pointer, pointer, pointer],
        "hw_params_set_rate_near": [pointer, pointer, pointer, pointer],
        "hw_params_set_period_size_near": [pointer, pointer, pointer, pointer],
        "hw_params_set_buffer_size_near": [pointer, pointer, pointer],
        "hw_params": [pointer, pointer],
        "sw_params_current": [pointer, pointer],
        "sw_params_set_avail_min": [pointer, pointer, size],
        "sw_params_set_tstamp_mode": [pointer, pointer, number],
        "sw_params_set_tstamp_type": [pointer, pointer, number],
        "sw_params": [pointer, pointer],
        "readi": [pointer, pointer, size],
        "recover": [pointer, number, number],
        "poll_descriptors_count": [pointer],
        "poll_descriptors": [pointer, pointer, ctypes.c_uint],
        "poll_descriptors_revents": [pointer, pointer, ctypes.c_uint, pointer],
        "htimestamp": [pointer, pointer, pointer],
        "avail": [pointer],
    }.items():
        getattr(alsa, f"snd_pcm_{name}").argtypes = arguments
    for name in ("readi", "avail"):
        getattr(alsa, f"snd_pcm_{name}").restype = ctypes.c_long
    for name in ("hw_params_sizeof", "sw_params_sizeof"):
        getattr(alsa, f"snd_pcm_{name}").restype = ctypes.c_size_t
    alsa.snd_lib_error_set_handler.argtypes = [_ErrorHandler]
    return alsa


def capture_devices() -> list[str]:
    """Return the names of all capture devices; raises ImportError without libasound."""
    alsa = library()
    alsa.snd_device_name_hint.argtypes = [ctypes.c_int, ctypes.c_char_p, ctypes.c_void_p]
    alsa.snd_device_name_get_hint.argtypes = [ctypes.c_void_p, ctypes.c_char_p]
    alsa.snd_device_name_get_hint.restype = ctypes.c_void_p  # to be freed
    alsa.snd_device_name_free_hint.argtypes = [ctypes.POINTER(ctypes.c_void_p)]
    free = ctypes.CDLL(None).free
    free.argtypes = [ctypes.c_void_p]

    def hint(entry: int, what: bytes) -> str | None:
        told = alsa.snd_device_name_get_hint(entry, what)
        if not told:
            return None
        text = ctypes.string_at(told).decode(errors="replace")
        free(told)
        return text

    entries = ctypes.POINTER(ctypes.c_void_p)()
    if alsa.snd_device_name_hint(-1, b"pcm", ctypes.byref(entries)) < 0:
        return []
    names, place = [], 0
    while entries[place]:
        # No direction named means both.
        if hint(entries[place], b"IOID") in {None, "Input"}:
            names.append(hint(entries[place], b"NAME"))
        place += 1
    alsa.snd_device_name_free_hint(entries)
    return [name for name in names if name]
