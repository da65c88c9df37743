"""Pictures from a USB camera through Video4Linux, stamped by the kernel.

FFmpeg's device reader hands out the camera's own format, so that luma is taken without any colour conversion.
It is read without blocking: a camera that stands still can then be given up, and ``close`` is obeyed.
"""

import logging
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import av

from ivories.clock import MILLISECOND, SECOND, now_ns
from ivories.datatypes import VideoFrame, read_only
from ivories.errors import SourceError
from ivories.sources.container import reason, ticks_ns
from ivories.sources.v4l2_exposure import V4l2Exposure
from ivories.sources.v4l2_nodes import find_again, name_of
from ivories.sources.video_file import luma_plane

log = logging.getLogger(__name__)

OPEN_S: Final = 3.0
STALL_S: Final = 1.0
"""A camera that gives nothing for this long is opened again."""
RETRY_S: Final = 0.25
POLL_S: Final = 0.001
EARLIEST: Final = 0.8
"""Nothing is expected sooner than this part of a period after the frame before."""
NONBLOCK: Final = "4"
"""FFmpeg's AVFMT_FLAG_NONBLOCK, which has no name among the options"""
FULL_RATE: Final = 0.9
"""A mode that reaches this part of the rate asked for will do."""


class V4l2Source:
    """Frames of one camera, which may come back under another node's name when it was unplugged.

    Raw formats come first; if the camera reaches the rate asked for only in JPEG, as most do at 60 frames per
    second, JPEG is taken. Of a camera that knows higher rates only, every second or third frame is taken.

    Args:
        device: such as ``/dev/video0``.
        width: wanted, pixels; see ``self.width`` for what the camera gives.
        height: wanted, pixels.
        fps: wanted, frames per second.

    Raises:
        SourceError: the camera is not there, is busy, or gives no pictures.
    """

    def __init__(
        self, device: str = "/dev/video0", width: int = 640, height: int = 480, fps: float = 60.0
    ) -> None:
        self._device = device
        self._options = {"video_size": f"{width}x{height}", "framerate": f"{fps:g}"}
        self._stop = threading.Event()
        self._iterated = False
        self.attempts = 0
        """How often it tried to get a lost device back"""
        self._container: Any = None
        self._due_ns = 0
        if not Path(device).exists():
            raise SourceError(
                f"there is no camera {device}: plug it in; `ivories devices` lists what there is"
            )
        try:
            self._container = self._open(None)
            if _rate(self._container) < FULL_RATE * fps:
                self._prefer_jpeg()
        except (av.error.FFmpegError, OSError, ValueError) as error:
            raise SourceError(f"camera {device} cannot be opened: {reason(error)}") from error
        self._name = name_of(device)
        stream = self._container.streams.video[0]
        self.width: int = stream.width
        self.height: int = stream.height
        rate = _rate(self._container)
        self._every = max(1, int(rate / (FULL_RATE * fps)))
        self._passed = 0
        self.fps = rate / self._every
        self._exposure = V4l2Exposure(device, rate)
        self._exposing = threading.Lock()
        self._stops = 0.0
        self.exposure_means = self._exposure.means
        """``bias``, ``manual`` or empty, see ``V4l2Exposure``"""
        log.info("camera %s: %d x %d at %g frames per second", device, self.width, self.height, self.fps)

    def __repr__(self) -> str:
        """Name it for the log."""
        return f"V4L2 {self._device}, {self.width} x {self.height}"

    def __iter__(self) -> Iterator[VideoFrame]:
        """Yield frames until ``close``. A lost camera is waited for, as long as it takes."""
        self._iterated = True
        period_ns = round(SECOND / self.fps)
        camera_ns = period_ns // self._every
        sequence = -1
        last_ns = None
        lost = False
        try:
            while not self._stop.is_set():
                if self._container is None:
                    self._container = self._reopen()
                    if self._container is None:
                        self._stop.wait(RETRY_S)
                        continue
                try:
                    arrived = self._next(camera_ns)
                except (av.error.FFmpegError, OSError) as error:
                    self._lose(lost, reason(error))
                    lost = True
                    continue
                if arrived is None:
                    continue
                if lost:
                    lost = False
                    log.info("camera %s is back", self._device)
                    self.correct_exposure(self._stops)
                luma, t_ns = arrived
                skipped = 1 if last_ns is None else max(1, round((t_ns - last_ns) / period_ns))
                sequence, last_ns = sequence + skipped, t_ns
                yield VideoFrame(read_only(luma), t_ns, 0, sequence)
        finally:
            self._close_device()

    def close(self) -> None:
        """Stop and free the camera; calling again does nothing."""
        self._stop.set()
        with self._exposing:
            self._exposure.restore()
        if not self._iterated:  # else the thread that reads frees it
            self._close_device()

    def correct_exposure(self, stops: float) -> bool:
        """See ``sources.base.Exposing``; ``close`` gives the camera back as it was."""
        with self._exposing:
            self._stops = stops
            if self._stop.is_set() or not self.exposure_means:
                return False
            if not Path(self._device).exists():  # it is asked when it is back
                return True
            return self._exposure.correct(stops)

    def _open(self, pixels: str | None) -> Any:
        options = {**self._options, "fflags": NONBLOCK}
        if pixels is not None:
            options["input_format"] = pixels
        return av.open(self._device, format="v4l2", options=options, timeout=(OPEN_S, OPEN_S))

    def _prefer_jpeg(self) -> None:
        slow = _rate(self._container)
        self._container.close()
        try:
            self._container = self._open("mjpeg")
        except (av.error.FFmpegError, OSError):
            self._container = self._open(None)
            return
        if _rate(self._container) > slow:
            self._options["input_format"] = "mjpeg"
            return
        self._container.close()
        self._container = self._open(None)

    def _reopen(self) -> Any:
        self.attempts += 1
        self._device = self._exposure.device = find_again(self._device, self._name)
        if not Path(self._device).exists():
            return None
        try:
            container = self._open(None)
        except (av.error.FFmpegError, OSError, ValueError):
            return None
        stream = container.streams.video[0]
        if (stream.width, stream.height) != (self.width, self.height):
            found = f"{stream.width} x {stream.height}"
            container.close()
            raise SourceError(f"camera {self._device} came back with {found} instead of its former size")
        return container

    def _lose(self, again: bool, why: str) -> None:
        self._close_device()
        if again:  # it opened, but gave no picture: do not hammer on it
            self._stop.wait(RETRY_S)
        else:
            log.warning("camera %s is lost: %s; trying again until it is back", self._device, why)

    def _close_device(self) -> None:
        if self._container is not None:
            self._container.close()
            self._container = None

    def _next(self, period_ns: int) -> tuple[Any, int] | None:
        """Wait for a frame; return its luma and time, or None when told to stop or it was damaged.

        ``period_ns`` is the camera's own, also where it gives more frames than are wanted.
        """
        began_ns = now_ns()
        pause_s = max(0.0, (self._due_ns - began_ns) / SECOND)
        while not self._stop.wait(pause_s):
            pause_s = POLL_S
            try:
                packet = next(self._container.demux(video=0))
                self._passed += 1
                if self._passed % self._every:
                    pause_s = EARLIEST * period_ns / SECOND
                    continue
                frames = packet.decode()
            except (av.error.BlockingIOError, StopIteration):
                if now_ns() - began_ns > STALL_S * SECOND:
                    raise OSError(f"it gave nothing for {STALL_S:g} s") from None
                continue
            except av.error.InvalidDataError:
                return None  # half a JPEG: cameras send them now and then
            if frames:
                t_ns = self._time_ns(packet)
                self._due_ns = t_ns + round(EARLIEST * period_ns)
                # A raw frame is the driver's own memory: gone with the device while others still look.
                return luma_plane(frames[0]).copy(), t_ns
        return None

    @staticmethod
    def _time_ns(packet: Any) -> int:
        """Return the kernel's time of the frame where it is monotonic, else that of its arrival."""
        now = now_ns()
        if packet.pts is not None:
            stamp_ns = ticks_ns(packet.pts, packet.time_base)
            if 0 <= now - stamp_ns < SECOND:
                return stamp_ns
        return now - MILLISECOND


def _rate(container: Any) -> float:
    return float(container.streams.video[0].average_rate or 30.0)
