"""A stretch of playing, filmed: room, key motion and hands become exposures and exact truth."""

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from ivories.keyboard import KEYS, WHITE_KEYS
from ivories.vision.calibration import Calibration, from_corners, from_homography
from ivories.vision.strip import StripSpec
from ivories_training.video.camera import Float32, Float64
from ivories_training.video.hands import Hand
from ivories_training.video.motion import Strokes, depth
from ivories_training.video.render import HAND, Renderer
from ivories_training.video.room import Room
from ivories_training.video.sensor import Sensor

UInt8 = NDArray[np.uint8]
Bool = NDArray[np.bool_]


def scene_calibration(room: Room) -> Calibration:
    """Return the true calibration of a room."""
    camera = room.camera
    matrix = camera.homography(room.body["white_width"], room.body["white_length"])
    return from_homography(matrix, camera.width, camera.height)


def shaken(calibration: Calibration, rng: np.random.Generator, error: float) -> Calibration:
    """Return ``calibration`` with its corners displaced by about ``error`` white-key widths."""
    corners = calibration.corners()
    key = np.linalg.norm(corners[1] - corners[0]) / WHITE_KEYS
    common = rng.normal(0, 0.7 * error * key, 2)
    moved = corners + common + rng.normal(0, 0.7 * error * key, (4, 2))
    return from_corners(moved, calibration.width, calibration.height)


class Frame:
    """The part of a picture that is rendered and coded, and the pixels in it that matter.

    Args:
        room: whose camera it is.
        spec: the strip whose pixels are needed; None = the whole picture.
    """

    def __init__(self, room: Room, spec: StripSpec | None) -> None:
        camera = room.camera
        self.shape = (camera.height, camera.width)
        self.mask: Bool | None = None
        self.rows, self.columns = slice(0, camera.height), slice(0, camera.width)
        if spec is not None:
            self._outline(room, spec)

    def _outline(self, room: Room, spec: StripSpec) -> None:
        camera, (height, width) = room.camera, self.shape
        size = np.array([room.body["white_width"], room.body["white_length"]])
        x = np.linspace(-0.8, WHITE_KEYS + 0.8, 40)
        y = np.array([spec.top - 0.03, spec.bottom + 0.03])
        points = np.stack([np.tile(x, 2), np.repeat(y, len(x)), np.zeros(2 * len(x))], axis=1)
        pixels = camera.project(points * [*size, 1.0])
        margin_px = 5
        low = np.clip(np.floor(pixels.min(0)) - margin_px - 1, 0, (width - 16, height - 16)).astype(int)
        high = np.clip(np.ceil(pixels.max(0)) + margin_px + 1, low + 16, (width, height)).astype(int)
        low -= low % 2  # codecs halve the colour planes
        high -= (high - low) % 2
        self.columns, self.rows = slice(low[0], high[0]), slice(low[1], high[1])
        inverse = np.linalg.inv(camera.projection[:, [0, 1, 3]])
        v, u = np.mgrid[0:height, 0:width]
        plane = np.einsum("ij,jhw->ihw", inverse, np.stack([u, v, np.ones_like(u)]).astype(float))
        across, along = plane[0] / plane[2] / size[0], plane[1] / plane[2] / size[1]
        margin = margin_px / max(float(np.linalg.norm(pixels[1] - pixels[0])) / (x[1] - x[0]), 1.0)
        self.mask = (
            (np.abs(across - WHITE_KEYS / 2) < WHITE_KEYS / 2 + 0.8 + margin)
            & (along > y[0] - margin * size[0] / size[1])
            & (along < y[1] + margin * size[0] / size[1])
        )

    def crop(self, picture: NDArray[np.generic]) -> NDArray[np.generic]:
        """Return the needed part of an (H, W) picture."""
        return picture[self.rows, self.columns]

    def paste(self, part: UInt8) -> UInt8:
        """Return an (H, W) picture, dark but for the needed part."""
        picture = np.zeros(self.shape, np.uint8)
        picture[self.rows, self.columns] = part
        return picture


class Film:
    """Strokes filmed in a room.

    Args:
        room: the scene.
        sensor: picture quality.
        strokes: what is played.
        times_s: (F,) mid-exposure times.
        exposure_s: how long each exposure lasts.
        hands: who plays.
        rng: draws the noise.
        extra_depth: (F, 88) further key travel that sounds no note.
        spec: the strip to be cut from the pictures; None renders whole pictures.
    """

    def __init__(
        self,
        room: Room,
        sensor: Sensor,
        strokes: Strokes,
        times_s: Float64,
        exposure_s: float,
        hands: Sequence[Hand],
        rng: np.random.Generator,
        *,
        extra_depth: Float32 | None = None,
        spec: StripSpec | None = None,
    ) -> None:
        self.frame = Frame(room, spec)
        self._renderer = Renderer(room, self.frame.mask)
        self._rng = rng
        self.sensor = sensor.set_for(self.frame.crop(self._renderer.rest))
        """As it exposed itself for the untouched keyboard"""
        samples = self._renderer.samples
        inner = (np.arange(samples) + 0.5) / samples - 0.5
        fine = (times_s[:, None] + exposure_s * inner).reshape(-1)
        travel = depth(strokes, fine)
        if extra_depth is not None:
            travel = np.maximum(travel, np.repeat(extra_depth, samples, axis=0))
        dips = room.dip_mm(travel).astype(np.float32)
        parts = [hand.capsules(fine, dips) for hand in hands]
        capsules = np.concatenate(parts, axis=1) if parts else np.zeros((len(fine), 0, 8), np.float32)
        shape = (len(times_s), samples)
        self.depth = travel.reshape(*shape, KEYS).mean(axis=1)
        """(F, 88) key travel 0..1"""
        self.covered = np.zeros((len(times_s), KEYS))
        """(F, 88) share of each key hidden by hands, known once the exposure was made"""
        self._dips = dips.reshape(*shape, KEYS)
        self._capsules = capsules.reshape(*shape, -1, 8)
        self._owner = self.frame.crop(self._renderer.rest_label)
        self._owned = np.bincount(self._owner.ravel(), minlength=256)[:KEYS]

    def exposures(self) -> Iterator[UInt8]:
        """Yield the needed part of each picture, not yet compressed."""
        count = len(self.depth)
        for i in range(count):
            light, label = self._renderer.picture(self._dips[i], self._capsules[i])
            hidden = self._owner[self.frame.crop(label) == HAND]
            self.covered[i] = np.bincount(hidden, minlength=256)[:KEYS] / np.maximum(self._owned, 1)
            yield self.sensor.expose(self.frame.crop(light), i / max(1, count - 1), self._rng)

    def rest(self, sensor: Sensor, rng: np.random.Generator | None = None) -> UInt8:
        """Return the needed part of a picture of the untouched keyboard, taken by ``sensor``.

        ``rng`` draws its noise, by default the film's own.
        """
        return sensor.expose(self.frame.crop(self._renderer.rest), 0.0, rng or self._rng)
