"""The audio network: one definition, two graphs that share every layer object.

``sequence_model`` maps whole excerpts (training); ``step_model`` maps one hop and takes its memory from the
host (the exported file). Shapes: B batch, T hops, K = 88 keys, C channels; the semitone axis has 97 columns,
column k holding the three bands of key k.

Layout: a small convolution over 3 hops x 7 bands makes one column per semitone; each key reads the columns
at its first partials (weights are shared over the keys, a learned constant per key is added); residual layers
look back 1, 2, 4, ... hops; cross-key stages look at octaves, twelfths and neighbours, where false notes come
from. Onset is judged at several horizons at once: at hop t the channel of horizon h speaks of hop t - h.
"""

from typing import Any

import keras
from keras import ops

from ivories.keyboard import KEYS
from ivories_training.audio.layers import KeyConstant, StemConv, TapConv
from ivories_training.audio.settings import NetworkConfig
from ivories_training.quantize import FakeQuant, QuantConv2D

BANDS = 291
WINDOWS = 3
LOGIT_RANGE = (-12.0, 12.0)


class AudioNetwork:
    """Owns the layers; builds graphs over them.

    Args:
        config: sizes.
    """

    def __init__(self, config: NetworkConfig) -> None:
        c = self.config = config
        self.input_range = FakeQuant(fixed=(0.0, 1.0), name="input_range")
        self.stem = StemConv(c.stem, c.context, name="stem")
        self.gather = TapConv(c.width, c.stem, c.partials, axis="keys", relu=False, name="gather")
        self.key_constant = KeyConstant("key_constant")
        self.temporal = [
            TapConv(c.width, c.width, (-2 * d, -d, 0), axis="time", name=f"temporal_{d}") for d in c.dilations
        ]
        self.squeeze = {i: _pointwise(c.bottleneck, f"squeeze_{i}") for i in c.cross_before}
        self.cross = {
            i: TapConv(c.width, c.bottleneck, c.cross_keys, axis="keys", name=f"cross_{i}")
            for i in c.cross_before
        }
        self.cross_sum = {i: FakeQuant(name=f"cross_sum_{i}") for i in c.cross_before}
        self.temporal_sum = [FakeQuant(name=f"temporal_sum_{d}") for d in c.dilations]
        self.pedal_key = _pointwise(16, "pedal_key")
        self.pedal_hidden = _pointwise(16, "pedal_hidden")
        self.head = _logits(len(c.channels), [-6.0] * len(c.horizons) + [-3.0, -5.0, 0.0], "head")
        self.pedal_head = _logits(1, [0.0], "pedal_head")

    def sequence_model(self) -> keras.Model:
        """Return the training graph.

        Input (B, T + context - 1, 291, 3) in 0..1; outputs ``keys`` (B, T, K, C) and ``pedal`` (B, T).
        """
        inputs = keras.Input((None, BANDS, WINDOWS), name="spectrum")
        keys, pedal = self._trunk(self.stem(self.input_range(inputs)), None)
        return keras.Model(inputs, {"keys": keys, "pedal": pedal[:, :, 0, 0]}, name="audio")

    def step_model(self) -> tuple[keras.Model, dict[str, list[int]]]:
        """Return the one-hop graph and, per state, the delays in hops that the host feeds back.

        Inputs ``spectrum`` (1, context, 291, 3) and ``past_NAME`` (1, 1, K, 2C); outputs ``keys``
        (1, 1, K, channels), ``pedal`` (1, 1) and ``state_NAME`` (1, 1, K, C).
        """
        c = self.config
        inputs = keras.Input(batch_shape=(1, c.context, BANDS, WINDOWS), name="spectrum")
        past = HostPast(c.width)
        keys, pedal = self._trunk(self.stem(self.input_range(inputs)), past)
        outputs = {"keys": keys, "pedal": ops.reshape(pedal, (1, 1))}
        outputs |= {f"state_{name}": tensor for name, tensor in past.outputs.items()}
        graph_inputs = {"spectrum": inputs} | {f"past_{name}": tensor for name, tensor in past.inputs.items()}
        return keras.Model(graph_inputs, outputs, name="audio_step"), past.delays

    def _trunk(self, columns: Any, past: "HostPast | None") -> tuple[Any, Any]:
        """(B, T, 97, stem) -> keys (B, T, K, channels), pedal (B, T, 1, 1)."""
        owner = self.key_constant.range
        x = self.key_constant(self.gather(self.gather.stack(columns) if past else columns))
        for i, (dilation, layer) in enumerate(zip(self.config.dilations, self.temporal, strict=True)):
            if i in self.cross:
                seen, cross = self.squeeze[i](x), self.cross[i]
                owner = self.cross_sum[i]
                x = owner(x + cross(cross.stack(seen) if past else seen))
            look_back = past.stack(x, dilation, owner) if past else x
            owner = self.temporal_sum[i]
            x = owner(x + layer(look_back))
        pooled = ops.average_pool(self.pedal_key(x), (1, KEYS), strides=(1, KEYS))
        return self.head(x), self.pedal_head(self.pedal_hidden(pooled))


class HostPast:
    """Tensors of earlier hops that the host carries from step to step."""

    def __init__(self, width: int) -> None:
        self.width = width
        self.inputs: dict[str, Any] = {}
        self.outputs: dict[str, Any] = {}
        self.delays: dict[str, list[int]] = {}

    def stack(self, x: Any, dilation: int, owner: FakeQuant) -> Any:
        """Return [x(t - 2d), x(t - d), x(t)], the past with the very range (``owner``) that x has."""
        name = str(dilation)
        tensor = keras.Input(batch_shape=(1, 1, KEYS, 2 * self.width), name=f"past_{name}")
        self.inputs[name], self.outputs[name] = tensor, x
        self.delays[name] = [2 * dilation, dilation]
        return ops.concatenate([owner(tensor), x], axis=-1)


def _pointwise(filters: int, name: str) -> QuantConv2D:
    return QuantConv2D(filters, batch_norm=False, name=name)


def _logits(filters: int, bias: list[float], name: str) -> QuantConv2D:
    """Return a head; its biases start at the base rate: onsets are rare, one key in twenty sounds."""

    def initializer(shape: Any, dtype: Any = None) -> Any:
        return ops.reshape(ops.convert_to_tensor(bias, dtype=dtype), shape)

    return QuantConv2D(
        filters,
        batch_norm=False,
        relu=False,
        output_range=LOGIT_RANGE,
        bias_initializer=initializer,
        name=name,
    )
