"""The hearing network as a stage: Spectrum in, KeyEvidence out."""

import numpy as np

from ivories.clock import MILLISECOND
from ivories.datatypes import KeyEvidence, Origin, Spectrum, read_only
from ivories.errors import ModelError
from ivories.inference.base import Runtime
from ivories.inference.evidence import EvidenceDecoder
from ivories.inference.manifest import Manifest
from ivories.inference.streams import HostStreams
from ivories.keyboard import KEYS

HOP_NS = 10 * MILLISECOND
QUIET = -128
"""Lowest bin value: what the context holds before the first frame."""


class AudioModel:
    """Runs the network once per hop.

    The input is (1, context, bands, windows) int8, the newest frame last. A Spectrum whose frame number does
    not follow the one before (a gap in the sound, a new start) begins afresh: quiet context, empty streams.

    Args:
        runtime: the loaded network; the caller closes it.
        manifest: what its tensors mean.
        hop_ns: time between two frames of the front end.

    Raises:
        ModelError: network and manifest do not fit each other.
    """

    def __init__(self, runtime: Runtime, manifest: Manifest, hop_ns: int = HOP_NS) -> None:
        if manifest.kind != "audio":
            raise ModelError(f"model {manifest.name} is a {manifest.kind} model, not an audio model")
        self._streams = HostStreams(manifest, runtime)
        self._decoder = EvidenceDecoder(manifest, runtime.outputs)
        shape = runtime.inputs[manifest.input].shape
        if len(shape) != 4 or shape[:2] != (1, manifest.context):
            raise ModelError(
                f"model {manifest.name}: its input is {shape}, its manifest says (1, {manifest.context}, ...)"
            )
        self._context = np.full(shape, QUIET, np.int8)
        self._horizon_ns = tuple(hop_ns * horizon for horizon in self._decoder.horizons)
        self._hop_ns = hop_ns
        self._next_frame: int | None = None
        self._all_keys = read_only(np.ones(KEYS, np.bool_))

    @property
    def delay_ns(self) -> int:
        """The last horizon: how long after an onset its evidence is complete."""
        return max(0, self._horizon_ns[-1])

    def push(self, item: Spectrum, /) -> list[KeyEvidence]:
        """Take one hop and return its evidence.

        Raises:
            ModelError: the bins are not the network's.
        """
        wanted = self._context.shape[2:]
        if item.bins.shape != wanted:
            raise ModelError(f"spectrum {item.bins.shape} does not fit the network's {wanted}")
        if item.frame != self._next_frame:
            self.reset()
        self._next_frame = item.frame + 1
        frames = self._context[0]
        for older in range(len(frames) - 1):
            frames[older] = frames[older + 1]
        frames[-1] = item.bins
        outputs = self._streams.run(self._context)
        return [
            self._decoder.decode(
                outputs,
                origin=Origin.AUDIO,
                t_ns=item.t_ns,
                step_ns=self._hop_ns,
                horizon_ns=self._horizon_ns,
                visible=self._all_keys,
            )
        ]

    def reset(self) -> None:
        """Forget everything heard so far."""
        self._context[...] = QUIET
        self._streams.reset()
        self._next_frame = None
