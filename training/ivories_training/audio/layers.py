"""Layers of the audio network that exist in two forms: over a whole sequence, and for one hop.

A tap is one place a convolution reads: a hop of the past or another key. Over a sequence the layer is made
of matrix products of shifted inputs, in the form that trains fastest; for one hop it is one 1x1 convolution
of the stacked taps (PAD, SLICE, CONCATENATION), which computes the same and maps to an Edge TPU.
"""

from collections.abc import Sequence
from typing import Any, Literal

import keras
from keras import ops

from ivories.keyboard import KEYS
from ivories_training.quantize import FakeQuant, QuantConv2D


class TapConv(QuantConv2D):
    """Weights shared over keys and hops, reading several keys or several hops.

    Input (B, T, W, Cin), read at ``taps`` along ``axis``; or, for one hop, the taps already stacked:
    (1, 1, K, taps * Cin). Output (B, T, K, filters). What lies outside the input reads zero.

    Args:
        filters: output channels.
        channels: Cin.
        taps: offsets; along "time" they are <= 0.
        axis: "time" or "keys".
        relu: rectify.
        name: layer name.
    """

    def __init__(
        self,
        filters: int,
        channels: int,
        taps: Sequence[int],
        *,
        axis: Literal["time", "keys"],
        relu: bool = True,
        name: str,
    ) -> None:
        super().__init__(filters, batch_norm=False, relu=relu, name=name)
        self.channels = channels
        self.taps = tuple(taps)
        self.axis = axis

    def build(self, input_shape: Any) -> None:
        super().build((*input_shape[:2], KEYS, len(self.taps) * self.channels))

    def compute_output_shape(self, input_shape: Any) -> Any:
        return (*input_shape[:2], KEYS, self.filters)

    def convolve(self, inputs: Any, kernel: Any) -> Any:
        if inputs.shape[-1] == len(self.taps) * self.channels:
            return ops.conv(inputs, kernel)
        # Not one dilated convolution: PyTorch's bfloat16 weight gradient of those is wrong on CPUs.
        padded, origin = self._pad(inputs)
        weights = kernel[0, 0]
        if self.axis == "keys":
            return ops.matmul(ops.concatenate(self._windows(padded, origin), axis=-1), weights)
        outputs = None
        for i, window in enumerate(self._windows(padded, origin)):
            term = ops.matmul(window, weights[i * self.channels : (i + 1) * self.channels])
            outputs = term if outputs is None else outputs + term
        return outputs

    def _windows(self, padded: Any, origin: int) -> list[Any]:
        """Return what each tap sees of a whole sequence, (B, T, K, Cin) each."""
        if self.axis == "keys":
            return [padded[:, :, origin + tap : origin + tap + KEYS] for tap in self.taps]
        return [padded[:, origin + tap : tap] if tap else padded[:, origin:] for tap in self.taps]

    def _pad(self, inputs: Any) -> tuple[Any, int]:
        """Return the padded input and the index of offset 0."""
        before = max(0, -min(self.taps))
        if self.axis == "time":
            return ops.pad(inputs, ((0, 0), (before, 0), (0, 0), (0, 0))), before
        after = max(0, max(self.taps) + KEYS - inputs.shape[2])
        return ops.pad(inputs, ((0, 0), (0, 0), (before, after), (0, 0))), before

    def stack(self, inputs: Any) -> Any:
        """(1, 1, W, Cin) -> (1, 1, K, taps * Cin), for one hop along "keys"."""
        padded, origin = self._pad(inputs)
        size = (1, 1, KEYS, self.channels)
        return ops.concatenate(
            [ops.slice(padded, (0, 0, origin + tap, 0), size) for tap in self.taps], axis=-1
        )


class StemConv(QuantConv2D):
    """One column per semitone: (context, 7) hops x bands, stride 3 over the bands.

    Input (B, T + context - 1, 291, windows), output (B, T, 97, filters). With exactly ``context`` hops a time
    stride equal to the kernel lets "same" padding do the frequency axis alone, so that no PAD is needed.
    """

    def __init__(self, filters: int, context: int, *, name: str) -> None:
        super().__init__(filters, (context, 7), strides=(1, 3), batch_norm=False, name=name)

    def compute_output_shape(self, input_shape: Any) -> Any:
        batch, hops, bands, _ = input_shape
        return (batch, None if hops is None else hops - self.kernel_size[0] + 1, bands // 3, self.filters)

    def convolve(self, inputs: Any, kernel: Any) -> Any:
        context = self.kernel_size[0]
        if inputs.shape[1] == context:
            return ops.conv(inputs, kernel, strides=(context, 3), padding="same")
        padded = ops.pad(inputs, ((0, 0), (0, 0), (2, 2), (0, 0)))
        return ops.conv(padded, kernel, strides=self.strides, padding="valid")


class KeyConstant(keras.layers.Layer):
    """Adds a learned (1, 1, K, C) constant to (B, T, K, C), rectifies, and quantizes both."""

    def __init__(self, name: str) -> None:
        super().__init__(name=name)
        self.constant_range = FakeQuant(momentum=None)
        self.range = FakeQuant()

    def build(self, input_shape: Any) -> None:
        self.constant = self.add_weight(shape=(1, 1, *input_shape[2:]), initializer="zeros", name="constant")
        self.constant_range.build(self.constant.shape)
        self.range.build(input_shape)

    def compute_output_shape(self, input_shape: Any) -> Any:
        return input_shape

    def call(self, inputs: Any) -> Any:
        return self.range(ops.relu(inputs + self.constant_range(self.constant)))
