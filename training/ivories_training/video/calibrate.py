"""From a trained network to a file the device can trust: int8 export, calibration, thresholds, manifest."""

from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray

from ivories.datatypes import Origin
from ivories.inference.manifest import Channel, Manifest
from ivories.vision.strip import StripSpec
from ivories_training import export
from ivories_training.mappability import Report
from ivories_training.thresholds import Piece, find_thresholds
from ivories_training.video.clips import Clip
from ivories_training.video.dataset import every_sequence
from ivories_training.video.evaluate import Watcher
from ivories_training.video.network import NetworkConfig, VideoNetwork
from ivories_training.video.windows import Assembler, sequence_targets

Float32 = NDArray[np.float32]
EVERY = 3
"""Every third window of the validation sequences is looked at"""


def file_logits(path: Path, folder: Path, network: NetworkConfig) -> tuple[Float32, Float32]:
    """Run the int8 file on validation sequences; return logits (N, 88, C) and targets (N, 88, 2 * C)."""
    file = export.Int8Model(path)
    assembler = Assembler()
    logits, targets = [], []
    for shard, i in every_sequence(folder):
        strips = assembler.strips(np.array(shard.luma[i]), shard.t_ns[i])[::EVERY]
        truth = sequence_targets(shard, i, network, 0.0)[::EVERY]
        for strip, target in zip(strips, truth, strict=True):
            out = file.run({"strip": strip[None]})["keys"]
            logits.append(file.real(file.outputs["keys"], out)[0, 0])
            targets.append(target)
    return np.stack(logits), np.stack(targets)


def fit_line(logits: Float32, truth: Float32, weight: Float32) -> tuple[float, float]:
    """Return (temperature, bias) of the posterior logit (logit + bias) / temperature, by Newton's method."""
    used = weight > 0
    z, y = logits[used].astype(float), truth[used].astype(float)
    design = np.stack(
        [z, np.ones_like(z)]
    )  # gain and shift: the inverse of temperature, and bias / temperature
    at = np.array([1.0, 0.0])

    def cost(line: NDArray[np.float64]) -> float:
        value = line @ design
        return float((np.logaddexp(0, value) - y * value).sum() + 0.5e-3 * (line[0] - 1) ** 2)

    now = cost(at)
    for _ in range(50):
        p = 1 / (1 + np.exp(-np.clip(at @ design, -40, 40)))
        gradient = design @ (y - p) - np.array([1e-3 * (at[0] - 1), 0.0])
        hessian = (design * (p * (1 - p) + 1e-9)) @ design.T + 1e-3 * np.eye(2)
        step = np.linalg.solve(hessian, gradient)
        while (after := cost(at + step)) > now and np.abs(step).max() > 1e-9:
            step /= 2
        at, gained, now = at + step, now - after, after
        if gained < 1e-6 * (1 + abs(now)):
            break
    gain = float(np.clip(at[0], 0.1, 10.0))
    return 1 / gain, float(at[1]) / gain


def fit_channels(logits: Float32, targets: Float32, network: NetworkConfig) -> list[Channel]:
    """Return the manifest's channels, calibrated on visible keys."""
    count = len(network.channels)
    made = []
    for c, name in enumerate(network.channels):
        truth, weight = targets[..., c], targets[..., count + c]
        kind, _, horizon = name.partition("@")
        if name == "velocity":
            made.append(Channel(kind="velocity"))
            continue
        temperature, bias = fit_line(logits[..., c], truth, weight)
        rate = float(np.clip((truth * weight).sum() / max(1.0, weight.sum()), 1e-5, 1 - 1e-5))
        made.append(
            Channel(
                kind=kind,  # type: ignore[arg-type]
                horizon=int(horizon or 0),
                temperature=round(temperature, 4),
                bias=round(bias, 4),
                prior=round(float(np.log(rate / (1 - rate))), 4),
            )
        )
    return made


def finish(
    network: VideoNetwork,
    validation: Path,
    clips: list[Clip],
    path: Path,
    trained_on: list[str],
    card: str,
) -> Report:
    """Write ``path`` (NAME.tflite) with its manifest and card.

    Args:
        network: quantized, from ``train.train`` or ``train.trained``.
        validation: folder of validation shards, for the calibration.
        clips: validation clips, for the thresholds.
        path: where to.
        trained_on: for the manifest.
        card: text of the model card.
    """
    network.constant.freeze()
    step = network.model(batch=1)
    export.write_int8(step, path)
    logits, targets = file_logits(path, validation, network.config)
    manifest = Manifest(
        name=path.stem,
        kind="video",
        file=path.name,
        sha256=export.sha256(path),
        frontend=StripSpec().fingerprint,
        input="strip",
        channels=fit_channels(logits, targets, network.config),
        parameters=int(step.count_params()),
        trained_on=trained_on,
    )
    export.finish(manifest, path, card)
    watcher = Watcher(path.with_suffix(".toml"))
    pieces = [Piece(watcher.watch(clip), clip.notes) for clip in clips]
    manifest = msgspec.structs.replace(manifest, thresholds=find_thresholds(pieces, Origin.VIDEO))
    return export.finish(manifest, path, card)
