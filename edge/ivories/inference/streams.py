"""State that a network without memory keeps at its host: past outputs that come back as inputs."""

from collections.abc import Mapping

import numpy as np

from ivories.datatypes import Int8
from ivories.errors import ModelError
from ivories.inference.base import Runtime
from ivories.inference.manifest import Manifest, Stream

SAME_SCALE = 1e-4
"""Relative difference of two scales that still count as one quantization (float32 rounding in the file)."""


class _History:
    """One stream: the outputs of the last ``max(delays)`` steps in a ring, int8 as they came."""

    def __init__(self, stream: Stream, runtime: Runtime) -> None:
        self.stream = stream
        source = runtime.outputs[stream.output]
        target = runtime.inputs[stream.input]
        width = source.shape[-1]
        if target.shape != (*source.shape[:-1], width * len(stream.delays)):
            raise ModelError(
                f"stream input {stream.input!r} is {target.shape}, but {len(stream.delays)} delays of "
                f"{stream.output!r} {source.shape} must fit into it"
            )
        if (
            abs(source.scale - target.scale) > SAME_SCALE * target.scale
            or source.zero_point != target.zero_point
        ):
            raise ModelError(
                f"stream {stream.output!r} -> {stream.input!r}: the two tensors have different quantization; "
                "export the model with one range for both"
            )
        self._rest = target.zero_point
        self._ring = np.empty((max(stream.delays), *source.shape), np.int8)
        self.buffer = np.empty(target.shape, np.int8)
        self._slots = [self.buffer[..., n * width : (n + 1) * width] for n in range(len(stream.delays))]
        self._step = 0
        self.reset()

    def reset(self) -> None:
        self._ring[...] = self._rest
        self._step = 0

    def recall(self) -> None:
        for slot, delay in zip(self._slots, self.stream.delays, strict=True):
            slot[...] = self._ring[(self._step - delay) % len(self._ring)]

    def remember(self, output: Int8) -> None:
        self._ring[self._step % len(self._ring)] = output
        self._step += 1


class HostStreams:
    """All streams of one network; every buffer is made here, none while running.

    Raises:
        ModelError: a stream names a tensor that is not there or does not fit, or an input is fed by nobody.
    """

    def __init__(self, manifest: Manifest, runtime: Runtime) -> None:
        for stream in manifest.streams:
            if stream.input not in runtime.inputs or stream.output not in runtime.outputs:
                raise ModelError(
                    f"model {manifest.name} has no stream {stream.output!r} -> {stream.input!r}: "
                    f"inputs {', '.join(runtime.inputs)}; outputs {', '.join(runtime.outputs)}"
                )
            if not stream.delays or min(stream.delays) < 1:
                raise ModelError(f"model {manifest.name}: delays of stream {stream.input!r} start at 1 step")
        fed = {manifest.input, *(stream.input for stream in manifest.streams)}
        if fed != set(runtime.inputs):
            wrong = ", ".join(sorted(fed ^ set(runtime.inputs)))
            raise ModelError(f"model {manifest.name} and its manifest disagree about the inputs: {wrong}")
        self._runtime = runtime
        self._histories = [_History(stream, runtime) for stream in manifest.streams]
        self._feed: dict[str, Int8] = {history.stream.input: history.buffer for history in self._histories}
        self._input = manifest.input

    def reset(self) -> None:
        """Fill the past with the zero point."""
        for history in self._histories:
            history.reset()

    def run(self, newest: Int8) -> Mapping[str, Int8]:
        """Run one step of the network on ``newest`` and keep what later steps need."""
        for history in self._histories:
            history.recall()
        self._feed[self._input] = newest
        outputs = self._runtime.run(self._feed)
        for history in self._histories:
            history.remember(outputs[history.stream.output])
        return outputs
