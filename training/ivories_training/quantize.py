"""Quantization-aware layers for Keras 3: one set of layer objects walks through three phases.

1. ``FLOAT``: convolution, batch normalization, activation, all in floating point.
2. ``fold(model)`` puts batch normalization into kernel and bias; ``observe(model, batches)`` watches the
   range of every activation.
3. ``QUANTIZED``: kernels (per output channel, symmetric) and activations (per tensor) pass through
   ``keras.quantizers.fake_quant_with_min_max_vars``; fine-tuning now sees what the int8 file will compute.

The same layer objects may stand in several functional models (a whole-sequence graph to train, a one-step
graph to export): they share weights, ranges and phase. After a change of phase a compiled model must be
compiled again, since the phase is baked into its traced functions.
"""

from collections.abc import Iterable, Iterator
from enum import Enum
from typing import Any

import keras
import numpy as np
from keras import ops

Range = tuple[float, float]


class Phase(Enum):
    """What quantization-aware layers do at present."""

    FLOAT = "float"
    STANDARDIZE = "standardize"
    OBSERVE = "observe"
    QUANTIZED = "quantized"


@keras.saving.register_keras_serializable("ivories")
class FakeQuant(keras.layers.Layer):
    """The int8 range of one activation tensor; any shape in, the same shape out.

    Calling one object at several places gives those tensors the same scale and zero point, which is what
    state inputs, concatenations and slices need to stay free of requantization. The range always contains 0,
    so that zero padding is exact.

    Args:
        fixed: (low, high) where the range is given, else it is observed.
        momentum: of the running mean of the batch extremes while observing; None keeps the widest range seen.
        name: layer name.
    """

    def __init__(
        self, fixed: Range | None = None, momentum: float | None = 0.9, name: str | None = None
    ) -> None:
        super().__init__(name=name, dtype="float32", autocast=False)
        self.fixed = fixed
        self.momentum = momentum
        self.phase = Phase.FLOAT
        self._seen = False

    def build(self, input_shape: Any) -> None:  # noqa: ARG002 - Keras' signature
        low, high = self.fixed or (0.0, 0.0)
        constant = keras.initializers.Constant
        self.low = self.add_weight(shape=(), initializer=constant(low), trainable=False, name="low")
        self.high = self.add_weight(shape=(), initializer=constant(high), trainable=False, name="high")

    def compute_output_spec(self, inputs: Any) -> Any:
        return keras.KerasTensor(inputs.shape, dtype=inputs.dtype)

    def call(self, inputs: Any) -> Any:
        if self.phase is Phase.OBSERVE and self.fixed is None:
            self._observe(inputs)
        if self.phase is not Phase.QUANTIZED:
            return inputs
        return keras.quantizers.fake_quant_with_min_max_vars(
            inputs, ops.stop_gradient(self.low + 0.0), ops.stop_gradient(self.high + 0.0)
        )

    def _observe(self, inputs: Any) -> None:
        low = ops.minimum(ops.cast(ops.min(inputs), "float32"), 0.0)
        high = ops.maximum(ops.cast(ops.max(inputs), "float32"), 1e-3)
        if self._seen and self.momentum is None:
            low, high = ops.minimum(self.low, low), ops.maximum(self.high, high)
        elif self._seen and self.momentum is not None:
            low = self.momentum * self.low + (1 - self.momentum) * low
            high = self.momentum * self.high + (1 - self.momentum) * high
        self.low.assign(low)
        self.high.assign(high)
        self._seen = True


@keras.saving.register_keras_serializable("ivories")
class QuantConv2D(keras.layers.Layer):
    """Convolution, batch normalization, activation and the int8 range of the result.

    Input (B, H, W, Cin), output (B, H', W', filters), channels last.

    Args:
        filters: output channels.
        kernel_size: (height, width).
        strides: (height, width).
        padding: "valid" or "same".
        batch_norm: normalize before the activation until ``fold``; without it the bias learns alone.
        relu: rectify.
        output_range: fixed (low, high) of the output, for logits; None observes it.
        quantize_output: False where the next layer (an addition, say) owns the range.
        bias_initializer: of the bias, for example the log-odds of a rare event.
        name: layer name.
    """

    def __init__(
        self,
        filters: int,
        kernel_size: tuple[int, int] = (1, 1),
        *,
        strides: tuple[int, int] = (1, 1),
        padding: str = "valid",
        batch_norm: bool = True,
        relu: bool = True,
        output_range: Range | None = None,
        quantize_output: bool = True,
        bias_initializer: Any = "zeros",
        name: str | None = None,
    ) -> None:
        super().__init__(name=name)
        self.filters = filters
        self.kernel_size = kernel_size
        self.strides = strides
        self.padding = padding
        self.relu = relu
        self.phase = Phase.FLOAT
        self.folded = not batch_norm
        self.bias_initializer = keras.initializers.get(bias_initializer)
        self.norm = keras.layers.BatchNormalization(momentum=0.98, epsilon=1e-4) if batch_norm else None
        self.range = FakeQuant(fixed=output_range) if quantize_output else None

    def build(self, input_shape: Any) -> None:
        shape = (*self.kernel_size, int(input_shape[-1]), self.filters)
        self.kernel = self.add_weight(shape=shape, initializer="he_uniform", name="kernel")
        self.bias = self.add_weight(shape=(self.filters,), initializer=self.bias_initializer, name="bias")
        out = self.compute_output_shape(input_shape)
        for part in (self.norm, self.range):
            if part is not None:
                part.build(out)

    def compute_output_shape(self, input_shape: Any) -> Any:
        batch, height, width, _ = input_shape
        sizes = []
        for size, kernel, stride in zip((height, width), self.kernel_size, self.strides, strict=True):
            reach = 0 if self.padding == "same" else kernel - 1
            sizes.append(None if size is None else -(-(size - reach) // stride))
        return (batch, *sizes, self.filters)

    def call(self, inputs: Any, training: bool | None = None) -> Any:
        kernel = self.kernel
        if self.phase is Phase.QUANTIZED:
            peak = ops.stop_gradient(ops.maximum(ops.max(ops.abs(kernel), axis=(0, 1, 2)), 1e-6))
            kernel = keras.quantizers.fake_quant_with_min_max_vars(
                kernel, -peak, peak, narrow_range=True, axis=3
            )
        outputs = self.convolve(inputs, kernel) + self.bias
        if self.phase is Phase.STANDARDIZE and self.folded:
            outputs = self._standardize(outputs)
        if not self.folded and self.norm is not None:
            outputs = self.norm(outputs, training=training)
        if self.relu:
            outputs = ops.relu(outputs)
        return outputs if self.range is None else self.range(outputs)

    def convolve(self, inputs: Any, kernel: Any) -> Any:
        """Return the convolution without bias; subclasses give it another form."""
        return ops.conv(inputs, kernel, strides=self.strides, padding=self.padding)

    def _standardize(self, outputs: Any) -> Any:
        """Scale kernel and bias so that ``outputs`` has mean 0 and deviation 1 per channel; return it."""
        values = np.asarray(ops.convert_to_numpy(ops.cast(outputs, "float32")))
        mean = values.mean(axis=(0, 1, 2))
        gain = 1.0 / np.maximum(values.std(axis=(0, 1, 2)), 1e-3)
        bias = np.asarray(ops.convert_to_numpy(self.bias))
        self.kernel.assign(np.asarray(ops.convert_to_numpy(self.kernel)) * gain)
        self.bias.assign((bias - mean) * gain)
        return ops.convert_to_tensor(((values - mean) * gain).astype("float32"))

    def fold(self) -> None:
        """Move batch normalization into kernel and bias; a second call changes nothing."""
        if self.folded or self.norm is None:
            return
        norm = self.norm
        gain = np.asarray(ops.convert_to_numpy(norm.gamma)) / np.sqrt(
            np.asarray(ops.convert_to_numpy(norm.moving_variance)) + norm.epsilon
        )
        mean = np.asarray(ops.convert_to_numpy(norm.moving_mean))
        self.bias.assign(
            (np.asarray(ops.convert_to_numpy(self.bias)) - mean) * gain + ops.convert_to_numpy(norm.beta)
        )
        self.kernel.assign(np.asarray(ops.convert_to_numpy(self.kernel)) * gain)
        norm.trainable = False
        self.folded = True


def quantized_layers(model: keras.Model) -> Iterator[FakeQuant | QuantConv2D]:
    """Yield every FakeQuant and QuantConv2D of ``model``, nested ones included."""
    for layer in model._flatten_layers():  # noqa: SLF001 - Keras offers no public walk over nested layers
        if isinstance(layer, FakeQuant | QuantConv2D):
            yield layer


def set_phase(model: keras.Model, phase: Phase, *, folded: bool = False) -> None:
    """Switch all layers of ``model`` to ``phase`` and drop its traced functions.

    ``folded``: weights to be loaded are those of convolutions that took in their batch normalization.
    """
    for layer in quantized_layers(model):
        layer.phase = phase
        if folded and isinstance(layer, QuantConv2D):
            layer.folded = True
    model.train_function = model.test_function = model.predict_function = None


def standardize(model: keras.Model, batch: Any) -> None:
    """Start layers without batch normalization as if they had it: one batch sets gain and bias per channel.

    (Data-dependent initialization after Mishkin and Matas, "All you need is a good init".) Layers with a
    fixed output range keep theirs. Run it once, before training, on a model of policy float32 (under mixed
    precision a variable assigned inside a call is a copy).
    """
    set_phase(model, Phase.STANDARDIZE)
    for layer in quantized_layers(model):
        if isinstance(layer, QuantConv2D) and layer.range is not None and layer.range.fixed is not None:
            layer.phase = Phase.FLOAT
    model(batch, training=False)
    set_phase(model, Phase.FLOAT)


def fold(model: keras.Model) -> None:
    """Fold every batch normalization of ``model`` into its convolution."""
    for layer in quantized_layers(model):
        if isinstance(layer, QuantConv2D):
            layer.fold()


def observe(model: keras.Model, batches: Iterable[Any]) -> None:
    """Fold, then run ``batches`` of inputs through ``model`` and keep the range of every activation."""
    fold(model)
    set_phase(model, Phase.OBSERVE)
    for batch in batches:
        model(batch, training=False)
    set_phase(model, Phase.QUANTIZED)
