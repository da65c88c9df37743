"""Plane-to-picture maps: homographies from point pairs, and one coefficient of radial lens distortion.

Pixels follow the camera convention of integer centres: (0, 0) is the middle of the picture's first pixel.
"""

from typing import Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ivories.errors import CalibrationError

Float64 = NDArray[np.float64]

KEYBOARD_CORNERS: Final = ((0.0, 0.0), (52.0, 0.0), (52.0, 1.0), (0.0, 1.0))
"""Keyboard plane of the corners in their order: A0 back, C8 back, C8 front, A0 front."""


def from_points(plane: ArrayLike, picture: ArrayLike) -> Float64:
    """Return the (3, 3) homography that takes ``plane`` (n, 2) to ``picture`` (n, 2), n >= 4, least squares.

    The normalized direct linear transform (Hartley 1997): both point sets are first moved to mean 0 and
    mean distance sqrt(2), without which the smallest singular vector is badly conditioned.

    Raises:
        CalibrationError: fewer than four pairs, or the points lie on a line.
    """
    a, b = np.asarray(plane, np.float64), np.asarray(picture, np.float64)
    if a.ndim != 2 or a.shape != b.shape or a.shape[1] != 2 or len(a) < 4:
        raise CalibrationError(
            f"A homography needs at least four point pairs, but got {a.shape} and {b.shape} points; "
            "mark all four corners of the keyboard."
        )
    to_a, to_b = _normalization(a), _normalization(b)
    a, b = apply(to_a, a), apply(to_b, b)
    x, y, one, nil = a[:, 0], a[:, 1], np.ones(len(a)), np.zeros((len(a), 3))
    point = np.stack([x, y, one], 1)
    rows = np.concatenate(
        [
            np.concatenate([point, nil, -b[:, :1] * point], 1),
            np.concatenate([nil, point, -b[:, 1:] * point], 1),
        ]
    )
    _, singular, directions = np.linalg.svd(rows)
    if singular[7] < 1e-6 * singular[0]:
        raise CalibrationError(
            "The keyboard's corners lie on one line, so no picture plane follows from them; mark them again."
        )
    matrix: Float64 = np.linalg.inv(to_b) @ directions[-1].reshape(3, 3) @ to_a
    matrix /= matrix[2, 2]
    return matrix


def _normalization(points: Float64) -> Float64:
    centre = points.mean(0)
    spread = np.sqrt(((points - centre) ** 2).sum(1)).mean()
    scale = np.sqrt(2) / max(float(spread), 1e-12)
    return np.array([[scale, 0, -scale * centre[0]], [0, scale, -scale * centre[1]], [0, 0, 1]])


def from_corners(corners: ArrayLike) -> Float64:
    """Return the homography keyboard plane -> picture for the (4, 2) pixel ``corners``.

    Order: A0 back, C8 back, C8 front, A0 front. Raises ``CalibrationError`` as `from_points`.
    """
    return from_points(KEYBOARD_CORNERS, corners)


def apply(homography: ArrayLike, points: ArrayLike) -> Float64:
    """Return ``points`` (..., 2) mapped by ``homography``.

    Written out, without a matrix product: every processor then rounds alike, so that tables made from it
    are the same everywhere.
    """
    h, p = np.asarray(homography, np.float64), np.asarray(points, np.float64)
    x, y = p[..., 0], p[..., 1]
    w = h[2, 0] * x + h[2, 1] * y + h[2, 2]
    return np.stack(
        [(h[0, 0] * x + h[0, 1] * y + h[0, 2]) / w, (h[1, 0] * x + h[1, 1] * y + h[1, 2]) / w], axis=-1
    )


def invert(homography: ArrayLike) -> Float64:
    """Return the inverse map, scaled so that its last element is 1."""
    inverse: Float64 = np.linalg.inv(np.asarray(homography, np.float64))
    inverse /= inverse[2, 2]
    return inverse


def distort(points: ArrayLike, k1: float, width: int, height: int) -> Float64:
    """Return where the lens puts the ideal pixels ``points`` (..., 2).

    Radial model about the picture's middle, p' = c + (p - c) (1 + k1 r^2), r in half picture widths;
    k1 < 0 is barrel, k1 > 0 pincushion distortion.
    """
    p = np.asarray(points, np.float64)
    if k1 == 0:
        return p.copy()
    dx, dy = p[..., 0] - (width - 1) / 2, p[..., 1] - (height - 1) / 2
    factor = 1 + k1 * (dx * dx + dy * dy) / (width / 2) ** 2
    return np.stack([(width - 1) / 2 + dx * factor, (height - 1) / 2 + dy * factor], axis=-1)


def undistort(points: ArrayLike, k1: float, width: int, height: int) -> Float64:
    """Return the ideal pixels of the observed ``points`` (..., 2): the inverse of `distort`, by iteration."""
    p = np.asarray(points, np.float64)
    centre: Float64 = np.array([(width - 1) / 2, (height - 1) / 2])
    observed = p - centre
    ideal: Float64 = observed.copy()
    for _ in range(30 if k1 else 0):
        factor = 1 + k1 * (ideal**2).sum(-1, keepdims=True) / (width / 2) ** 2
        ideal = observed / factor
    ideal += centre
    return ideal
