"""The reference networks, in the layers that quantize: what trains here exports to int8.

Shapes: B batch, T hops, H x W pixels, C channels, N outputs.
"""

from typing import Any, Final

import keras
from keras import ops

from ivories_training.quantize import FakeQuant, QuantConv2D
from ivories_training.reference.settings import (
    FRAMES,
    Buffer,
    Experiment,
    PictureNetworkConfig,
    Pictures,
    SpectrumNetworkConfig,
)

LOGIT_RANGE: Final = (-12.0, 12.0)
RARE: Final = -3.0
"""Log-odds that a head begins with: one key in twenty is down"""
INPUT, OUTPUT = "input", "keys"


class PictureNetwork:
    """Five raw pictures to one number per key.

    The first layer is a convolution over space and time whose kernel spans all five moments. With the
    moments as channels it is an ordinary convolution that computes the very same, and that int8 and an Edge
    TPU know.

    Args:
        config: sizes.
        outputs: N.
    """

    def __init__(self, config: PictureNetworkConfig, outputs: int) -> None:
        self.config = config
        self.input_range = FakeQuant(fixed=(0.0, 1.0), name="input_range")
        self.stem = QuantConv2D(config.stem, (5, 5), strides=(2, 2), padding="same", name="stem")
        self.blocks = [_Block(width, f"block_{i}") for i, width in enumerate(config.widths)]
        rows, columns = config.rows, config.columns
        for _ in range(1 + len(config.widths)):
            rows, columns = -(-rows // 2), -(-columns // 2)
        self.whole = QuantConv2D(config.hidden, (rows, columns), name="whole")
        self.head = _head(outputs, logits=True)

    def model(self, batch: int | None = None) -> keras.Model:
        """Return the graph: ``input`` (B, rows, columns, 5) luma 0..1 -> ``keys`` (B, 1, 1, N) logits."""
        shape = (batch, self.config.rows, self.config.columns, FRAMES)
        inputs = keras.Input(batch_shape=shape, name=INPUT)
        x = self.stem(self.input_range(inputs))
        for block in self.blocks:
            x = block(x)
        return keras.Model(inputs, {OUTPUT: self.head(self.whole(x))}, name="pictures")


class _Block:
    """Two convolutions beside a shortcut, at half the resolution."""

    def __init__(self, width: int, name: str) -> None:
        self.down = QuantConv2D(width, (3, 3), strides=(2, 2), padding="same", name=f"{name}_down")
        self.same = QuantConv2D(width, (3, 3), padding="same", relu=False, name=f"{name}_same")
        self.short = QuantConv2D(width, strides=(2, 2), padding="same", relu=False, name=f"{name}_short")
        self.sum = FakeQuant(name=f"{name}_sum")

    def __call__(self, x: Any) -> Any:
        return self.sum(ops.relu(self.short(x) + self.same(self.down(x))))


class SpectrumNetwork:
    """Spectra to one number per key or note name; outputs do not depend on each other.

    Args:
        config: sizes.
        bands: of a spectrum.
        outputs: N.
        logits: whether outputs are log-odds; else they are amplitudes.
    """

    def __init__(self, config: SpectrumNetworkConfig, bands: int, outputs: int, *, logits: bool) -> None:
        self.config, self.bands = config, bands
        self.input_range = FakeQuant(fixed=(0.0, 1.0), name="input_range")
        self.layers = []
        for i, layer in enumerate(config.layers):
            filters, kernel = layer.filters * config.channels, (layer.hops, layer.bands)
            self.layers.append(QuantConv2D(filters, kernel, strides=(1, layer.stride), name=f"layer_{i}"))
            bands = (bands - layer.bands) // layer.stride + 1
        sizes = [(config.hops, bands), *((1, 1) for _ in config.hidden[1:])]
        self.hidden = [
            QuantConv2D(width, size, name=f"hidden_{i}")
            for i, (width, size) in enumerate(zip(config.hidden, sizes, strict=True))
        ]
        self.dropout = keras.layers.Dropout(config.dropout) if config.dropout else None
        self.head = _head(outputs, logits=logits)

    def model(self, batch: int | None = None, hops: int | None = None) -> keras.Model:
        """Return the graph: ``input`` (B, T + context - 1, bands, 1) 0..1 -> ``keys`` (B, T, 1, N)."""
        inputs = keras.Input(batch_shape=(batch, hops, self.bands, 1), name=INPUT)
        x = self.input_range(inputs)
        for layer in self.layers:
            x = layer(x)
        for layer in self.hidden:
            x = layer(x)
            x = self.dropout(x) if self.dropout else x
        return keras.Model(inputs, {OUTPUT: self.head(x)}, name="spectra")


Network = PictureNetwork | SpectrumNetwork


def network_of(experiment: Experiment) -> Network:
    """Return the network of an experiment."""
    if isinstance(experiment, Pictures):
        return PictureNetwork(experiment.network, experiment.outputs)
    logits = not isinstance(experiment, Buffer)
    return SpectrumNetwork(experiment.network, experiment.frontend.bands, experiment.outputs, logits=logits)


def step_model(network: Network) -> keras.Model:
    """Return the graph of fixed shape that is exported: one output per call."""
    if isinstance(network, PictureNetwork):
        return network.model(batch=1)
    return network.model(batch=1, hops=network.config.context)


def _head(outputs: int, *, logits: bool) -> QuantConv2D:
    return QuantConv2D(
        outputs,
        batch_norm=False,
        relu=not logits,
        output_range=LOGIT_RANGE if logits else None,
        bias_initializer=keras.initializers.Constant(RARE if logits else 0.1),
        name="head",
    )
