"""Fits the keyboard plane to points seen in the picture: homography and lens at once, despite strays."""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from ivories.vision import homography as plane
from ivories.vision.homography import Float64

_LENS_PRIOR: Final = 0.06  # usual size of k1
_STEPS: Final = 8


@dataclass(frozen=True, slots=True)
class PlaneMap:
    """A plane -> pixels map of a picture of that size, as in a calibration."""

    matrix: Float64
    """(3, 3) plane -> ideal pixels"""
    k1: float
    width: int
    height: int

    def to_pixels(self, points: Float64) -> Float64:
        """Return the observed pixels (..., 2) of plane ``points`` (..., 2)."""
        return plane.distort(plane.apply(self.matrix, points), self.k1, self.width, self.height)

    def inside(self, points: Float64) -> NDArray[np.bool_]:
        """Say which plane ``points`` (..., 2) lie in the picture (and before the camera)."""
        pixels = self.to_pixels(points)
        limit = np.array([self.width - 1, self.height - 1])
        in_picture = ((pixels >= 0) & (pixels <= limit)).all(-1)
        return np.asarray(in_picture & (self.depth(points) > 0))

    def depth(self, points: Float64) -> Float64:
        """Return the homogeneous third coordinate of ``points``, positive on the camera's side."""
        m = self.matrix
        return np.asarray(m[2, 0] * points[..., 0] + m[2, 1] * points[..., 1] + m[2, 2])

    def moved(self, change: Float64) -> "PlaneMap":
        """Return this map after the (3, 3) plane -> plane map ``change``."""
        matrix = self.matrix @ change
        return PlaneMap(matrix, self.k1, self.width, self.height)

    def jacobian(self, points: Float64) -> Float64:
        """Return (..., 2, 2) d pixel / d plane at ``points``, by differences."""
        step = 1e-3
        columns = [
            (self.to_pixels(points + np.array(d)) - self.to_pixels(points - np.array(d))) / (2 * step)
            for d in ((step, 0.0), (0.0, step))
        ]
        return np.stack(columns, -1)


def fit_plane(place: Float64, pixels: Float64, start: PlaneMap, *, scale: float, lens: bool) -> PlaneMap:
    """Return ``start`` moved so that ``place`` (n, 2) in the plane is seen at ``pixels`` (n, 2).

    Gauss-Newton on the pixel residuals, with Geman-McClure weights.

    Args:
        place: plane coordinates.
        pixels: where they are seen.
        start: not far off.
        scale: pixels; residuals much larger than this have no say.
        lens: estimate k1 too, else keep it.
    """
    # plane coordinates scaled to about -1..1 condition the normal equations
    middle, reach = place.mean(0), np.maximum(np.ptp(place, axis=0) / 2, 1e-6)
    matrix = start.matrix @ np.array([[reach[0], 0, middle[0]], [0, reach[1], middle[1]], [0, 0, 1]])
    matrix = matrix / matrix[2, 2]
    k1 = start.k1
    u = (place - middle) / reach
    centre = np.array([(start.width - 1) / 2, (start.height - 1) / 2])
    half = start.width / 2
    unknowns = 9 if lens else 8
    for step in range(_STEPS):
        ideal = plane.apply(matrix, u)
        offset = ideal - centre
        radius = (offset**2).sum(1) / half**2
        seen = centre + offset * (1 + k1 * radius)[:, None]
        error = pixels - seen
        size = np.hypot(error[:, 0], error[:, 1])
        soft = scale * max(1.0, 4.0 / (step + 1))  # coarse to fine
        weight = 1 / (1 + (size / soft) ** 2) ** 2
        # d seen / d ideal
        stretch = (1 + k1 * radius)[:, None, None] * np.eye(2)
        stretch = stretch + 2 * k1 / half**2 * offset[:, :, None] * offset[:, None, :]
        w = matrix[2, 0] * u[:, 0] + matrix[2, 1] * u[:, 1] + 1
        x, y, one, nil = u[:, 0] / w, u[:, 1] / w, 1 / w, np.zeros(len(u))
        top = np.stack([x, y, one, nil, nil, nil, -x * ideal[:, 0], -y * ideal[:, 0]], 1)
        low = np.stack([nil, nil, nil, x, y, one, -x * ideal[:, 1], -y * ideal[:, 1]], 1)
        design = stretch @ np.stack([top, low], 1)
        if lens:
            design = np.concatenate([design, (offset * radius[:, None])[..., None]], 2)
        root = np.sqrt(weight)[:, None]
        rows = (design * root[..., None]).reshape(-1, unknowns)
        values = (error * root).ravel()
        if lens:
            hold = np.zeros((1, unknowns))
            hold[0, 8] = 1 / _LENS_PRIOR
            rows, values = np.concatenate([rows, hold]), np.append(values, -k1 / _LENS_PRIOR)
        change = np.linalg.lstsq(rows, values, rcond=1e-10)[0]
        matrix = matrix + np.append(change[:8], 0).reshape(3, 3)
        k1 = float(np.clip(k1 + change[8], -0.3, 0.3)) if lens else k1
    back = np.array(
        [[1 / reach[0], 0, -middle[0] / reach[0]], [0, 1 / reach[1], -middle[1] / reach[1]], [0, 0, 1]]
    )
    return PlaneMap(matrix @ back, k1, start.width, start.height)
