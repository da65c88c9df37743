"""Training and validation material on disk, and batches from it."""

import multiprocessing
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ivories.audio.frontend import AudioFrontEnd
from ivories.errors import SourceError
from ivories_training.audio import instruments
from ivories_training.audio.excerpts import ExcerptMaker, Shard, read_shard, write_shard
from ivories_training.audio.labels import HOP_S, targets
from ivories_training.audio.settings import Settings
from ivories_training.performances import Performance, Split, find, read_midi

Float32 = NDArray[np.float32]
VALIDATION_SEED = 7_001
TEST_SEED = 9_001


def performances(settings: Settings, split: Split) -> list[Performance]:
    """Read the performances of one split; none where no folder is named."""
    if not settings.data.performances:
        return []
    return [read_midi(path) for path in find(Path(settings.data.performances).expanduser())[split]]


def maker(settings: Settings, split: Split) -> ExcerptMaker:
    """Return what draws excerpts of a split; no two splits share a piano or a piece."""
    if split == "test":
        test = instruments.test_bank(settings.instruments.cache)
        banks, seed = {test.name: test}, TEST_SEED
    else:
        train, held_out = instruments.load(settings.instruments)
        banks = train if split == "train" else held_out
        seed = settings.data.seed if split == "train" else VALIDATION_SEED
    weights = [settings.instruments.weights.get(name, 1.0) for name in banks]
    played = performances(settings, split)
    return ExcerptMaker(played, list(banks.values()), AudioFrontEnd(), settings.excerpts, seed, weights)


def prepare(settings: Settings, folder: Path) -> None:
    """Make the shards of training and validation that ``folder`` lacks."""
    per_shard = settings.data.shard_excerpts
    seconds = settings.excerpts.seconds
    wanted: dict[Split, int] = {
        "validation": max(1, round(settings.data.validation_minutes * 60 / seconds / per_shard)),
        "train": max(1, round(settings.data.hours * 3600 / seconds / per_shard)),
    }
    for split, count in wanted.items():
        missing = [i for i in range(count) if not _path(folder, split, i).is_file()]
        if not missing:
            continue
        jobs = [
            (settings, folder, split, missing[i :: settings.data.workers])
            for i in range(settings.data.workers)
        ]
        if len(jobs) == 1:
            _write(*jobs[0])
        else:
            instruments.load(settings.instruments)  # once, before several would render the same piano
            with multiprocessing.get_context("spawn").Pool(len(jobs)) as pool:
                pool.starmap(_write, jobs)


def _path(folder: Path, split: Split, number: int) -> Path:
    return folder / split / f"shard_{number:04d}.npy"


def _write(settings: Settings, folder: Path, split: Split, numbers: Sequence[int]) -> None:
    drawn = maker(settings, split)
    count = settings.data.shard_excerpts
    for number in numbers:
        write_shard(folder / split, number, drawn, range(number * count, (number + 1) * count))


class Batches:
    """Random sequences from all shards that are there, new ones picked up as they appear.

    Args:
        folder: of one split.
        horizons: onset horizons in hops.
        context: hops of the first convolution: sequences are that much longer, less one.
    """

    def __init__(self, folder: Path, horizons: Sequence[int], context: int) -> None:
        self.folder, self.horizons, self.context = folder, tuple(horizons), context
        self.shards: list[Shard] = []
        self._known: set[Path] = set()
        self.refresh()
        if not self.shards:
            raise SourceError(f"no training material in {folder}: prepare it first")

    def refresh(self) -> None:
        """Open shards that were finished since the last look."""
        for path in sorted(set(self.folder.glob("shard_*.npy")) - self._known):
            self._known.add(path)
            self.shards.append(read_shard(path))

    @property
    def hours(self) -> float:
        """Of material open now."""
        return sum(s.bins.shape[0] * s.bins.shape[1] for s in self.shards) * HOP_S / 3600

    def draw(self, rng: np.random.Generator, batch: int, hops: int) -> tuple[Float32, Float32, Float32]:
        """Return spectrum (B, hops + context - 1, 291, 3), keys (B, hops, 88, C + 1) and pedal (B, hops)."""
        return _collate([self._one(rng, hops) for _ in range(batch)])

    def _one(self, rng: np.random.Generator, hops: int) -> tuple[NDArray[np.int8], Float32, Float32]:
        shard = self.shards[rng.integers(len(self.shards))]
        row = rng.integers(len(shard.bins))
        first = int(rng.integers(self.context - 1, shard.bins.shape[1] - hops + 1))
        return self._cut(shard, int(row), first, hops)

    def _cut(
        self, shard: Shard, row: int, first: int, hops: int
    ) -> tuple[NDArray[np.int8], Float32, Float32]:
        bins = shard.bins[row, first - self.context + 1 : first + hops]
        return bins, *targets(shard.played[row], hops, self.horizons, first)

    def whole(self, batch: int) -> Iterator[tuple[Float32, Float32, Float32, list[Performance]]]:
        """Yield all excerpts whole, in order, with what was played (times relative to the first output)."""
        begin = self.context - 1
        for shard in self.shards:
            hops = shard.bins.shape[1] - begin
            for row in range(0, len(shard.bins), batch):
                rows = range(row, min(row + batch, len(shard.bins)))
                arrays = _collate([self._cut(shard, r, begin, hops) for r in rows])
                yield *arrays, [shard.played[r].window(begin * HOP_S, hops * HOP_S) for r in rows]


def to_real(bins: NDArray[np.int8]) -> Float32:
    """Return int8 bins as the network's float input, 0..1."""
    return (bins.astype(np.float32) + 128) * np.float32(1 / 255)


def _collate(items: Sequence[tuple[NDArray[np.int8], Float32, Float32]]) -> tuple[Float32, Float32, Float32]:
    bins, keys, pedal = zip(*items, strict=True)
    return to_real(np.stack(bins)), np.stack(keys), np.stack(pedal)
