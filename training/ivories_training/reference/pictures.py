"""Raw pictures to learn from: rendered clips on disk, and windows of five pictures drawn from them."""

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from ivories.clock import SECOND
from ivories.errors import SourceError
from ivories_training.performances import Split
from ivories_training.reference.settings import FRAMES, Augment, PictureData, Pictures
from ivories_training.video.balance import kinds_of, members
from ivories_training.video.clips import random_clip
from ivories_training.video.dataset import Music

Float32 = NDArray[np.float32]
_FIRST_SEED = {"train": 50_000, "validation": 60_000}


@dataclass(frozen=True)
class Recording:
    """A clip on disk."""

    pictures: NDArray[np.uint8]
    """(F, rows, columns), mapped from the file"""
    pressed: NDArray[np.bool_]
    """(F, 88)"""
    struck: NDArray[np.bool_]
    """(F,) whether a key was struck since the frame before"""


def write_clips(experiment: Pictures, split: Split, folder: Path) -> None:
    """Render the clips of ``split`` that ``folder`` lacks, in the network's own resolution."""
    data, size = experiment.data, (experiment.network.columns, experiment.network.rows)
    folder.mkdir(parents=True, exist_ok=True)
    music = Music(Path(data.performances).expanduser() if data.performances else None, split)
    for number in range(data.clips if split == "train" else data.validation_clips):
        labels = folder / f"{number:04d}.npz"
        if labels.is_file():
            continue
        seed = _FIRST_SEED[split] + number
        clip = random_clip(seed, music.piece(seed), data.seconds, data.rate)
        small = [cv2.resize(picture, size, interpolation=cv2.INTER_AREA) for picture in clip.pictures]
        np.save(labels.with_suffix(".npy"), np.stack(small))
        struck = np.zeros(len(clip.t_ns), bool)
        at = np.searchsorted(clip.t_ns, np.round(clip.notes["onset_s"] * SECOND))
        struck[at[at < len(struck)]] = True
        part = folder / f".{number:04d}.npz"
        np.savez(part, pressed=clip.pressed, struck=struck)
        part.rename(labels)  # a clip counts once its labels are there


def read_clips(folder: Path) -> list[Recording]:
    """Open all clips in ``folder``; their pictures stay on disk.

    Raises:
        SourceError: there is none.
    """
    found = []
    for labels in sorted(folder.glob("[0-9]*.npz")):
        with np.load(labels) as kept:
            pictures = np.load(labels.with_suffix(".npy"), mmap_mode="r")
            found.append(Recording(pictures, kept["pressed"], kept["struck"]))
    if not found:
        raise SourceError(f"no clips in {folder}: render some first")
    return found


class PictureMaterial:
    """Windows of five pictures; what is said of a window is true of its newest picture.

    Args:
        experiment: how to draw and change them.
        folder: with ``train`` and ``validation``; no clip is in both.
    """

    def __init__(self, experiment: Pictures, folder: Path) -> None:
        self.experiment = experiment
        self.recordings = read_clips(folder / "train")
        radius = experiment.balance.radius
        kinds = [kinds_of(r.struck, radius)[FRAMES - 1 :] for r in self.recordings]
        self._members = [members(kinds, kind) for kind in range(3)]
        self.reseed(0)
        self.validation = _spread(read_clips(folder / "validation"), experiment.data)

    def reseed(self, steps: int) -> None:
        """Draw as after ``steps`` batches: new windows after an interruption."""
        self._rng = np.random.default_rng([self.experiment.seed, steps])

    def batch(self, size: int) -> tuple[Float32, Float32]:
        """Return (size, rows, columns, 5) luma 0..1, oldest picture first, and (size, 1, 1, 88) truth."""
        inputs, targets = [], []
        for _ in range(size):
            found = self._members[self.experiment.balance.draw(self._rng)]
            which, first = found[self._rng.integers(len(found))]
            recording = self.recordings[which]
            window = recording.pictures[first : first + FRAMES].astype(np.float32) / 255
            inputs.append(augmented(window, self.experiment.augment, self._rng).transpose(1, 2, 0))
            targets.append(recording.pressed[first + FRAMES - 1])
        return np.stack(inputs), _as_targets(targets)


def augmented(window: Float32, config: Augment, rng: np.random.Generator) -> Float32:
    """Return ``window`` (5, H, W) in another light and noisier, within 0..1.

    Brightness and contrast are drawn once for all five pictures: a change between them would look like a
    key that moves. Noise is the sensor's, and new in each picture.
    """
    middle = window.mean()
    gain, shift = rng.uniform(*config.contrast), rng.uniform(-config.brightness, config.brightness)
    noise = rng.standard_normal(window.shape, np.float32) * np.float32(config.noise)
    return np.clip((window - middle) * np.float32(gain) + middle + np.float32(shift) + noise, 0, 1)


def _spread(recordings: list[Recording], data: PictureData) -> tuple[Float32, Float32]:
    """Return validation windows evenly spread over all recordings, and their truth."""
    ends = [(r, i) for r in recordings for i in range(FRAMES, len(r.pictures) + 1)]
    chosen = np.linspace(0, len(ends) - 1, min(data.validation_windows, len(ends))).astype(int)
    inputs = [ends[i][0].pictures[ends[i][1] - FRAMES : ends[i][1]] for i in chosen]
    targets = [ends[i][0].pressed[ends[i][1] - 1] for i in chosen]
    return np.stack(inputs).transpose(0, 2, 3, 1).astype(np.float32) / 255, _as_targets(targets)


def _as_targets(pressed: list[NDArray[np.bool_]]) -> Float32:
    return np.stack(pressed).astype(np.float32)[:, np.newaxis, np.newaxis]
