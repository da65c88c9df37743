"""Training of the video network: float, then quantization-aware, then the int8 file.

Everything that decides a run stands in one TOML file, which is copied beside its results. Rendering may go on
while training does: new shards join as they are finished.
"""

import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import keras
import numpy as np
from keras import ops
from numpy.typing import NDArray

from ivories.errors import ConfigError
from ivories_training.checkpoint import Checkpoint, claim
from ivories_training.experiment import read
from ivories_training.loop import Lesson, Log, run_phase
from ivories_training.quantize import Phase, observe, set_phase
from ivories_training.schedule import PhaseConfig
from ivories_training.video.dataset import every_sequence, shards
from ivories_training.video.network import NetworkConfig, VideoNetwork
from ivories_training.video.windows import Assembler, Windows, WindowsConfig, sequence_targets

Float32 = NDArray[np.float32]
FLOAT_WEIGHTS = "float.weights.h5"
QUANTIZED_WEIGHTS = "quantized.weights.h5"


@dataclass(frozen=True)
class LossConfig:
    """Weights of the channels, and of positive against negative examples."""

    onset: float = 2.0
    frame: float = 1.0
    velocity: float = 4.0
    visible: float = 0.2
    positive: float = 2.0
    """Weight of an onset against no onset; calibration takes its bias out again"""


@dataclass(frozen=True)
class RenderConfig:
    """How much material is rendered before training, where none is there yet."""

    train_shards: int = 120
    validation_shards: int = 6
    sequences: int = 32
    clips: int = 8
    """validation clips for the thresholds; a quarter as many again of unusual rooms, half of idle hands"""
    clip_s: float = 10.0


@dataclass(frozen=True)
class VideoConfig:
    """One experiment."""

    name: str = "video"
    seed: int = 1
    start_from: str = ""
    """Weights (``float.weights.h5`` of another run) that the float phase begins with; empty: from nothing"""
    network: NetworkConfig = field(default_factory=NetworkConfig)
    windows: WindowsConfig = field(default_factory=WindowsConfig)
    render: RenderConfig = field(default_factory=RenderConfig)
    loss: LossConfig = field(default_factory=LossConfig)
    float_phase: PhaseConfig = field(default_factory=PhaseConfig)
    quantized_phase: PhaseConfig = field(
        default_factory=lambda: PhaseConfig(steps=4000, minutes=10.0, learning_rate=1e-4, precision="float32")
    )
    average: float = 0.998
    """Momentum of the running mean of the weights"""
    check_every: int = 400
    """Batches between two looks at the validation material"""


def read_config(path: Path) -> VideoConfig:
    """Read an experiment.

    Raises:
        ConfigError: the file is missing, or a name or a value in it is wrong.
    """
    return read(path, VideoConfig, "an experiment of the video network")


def make_loss(channels: tuple[str, ...], config: LossConfig) -> Any:
    """Return the loss for targets (B, 1, K, 2 * C): truth, then weights (see ``sequence_targets``)."""
    count = len(channels)
    weight = {"frame": config.frame, "velocity": config.velocity, "visible": config.visible}
    of_channel = np.array([weight.get(name, config.onset) for name in channels], np.float32)
    more = np.array([config.positive - 1 if "@" in name else 0.0 for name in channels], np.float32)

    def loss(targets: Any, logits: Any) -> Any:
        logits = ops.cast(logits, "float32")
        truth, weights = targets[..., :count], targets[..., count:]
        onsets = ops.convert_to_tensor(more) * ops.cast(truth > 0, "float32")
        weights = weights * ops.convert_to_tensor(of_channel) * (1 + onsets)
        cross = ops.relu(logits) - logits * truth + ops.softplus(-ops.abs(logits))
        return ops.mean(ops.sum(cross * weights, axis=-1))

    return loss


class Validation:
    """A fixed set of windows of the whole keyboard, each with its truth."""

    def __init__(self, folder: Path, network: NetworkConfig, limit: int = 160) -> None:
        assembler = Assembler()
        inputs, targets = [], []
        for n, (shard, i) in enumerate(every_sequence(folder)):
            if n == limit:
                break
            strips = assembler.strips(np.array(shard.luma[i]), shard.t_ns[i])
            w = n % len(strips)
            inputs.append(strips[w])
            targets.append(sequence_targets(shard, i, network, 0.0)[w])
        self.inputs = np.stack(inputs)
        """(N, 48, 1056, 6) int8"""
        self.targets = np.stack(targets)
        """(N, 88, 2 * C)"""
        self.channels = network.channels

    def logits(self, model: keras.Model) -> Float32:
        """Return (N, 88, C)."""
        parts = [
            model(self.inputs[i : i + 16].astype(np.float32) / 64, training=False)["keys"]
            for i in range(0, len(self.inputs), 16)
        ]
        return np.concatenate([np.asarray(ops.convert_to_numpy(ops.cast(p, "float32"))) for p in parts])[:, 0]

    def report(self, model: keras.Model, loss: Any) -> dict[str, float]:
        """Return the training ``loss``, and cross-entropy and best F1 of each channel over visible keys."""
        logits = self.logits(model)
        count = len(self.channels)
        tensors = (ops.convert_to_tensor(a[:, None]) for a in (self.targets, logits))
        found = {"loss": float(loss(*tensors))}
        for c, name in enumerate(self.channels):
            used = self.targets[..., count + c] > 0
            truth, z = self.targets[..., c][used], logits[..., c][used]
            cross = np.maximum(z, 0) - z * truth + np.log1p(np.exp(-np.abs(z)))
            found[f"{name}.loss"] = float(cross.mean())
            if name not in ("velocity", "visible"):
                found[f"{name}.f1"] = best_f1(truth > 0.5, z)
        return found


def best_f1(truth: NDArray[np.bool_], logits: Float32) -> float:
    """Return the F1 of the best threshold."""
    order = np.argsort(-logits)
    right = np.cumsum(truth[order])
    return float(np.max(2 * right / (np.arange(1, len(truth) + 1) + max(1, truth.sum()))))


def train(config: VideoConfig, data: Path, run: Path, log: Log = print) -> VideoNetwork:
    """Train from shards in ``data``/train and ``data``/validation; return the quantized network.

    Weights are kept in ``run`` after each phase, and the state of a phase while it runs: a second call skips
    the float phase if it is over, and goes on where the first one was interrupted.

    Raises:
        ConfigError: the weights to start from are missing or those of another network.
    """
    run.mkdir(parents=True, exist_ok=True)
    keras.utils.set_random_seed(config.seed)
    keep = config.windows.keys
    validation = Validation(data / "validation", config.network)
    windows = Windows(data / "train", config.windows, config.network, config.seed)
    log(f"{len(shards(data / 'train'))} shards to train on, {len(validation.inputs)} windows to check on")
    kept = run / FLOAT_WEIGHTS
    if not kept.is_file():
        keras.mixed_precision.set_global_policy(config.float_phase.precision)
        network = VideoNetwork(config.network)
        model = network.model(keep)
        whole = network.model()
        log(f"{model.count_params()} parameters")
        if config.start_from:
            _load(whole, Path(config.start_from).expanduser())
        run_phase(model, config.float_phase, _lesson(config, windows, validation, whole), kept, log)
        _save(whole, kept)
    keras.mixed_precision.set_global_policy(config.quantized_phase.precision)
    network = VideoNetwork(config.network)
    model, whole = network.model(keep), network.model()
    whole.load_weights(kept)
    batches = (windows.batch(config.quantized_phase.batch)[0] for _ in range(30))
    observe(model, batches)
    kept = run / QUANTIZED_WEIGHTS
    run_phase(model, config.quantized_phase, _lesson(config, windows, validation, whole), kept, log)
    _save(whole, kept)
    return network


def _lesson(config: VideoConfig, windows: Windows, validation: Validation, whole: keras.Model) -> Lesson:
    """Return what both phases teach; the ``whole`` keyboard's graph, which shares weights, is validated."""
    loss = make_loss(config.network.channels, config.loss)

    def draw(size: int) -> tuple[Any, Any]:
        inputs, targets = windows.batch(size)
        return inputs, {"keys": targets}

    return Lesson(
        loss={"keys": loss},
        draw=draw,
        report=lambda: validation.report(whole, loss),
        average=config.average,
        check_every=config.check_every,
        seed=lambda steps: windows.reseed([config.seed, steps]),
    )


def _save(whole: keras.Model, weights: Path) -> None:
    whole.save_weights(weights)
    Checkpoint(weights).remove()


def _load(model: keras.Model, weights: Path) -> None:
    try:
        model.load_weights(weights)
    except (OSError, ValueError) as error:
        raise ConfigError(f"cannot start from the weights {weights}: {error}") from error


def trained(config: VideoConfig, run: Path) -> VideoNetwork:
    """Return the quantized network that ``train`` left in ``run``."""
    keras.mixed_precision.set_global_policy("float32")
    network = VideoNetwork(config.network)
    whole = network.model()
    set_phase(whole, Phase.QUANTIZED, folded=True)
    whole.load_weights(run / QUANTIZED_WEIGHTS)
    return network


def keep_config(path: Path, run: Path) -> None:
    """Copy the experiment's file beside its results.

    Raises:
        ConfigError: the folder holds the training of another experiment.
    """
    run.mkdir(parents=True, exist_ok=True)
    copy = run / path.name
    claim(run, same=not copy.is_file() or read_config(copy) == read_config(path))
    if copy.resolve() != path.resolve():
        shutil.copyfile(path, copy)
