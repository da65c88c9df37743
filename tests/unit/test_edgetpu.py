"""The Edge TPU's delegate is a stranger's library: whatever it does, the process that asks stays alive."""

import hashlib
import logging
from pathlib import Path

import msgspec
import numpy as np
import pytest

from delegates import build_delegate
from ivories.errors import BackendError
from ivories.inference import resolver
from ivories.inference.edgetpu import EdgeTpuRuntime, probe
from ivories.inference.litert import LiteRtRuntime
from ivories.inference.manifest import Channel, Manifest

TINY = Path(__file__).parents[1] / "data" / "tiny_audio.tflite"


@pytest.fixture(scope="module")
def library(tmp_path_factory):
    """Return a function that builds a delegate library with the mood named."""
    folder = tmp_path_factory.mktemp("delegates")
    return lambda mood: build_delegate(folder, mood)


def test_a_delegate_that_works_is_used(library):
    runtime = EdgeTpuRuntime(TINY, library=library("works"))
    plain = LiteRtRuntime(TINY)
    rng = np.random.default_rng(1)
    step = {name: rng.integers(-128, 128, tensor.shape, np.int8) for name, tensor in plain.inputs.items()}
    assert runtime.description.startswith("Edge TPU")
    assert np.array_equal(runtime.run(step)["keys"], plain.run(step)["keys"])
    runtime.close()


@pytest.mark.parametrize(
    ("mood", "words", "patience_s"),
    [("crashes", "SIGABRT", 60), ("hangs", "did not answer", 1.5), ("refuses", "no device on the bus", 60)],
)
def test_a_delegate_that_fails_is_refused_with_its_reason(library, mood, words, patience_s):
    with pytest.raises(BackendError, match=words):
        EdgeTpuRuntime(TINY, library=library(mood), probe_seconds=patience_s)


def test_a_missing_library_is_named():
    reason = probe(TINY, "libnothing_of_the_kind.so.9")
    assert reason is not None
    assert "libnothing_of_the_kind.so.9: cannot open shared object file" in reason


@pytest.fixture
def models(tmp_path):
    content = TINY.read_bytes()
    (tmp_path / "tiny.tflite").write_bytes(content)
    (tmp_path / "tiny_edgetpu.tflite").write_bytes(content)
    digest = hashlib.sha256(content).hexdigest()
    manifest = Manifest(
        name="tiny",
        kind="audio",
        file="tiny.tflite",
        sha256=digest,
        edgetpu_file="tiny_edgetpu.tflite",
        edgetpu_sha256=digest,
        frontend="",
        input="spectrum",
        channels=[Channel(kind="onset")],
    )
    return tmp_path, manifest


def answer(monkeypatch, outcome):
    """Let the Edge TPU's runtime be one that works, or refuses with ``outcome``."""

    def opened(path, threads):
        if isinstance(outcome, Exception):
            raise outcome
        return outcome(path, threads)

    monkeypatch.setattr(resolver, "EdgeTpuRuntime", opened)


def test_auto_takes_an_edge_tpu_that_works(models, monkeypatch):
    folder, manifest = models
    opened = []

    def works(path, threads):
        opened.append(path.name)
        return LiteRtRuntime(path, threads)

    answer(monkeypatch, works)
    resolver.open_runtime(manifest, folder).close()
    assert opened == ["tiny_edgetpu.tflite"]


def test_auto_falls_back_to_the_cpu_and_says_why(models, monkeypatch, caplog):
    folder, manifest = models
    answer(monkeypatch, BackendError("no Edge TPU: the stick is asleep"))
    with caplog.at_level(logging.INFO):
        runtime = resolver.open_runtime(manifest, folder)
    assert "on the CPU" in runtime.description
    assert "the stick is asleep" in caplog.text
    with pytest.raises(BackendError, match="asleep"):
        resolver.open_runtime(manifest, folder, "edgetpu")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"edgetpu_file": None}, "was not compiled"),
        ({"edgetpu_file": "other.tflite"}, "is missing"),
        ({"edgetpu_sha256": "0" * 64}, "is not the one"),
    ],
)
def test_auto_runs_on_the_cpu_without_a_fitting_compiled_model(models, monkeypatch, caplog, change, words):
    folder, manifest = models
    answer(monkeypatch, AssertionError("must not be tried"))
    with caplog.at_level(logging.INFO):
        runtime = resolver.open_runtime(msgspec.structs.replace(manifest, **change), folder)
    assert "on the CPU" in runtime.description
    assert words in caplog.text


@pytest.mark.parametrize("name", ["scripted", "abacus"])
def test_nothing_else_can_be_asked_for(models, name):
    folder, manifest = models
    with pytest.raises(BackendError, match="choose auto"):
        resolver.open_runtime(manifest, folder, name)
