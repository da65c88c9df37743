"""A pinhole camera that looks at a keyboard.

Room coordinates in millimetres: x right from the left side of A0, y from the fallboard towards the player,
z up from the white tops.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ivories.keyboard import WHITE_KEYS

Float32 = NDArray[np.float32]
Float64 = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Camera:
    width: int
    height: int
    eye: Float64
    """(3,) mm"""
    projection: Float64
    """(3, 4) room millimetres to pixels (pixel centres at whole numbers), homogeneous"""

    def homography(self, white_width: float, white_length: float) -> Float64:
        """Return (3, 3): keyboard plane (x 0..52, y 0..1, z = 0) to pixels, scaled to a last element of 1."""
        plane = self.projection[:, [0, 1, 3]] @ np.diag([white_width, white_length, 1.0])
        return plane / plane[2, 2]

    def project(self, points: Float64) -> Float64:
        """Return (n, 2) pixels of (n, 3) points in millimetres."""
        h = points @ self.projection[:, :3].T + self.projection[:, 3]
        return h[:, :2] / h[:, 2:]


@dataclass(frozen=True, slots=True)
class Mount:
    """Where a camera hangs, in angles a person would use."""

    width: int
    height: int
    elevation: float
    """degrees above the keyboard plane; 90 looks straight down"""
    azimuth: float
    """degrees; 0 = over the player's head, 180 = from the far side"""
    roll: float
    """degrees"""
    field_of_view: float
    """degrees over the picture's width"""
    fill: float
    """keyboard's width as a share of the picture's"""
    centre: tuple[float, float]
    """place of the keyboard's middle in the picture, 0..1"""


def place(mount: Mount, white_width: float, white_length: float) -> Camera:
    """Return the camera of ``mount`` before a keyboard of that size."""
    span = WHITE_KEYS * white_width
    target = np.array([span / 2, white_length / 2, 0.0])
    focal = mount.width / 2 / np.tan(np.radians(mount.field_of_view) / 2)
    elevation, azimuth, roll = np.radians([mount.elevation, mount.azimuth, mount.roll])
    away = np.array([np.sin(azimuth), np.cos(azimuth), 0.0])
    towards_eye = np.cos(elevation) * away + np.array([0.0, 0.0, np.sin(elevation)])
    distance = focal * span * max(abs(np.cos(azimuth)), 0.3) / (mount.fill * mount.width)
    eye = target + distance * towards_eye
    up = np.array([0.0, 0.0, 1.0]) - away
    up -= (up @ towards_eye) * towards_eye
    up /= np.linalg.norm(up)
    right = -np.cross(up, towards_eye)  # y points at the player, so the room is left-handed
    right, up = np.cos(roll) * right + np.sin(roll) * up, np.cos(roll) * up - np.sin(roll) * right
    rotation = np.stack([right, -up, -towards_eye])
    middle = np.array(mount.centre) * (mount.width, mount.height)
    intrinsic = np.array([[focal, 0.0, middle[0]], [0.0, focal, middle[1]], [0.0, 0.0, 1.0]])
    projection = intrinsic @ np.concatenate([rotation, -(rotation @ eye)[:, None]], axis=1)
    return Camera(mount.width, mount.height, eye, projection)


def random_mount(rng: np.random.Generator, width: int, height: int) -> Mount:
    """Draw a mount as people make them: over the player, straight above, from the far side, low and near."""
    style = rng.choice(["overhead", "player", "tilted", "far", "low"], p=[0.3, 0.3, 0.15, 0.15, 0.1])
    elevation, azimuth, roll = {
        "overhead": (rng.uniform(68, 90), rng.choice([0.0, 0.0, 180.0]) + rng.normal(0, 5), rng.normal(0, 2)),
        "player": (rng.uniform(38, 72), rng.normal(0, 8), rng.normal(0, 2)),
        "tilted": (rng.uniform(40, 80), rng.uniform(-32, 32), rng.normal(0, 6)),
        "far": (rng.uniform(42, 80), 180 + rng.normal(0, 12), rng.normal(0, 3)),
        "low": (rng.uniform(24, 40), rng.normal(0, 10), rng.normal(0, 2)),
    }[style]
    fill = rng.uniform(0.6, 1.0) if rng.random() < 0.3 else rng.uniform(0.84, 1.0)
    if rng.random() < 0.1:
        fill = rng.uniform(1.0, 1.5)  # not all keys fit
    return Mount(
        width,
        height,
        elevation=float(elevation),
        azimuth=float(azimuth),
        roll=float(roll),
        field_of_view=float(rng.uniform(40, 80)),
        fill=float(fill),
        centre=(0.5 + float(rng.normal(0, 0.01)), float(rng.uniform(0.35, 0.65))),
    )
