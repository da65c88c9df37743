"""A static check whether an int8 file can map to an Edge TPU, run at every export.

It is not the compiler: passing means "nothing known to stand in the way". Rules: the operator list and limits
of Coral's documentation ("TensorFlow models on the Edge TPU", supported operations), and the operator
versions that edgetpu_compiler 16.0 is reported to parse.
"""

from collections import Counter
from dataclasses import dataclass, field
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

SUPPORTED = frozenset(
    """ADD AVERAGE_POOL_2D CONCATENATION CONV_2D DEPTHWISE_CONV_2D EXPAND_DIMS FULLY_CONNECTED
    L2_NORMALIZATION LOGISTIC MAXIMUM MAX_POOL_2D MEAN MINIMUM MUL PACK PAD PRELU QUANTIZE
    REDUCE_MAX REDUCE_MIN RELU RELU6 RELU_N1_TO_1 RESHAPE RESIZE_BILINEAR RESIZE_NEAREST_NEIGHBOR
    RSQRT SLICE SOFTMAX SPACE_TO_DEPTH SPLIT SQUARED_DIFFERENCE SQUEEZE STRIDED_SLICE SUB SUM TANH
    TRANSPOSE TRANSPOSE_CONV UNIDIRECTIONAL_SEQUENCE_LSTM""".split()  # noqa: SIM905 - one name per line hides it
)
NEWEST_VERSION = {"CONV_2D": 5, "TRANSPOSE_CONV": 3}
CHIP_BYTES = int(7.9 * 2**20)
SOFTMAX_VALUES = 16000

_OPERATORS = {v: k for k, v in vars(schema.BuiltinOperator).items() if not k.startswith("_")}
_TYPES = {v: k for k, v in vars(schema.TensorType).items() if not k.startswith("_")}


@dataclass
class Report:
    """What the check found."""

    path: Path
    operators: Counter[str] = field(default_factory=Counter)
    """How often each operator occurs"""
    parameter_bytes: int = 0
    """Bytes of constant tensors"""
    multiplications: int = 0
    """Multiply-accumulates of the convolutions per step"""
    errors: list[str] = field(default_factory=list)
    """What keeps the file from mapping as a whole"""
    notes: list[str] = field(default_factory=list)
    """What may cost speed"""

    @property
    def mappable(self) -> bool:
        """Whether nothing known stands in the way."""
        return not self.errors

    def __str__(self) -> str:
        verdict = "maps to an Edge TPU as far as known" if self.mappable else "does not map to an Edge TPU"
        operators = ", ".join(f"{name} x{n}" for name, n in sorted(self.operators.items()))
        constants = f"{self.parameter_bytes / 1024:.0f} KiB of constants"
        work = f"{self.multiplications / 1e6:.1f} M multiply-accumulates per step"
        lines = [
            f"{self.path.name}: {verdict}",
            f"  {constants}, {work}; {operators}",
        ]
        return "\n".join(
            lines + [f"  error: {e}" for e in self.errors] + [f"  note: {n}" for n in self.notes]
        )


class _Graph:
    """Plain access to the one subgraph of a TFLite file."""

    def __init__(self, path: Path) -> None:
        self.model = schema.ModelT.InitFromObj(schema.Model.GetRootAsModel(path.read_bytes(), 0))
        self.graph = self.model.subgraphs[0]

    def data(self, tensor: int) -> bytes:
        """Return the constant's bytes, empty for an activation."""
        data = self.model.buffers[self.graph.tensors[tensor].buffer].data
        return b"" if data is None else bytes(data)

    def shape(self, tensor: int) -> list[int]:
        """Return the shape of a tensor."""
        shape = self.graph.tensors[tensor].shape
        return [] if shape is None else [int(n) for n in shape]

    def name(self, tensor: int) -> str:
        """Return the name of a tensor."""
        name = self.graph.tensors[tensor].name
        return name.decode() if isinstance(name, bytes) else str(name)


def check(path: Path) -> Report:
    """Check the int8 file at ``path``."""
    graph, report = _Graph(path), Report(path)
    if len(graph.model.subgraphs) != 1:
        report.errors.append("more than one subgraph")
    _check_tensors(graph, report)
    for operator in graph.graph.operators:
        code = graph.model.operatorCodes[operator.opcodeIndex]
        name = _OPERATORS[max(code.builtinCode, code.deprecatedBuiltinCode)]
        report.operators[name] += 1
        if name not in SUPPORTED:
            report.errors.append(f"{name} is not supported")
            continue
        if code.version > NEWEST_VERSION.get(name, code.version):
            report.errors.append(f"{name} version {code.version}: the compiler reads {NEWEST_VERSION[name]}")
        _check_operator(graph, operator, name, report)
    if report.parameter_bytes > CHIP_BYTES:
        report.notes.append("constants exceed the on-chip memory: streamed at each step")
    return report


def _check_tensors(graph: _Graph, report: Report) -> None:
    made = {int(i) for operator in graph.graph.operators for i in operator.outputs} | {
        int(i) for i in graph.graph.inputs
    }
    for index, tensor in enumerate(graph.graph.tensors):
        if data := graph.data(index):
            report.parameter_bytes += len(data)
        elif index in made:
            shape, name = graph.shape(index), graph.name(index)
            if tensor.shapeSignature is not None and -1 in list(tensor.shapeSignature):
                report.errors.append(f"{name} has a dynamic dimension")
            if any(n > 1 for n in shape[:-3]):
                report.errors.append(f"{name} {shape} has more than three dimensions above 1")
            if _TYPES[tensor.type] not in ("INT8", "UINT8"):
                report.errors.append(f"{name} is {_TYPES[tensor.type]}, not int8")


def _check_operator(  # noqa: C901, PLR0912 - one branch per rule
    graph: _Graph, operator: Any, name: str, report: Report
) -> None:
    inputs = [int(i) for i in operator.inputs]
    options, first = operator.builtinOptions, graph.shape(inputs[0])
    result = graph.shape(int(operator.outputs[0]))
    if name in ("CONV_2D", "DEPTHWISE_CONV_2D"):
        kernel = graph.shape(inputs[1])
        report.multiplications += prod(result) * prod(kernel[1:] if name == "CONV_2D" else kernel[1:3])
        if options.dilationHFactor != options.dilationWFactor:
            report.errors.append(f"{name} with unequal dilation")
        if not graph.data(inputs[1]):
            report.errors.append(f"{name} with weights that are not constant")
    elif name == "FULLY_CONNECTED":
        report.multiplications += prod(graph.shape(inputs[1]))
        if not graph.data(inputs[1]) or options.weightsFormat != 0:
            report.errors.append("FULLY_CONNECTED weights are not plain constants")
        if sum(n > 1 for n in result) > 1:
            report.errors.append("FULLY_CONNECTED output is not one-dimensional")
    elif name in ("AVERAGE_POOL_2D", "MAX_POOL_2D", "CONCATENATION"):
        if options.fusedActivationFunction:
            report.errors.append(f"{name} with a fused activation")
    elif name in ("MEAN", "SUM", "REDUCE_MAX", "REDUCE_MIN"):
        axes = {int(a) % len(first) for a in np.frombuffer(graph.data(inputs[1]), np.int32)}
        if 0 in axes:
            report.errors.append(f"{name} over the batch axis")
        if name == "MEAN" and len(first) - 1 in axes and first[-1] % 4:
            report.errors.append("MEAN over channels that are no multiple of 4")
    elif name == "SOFTMAX":
        if sum(n > 1 for n in first) > 1 or prod(first) > SOFTMAX_VALUES:
            report.errors.append("SOFTMAX over more than one dimension or too many values")
    elif name == "STRIDED_SLICE":
        steps = set(np.frombuffer(graph.data(inputs[3]), np.int32).tolist())
        if steps != {1} or options.ellipsisMask or options.newAxisMask:
            report.errors.append("STRIDED_SLICE with a stride, ellipsis or new axis")
    elif name in ("RESHAPE", "RESIZE_BILINEAR", "RESIZE_NEAREST_NEIGHBOR", "QUANTIZE", "TRANSPOSE"):
        report.notes.append(f"{name} of {first} may stay on the CPU")
