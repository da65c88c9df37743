"""From where the keyboard is seen, as far as its plane tells."""

from typing import Final

import numpy as np

from ivories.keyboard import WHITE_KEY_LENGTH_MM, WHITE_KEY_WIDTH_MM
from ivories.vision.homography import Float64
from ivories.vision.plane_fit import PlaneMap

_FACE_MM: Final = 20.0  # height of a white key's front face
_BLACK_MM: Final = 11.0  # height of black keys above the white ones
_ROOF: Final = 0.85  # width of a black key's top over that of its foot
_FOCAL: Final = (0.6, 1.6)  # of the picture's width: what cameras have
_USUAL_FOCAL: Final = 0.9


def front_face_depth(found: PlaneMap, x: float) -> float:
    """Return how far beyond y = 1 the foot of the white keys' front face appears, in white-key lengths.

    0 where the camera looks from the far side and does not see it.
    """
    projection = projection_mm(found)
    foot = projection @ np.array([x * WHITE_KEY_WIDTH_MM, WHITE_KEY_LENGTH_MM, -_FACE_MM, 1.0])
    plane = np.linalg.solve(found.matrix, foot)
    return max(0.0, float(plane[1] / plane[2]) - 1.0)


def black_sides(found: PlaneMap, x: Float64, y: float, half: float) -> tuple[Float64, Float64]:
    """Return how far left and right of their centres ``x`` (n,) black keys look dark, white-key widths.

    Their tops stand above the plane and look pushed away from the camera, while the near side still shows
    down to the plane: what a camera sees reaches from the one to the other.

    Args:
        found: plane -> pixels.
        x: black-key centres, white-key widths.
        y: where along the keys, white-key lengths.
        half: half a black key's width at its foot.
    """
    one = np.ones(len(x))
    roof = np.stack([x * WHITE_KEY_WIDTH_MM, y * WHITE_KEY_LENGTH_MM * one, _BLACK_MM * one, one])
    plane = np.linalg.solve(found.matrix, projection_mm(found) @ roof)
    push = plane[0] / plane[2] - x
    return np.minimum(-half, push - _ROOF * half), np.maximum(half, push + _ROOF * half)


def black_shift(found: PlaneMap, x: Float64, y: float, half: float) -> Float64:
    """Return how far the middle of the darkness of black keys lies off their centres; as `black_sides`."""
    left, right = black_sides(found, x, y, half)
    return np.asarray((left + right) / 2)


def projection_mm(found: PlaneMap) -> Float64:
    """Return (3, 4): millimetres (x right, y to the player, z up) -> ideal pixels.

    Square pixels and a principal point in the middle of the picture are assumed; the focal length then
    follows from the plane's two orthogonal axes of known length (Zhang 2000), and where the view is too
    square to tell, it is taken as usual.
    """
    to_centre = np.array([[1.0, 0, -(found.width - 1) / 2], [0, 1.0, -(found.height - 1) / 2], [0, 0, 1.0]])
    plane = to_centre @ found.matrix @ np.diag([1 / WHITE_KEY_WIDTH_MM, 1 / WHITE_KEY_LENGTH_MM, 1.0])
    first, second = plane[:, 0], plane[:, 1]
    # f^2 from r1 . r2 = 0 and |r1| = |r2|, each weighted by how much it says
    numerator = np.array([-(first[:2] @ second[:2]), second[:2] @ second[:2] - first[:2] @ first[:2]])
    says = np.array([first[2] * second[2], first[2] ** 2 - second[2] ** 2])
    usual = 1 / (_USUAL_FOCAL * found.width) ** 2
    scale = float(first[:2] @ first[:2] + second[:2] @ second[:2])
    hold = 0.02 * scale * usual
    # unknown w = f^2: numerator = says * w, held near the usual focal length where `says` vanishes
    squared = (says @ numerator + hold**2 / usual) / (says @ says + hold**2)
    low, high = _FOCAL[0] * found.width, _FOCAL[1] * found.width
    focal = float(np.sqrt(np.clip(squared, low**2, high**2)))
    intrinsic = np.diag([focal, focal, 1.0])
    rotation = np.linalg.solve(intrinsic, plane)
    size = np.sqrt(np.linalg.norm(rotation[:, 0]) * np.linalg.norm(rotation[:, 1]))
    # the plane's depth is positive, so is the scale; z points up, to the camera: the axes are left-handed
    up = -np.cross(rotation[:, 0], rotation[:, 1]) / size
    vertical = intrinsic @ up
    back = np.linalg.inv(to_centre)
    return np.stack([(back @ plane)[:, 0], (back @ plane)[:, 1], back @ vertical, (back @ plane)[:, 2]], 1)
