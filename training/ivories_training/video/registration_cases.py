"""Camera positions to judge the finding of the keyboard by: rendered random mounts, and filmed clips."""

import itertools
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from ivories.errors import SourceError
from ivories.keyboard import WHITE_KEYS
from ivories.sources.video_file import VideoFileSource
from ivories.vision.calibration import Calibration, from_corners
from ivories_training.invention import invent
from ivories_training.video.film import Film, scene_calibration
from ivories_training.video.hands import random_hands
from ivories_training.video.motion import strokes_of
from ivories_training.video.render import Renderer
from ivories_training.video.room import Room, random_room
from ivories_training.video.sensor import Sensor, random_sensor

UInt8 = NDArray[np.uint8]

_MARGIN_PX: Final = 3
_CORNERS: Final = ("A0_back", "C8_back", "C8_front", "A0_front")


@dataclass(frozen=True)
class Case:
    """Pictures of one camera position."""

    name: str
    pictures: Sequence[UInt8]
    truth: Calibration | None


def mounted(seed: int, pictures: int) -> Case:
    """Render a random camera that sees all keys; every third one sees them being played."""
    for attempt in itertools.count():
        rng = np.random.default_rng([seed, attempt, 0xCA1])
        room = random_room(rng)
        truth = scene_calibration(room)
        if _all_visible(truth):
            break
    sensor = random_sensor(rng, room.body["white_albedo"])
    if seed % 3 == 2:
        return Case(f"mount {seed}", sensor.compress(_played(room, sensor, seed, pictures, rng)), truth)
    rest = Renderer(room).rest
    shots = [sensor.expose(rest, 0.0, rng) for _ in range(min(pictures, 3))]  # only their noise differs
    return Case(f"mount {seed}", sensor.compress(shots), truth)


def _played(room: Room, sensor: Sensor, seed: int, pictures: int, rng: np.random.Generator) -> list[UInt8]:
    strokes = strokes_of(invent(seed, 12.0).notes, rng)
    begin = float(strokes.onset_s[0])
    times = begin + np.linspace(0.5, 8.5, pictures)
    hands = random_hands(room, strokes, (begin, begin + 10), rng)
    return list(Film(room, sensor, strokes, times, 0.01, hands, rng).exposures())


def _all_visible(truth: Calibration) -> bool:
    x = np.linspace(0, WHITE_KEYS, 27)
    outline = np.concatenate([np.stack([x, np.full_like(x, y)], 1) for y in (0.0, 1.0)])
    pixels = truth.to_pixels(outline)
    limit = np.array([truth.width, truth.height]) - _MARGIN_PX
    return bool(((pixels > _MARGIN_PX) & (pixels < limit)).all())


def filmed(video: Path, pictures: int) -> Case:
    """Take pictures spread over ``video``; NAME_registration.json beside it, if any, holds the true corners.

    Raises:
        SourceError: a file cannot be read.
    """
    source = VideoFileSource(video)
    try:
        step = max(1, round((source.duration_ns or 0) / 1e9 * (source.fps or 30.0) / pictures))
        shots = [np.array(f.luma) for f in itertools.islice(source, 0, step * pictures, step)]
    finally:
        source.close()
    beside = video.with_name(f"{video.stem}_registration.json")
    truth = None
    if beside.exists():
        try:
            corners = json.loads(beside.read_text("utf-8"))["corners_px"]
            truth = from_corners([corners[name] for name in _CORNERS], source.width, source.height)
        except (OSError, KeyError, ValueError) as error:
            raise SourceError(f"{beside} holds no corners_px of {', '.join(_CORNERS)}: {error!r}") from error
    return Case(video.stem, shots, truth)
