"""The seeing network as a stage: RectifiedStrip in, KeyEvidence out."""

from collections import deque
from typing import Final

import numpy as np

from ivories.clock import SECOND
from ivories.datatypes import KeyEvidence, Origin, RectifiedStrip
from ivories.errors import ModelError
from ivories.inference.base import Runtime
from ivories.inference.evidence import EvidenceDecoder
from ivories.inference.manifest import Manifest
from ivories.inference.streams import HostStreams

USUAL_FRAME_NS: Final = SECOND // 30
LONGEST_FRAME_NS: Final = SECOND // 4
"""Frames that are further apart are no neighbours: the camera was away"""


class VideoModel:
    """Runs the network once per strip, input (1, height, width, channels) int8.

    A horizon of h frames is told in nanoseconds from the true times of the frames, so that a camera with an
    uneven rate does not shift its evidence. Keys outside the picture, and keys that the network itself calls
    covered, say nothing. Another calibration begins afresh, and so does a camera that was away: until a strip
    shows nothing from before, it says nothing at all.

    Args:
        runtime: the loaded network; the caller closes it.
        manifest: what its tensors mean.

    Raises:
        ModelError: network and manifest do not fit each other.
    """

    def __init__(self, runtime: Runtime, manifest: Manifest) -> None:
        if manifest.kind != "video":
            raise ModelError(f"model {manifest.name} is a {manifest.kind} model, not a video model")
        self._streams = HostStreams(manifest, runtime)
        self._decoder = EvidenceDecoder(manifest, runtime.outputs)
        self._shape = runtime.inputs[manifest.input].shape
        self._times: deque[int] = deque(maxlen=max(1, self._decoder.horizons[-1] + 1))
        self._frame_ns = USUAL_FRAME_NS
        self._mixed = 0  # strips to come that show pictures from before and after a gap
        self._calibration_id: str | None = None

    @property
    def delay_ns(self) -> int:
        """The last horizon at the newest frame rate: how long after an onset its evidence is complete."""
        return max(0, self._decoder.horizons[-1]) * self._frame_ns

    def push(self, item: RectifiedStrip, /) -> list[KeyEvidence]:
        """Take one strip and return its evidence.

        Raises:
            ModelError: the strip has another shape than the network's input.
        """
        if (1, *item.pixels.shape) != self._shape:
            raise ModelError(f"strip {item.pixels.shape} does not fit the network's {self._shape[1:]}")
        if item.calibration_id != self._calibration_id:
            self.reset()
            self._calibration_id = item.calibration_id
        if item.frame_ns > LONGEST_FRAME_NS:
            self._begin()
            self._mixed = item.pixels.shape[2] - 2  # channels: frames, this one among them, and luma
        if self._mixed:
            self._mixed -= 1
            return []
        self._frame_ns = item.frame_ns
        self._times.append(item.t_ns)
        outputs = self._streams.run(item.pixels[np.newaxis])
        horizon_ns = tuple(self._age_ns(horizon) for horizon in self._decoder.horizons)
        return [
            self._decoder.decode(
                outputs,
                origin=Origin.VIDEO,
                t_ns=item.t_ns,
                step_ns=item.frame_ns,
                horizon_ns=horizon_ns,
                visible=item.visible,
            )
        ]

    def _age_ns(self, frames: int) -> int:
        known = len(self._times) - 1
        past = min(max(frames, 0), known)
        return self._times[-1] - self._times[-1 - past] + (frames - past) * self._frame_ns

    def reset(self) -> None:
        """Forget everything seen so far."""
        self._begin()
        self._mixed = 0
        self._calibration_id = None

    def _begin(self) -> None:
        self._streams.reset()
        self._times.clear()
