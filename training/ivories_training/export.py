"""From a quantized Keras graph to an int8 TFLite file, its manifest and its model card.

The graph must run on the TensorFlow backend here (``KERAS_BACKEND=tensorflow``); weights trained behind
another backend load unchanged. Input and output tensors of the file carry the names of the Keras graph.
"""

import hashlib
import re
import shutil
import subprocess
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import flatbuffers
import keras
import numpy as np
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter

from ivories.inference.manifest import Manifest, save_manifest
from ivories_training import mappability


def write_int8(model: keras.Model, path: Path) -> None:
    """Convert ``model`` (fixed batch 1, phase QUANTIZED, named inputs and a dict of outputs) to ``path``.

    Raises:
        RuntimeError: Keras runs on another backend than TensorFlow.
    """
    if keras.backend.backend() != "tensorflow":
        raise RuntimeError("export needs KERAS_BACKEND=tensorflow")
    import tensorflow as tf
    from tensorflow.python.framework.convert_to_constants import (
        convert_variables_to_constants_v2,
    )

    inputs = {tensor.name: tensor for tensor in model.inputs}
    outputs = list(model.output)
    signature = [tf.TensorSpec(tensor.shape, tf.float32, name=name) for name, tensor in inputs.items()]

    def step(*tensors: Any) -> list[Any]:
        feeds: Any = dict(zip(inputs, tensors, strict=True))
        result = model(feeds if len(feeds) > 1 else tensors[0], training=False)
        return [tf.identity(result[name], name=name) for name in outputs]

    concrete = tf.function(step, input_signature=signature).get_concrete_function()
    # Frozen first: a captured variable would become a float READ_VARIABLE operator.
    frozen = convert_variables_to_constants_v2(concrete)
    converter = tf.lite.TFLiteConverter.from_concrete_functions([frozen])
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.inference_input_type = converter.inference_output_type = tf.int8
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(_named(converter.convert(), [t.name.split(":")[0] for t in frozen.inputs], outputs))


def _named(file: bytes, inputs: list[str], outputs: list[str]) -> bytes:
    """Give inputs and outputs, whose order conversion keeps, the names that it loses."""
    model = schema.ModelT.InitFromObj(schema.Model.GetRootAsModel(file, 0))
    graph = model.subgraphs[0]
    for indices, names in ((graph.inputs, inputs), (graph.outputs, outputs)):
        for index, name in zip(indices, names, strict=True):
            graph.tensors[index].name = name
    builder = flatbuffers.Builder(len(file) + 4096)
    builder.Finish(model.Pack(builder), file_identifier=b"TFL3")
    return bytes(builder.Output())


class Int8Model:
    """The exported file on the CPU, for checks here; the device has its own runtime.

    Args:
        path: of the int8 file.
    """

    def __init__(self, path: Path) -> None:
        self.interpreter = Interpreter(str(path), num_threads=1)
        self.interpreter.allocate_tensors()
        self.inputs = {d["name"]: d for d in self.interpreter.get_input_details()}
        self.outputs = {d["name"]: d for d in self.interpreter.get_output_details()}

    def run(self, feeds: Mapping[str, Any]) -> dict[str, Any]:
        """Run one step on int8 arrays, return int8 arrays."""
        for name, value in feeds.items():
            self.interpreter.set_tensor(self.inputs[name]["index"], value)
        self.interpreter.invoke()
        return {name: self.interpreter.get_tensor(d["index"]) for name, d in self.outputs.items()}

    @staticmethod
    def real(detail: Mapping[str, Any], value: Any) -> Any:
        """Return the real numbers of an int8 array."""
        scale, zero = detail["quantization"]
        return (value.astype(np.float32) - zero) * np.float32(scale)


def compare(path: Path, model: keras.Model, steps: Iterable[Mapping[str, Any]]) -> dict[str, float]:
    """Feed the int8 file and the fake-quantized ``model`` the same int8 inputs.

    Returns, per output, the greatest difference (``NAME.max``) and the mean one (``NAME.mean``) in steps of
    that output's scale.
    """
    file = Int8Model(path)
    differences: dict[str, list[Any]] = {name: [] for name in file.outputs}
    for feeds in steps:
        got = file.run(feeds)
        real = {name: file.real(file.inputs[name], value) for name, value in feeds.items()}
        wanted = model(real if len(real) > 1 else next(iter(real.values())), training=False)
        for name, detail in file.outputs.items():
            want = np.asarray(keras.ops.convert_to_numpy(wanted[name]))
            differences[name].append(np.abs(file.real(detail, got[name]) - want) / detail["quantization"][0])
    summary = {}
    for name, found in differences.items():
        summary[f"{name}.max"] = float(np.max(found))
        summary[f"{name}.mean"] = float(np.mean(found))
    return summary


def compile_edgetpu(path: Path) -> Path | None:
    """Return the file made by ``edgetpu_compiler``, or None where that program is not installed.

    Raises:
        subprocess.CalledProcessError: the compiler refused the file.
    """
    program = shutil.which("edgetpu_compiler")
    if program is None:
        return None
    subprocess.run([program, "-s", "-o", str(path.parent), str(path)], check=True)  # noqa: S603 - found in PATH
    return path.with_name(f"{path.stem}_edgetpu.tflite")


def sha256(path: Path) -> str:
    """Return the hexadecimal digest of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def finish(manifest: Manifest, path: Path, card: str) -> mappability.Report:
    """Write NAME.toml beside the int8 file and its section of README.md; return the static check."""
    save_manifest(manifest, path.with_suffix(".toml"))
    report = mappability.check(path)
    write_card(path.parent / "README.md", manifest.name, f"{card.strip()}\n\n```text\n{report}\n```")
    return report


def write_card(readme: Path, name: str, text: str) -> None:
    """Replace (or append) the section of model ``name`` in the model cards."""
    begin, end = f"<!-- begin {name} -->", f"<!-- end {name} -->"
    section = f"{begin}\n{text.strip()}\n{end}"
    whole = readme.read_text("utf-8") if readme.is_file() else "# Model cards\n"
    pattern = re.compile(re.escape(begin) + ".*?" + re.escape(end), re.DOTALL)
    if pattern.search(whole):
        whole = pattern.sub(lambda _: section, whole)
    else:
        whole = f"{whole.rstrip()}\n\n{section}\n"
    readme.write_text(whole, "utf-8")
