"""Clips: rendered playing as a camera would deliver it, from an empty keyboard on, with its truth.

They judge and calibrate a network; training uses the short sequences.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ivories.clock import SECOND
from ivories.datatypes import VideoFrame
from ivories.keyboard import LOWEST_PITCH
from ivories.notes import NOTE_DTYPE
from ivories.vision.calibration import Calibration
from ivories.vision.strip import StripFrontEnd, StripSpec
from ivories_training.video.film import Film, scene_calibration, shaken
from ivories_training.video.hands import random_hands
from ivories_training.video.held_exposure import HeldExposure
from ivories_training.video.motion import Strokes, pressed, strokes_of
from ivories_training.video.room import random_room
from ivories_training.video.sensor import random_sensor
from ivories_training.video.unusual import generator, unusual_room

QUIET_S = 2.2
"""Time before the first note in which no hand is seen: the rest image is learnt"""


@dataclass(frozen=True)
class Clip:
    name: str
    calibration: Calibration
    t_ns: NDArray[np.int64]
    """(F,)"""
    pictures: NDArray[np.uint8]
    """(F, H, W)"""
    notes: NDArray[np.void]
    """NOTE_DTYPE"""
    pressed: NDArray[np.bool_]
    """(F, 88)"""
    level: float
    """mean luma of the keyboard: how dim it was"""
    covered: NDArray[np.float64] | None = None
    """(F, 88) share of each key hidden by hands, 1 outside the picture; None where nobody knows"""
    stops: tuple[float, ...] = ()
    """What the device asked the camera to expose by, one after the other"""

    def frames(self) -> Iterator[VideoFrame]:
        """Yield the pictures as a camera does."""
        for i, picture in enumerate(self.pictures):
            yield VideoFrame(picture, int(self.t_ns[i]), 0, i)


class Idle(StrEnum):
    """What hands do in a clip in which nobody presses a key."""

    RESTING = "hands rest or pass"
    ACTING = "hands only act"
    """They go and touch as if they played"""


def true_notes(strokes: Strokes) -> NDArray[np.void]:
    """Return the strokes as ``notes.NOTE_DTYPE``."""
    rows = zip(strokes.onset_s, strokes.offset_s, strokes.key + LOWEST_PITCH, strokes.velocity, strict=True)
    return np.array(sorted(rows), NOTE_DTYPE)


def random_clip(
    seed: int,
    notes: NDArray[np.void],
    seconds: float,
    rate: float | None = None,
    *,
    idle: Idle | None = None,
    held: bool = False,
    unusual: bool = False,
) -> Clip:
    """Draw a scene and film ``seconds`` of ``notes`` (``performances.NOTE``) after a quiet beginning.

    Args:
        seed: of everything but the notes.
        notes: a piece.
        seconds: length of the clip.
        rate: frames per second, by default drawn.
        idle: no key moves, and a lamp is switched.
        held: the device corrects the camera's exposure, as `ivories run` does; else it is left alone.
        unusual: on an instrument or in light that few rooms have.
    """
    rng = np.random.default_rng([seed, 0xC11B])
    room = random_room(rng)
    if unusual:
        room = unusual_room(room, generator(seed))
    rate = rate or float(rng.choice([30.0, 25.0, 60.0], p=[0.7, 0.1, 0.2]))
    begin = float(notes["onset_s"][0]) + float(rng.uniform(0, 1)) * max(
        0.0, float(notes["onset_s"][-1] - notes["onset_s"][0]) - seconds
    )
    part = notes[(notes["onset_s"] >= begin) & (notes["onset_s"] < begin + seconds - QUIET_S - 0.3)].copy()
    for name in ("onset_s", "offset_s"):
        part[name] += QUIET_S - begin
    part["offset_s"] = np.minimum(part["offset_s"], seconds)
    strokes = strokes_of(part, rng)
    times = np.arange(round(seconds * rate)) / rate
    spec = StripSpec()
    sensor = random_sensor(rng, room.body["white_albedo"])
    none = strokes.between(np.inf, np.inf)
    acted = none if idle is Idle.RESTING else strokes
    hands = random_hands(room, acted, (QUIET_S, seconds), rng, arrives_s=QUIET_S - 0.1)
    exposure = float(rng.uniform(0.05, 0.9)) / rate
    if idle is not None:
        strokes = none
    film = Film(room, sensor, strokes, times, exposure, hands, rng, spec=spec)
    device = HeldExposure(film, scene_calibration(room), seed)
    exposed = list(device.exposures(times) if held else film.exposures())
    pictures = sensor.compress(_switched(exposed, QUIET_S * rate, rng) if idle else exposed)
    calibration = shaken(scene_calibration(room), rng, float(rng.uniform(0, 0.05)))
    outside = ~StripFrontEnd(spec, calibration).visible
    return Clip(
        name=f"render_{seed}",
        calibration=calibration,
        t_ns=np.round(times * SECOND).astype(np.int64),
        pictures=np.stack([film.frame.paste(p) for p in pictures]),
        notes=true_notes(strokes),
        pressed=pressed(strokes, times),
        level=float(np.mean(pictures[0])),
        covered=np.where(outside, 1.0, film.covered),
        stops=tuple(device.stops),
    )


def _switched(
    pictures: list[NDArray[np.uint8]], first: float, rng: np.random.Generator
) -> list[NDArray[np.uint8]]:
    """Return the pictures with the light stepping up or down once, some time after frame ``first``."""
    at = int(rng.uniform(0.2, 0.8) * (len(pictures) - first) + first)
    gain = float(rng.choice([rng.uniform(0.55, 0.85), rng.uniform(1.2, 1.7)]))
    changed = np.clip(np.round(np.arange(256) * gain), 0, 255).astype(np.uint8)
    return [changed[picture] if i >= at else picture for i, picture in enumerate(pictures)]


def filmed_clip(video: Path) -> Clip:
    """Read a filmed clip: NAME.mp4 and NAME.mid (truth); the keyboard is found as `ivories transcribe` does.

    Raises:
        SourceError: a file is missing or damaged.
        CalibrationError: there is no keyboard to be found.
    """
    import av

    from ivories.errors import SourceError
    from ivories.notes import read_notes
    from ivories.survey import survey

    try:
        with av.open(str(video)) as container:
            stream = container.streams.video[0]
            decoded = [
                (f.pts * stream.time_base, f.to_ndarray(format="gray8")) for f in container.decode(stream)
            ]
    except (OSError, ValueError, IndexError, av.error.FFmpegError) as error:
        raise SourceError(f"the video {video} cannot be read: {error}") from error
    calibration = survey(video)
    pictures = np.stack([picture for _, picture in decoded])
    t_ns = np.array([round(float(t) * SECOND) for t, _ in decoded], np.int64)
    notes = read_notes(video.with_suffix(".mid"))
    down = np.zeros((len(t_ns), 88), bool)
    for note in notes:
        held = (t_ns >= note["onset_s"] * SECOND) & (t_ns < note["offset_s"] * SECOND)
        down[held, note["pitch"] - LOWEST_PITCH] = True
    return Clip(video.stem, calibration, t_ns, pictures, notes, down, float(pictures.mean()))
