"""What every inference back-end keeps to: the CPU's, the Edge TPU's and the scripted one."""

from pathlib import Path

import numpy as np
import pytest

from delegates import build_delegate
from ivories.errors import BackendError
from ivories.inference.base import Tensor
from ivories.inference.edgetpu import EdgeTpuRuntime
from ivories.inference.litert import LiteRtRuntime
from ivories.inference.scripted import ScriptedRuntime

MODEL = Path(__file__).parents[1] / "data" / "tiny_audio.tflite"
INPUTS = {"spectrum": (1, 3, 291, 3), "past": (1, 1, 88, 4)}
OUTPUTS = {"keys": (1, 1, 88, 6), "state": (1, 1, 88, 2), "pedal": (1, 1)}


def scripted(folder):
    def answer(step, inputs):
        """Let outputs depend on inputs, as a network's do."""
        total = np.int64(inputs["spectrum"].sum()) + inputs["past"].sum()
        return {name: np.full(shape, total % 127, np.int8) for name, shape in OUTPUTS.items()}

    def tensors(shapes):
        return [Tensor(name, shape, 0.5, 0) for name, shape in shapes.items()]

    return ScriptedRuntime(tensors(INPUTS), tensors(OUTPUTS), answer)


KINDS = {
    "litert": lambda folder: LiteRtRuntime(MODEL),
    "edgetpu": lambda folder: EdgeTpuRuntime(MODEL, library=build_delegate(folder, "works")),
    "scripted": scripted,
}


@pytest.fixture(params=KINDS)
def runtime(request, tmp_path):
    runtime = KINDS[request.param](tmp_path)
    yield runtime
    runtime.close()


def step(seed):
    rng = np.random.default_rng(seed)
    return {name: rng.integers(-128, 128, shape, np.int8) for name, shape in INPUTS.items()}


def test_tensors_are_named_shaped_and_quantized(runtime):
    assert {name: tensor.shape for name, tensor in runtime.inputs.items()} == INPUTS
    assert {name: tensor.shape for name, tensor in runtime.outputs.items()} == OUTPUTS
    for name, tensor in {**runtime.inputs, **runtime.outputs}.items():
        assert tensor.name == name
        assert tensor.scale > 0
        assert -128 <= tensor.zero_point <= 127
    assert runtime.description


def test_the_same_step_gives_the_same_outputs_and_no_memory_of_the_one_before(runtime):
    first = {name: array.copy() for name, array in runtime.run(step(1)).items()}
    other = {name: array.copy() for name, array in runtime.run(step(2)).items()}
    again = runtime.run(step(1))
    assert first.keys() == OUTPUTS.keys()
    for name, shape in OUTPUTS.items():
        assert again[name].dtype == np.int8
        assert again[name].shape == shape
        assert np.array_equal(first[name], again[name])
    assert any(not np.array_equal(first[name], other[name]) for name in OUTPUTS)


def test_outputs_live_in_the_same_arrays(runtime):
    first = dict(runtime.run(step(1)))
    second = runtime.run(step(2))
    assert all(first[name] is second[name] for name in OUTPUTS)


def test_inputs_that_do_not_fit_are_refused(runtime):
    with pytest.raises(KeyError):
        runtime.run({"spectrum": step(0)["spectrum"]})
    with pytest.raises(ValueError, match=r"spectrum|shape|[Dd]imension"):
        runtime.run({**step(0), "spectrum": np.zeros((1, 3, 290, 3), np.int8)})
    with pytest.raises(ValueError, match=r"spectrum|type"):
        runtime.run({**step(0), "spectrum": np.zeros((1, 3, 291, 3), np.float32)})
    runtime.run(step(0))


def test_a_closed_runtime_says_so(runtime):
    runtime.close()
    runtime.close()
    with pytest.raises(BackendError, match="closed"):
        runtime.run(step(0))
