"""Rendered sequences on disk and the windows drawn from them.

A shard holds the rectified luma of some sequences, rest picture first, and their labels. The six input
channels are made from it at load time by the device's own C code, so a shard is a third of their size and
any augmentation of luma and rest picture acts before the differences are taken.
"""

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ivories.vision.strip import StripSpec
from ivories_training.invention import invent
from ivories_training.performances import Split, find, read_midi
from ivories_training.video.sequences import Sequence, random_sequence

SEQUENCES = 32
"""per shard"""
FRAMES_PER_SEQUENCE = 16
_SEED_OF = {"train": 1_000_000_000, "validation": 2_000_000_000, "test": 3_000_000_000}


@dataclass(frozen=True, slots=True)
class Shard:
    luma: NDArray[np.uint8]
    """(S, 1 + F, rows, width), rest picture first"""
    t_ns: NDArray[np.int64]
    """(S, F)"""
    depth: NDArray[np.float16]
    """(S, F, 88)"""
    pressed: NDArray[np.bool_]
    """(S, F, 88)"""
    onset: NDArray[np.uint8]
    """(S, BEFORE + F + AHEAD, 88) see ``Sequence``"""
    visible: NDArray[np.bool_]
    """(S, F, 88)"""


class Music:
    """Where sequences take their notes from: MIDI files of one split, and invented pieces."""

    def __init__(self, folder: Path | None, split: Split, invented: float = 0.2) -> None:
        self.paths = [] if folder is None else find(folder)[split]
        self.split = split
        self.invented = invented if self.paths else 1.0
        self._cache: dict[Path, NDArray[np.void]] = {}

    def piece(self, seed: int) -> NDArray[np.void]:
        """Return the notes (``performances.NOTE``) that belong to ``seed``."""
        rng = np.random.default_rng([seed, 0x3517])
        if rng.random() < self.invented:
            return invent(_SEED_OF[self.split] + int(rng.integers(400)), 40.0).notes
        path = self.paths[int(rng.integers(len(self.paths)))]
        if path not in self._cache:
            self._cache[path] = read_midi(path).notes
        return self._cache[path]


def render_shard(folder: Path, index: int, music: Music, sequences: int = SEQUENCES) -> Path:
    """Render shard ``index`` of ``music``'s split into ``folder`` and return its label file."""
    folder.mkdir(parents=True, exist_ok=True)
    made: list[Sequence] = []
    for i in range(sequences):
        seed = _SEED_OF[music.split] + index * 100_000 + i
        made.append(random_sequence(seed, music.piece(seed), FRAMES_PER_SEQUENCE))
    labels = folder / f"{index:05d}.npz"
    luma = np.stack([np.concatenate([s.rest[None], s.luma]) for s in made])
    np.save(folder / f"{index:05d}.npy", luma)
    draft = folder / f".{index:05d}.npz"
    np.savez(
        draft,
        t_ns=np.stack([s.t_ns for s in made]),
        depth=np.stack([s.depth for s in made]).astype(np.float16),
        pressed=np.stack([s.pressed for s in made]),
        onset=np.stack([s.onset for s in made]),
        visible=np.stack([s.visible for s in made]),
    )
    draft.rename(labels)  # a shard counts once its labels are there
    return labels


def render(
    folder: Path,
    music: Music,
    shards: range,
    sequences: int = SEQUENCES,
    report: Callable[[str], None] = print,
) -> None:
    """Render the missing shards of ``shards``, and write what they were made with beside them."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "spec.json").write_text(json.dumps(asdict(StripSpec()), indent=1))
    for index in shards:
        if (folder / f"{index:05d}.npz").is_file():
            continue
        began = time.perf_counter()
        render_shard(folder, index, music, sequences)
        rate = sequences * (FRAMES_PER_SEQUENCE + 1) / (time.perf_counter() - began)
        report(f"{folder.name} shard {index}: {rate:.0f} pictures/s")


def shards(folder: Path) -> list[Path]:
    """Return the label files of the finished shards, in order."""
    return sorted(p for p in folder.glob("[0-9]*.npz"))


def load_shard(labels: Path) -> Shard:
    """Open a shard; its luma stays on disk until it is used."""
    with np.load(labels) as data:
        arrays = {name: data[name] for name in ("t_ns", "depth", "pressed", "onset", "visible")}
    return Shard(luma=np.load(labels.with_suffix(".npy"), mmap_mode="r"), **arrays)


def every_sequence(folder: Path) -> Iterator[tuple[Shard, int]]:
    """Yield (shard, index in it) of all sequences in ``folder``."""
    for path in shards(folder):
        shard = load_shard(path)
        for i in range(len(shard.luma)):
            yield shard, i
