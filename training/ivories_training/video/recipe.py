"""The whole way from an experiment's file to an int8 file with its manifest."""

from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from ivories.inference.manifest import Manifest
from ivories_training.backends import EXPORT_BACKEND, run_module, training_backend
from ivories_training.performances import Split
from ivories_training.video.clips import Clip, Idle, random_clip
from ivories_training.video.dataset import Music, render

_FIRST_CLIP = {"train": 10_000, "validation": 20_000, "test": 30_000}
_FIRST_UNUSUAL_CLIP = {split: first + 5_000 for split, first in _FIRST_CLIP.items()}
_FIRST_IDLE_CLIP = {
    "test": {Idle.ACTING: 40_000, Idle.RESTING: 45_000},
    "validation": {Idle.ACTING: 50_000, Idle.RESTING: 55_000},
}
FALSE_NOTES = "false_per_10_s"
CARD = """\
## video

Sees which keys move and are pressed. Input: the key-aligned strip of five frames' differences from the
rest image and the newest luma; output: onset at four horizons, pressed, velocity and visible, per key.

Trained on rendered keyboards, hands, cameras and lights alone; no picture of a person or of a real room
was used. It knows keyboards of 88 keys in the usual proportions. Covered keys and keys outside the picture
are reported as not visible rather than guessed. Its velocities are worth little yet.
"""
_MEASURE = """\
The int8 file through the device's own stages, eye alone. Cameras of rendered clips are in the device's care:
where white keys would come out plain white it corrects their exposure, as `ivories run` does; what the same
clips give with the cameras left alone stands beside it, and is what was told here before. Pressed frames are
those after which the device, as it then stands, holds the key for pressed; before, each frame's evidence
alone was counted.
"""


def video_card(manifest: Manifest) -> str:
    """Return the model card with the manifest's scores (``material/policy/measure`` -> value)."""
    found: dict[tuple[str, str], dict[str, float]] = {}
    for name, value in manifest.scores.items():
        if name.count("/") >= 2:
            material, policy, measure = name.rsplit("/", 2)
            found.setdefault((material, policy), {})[measure] = value
    if not found:
        return CARD
    names = (
        "material", "policy", "onset F1 50 ms", "100 ms", "with the end", "pressed-frame F1",
        "decided after the sound", "false notes per 10 s",
    )  # fmt: skip
    lines = [f"| {' | '.join(names)} |", f"|{'---|' * len(names)}"]
    for (material, policy), at in found.items():
        measures = ("f1_50ms", "f1_100ms", "f1_offset", "frame_f1")
        scores = " | ".join(f"{at[m]:.3f}" if m in at else "" for m in measures)
        after = f"{at['detection_ms']:.0f} ms" if "detection_ms" in at else ""
        false = f"{at[FALSE_NOTES]:.2f}" if FALSE_NOTES in at else ""
        lines.append(f"| {material} | {policy} | {scores} | {after} | {false} |")
    return f"{CARD}\n{_MEASURE}\n" + "\n".join(lines)


def unseen_clips(
    performances: Path | None,
    split: Split,
    count: int,
    seconds: float,
    rate: float | None = None,
    *,
    held: bool = False,
    unusual: bool = False,
) -> Iterator[Clip]:
    """Yield ``count`` clips of pieces of ``split``, in rooms that no training sequence shows.

    ``held``: the device corrects the cameras' exposure; else they are left alone. ``unusual``: on instruments
    and in light that few rooms have.
    """
    music, first = Music(performances, split), (_FIRST_UNUSUAL_CLIP if unusual else _FIRST_CLIP)[split]
    for seed in range(first, first + count):
        yield random_clip(seed, music.piece(seed), seconds, rate, held=held, unusual=unusual)


def idle_clips(
    performances: Path | None,
    split: Literal["validation", "test"],
    count: int,
    seconds: float,
    *,
    held: bool = False,
) -> Iterator[tuple[Idle, Clip]]:
    """Yield ``count`` clips of each kind in which nobody presses, and a lamp is switched."""
    music = Music(performances, split)
    for idle, first in _FIRST_IDLE_CLIP[split].items():
        for seed in range(first, first + count):
            yield idle, random_clip(seed, music.piece(seed), seconds, idle=idle, held=held)


def left_alone(performances: Path | None, clip: Clip, seconds: float, idle: Idle | None = None) -> Clip:
    """Return the test clip ``clip`` with the camera left alone; itself where the device left it alone too."""
    if not clip.stops:
        return clip
    seed = int(clip.name.rpartition("_")[2])
    return random_clip(seed, Music(performances, "test").piece(seed), seconds, idle=idle)


def make_model(config_path: Path, run: Path, performances: Path | None, models: Path) -> Path:
    """Render what is missing in ``run``/data, train, export to ``models``; return the manifest's path.

    Raises:
        ConfigError: the configuration is wrong, or a step failed.
    """
    from ivories_training.video.train import keep_config, read_config

    config = read_config(config_path)
    keep_config(config_path, run)
    data, wanted = run / "data", config.render
    parts: tuple[tuple[Split, int], ...] = (
        ("validation", wanted.validation_shards),
        ("train", wanted.train_shards),
    )
    for split, count in parts:
        render(data / split, Music(performances, split), range(count), wanted.sequences)
    stages, played = "ivories_training.video.stages", performances or ""
    run_module(stages, "train", config_path, run, models, played, backend=training_backend())
    run_module(stages, "export", config_path, run, models, played, backend=EXPORT_BACKEND)
    return models / f"{config.name}.toml"
