"""Training a reference network: material, float, quantization-aware, int8 file."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import keras
import numpy as np
from keras import ops
from numpy.typing import NDArray

from ivories_training import export, mappability
from ivories_training.checkpoint import Checkpoint
from ivories_training.loop import Lesson, Log, run_phase
from ivories_training.quantize import Phase, observe, set_phase
from ivories_training.reference.buffers import BufferMaterial
from ivories_training.reference.networks import OUTPUT, Network, network_of, step_model
from ivories_training.reference.pictures import PictureMaterial, write_clips
from ivories_training.reference.scores import (
    amplitude_scores,
    frame_scores,
    squared_error,
    weighted_cross_entropy,
)
from ivories_training.reference.settings import Buffer, Experiment, Pictures, Spectrogram
from ivories_training.reference.sounds import SpectrogramMaterial, write_excerpts

Float32 = NDArray[np.float32]
FLOAT_WEIGHTS = "float.weights.h5"
QUANTIZED_WEIGHTS = "quantized.weights.h5"
_OBSERVED = 20
"""Batches that the ranges of the int8 tensors come from"""
_AT_ONCE = 8


class Material(Protocol):
    """What all kinds of material offer."""

    validation: tuple[Float32, Float32]

    def batch(self, size: int) -> tuple[Float32, Float32]:
        """Return inputs and truth."""

    def reseed(self, steps: int) -> None:
        """Draw as after ``steps`` batches."""


def material_of(experiment: Experiment, folder: Path) -> Material:
    """Make what ``folder`` lacks of an experiment's material, and return it."""
    if isinstance(experiment, Buffer):
        return BufferMaterial(experiment)
    if isinstance(experiment, Pictures):
        for split in ("train", "validation"):
            write_clips(experiment, split, folder / split)
        return PictureMaterial(experiment, folder)
    for split in ("train", "validation"):
        write_excerpts(experiment, split, folder)
    return SpectrogramMaterial(experiment, folder)


def train(experiment: Experiment, run: Path, log: Log = print) -> Network:
    """Train both phases; return the quantized network. A second call goes on where the first one stopped."""
    run.mkdir(parents=True, exist_ok=True)
    keras.utils.set_random_seed(experiment.seed)
    material = material_of(experiment, run / "material")
    kept = run / FLOAT_WEIGHTS
    if not kept.is_file():
        keras.config.set_dtype_policy(experiment.float_phase.precision)
        model = network_of(experiment).model()
        log(f"{model.count_params()} parameters")
        run_phase(model, experiment.float_phase, lesson(experiment, material, model), kept, log)
        _save(model, kept)
    keras.config.set_dtype_policy("float32")
    network = network_of(experiment)
    model = network.model()
    model.load_weights(kept)
    size = min(_AT_ONCE, experiment.quantized_phase.batch)
    observe(model, (material.batch(size)[0] for _ in range(_OBSERVED)))
    kept = run / QUANTIZED_WEIGHTS
    run_phase(model, experiment.quantized_phase, lesson(experiment, material, model), kept, log)
    _save(model, kept)
    return network


def _save(model: keras.Model, weights: Path) -> None:
    model.save_weights(weights)
    Checkpoint(weights).remove()


def lesson(experiment: Experiment, material: Material, model: keras.Model) -> Lesson:
    """Return what both phases teach ``model``."""
    loss: Callable[[Any, Any], Any] = squared_error
    scores = amplitude_scores
    if isinstance(experiment, Pictures | Spectrogram):
        loss, scores = weighted_cross_entropy(experiment.positive), frame_scores
    inputs, truth = material.validation

    def report() -> dict[str, float]:
        told = predicted(model, inputs)
        both = ops.convert_to_tensor(truth), ops.convert_to_tensor(told)
        return {"loss": float(loss(*both)), **scores(truth, told)}

    def draw(size: int) -> tuple[Any, Any]:
        seen, wanted = material.batch(size)
        return seen, {OUTPUT: wanted}

    return Lesson({OUTPUT: loss}, draw, report, check_every=experiment.check_every, seed=material.reseed)


def predicted(model: keras.Model, inputs: Float32) -> Float32:
    """Return what ``model`` says of all ``inputs``, a few at a time."""
    parts = [model(inputs[i : i + _AT_ONCE], training=False)[OUTPUT] for i in range(0, len(inputs), _AT_ONCE)]
    return np.concatenate([np.asarray(ops.convert_to_numpy(ops.cast(p, "float32"))) for p in parts])


def trained(experiment: Experiment, run: Path) -> Network:
    """Return the quantized network that ``train`` left in ``run``."""
    keras.config.set_dtype_policy("float32")
    network = network_of(experiment)
    model = network.model()
    set_phase(model, Phase.QUANTIZED, folded=True)
    model.load_weights(run / QUANTIZED_WEIGHTS)
    return network


def export_int8(experiment: Experiment, network: Network, run: Path) -> mappability.Report:
    """Write RUN/NAME.tflite; return the static check of it."""
    path = run / f"{experiment.name}.tflite"
    step = step_model(network)
    export.write_int8(step, path)
    return mappability.check(path)
