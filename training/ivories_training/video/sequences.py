"""Short sequences of pictures with exact labels: the unit of training material.

A sequence is a rest picture and a few consecutive frames of one scene, sent through the device's own video
front end. Everything follows from one seed.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from ivories.clock import SECOND
from ivories.keyboard import KEYS
from ivories.vision.strip import FRAMES, StripFrontEnd, StripSpec
from ivories_training.video.camera import Float32, Float64
from ivories_training.video.film import Film, scene_calibration, shaken
from ivories_training.video.hands import random_hands
from ivories_training.video.motion import Strokes, onset_grid, pressed, strokes_of
from ivories_training.video.room import Room, random_room
from ivories_training.video.sensor import Sensor, automatic, random_sensor
from ivories_training.video.unusual import SHARE, generator, unusual_room

UInt8 = NDArray[np.uint8]
COVERED = 0.8
"""Share of a key hidden by hands from which it counts as not visible"""
AHEAD = 2
"""Onset intervals labelled after the last frame"""
BEFORE = 5
"""and before the first one"""


@dataclass(frozen=True, slots=True)
class Sequence:
    luma: UInt8
    """(F, rows, width) rectified pictures"""
    rest: UInt8
    """(rows, width) rectified picture of the untouched keyboard"""
    t_ns: NDArray[np.int64]
    """(F,)"""
    depth: Float32
    """(F, 88) key travel 0..1"""
    pressed: NDArray[np.bool_]
    """(F, 88)"""
    onset: UInt8
    """(BEFORE + F + AHEAD, 88) velocity of the onset in the interval up to frame i - BEFORE, 0 = none"""
    visible: NDArray[np.bool_]
    """(F, 88)"""


def record(
    room: Room,
    sensor: Sensor,
    strokes: Strokes,
    times_s: Float64,
    exposure_s: float,
    rng: np.random.Generator,
    *,
    mimed: Strokes | None = None,
    extra_depth: Float32 | None = None,
    at_rest: Callable[[Sensor], Sensor] | None = None,
    registration_error: float = 0.0,
) -> Sequence:
    """Film ``strokes`` at ``times_s`` (F,) and return what the device's front end makes of it.

    Args:
        room: the scene.
        sensor: picture quality.
        strokes: what is played.
        times_s: mid-exposure times.
        exposure_s: how long each exposure lasts.
        rng: draws hands and noise.
        mimed: what the hands play, by default ``strokes``: more than that is acted without pressing.
        extra_depth: (F, 88) further key travel that sounds no note.
        at_rest: makes of the sensor what took the rest picture, by default the very same.
        registration_error: in white-key widths.
    """
    spec = StripSpec()
    calibration = scene_calibration(room)
    if registration_error:
        calibration = shaken(calibration, rng, registration_error)
    hands = random_hands(
        room, strokes if mimed is None else mimed, (float(times_s[0]), float(times_s[-1])), rng
    )
    film = Film(
        room, sensor, strokes, times_s, exposure_s, hands, rng, extra_depth=extra_depth, spec=spec
    )  # fmt: skip
    # The rest picture stands first in the stream, so that it shares the codec's idea of the still keyboard.
    rest = film.rest(film.sensor if at_rest is None else at_rest(film.sensor))
    pictures = sensor.compress([rest, *film.exposures()])
    frontend = StripFrontEnd(spec, calibration)
    luma = rectified(frontend, [film.frame.paste(p) for p in pictures])
    return Sequence(
        luma=luma[1:],
        rest=luma[0],
        t_ns=np.round((times_s - times_s[0]) * SECOND).astype(np.int64),
        depth=film.depth,
        pressed=pressed(strokes, times_s),
        onset=onset_grid(strokes, _grid_times(times_s)),
        visible=frontend.visible & (film.covered < COVERED),
    )


def _grid_times(times_s: Float64) -> Float64:
    """Return the frame times continued before and after at the mean rate."""
    step = float(np.diff(times_s).mean())
    before = times_s[0] - step * np.arange(BEFORE + 1, 0, -1)
    after = times_s[-1] + step * np.arange(1, AHEAD + 1)
    return np.concatenate([before, times_s, after])


def rectified(frontend: StripFrontEnd, pictures: list[UInt8]) -> UInt8:
    """Return (n, rows, width) luma: the front end's newest-luma channel, taken apart again."""
    frontend.set_rest(np.zeros(frontend.spec.shape[:2], np.uint8))
    stream = np.stack([pictures[0]] * (FRAMES - 1) + pictures)
    strips = frontend.process(stream, np.arange(len(stream), dtype=np.int64))
    return np.ascontiguousarray(strips[..., -1]).view(np.uint8) ^ 0x80


def random_sequence(seed: int, notes: NDArray[np.void], frames: int = 16) -> Sequence:
    """Draw a scene and film a moment of ``notes`` (``performances.NOTE``): the same for the same seed."""
    rng = np.random.default_rng(seed)
    room = random_room(rng)
    apart = generator(seed)
    if apart.random() < SHARE:
        room = unusual_room(room, apart)
    rate = float(
        rng.choice([30.0, 25.0, 24.0, 50.0, 60.0, 90.0, 120.0], p=[0.44, 0.12, 0.06, 0.1, 0.18, 0.05, 0.05])
    )
    duration = frames / rate
    begin = _moment(rng, notes, duration)
    near = notes[(notes["onset_s"] < begin + duration + 1.0) & (notes["offset_s"] > begin - 1.5)].copy()
    tempo = float(rng.uniform(0.75, 1.25))
    for name in ("onset_s", "offset_s"):
        near[name] = (near[name] - begin) * tempo
    shift = int(rng.integers(-6, 7))
    near["key"] += shift
    near = near[(near["key"] >= 0) & (near["key"] < KEYS)]
    near["velocity"] = np.clip(near["velocity"] * rng.uniform(0.6, 1.25), 8, 127)
    mimed = strokes_of(near, rng).between(-1.0, duration + 0.7)
    strokes = mimed.where(_truly_pressed(len(mimed), rng))
    times = np.arange(frames) / rate
    if rng.random() < 0.3:  # frame times of cheap cameras jitter
        times = times + rng.uniform(-0.2, 0.2, frames) / rate
    exposure = float(rng.uniform(0.05, 0.9)) / rate
    white = float(room.body["white_albedo"])
    sensor = random_sensor(rng, white)
    if rng.random() < 0.6:
        sensor = automatic(sensor, rng)
    at_rest = _rest_sensor(rng)
    if rng.random() < 0.2:
        sensor = replace(sensor, switched=(float(rng.uniform(0, 1)), float(np.exp(rng.uniform(-0.6, 0.55)))))
    extra = _half_presses(rng, times, mimed)
    error = float(rng.choice([0.0, rng.uniform(0, 0.1)], p=[0.3, 0.7]))
    return record(
        room, sensor, strokes, times, exposure, rng,
        mimed=mimed, extra_depth=extra, at_rest=at_rest, registration_error=error,
    )  # fmt: skip


def _rest_sensor(rng: np.random.Generator) -> Callable[[Sensor], Sensor]:
    """The rest picture is an average of many frames, taken under nearly the same light."""
    wrong = float(rng.normal(0, 0.06)) if rng.random() < 0.4 else 0.0
    return lambda sensor: replace(
        sensor,
        exposure=sensor.exposure * (1 + wrong),
        read_noise=sensor.read_noise * 0.3,
        shot_noise=sensor.shot_noise * 0.3,
        flicker=0.0,
        shadow=None,
        switched=None,
    )


def _moment(rng: np.random.Generator, notes: NDArray[np.void], duration: float) -> float:
    """Half of the sequences begin so that an onset falls inside, the others anywhere in the piece."""
    if rng.random() < 0.6:
        onset = float(notes["onset_s"][rng.integers(len(notes))])
        return onset - float(rng.uniform(0.1, 0.9)) * duration
    return float(rng.uniform(notes["onset_s"][0], notes["onset_s"][-1]))


def _truly_pressed(count: int, rng: np.random.Generator) -> NDArray[np.bool_]:
    """Return (count,) which strokes reach the keys: hands that move as if they played prove nothing."""
    kind = rng.random()
    if kind < 0.18:
        return np.zeros(count, bool)
    return rng.random(count) > (0.25 if kind < 0.45 else 0.0)


def _half_presses(rng: np.random.Generator, times: Float64, strokes: Strokes) -> Float32:
    """Return (F, 88) small key movements that sound nothing: a finger that rests heavily, a key brushed."""
    result = np.zeros((len(times), KEYS), np.float32)
    free = np.setdiff1d(np.arange(KEYS), strokes.key)
    for key in rng.choice(free, min(len(free), int(rng.integers(0, 6))), replace=False):
        middle, width = rng.uniform(times[0], times[-1]), rng.uniform(0.04, 0.25)
        result[:, key] = rng.uniform(0.04, 0.3) * np.exp(-(((times - middle) / width) ** 2))
    return result
