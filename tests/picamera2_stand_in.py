"""A stand-in for the part of picamera2 that Ivories uses, faithful where it hurts.

Requests own buffers of a small pool, and the camera writes into a buffer again as soon as its request was
released. When all are out, frames are lost. Rows are padded. Jobs are completed by the camera's thread.
"""

import threading
import time
from concurrent.futures import Future
from typing import ClassVar

import numpy as np

PADDING = 32


class Picamera2:
    """One camera whose picture in frame n is full of the value n."""

    created: ClassVar[list] = []
    missing = False

    def __init__(self, camera_num=0):
        if Picamera2.missing:
            raise IndexError("list index out of range")
        self.jobs = []
        self.free = []
        self.lock = threading.Lock()
        self.frozen = threading.Event()
        self.stopping = threading.Event()
        self.closed = False
        self.lent = 0
        self.frames = 0
        self.thread = None
        self.config = None
        self.asked = []
        Picamera2.created.append(self)

    def create_video_configuration(self, main, controls, buffer_count):
        width, height = main["size"]
        return {
            "main": {**main, "size": (width - width % 2, height), "stride": width + PADDING},
            "controls": controls,
            "buffer_count": buffer_count,
        }

    def configure(self, config):
        self.config = config
        (_, height), stride = config["main"]["size"], config["main"]["stride"]
        self.free = [bytearray(height * 3 // 2 * stride) for _ in range(config["buffer_count"])]

    @property
    def camera_controls(self):
        return {"ExposureValue": (-8.0, 8.0, 0.0), "FrameDurationLimits": (8333, 1_000_000, 33_333)}

    def set_controls(self, controls):
        assert set(controls) <= set(self.camera_controls)
        self.asked.append(controls)

    def camera_configuration(self):
        return self.config

    def start(self):
        self.thread = threading.Thread(target=self._expose, daemon=True)
        self.thread.start()

    def capture_request(self, wait=None):
        assert wait is False
        job = Job()
        with self.lock:
            self.jobs.append(job)
        return job

    def stop(self):
        self.stopping.set()
        self.thread.join()

    def close(self):
        self.closed = True

    def _expose(self):
        frame_us = self.config["controls"]["FrameDurationLimits"][0]
        while not self.stopping.wait(frame_us * 1e-6):
            if self.frozen.is_set():
                continue
            self.frames += 1
            with self.lock:
                if not self.free:
                    continue
                buffer = self.free.pop(0)
                np.frombuffer(buffer, np.uint8)[:] = self.frames % 251
                if not self.jobs:
                    self.free.append(buffer)
                    continue
                job = self.jobs.pop(0)
                self.lent += 1
            metadata = {
                "SensorTimestamp": time.monotonic_ns(),
                "ExposureTime": 4000,
                "FrameDuration": frame_us,
            }
            job.future.set_result(CompletedRequest(self, buffer, metadata))


class Job:
    """A promise of a request."""

    def __init__(self):
        self.future = Future()

    def get_result(self, timeout=None):
        return self.future.result(timeout)


class CompletedRequest:
    """One frame, until it is released."""

    def __init__(self, camera, buffer, metadata):
        self.camera, self.buffer, self.metadata = camera, buffer, metadata
        self.config = camera.config

    def get_metadata(self):
        return dict(self.metadata)

    def release(self):
        with self.camera.lock:
            assert self.buffer is not None, "released twice"
            self.camera.free.append(self.buffer)
            self.camera.lent -= 1
            self.buffer = None


class MappedArray:
    """The memory of one stream of a request."""

    def __init__(self, request, stream, write=True):
        assert stream == "main"
        assert write is False
        self.request = request
        self.array = None

    def __enter__(self):
        stride = self.request.config["main"]["stride"]
        self.array = np.array(memoryview(self.request.buffer), copy=False, dtype=np.uint8).reshape(-1, stride)
        return self

    def __exit__(self, *_):
        self.array = None
