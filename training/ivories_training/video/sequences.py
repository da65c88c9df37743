"""Short sequences of pictures with exact labels: the unit of training material.

A sequence is a rest picture and a few consecutive frames of one scene, sent through the device's own video
front end. Everything follows from one seed.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ivories.clock import SECOND
from ivories.datatypes import VideoFrame
from ivories.keyboard import KEYS, WHITE_KEYS
from ivories.vision.calibration import Calibration, from_homography
from ivories.vision.strip import FRAMES, StripFrontEnd, StripSpec
from ivories_training.video.camera import Float32, Float64
from ivories_training.video.hands import random_hands
from ivories_training.video.motion import Strokes, depth, onset_grid, pressed
from ivories_training.video.render import HAND, Renderer
from ivories_training.video.room import Room, random_room
from ivories_training.video.sensor import Sensor, random_sensor

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
    """(BEFORE + F + AHEAD, 88) velocity of the onset in the interval that ends at frame i - BEFORE, 0 = none"""
    visible: NDArray[np.bool_]
    """(F, 88)"""


def scene_calibration(room: Room) -> Calibration:
    """Return the true calibration of a room."""
    camera = room.camera
    matrix = camera.homography(room.body["white_width"], room.body["white_length"])
    return from_homography(matrix, camera.width, camera.height)


def shaken(calibration: Calibration, rng: np.random.Generator, error: float) -> Calibration:
    """Return ``calibration`` with its corners displaced by about ``error`` white-key widths."""
    from ivories.vision.calibration import from_corners

    corners = calibration.corners()
    key = np.linalg.norm(corners[1] - corners[0]) / WHITE_KEYS
    common = rng.normal(0, 0.7 * error * key, 2)
    moved = corners + common + rng.normal(0, 0.7 * error * key, (4, 2))
    return from_corners(moved, calibration.width, calibration.height)


class Keyboard:
    """The rectifier's part of a picture: which pixels are needed, and what they show when no hand is there."""

    def __init__(self, room: Room, spec: StripSpec) -> None:
        camera = room.camera
        width, length = room.body["white_width"], room.body["white_length"]
        x = np.linspace(-0.8, WHITE_KEYS + 0.8, 40)
        y = np.array([spec.top - 0.03, spec.bottom + 0.03])
        outline = np.concatenate([np.stack([x, np.full_like(x, v)], 1) for v in y])
        points = np.concatenate([outline * (width, length), np.zeros((len(outline), 1))], axis=1)
        pixels = camera.project(points)
        low = np.maximum(np.floor(pixels.min(0)) - 6, 0).astype(int)
        high = np.minimum(np.ceil(pixels.max(0)) + 7, (camera.width, camera.height)).astype(int)
        low -= low % 2
        high += (low - high) % 16  # codecs like whole blocks; what sticks out is cut off again
        self.top, self.left = max(0, int(min(low[1], camera.height - 16))), max(0, int(low[0]))
        self.bottom, self.right = min(int(high[1]), camera.height), min(int(high[0]), camera.width)
        self.bottom -= (self.bottom - self.top) % 2
        self.right -= (self.right - self.left) % 2
        inverse = np.linalg.inv(camera.projection[:, [0, 1, 3]])
        v, u = np.mgrid[0 : camera.height, 0 : camera.width]
        plane = np.einsum("ij,jhw->ihw", inverse, np.stack([u, v, np.ones_like(u)]).astype(float))
        plane_x, plane_y = plane[0] / plane[2] / width, plane[1] / plane[2] / length
        margin = 5 / max(np.linalg.norm(pixels[1] - pixels[0]) / (x[1] - x[0]), 1.0)  # five pixels, in keys
        self.mask = (np.abs(plane_x - WHITE_KEYS / 2) < WHITE_KEYS / 2 + 0.8 + margin) & (
            (plane_y > y[0] - 0.16 * margin) & (plane_y < y[1] + 0.16 * margin)
        )

    def crop(self, picture: np.ndarray) -> np.ndarray:
        """Return the needed part of an (H, W) picture."""
        return picture[self.top : self.bottom, self.left : self.right]


def record(
    room: Room,
    sensor: Sensor,
    strokes: Strokes,
    times_s: Float64,
    exposure_s: float,
    rng: np.random.Generator,
    extra_depth: Float32 | None = None,
    rest_sensor: Sensor | None = None,
    registration_error: float = 0.0,
    spec: StripSpec | None = None,
) -> Sequence:
    """Film ``strokes`` at ``times_s`` (F,) and return what the device's front end makes of it.

    Args:
        room: the scene.
        sensor: picture quality.
        strokes: what is played.
        times_s: mid-exposure times.
        exposure_s: how long each exposure lasts.
        rng: draws hands and noise.
        extra_depth: (F, 88) further key travel that sounds no note.
        rest_sensor: quality of the rest picture, by default the sensor's own without shadow.
        registration_error: in white-key widths.
        spec: of the strip.
    """
    spec = spec or StripSpec()
    keyboard = Keyboard(room, spec)
    renderer = Renderer(room, keyboard.mask)
    calibration = scene_calibration(room)
    if registration_error:
        calibration = shaken(calibration, rng, registration_error)
    samples = renderer.samples
    inner = (np.arange(samples) + 0.5) / samples - 0.5
    fine = (times_s[:, None] + exposure_s * inner).reshape(-1)
    travel = depth(strokes, fine)
    if extra_depth is not None:
        travel = np.maximum(travel, np.repeat(extra_depth, samples, axis=0))
    dips = room.dip_mm(travel).astype(np.float32)
    hands = random_hands(room, strokes, (float(times_s[0]), float(times_s[-1])), rng)
    parts = [hand.capsules(fine, dips) for hand in hands]
    capsules = np.concatenate(parts, axis=1) if parts else np.zeros((len(fine), 0, 8), np.float32)
    owner = np.bincount(keyboard.crop(renderer.rest_label).ravel(), minlength=256)[:KEYS]
    covered = np.zeros((len(times_s), KEYS))
    raw = []
    for i in range(len(times_s)):
        part = slice(i * samples, (i + 1) * samples)
        light, label = renderer.picture(dips[part], capsules[part])
        hidden = keyboard.crop(renderer.rest_label)[keyboard.crop(label) == HAND]
        covered[i] = np.bincount(hidden, minlength=256)[:KEYS] / np.maximum(owner, 1)
        raw.append(sensor.expose(keyboard.crop(light), i / max(1, len(times_s) - 1), rng))
    rest_sensor = rest_sensor or sensor
    still = rest_sensor.expose(keyboard.crop(renderer.rest), 0.0, rng)
    frontend = StripFrontEnd(spec, calibration)
    # The rest picture stands first in the stream, so that it shares the codec's idea of the still keyboard.
    pictures = sensor.compress([still, *raw])
    strips = _rectify(frontend, pictures, keyboard, calibration)
    grid_times = _grid_times(times_s)
    visible = frontend.visible & (covered < COVERED)
    return Sequence(
        luma=strips[1:],
        rest=strips[0],
        t_ns=np.round((times_s - times_s[0]) * SECOND).astype(np.int64),
        depth=travel.reshape(len(times_s), samples, KEYS).mean(1),
        pressed=pressed(strokes, times_s),
        onset=onset_grid(strokes, grid_times),
        visible=visible,
    )


def _grid_times(times_s: Float64) -> Float64:
    """Return the frame times continued before and after at the mean rate."""
    step = float(np.diff(times_s).mean())
    before = times_s[0] - step * np.arange(BEFORE + 1, 0, -1)
    after = times_s[-1] + step * np.arange(1, AHEAD + 1)
    return np.concatenate([before, times_s, after])


def _rectify(
    frontend: StripFrontEnd, pictures: list[UInt8], keyboard: Keyboard, calibration: Calibration
) -> UInt8:
    """Return (n, rows, width) luma: the front end's newest-luma channel, taken apart again."""
    frontend.set_rest(np.zeros(frontend.spec.shape[:2], np.uint8))
    canvas = np.zeros((calibration.height, calibration.width), np.uint8)
    strips = []
    for i, picture in enumerate([pictures[0]] * (FRAMES - 1) + pictures):
        keyboard.crop(canvas)[:] = picture
        frame = VideoFrame(canvas, i, 0, i)
        strips += [(s.pixels[..., -1].view(np.uint8) ^ 0x80) for s in frontend.push(frame)]
    return np.stack(strips)


def random_sequence(
    seed: int, notes: NDArray[np.void], frames: int = 12, spec: StripSpec | None = None
) -> Sequence:
    """Draw a scene and film a moment of ``notes`` (``performances.NOTE``): the same for the same seed."""
    from ivories_training.video.motion import strokes_of

    rng = np.random.default_rng(seed)
    room = random_room(rng)
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
    strokes = strokes_of(near, rng).between(-1.0, duration + 0.7)
    times = np.arange(frames) / rate
    if rng.random() < 0.3:  # frame times of cheap cameras jitter
        times = times + rng.uniform(-0.2, 0.2, frames) / rate
    exposure = float(rng.uniform(0.05, 0.9)) / rate
    white = float(room.body["white_albedo"])
    sensor = random_sensor(rng, white)
    rest_sensor = _rest_sensor(rng, sensor)
    extra = _half_presses(rng, times, strokes)
    error = float(rng.choice([0.0, rng.uniform(0, 0.1)], p=[0.3, 0.7]))
    return record(room, sensor, strokes, times, exposure, rng, extra, rest_sensor, error, spec)


def _rest_sensor(rng: np.random.Generator, sensor: Sensor) -> Sensor:
    """The rest picture is an average of many frames, taken under nearly the same light."""
    from dataclasses import replace

    wrong = float(rng.normal(0, 0.06)) if rng.random() < 0.4 else 0.0
    return replace(
        sensor,
        exposure=sensor.exposure * (1 + wrong),
        read_noise=sensor.read_noise * 0.3,
        shot_noise=sensor.shot_noise * 0.3,
        flicker=0.0,
        shadow=None,
    )


def _moment(rng: np.random.Generator, notes: NDArray[np.void], duration: float) -> float:
    """Half of the sequences begin so that an onset falls inside, the others anywhere in the piece."""
    if rng.random() < 0.6:
        onset = float(notes["onset_s"][rng.integers(len(notes))])
        return onset - float(rng.uniform(0.1, 0.9)) * duration
    return float(rng.uniform(notes["onset_s"][0], notes["onset_s"][-1]))


def _half_presses(rng: np.random.Generator, times: Float64, strokes: Strokes) -> Float32:
    """Return (F, 88) small key movements that sound nothing: a finger that rests heavily, a key brushed."""
    result = np.zeros((len(times), KEYS), np.float32)
    free = np.setdiff1d(np.arange(KEYS), strokes.key)
    for key in rng.choice(free, min(len(free), int(rng.integers(0, 6))), replace=False):
        middle, width = rng.uniform(times[0], times[-1]), rng.uniform(0.04, 0.25)
        result[:, key] = rng.uniform(0.04, 0.3) * np.exp(-(((times - middle) / width) ** 2))
    return result
