"""Pictures from a Raspberry Pi camera: the luma plane of the camera's own memory, stamped by the sensor."""

import concurrent.futures
import logging
import threading
import weakref
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any, Final

from ivories.clock import SECOND, now_ns
from ivories.datatypes import VideoFrame, read_only
from ivories.errors import BackendError, SourceError

log = logging.getLogger(__name__)

BUFFERS: Final = 6
"""With fewer than two the camera drops every other frame; the rest is for what is still being looked at."""
LOANS: Final = 3
"""So many frames may be held at once without a copy."""
WAIT_S: Final = 0.1
STALL_S: Final = 1.0
RETRY_S: Final = 0.25
MICROSECOND: Final = 1_000
EXPOSURE: Final = "ExposureValue"
"""libcamera's control that shifts the automatic exposure, in stops"""


class Picamera2Source:
    """Frames of one camera at a fixed rate.

    ``luma`` is the camera's buffer itself, lent until the VideoFrame is let go: keep the frame, or a copy,
    for as long as you look at the pixels. Whoever keeps many frames is given copies.

    Args:
        camera: number of the camera.
        width: pixels.
        height: pixels.
        fps: frames per second, exact: the exposure may not stretch a frame.

    Raises:
        BackendError: picamera2 is not installed.
        SourceError: there is no such camera, or it is busy.
    """

    def __init__(self, camera: int = 0, width: int = 640, height: int = 480, fps: float = 60.0) -> None:
        try:
            import picamera2  # comes with the operating system, only on a Raspberry Pi
        except ImportError as error:
            raise BackendError(
                "the Raspberry Pi camera needs picamera2: sudo apt install python3-picamera2, "
                f"and an environment made with --system-site-packages ({error})"
            ) from error
        self._library: Any = picamera2
        self._number = camera
        self.width = width
        self.height = height
        self.fps = fps
        self._stop = threading.Event()
        self._iterated = False
        self.attempts = 0
        """How often it tried to get a lost device back"""
        self._camera: Any = None
        self._loans: list[Any] = []
        self._stops = 0.0
        self.exposure_means = ""
        """The name of libcamera's control; empty where the camera has none"""
        try:
            self._open()
        except (RuntimeError, IndexError, OSError) as error:
            raise SourceError(
                f"camera {camera} cannot be opened: {error}; check its cable and what else uses it"
            ) from error

    def __repr__(self) -> str:
        """Name it for the log."""
        return f"Raspberry Pi camera {self._number}, {self.width} x {self.height}"

    def __iter__(self) -> Iterator[VideoFrame]:
        """Yield frames until ``close``. A camera that stands still is started again."""
        self._iterated = True
        sequence = -1
        last_ns: int | None = None
        try:
            while not self._stop.is_set():
                request = self._capture()
                if request is None:
                    continue
                frame = self._frame(request, sequence, last_ns)
                sequence, last_ns = frame.sequence, frame.t_ns
                yield frame
                del frame, request  # give the buffer back while waiting for the next one
        finally:
            self._close_camera()

    def close(self) -> None:
        """Stop and free the camera; calling again does nothing."""
        self._stop.set()
        if not self._iterated:  # else the thread that reads frees it
            self._close_camera()

    def correct_exposure(self, stops: float) -> bool:
        """See ``sources.base.Exposing``: shifts what the camera's automatic exposure aims at."""
        self._stops = stops
        camera = self._camera
        if not self.exposure_means:
            return False
        try:
            if camera is not None:  # else it is being started again, and asked then
                camera.set_controls({EXPOSURE: stops})
        except (RuntimeError, OSError) as error:  # the same
            log.debug("camera %d takes no exposure now: %s", self._number, error)
        return True

    def _open(self) -> None:
        camera = self._library.Picamera2(self._number)
        try:
            frame_us = round(1e6 / self.fps)
            wanted = camera.create_video_configuration(
                main={"size": (self.width, self.height), "format": "YUV420"},
                controls={"FrameDurationLimits": (frame_us, frame_us)},
                buffer_count=BUFFERS,
            )
            camera.configure(wanted)
            self.width, self.height = camera.camera_configuration()["main"]["size"]
            camera.start()
            self.exposure_means = EXPOSURE if EXPOSURE in camera.camera_controls else ""
            if self._stops and self.exposure_means:
                camera.set_controls({EXPOSURE: self._stops})
        except BaseException:
            camera.close()
            raise
        self._camera = camera
        log.info(
            "camera %d: %d x %d at %g frames per second", self._number, self.width, self.height, self.fps
        )

    def _capture(self) -> Any:
        """Return a completed request; None when told to stop or the camera had to be started again."""
        if self._camera is None and not self._reopen():
            self._stop.wait(RETRY_S)
            return None
        job = self._camera.capture_request(wait=False)
        began_ns = now_ns()
        while not self._stop.is_set():
            try:
                return job.get_result(timeout=WAIT_S)
            except concurrent.futures.TimeoutError:
                if now_ns() - began_ns < STALL_S * SECOND:
                    continue
                log.warning("camera %d gave nothing for %g s; starting it again", self._number, STALL_S)
            except (RuntimeError, OSError) as error:
                log.warning("camera %d failed: %s; starting it again", self._number, error)
            self._close_camera()
            return None
        return None

    def _reopen(self) -> bool:
        self.attempts += 1
        size = self.width, self.height
        try:
            self._open()
        except (RuntimeError, IndexError, OSError):
            return False
        if (self.width, self.height) != size:
            raise SourceError(f"camera {self._number} came back with another picture size")
        return True

    def _close_camera(self) -> None:
        if self._camera is not None:
            self._camera.stop()
            self._camera.close()
            self._camera = None

    def _frame(self, request: Any, sequence: int, last_ns: int | None) -> VideoFrame:
        metadata = request.get_metadata()
        loan = ExitStack()
        loan.callback(request.release)
        plane = loan.enter_context(self._library.MappedArray(request, "main", write=False)).array
        luma = plane[: self.height, : self.width]
        self._loans = [earlier for earlier in self._loans if earlier.alive]
        if len(self._loans) < LOANS:
            # The array must be the very one in the frame: views of it do not keep it alive.
            end = weakref.finalize(luma, loan.close)
            end.atexit = False
            self._loans.append(end)
        else:
            luma = luma.copy()
            loan.close()
        exposure_ns = int(metadata.get("ExposureTime", 0)) * MICROSECOND
        # The sensor's stamp is the end of the first row's exposure.
        t_ns = int(metadata["SensorTimestamp"]) - exposure_ns // 2
        frame_ns = int(metadata.get("FrameDuration", 0)) * MICROSECOND or round(SECOND / self.fps)
        skipped = 1 if last_ns is None else max(1, round((t_ns - last_ns) / frame_ns))
        return VideoFrame(read_only(luma), t_ns, exposure_ns, sequence + skipped)
