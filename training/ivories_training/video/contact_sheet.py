"""Contact sheets: what the network is shown, for people to look at."""

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from ivories.keyboard import KEYS
from ivories_training.invention import invent
from ivories_training.video.clips import filmed_clip
from ivories_training.video.dataset import every_sequence
from ivories_training.video.film import Film
from ivories_training.video.hands import random_hands
from ivories_training.video.motion import strokes_of
from ivories_training.video.room import random_room
from ivories_training.video.sensor import random_sensor
from ivories_training.video.unusual import generator, unusual_room

UInt8 = NDArray[np.uint8]
_TILE = (480, 360)


def scenes(seed: int, out: Path, videos: list[Path], count: int = 12, *, unusual: bool = False) -> None:
    """Write whole pictures of ``count`` random scenes, and frames of ``videos``, side by side.

    ``unusual``: on instruments and in light that few rooms have.
    """
    tiles = []
    for i in range(count):
        rng = np.random.default_rng([seed + i, 0x5EE])
        room = random_room(rng)
        if unusual:
            room = unusual_room(room, generator(seed + i))
        strokes = strokes_of(invent(seed + i, 8.0).notes, rng)
        time = float(strokes.onset_s[len(strokes) // 2]) + 0.05
        hands = random_hands(room, strokes.between(time - 1, time + 1), (time - 0.2, time + 0.2), rng)
        sensor = random_sensor(rng, room.body["white_albedo"])
        film = Film(room, sensor, strokes, np.array([time]), 0.01, hands, rng)
        tiles.append(sensor.compress(list(film.exposures()))[0])
    for video in videos:
        pictures = filmed_clip(video).pictures
        tiles += [pictures[len(pictures) * part // 4] for part in (1, 2, 3)]
    _write(out, [cv2.resize(tile, _TILE, interpolation=cv2.INTER_AREA) for tile in tiles], columns=3)


def strips(folder: Path, out: Path, count: int = 10) -> None:
    """Write rectified strips from shards: luma, difference from rest, and the truth under each key."""
    rows = []
    for n, (shard, i) in enumerate(every_sequence(folder)):
        if n == count:
            break
        frame = shard.pressed.shape[1] * 2 // 3
        rest, luma = shard.luma[i, 0], shard.luma[i, 1 + frame]
        difference = np.clip(128 + 4 * (luma.astype(int) - rest), 0, 255).astype(np.uint8)
        truth = np.zeros((10, luma.shape[1]), np.uint8)
        blocks = truth.reshape(10, KEYS, -1)
        blocks[:5, :, 2:-2] = 255 * shard.pressed[i, frame][:, None]
        blocks[5:, :, 2:-2] = (255 * shard.depth[i, frame].astype(float)).astype(np.uint8)[:, None]
        blocks[:, :, :2] = np.where(shard.visible[i, frame], 0, 128)[:, None]
        rows.append(np.concatenate([luma, difference, truth]))
    _write(out, rows, columns=1)


def _write(out: Path, tiles: list[UInt8], columns: int) -> None:
    blank = np.zeros_like(tiles[0])
    tiles = tiles + [blank] * (-len(tiles) % columns)
    lines = [np.concatenate(tiles[i : i + columns], axis=1) for i in range(0, len(tiles), columns)]
    out.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(out), np.concatenate(lines))
