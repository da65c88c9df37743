"""The int8 network on the CPU, through LiteRT (TensorFlow Lite).

A manifest speaks of tensors by name. Where the file has a signature its names are taken as they are;
otherwise the tensor names of the graph, stripped of what the converter adds
(``serving_default_spectrum:0`` is ``spectrum``). A graph frozen before conversion loses its output names
(``Identity``): wrap the frozen function in a function that returns a dictionary and convert that with
``from_concrete_functions([function], tf.Module())``, which gives the file a signature, or rename the tensors.
"""

import contextlib
import importlib
import logging
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, Final

import numpy as np

from ivories.datatypes import Int8
from ivories.errors import BackendError, ModelError
from ivories.inference.base import Tensor

log = logging.getLogger(__name__)

_INTERPRETERS: Final = (
    "ai_edge_litert.interpreter",
    "tflite_runtime.interpreter",
    "tensorflow.lite.python.interpreter",
)
_CONVERTER_ADDS = re.compile(r"^(?:\w+_default_)?(?:.*/)?([^/:]+?)(?::\d+)?$")


@cache
def interpreter_module() -> Any:
    """Return the first interpreter library that imports: LiteRT, the old tflite-runtime, TensorFlow.

    Raises:
        BackendError: none of them is installed.
    """
    refusals = []
    for name in _INTERPRETERS:
        try:
            module = importlib.import_module(name)
        except ImportError as error:
            refusals.append(f"{name.partition('.')[0]}: {error}")
            continue
        log.info("inference through %s", name.partition(".")[0])
        return module
    raise BackendError(f"no LiteRT interpreter here (pip install ai-edge-litert); {'; '.join(refusals)}")


def plain_name(tensor: str) -> str:
    """Return a graph's tensor name without signature prefix, scope and output number."""
    found = _CONVERTER_ADDS.match(tensor)
    return found[1] if found else tensor


class LiteRtRuntime:
    """One int8 network on the CPU.

    Args:
        path: the ``.tflite`` file.
        threads: of the interpreter; one is best beside the other stages.
        delegates: accelerators that LiteRT has loaded (see ``edgetpu``).

    Raises:
        BackendError: no interpreter library is installed.
        ModelError: the file cannot be read, or is not int8 throughout.
    """

    def __init__(self, path: Path, threads: int = 1, *, delegates: Sequence[Any] = ()) -> None:
        module = interpreter_module()
        try:
            with _without_banner():
                # Given by content: a mapped file that an update overwrites would kill the process.
                self._interpreter = module.Interpreter(
                    model_content=path.read_bytes(),
                    num_threads=threads,
                    experimental_delegates=list(delegates) or None,
                )
                self._interpreter.allocate_tensors()
        except (ValueError, RuntimeError, OSError) as error:
            raise ModelError(f"{path} cannot be loaded as a TensorFlow Lite model: {error}") from error
        self.description = f"{module.__name__.partition('.')[0]} on the CPU, {threads} thread(s)"
        inputs, outputs = self._named_details()
        self._refuse_floats(path, [*inputs.values(), *outputs.values()])
        self.inputs: Mapping[str, Tensor] = {name: _tensor(name, detail) for name, detail in inputs.items()}
        self.outputs: Mapping[str, Tensor] = {name: _tensor(name, detail) for name, detail in outputs.items()}
        self._feeds = {name: int(detail["index"]) for name, detail in inputs.items()}
        # tensor() gives a function that looks into the interpreter's memory; a view must not outlive the
        # expression that uses it, so results are copied into arrays of our own.
        self._views = {name: self._interpreter.tensor(detail["index"]) for name, detail in outputs.items()}
        self._results = {name: np.empty(tensor.shape, np.int8) for name, tensor in self.outputs.items()}

    def _named_details(self) -> tuple[dict[str, Any], dict[str, Any]]:
        signatures = self._interpreter.get_signature_list()
        if signatures:
            runner = self._interpreter.get_signature_runner(next(iter(signatures)))
            return runner.get_input_details(), runner.get_output_details()
        return (
            {plain_name(detail["name"]): detail for detail in self._interpreter.get_input_details()},
            {plain_name(detail["name"]): detail for detail in self._interpreter.get_output_details()},
        )

    def _refuse_floats(self, path: Path, ends: Sequence[Any]) -> None:
        for detail in ends:
            if detail["dtype"] != np.int8 or len(detail["quantization_parameters"]["scales"]) != 1:
                raise ModelError(
                    f"{path}: tensor {detail['name']} is not int8; convert with int8 inputs and outputs"
                )
        for detail in self._interpreter.get_tensor_details():
            if np.issubdtype(detail["dtype"], np.floating):
                raise ModelError(f"{path}: tensor {detail['name']} inside the network is float, not int8")

    def run(self, inputs: Mapping[str, Int8]) -> Mapping[str, Int8]:
        """Run one step; the arrays returned are overwritten by the next call.

        Raises:
            KeyError: an input is missing.
            ValueError: an input has another shape or dtype.
            BackendError: the interpreter failed, or was closed.
        """
        if self._interpreter is None:
            raise BackendError("the network was closed before this step")
        for name, index in self._feeds.items():
            self._interpreter.set_tensor(index, inputs[name])
        try:
            self._interpreter.invoke()
        except RuntimeError as error:
            raise BackendError(f"the network failed on {self.description}: {error}") from error
        for name, view in self._views.items():
            np.copyto(self._results[name], view())
        return self._results

    def close(self) -> None:
        """Free the network; calling again does nothing."""
        self._views = {}
        self._interpreter = None


def _tensor(name: str, detail: Any) -> Tensor:
    scale, zero_point = detail["quantization"]
    return Tensor(name, tuple(int(n) for n in detail["shape"]), float(scale), int(zero_point))


@contextlib.contextmanager
def _without_banner() -> Iterator[None]:
    """Keep the interpreter's announcement of its CPU kernels, written by C++, off the terminal.

    What goes wrong while loading is raised as an exception with its reason, so nothing is lost.
    """
    if log.isEnabledFor(logging.DEBUG):
        yield
        return
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)
