"""Beginning with what an int8 file has learnt, for a grown network or for one's own piano.

The file's kernels and biases are read by layer name, so the network may have layers that the file lacks:
those keep their start, made quiet so that they disturb little at first. It may judge onsets at horizons that
the file lacks, too: those begin between their neighbours.
"""

import logging
import re
from pathlib import Path
from typing import Any

import keras
import numpy as np
from keras import ops
from numpy.typing import NDArray

from ivories.errors import ModelError
from ivories.inference.manifest import load_manifest
from ivories_training.audio.layers import KeyConstant
from ivories_training.audio.settings import NetworkConfig
from ivories_training.quantize import QuantConv2D, quantized_layers

log = logging.getLogger(__name__)
QUIET = 0.1
"""Scale of the kernels of residual layers that the file lacks"""
Float32 = NDArray[np.float32]


def adopt(model: keras.Model, path: Path, config: NetworkConfig) -> list[str]:
    """Give ``model`` the weights of the int8 file at ``path``; return the names of the layers that it lacks.

    Args:
        model: of ``config``.
        path: file; its manifest lies beside it.
        config: tells what the model's channels are.

    Raises:
        ModelError: the file or its manifest is missing, or a layer of the same name has another shape.
    """
    convolutions, constants = _read(path)
    if "head" in convolutions:
        convolutions["head"] = _head(*convolutions["head"], path, config)
    missing: list[str] = []
    for layer in quantized_layers(model):
        if not isinstance(layer, QuantConv2D):
            continue
        if layer.name not in convolutions:
            missing.append(layer.name)
            if layer.range is None or layer.range.fixed is None:
                layer.kernel.assign(QUIET * ops.convert_to_numpy(layer.kernel))
            continue
        kernel, bias = convolutions[layer.name]
        _put(layer.kernel, kernel, layer.name, path)
        _put(layer.bias, bias, layer.name, path)
    for layer in model._flatten_layers():  # noqa: SLF001 - Keras offers no public walk over nested layers
        if isinstance(layer, KeyConstant) and layer.name in constants:
            _put(layer.constant, constants[layer.name], layer.name, path)
    log.info("begins with %s; new layers: %s", path.name, ", ".join(missing) or "none")
    return missing


def _head(kernel: Float32, bias: Float32, path: Path, config: NetworkConfig) -> tuple[Float32, Float32]:
    """Return the head for the channels of ``config``, from one for those of the file at ``path``."""
    channels = load_manifest(path.with_suffix(".toml")).channels
    horizons = [channel.horizon for channel in channels if channel.kind == "onset"]  # they come first
    columns = np.concatenate([kernel, bias.reshape(1, 1, 1, -1)], axis=2)
    at = np.interp(config.horizons, horizons, np.arange(len(horizons)))
    before, share = np.floor(at).astype(int), (at % 1).astype(np.float32)
    after = np.minimum(before + 1, len(horizons) - 1)
    onsets = (1 - share) * columns[..., before] + share * columns[..., after]
    columns = np.concatenate([onsets, columns[..., len(horizons) :]], axis=-1)
    return columns[:, :, :-1], columns[0, 0, -1]


def _put(variable: Any, values: Float32, name: str, path: Path) -> None:
    if tuple(variable.shape) != values.shape:
        raise ModelError(
            f"cannot start from {path}: its layer {name} has weights {values.shape}, "
            f"the configured network {tuple(variable.shape)}"
        )
    variable.assign(values)


def _read(path: Path) -> tuple[dict[str, tuple[Float32, Float32]], dict[str, Float32]]:
    """Return layer name -> (kernel (h, w, in, out), bias (out,)), and layer name -> added constant."""
    from ai_edge_litert.interpreter import Interpreter

    try:
        interpreter = Interpreter(str(path))
    except (OSError, ValueError) as error:
        raise ModelError(f"cannot start from {path}: {error}") from error
    details = {d["index"]: d for d in interpreter.get_tensor_details()}
    convolutions: dict[str, tuple[Float32, Float32]] = {}
    constants: dict[str, Float32] = {}
    for op in interpreter._get_ops_details():  # noqa: SLF001 - the public interface lists no operations
        inputs = [details[i] for i in op["inputs"] if i in details]
        if op["op_name"] == "CONV_2D":
            name = _layer_name(inputs[1]["name"])
            kernel = _real(interpreter, inputs[1])
            convolutions[name] = kernel.transpose(1, 2, 3, 0), _real(interpreter, inputs[2])
        elif op["op_name"] == "ADD" and "key_constant" in inputs[1]["name"]:
            constants["key_constant"] = _real(interpreter, inputs[1])
    return convolutions, constants


def _layer_name(tensor: str) -> str:
    """``.../audio_step_1/temporal_1_1/FakeQuant...`` -> ``temporal_1`` (the graph appends its own count)."""
    found = re.findall(r"/(\w+)_1/FakeQuantWithMinMaxVarsPerChannel", tensor)
    return str(found[-1]) if found else tensor


def _real(interpreter: Any, detail: dict[str, Any]) -> Float32:
    values = interpreter.get_tensor(detail["index"]).astype(np.float32)
    found = detail["quantization_parameters"]
    scale, zero = found["scales"].astype(np.float32), found["zero_points"].astype(np.float32)
    if scale.size > 1:
        axis = [1] * values.ndim
        axis[int(found["quantized_dimension"])] = scale.size
        scale, zero = scale.reshape(axis), zero.reshape(axis)
    return np.asarray((values - zero) * scale, np.float32)
