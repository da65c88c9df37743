"""The video network: key-aligned strip in, what each key does out.

Shapes: B batch, K keys (88, or a crop while training), C channels. Kernels never straddle the blocks of two
keys until one column per key is left; from there on ordinary convolutions look at the neighbouring keys, the
front and back of the key still apart. Keys of one pitch class have the same shape and neighbours, so a
learned constant per pitch class is added early.
"""

from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
from keras import ops

from ivories.keyboard import KEYS
from ivories.vision.strip import CHANNELS, StripSpec
from ivories_training.quantize import FakeQuant, QuantConv2D

LOGIT_RANGE = (-12.0, 12.0)
INPUT_SCALE = 64.0
"""An int8 step of the strip is 1 / INPUT_SCALE in the graph"""
OCTAVE = 12


@dataclass(frozen=True)
class NetworkConfig:
    """Sizes of the video network; the defaults are the shipped one."""

    stem: int = 24
    """channels while a key still has three columns"""
    shape: int = 56
    """channels of one key's column, 7 rows"""
    parts: int = 72
    """channels of one key's column, 7, then 3 rows"""
    width: int = 96
    """channels per key"""
    neighbours: tuple[int, ...] = (5, 5)
    """keys seen by each residual layer over the keyboard"""
    horizons: tuple[int, ...] = (-1, 0, 1, 2)
    """onset horizons in frames"""

    @property
    def channels(self) -> tuple[str, ...]:
        """Names of the ``keys`` channels in order."""
        return (*(f"onset@{h}" for h in self.horizons), "frame", "velocity", "visible")


@keras.saving.register_keras_serializable("ivories")
class OctaveConstant(keras.layers.Layer):
    """Adds a learned vector per pitch class to every row: (B, rows, K, C) -> the same.

    The first key of the input is an A, as the piano's.
    """

    def __init__(self, name: str | None = None) -> None:
        super().__init__(name=name)
        self.range = FakeQuant()
        self.result = FakeQuant()
        self._frozen: Any = None

    def build(self, input_shape: Any) -> None:
        self.constant = self.add_weight(
            shape=(1, 1, OCTAVE, int(input_shape[-1])), initializer="zeros", name="constant"
        )
        self.range.build((1, 1, int(input_shape[2]), int(input_shape[-1])))
        self.result.build(input_shape)

    def call(self, inputs: Any) -> Any:
        keys = int(inputs.shape[2])
        constant = self.constant if self._frozen is None else ops.convert_to_tensor(self._frozen)
        if self._frozen is None:
            constant = ops.tile(constant, (1, 1, -(-keys // OCTAVE), 1))[:, :, :keys]
        return self.result(inputs + self.range(constant))

    def freeze(self) -> None:
        """Spell the constant out for the whole keyboard: the Edge TPU knows no TILE."""
        octaves = np.tile(ops.convert_to_numpy(self.constant), (1, 1, -(-KEYS // OCTAVE), 1))
        self._frozen = octaves[:, :, :KEYS].astype(np.float32)


class VideoNetwork:
    """Owns the layers; builds graphs over them.

    Args:
        config: sizes.
    """

    def __init__(self, config: NetworkConfig) -> None:
        c = self.config = config
        self.input_range = FakeQuant(fixed=(-128 / INPUT_SCALE, 127 / INPUT_SCALE), name="input_range")
        self.stem = QuantConv2D(c.stem, (4, 4), strides=(3, 4), name="stem")
        self.shape = QuantConv2D(c.shape, (3, 3), strides=(2, 3), name="shape")
        self.constant = OctaveConstant(name="pitch_class")
        self.parts = QuantConv2D(c.parts, (3, 3), strides=(1, 1), padding="same", name="parts")
        self.parts_down = QuantConv2D(c.parts, (3, 1), strides=(2, 1), name="parts_down")
        self.column = QuantConv2D(c.width, (3, 1), name="column")
        self.layers = [
            QuantConv2D(c.width, (1, n), padding="same", name=f"neighbours_{i}")
            for i, n in enumerate(c.neighbours)
        ]
        self.sums = [FakeQuant(name=f"sum_{i}") for i in range(len(c.neighbours))]
        self.head = QuantConv2D(
            len(c.channels),
            batch_norm=False,
            relu=False,
            output_range=LOGIT_RANGE,
            bias_initializer=_prior(c),
            name="head",
        )

    def model(self, keys: int = KEYS, batch: int | None = None) -> keras.Model:
        """Return the graph: ``strip`` (B, 48, 12 * keys, 6) / 64 -> ``keys`` (B, 1, keys, C) logits."""
        spec = StripSpec()
        shape = (batch, spec.rows, spec.columns * keys, CHANNELS)
        inputs = keras.Input(batch_shape=shape, name="strip")
        x = self.stem(self.input_range(inputs))  # (B, 15, 3 K, stem)
        x = self.constant(self.shape(x))  # (B, 7, K, shape)
        x = self.parts_down(self.parts(x))  # (B, 3, K, parts)
        x = self.column(x)  # (B, 1, K, width)
        for layer, total in zip(self.layers, self.sums, strict=True):
            x = total(x + layer(x))
        return keras.Model(inputs, {"keys": self.head(x)}, name="video")


def _prior(config: NetworkConfig) -> Any:
    """Start the head at the base rates: onsets are rare, one key in twenty is down, most are visible."""
    bias = [-5.0] * len(config.horizons) + [-3.0, 0.0, 3.0]

    def initializer(shape: Any, dtype: Any = None) -> Any:
        return ops.reshape(ops.convert_to_tensor(bias, dtype=dtype), shape)

    return initializer
