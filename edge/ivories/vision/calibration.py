"""Calibration: where the keyboard lies in the picture, and what belongs to that camera position."""

import base64
import contextlib
import hashlib
import os
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import msgspec
import numpy as np
from numpy.typing import ArrayLike

from ivories.datatypes import UInt8
from ivories.errors import CalibrationError
from ivories.vision import homography as plane

FORMAT: Final = "ivories-calibration-1"


class RestPicture(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A rest image as it stands in the file."""

    rows: int
    columns: int
    data: str
    """zlib-compressed luma bytes, row by row, in base64"""

    @classmethod
    def of(cls, image: UInt8) -> "RestPicture":
        """Pack a (rows, columns) luma image."""
        packed = base64.b64encode(zlib.compress(np.ascontiguousarray(image).tobytes(), 9))
        return cls(image.shape[0], image.shape[1], packed.decode("ascii"))

    def image(self) -> UInt8:
        """Unpack to (rows, columns) uint8; raises ``CalibrationError`` where the bytes are damaged."""
        try:
            raw = zlib.decompress(base64.b64decode(self.data, validate=True))
            return np.frombuffer(raw, np.uint8).reshape(self.rows, self.columns)
        except (ValueError, zlib.error) as error:
            raise CalibrationError(
                "The rest image in the calibration is damaged; run `ivories setup` again."
            ) from error


class Calibration(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One keyboard in one camera position. Equal geometry gives an equal `id`."""

    width: int
    """Picture width, pixels"""
    height: int
    """Picture height, pixels"""
    homography: tuple[tuple[float, float, float], tuple[float, float, float], tuple[float, float, float]]
    """Keyboard plane (x 0..52, y 0..1) -> ideal pixels, centres at integers"""
    k1: float = 0.0
    """Radial distortion, see ``homography.distort``"""
    quality: float = 1.0
    """0..1, the registration's own estimate; 1 for corners set by hand"""
    audio_video_skew_ns: int = 0
    """Add to a video time stamp to get audio time"""
    rest: RestPicture | None = None
    """The keyboard with nothing pressed, rectified"""
    lowest: int = 0
    """First key, 0..87, that the keyboard has"""
    highest: int = 87
    """Last key that it has; smaller keyboards have fewer than 88"""
    octave_uncertain: bool = False
    """Too few keys are in the picture to tell which octave they are; the sound will tell"""
    format: str = FORMAT

    @property
    def id(self) -> str:
        """Twelve hex digits of the geometry's hash."""
        geometry = msgspec.json.encode((self.width, self.height, self.homography, self.k1))
        return hashlib.sha256(geometry).hexdigest()[:12]

    def to_pixels(self, points: ArrayLike) -> plane.Float64:
        """Return the observed pixels (..., 2) of keyboard-plane ``points`` (..., 2)."""
        ideal = plane.apply(self.homography, points)
        return plane.distort(ideal, self.k1, self.width, self.height)

    def to_plane(self, pixels: ArrayLike) -> plane.Float64:
        """Return the keyboard-plane points (..., 2) seen at ``pixels`` (..., 2)."""
        ideal = plane.undistort(pixels, self.k1, self.width, self.height)
        return plane.apply(plane.invert(self.homography), ideal)

    def corners(self) -> plane.Float64:
        """Return the (4, 2) pixels of A0 back, C8 back, C8 front, A0 front."""
        return self.to_pixels(plane.KEYBOARD_CORNERS)

    def with_rest(self, image: UInt8) -> "Calibration":
        """Return a copy that carries the (rows, columns) rest image."""
        return msgspec.structs.replace(self, rest=RestPicture.of(image))


def from_corners(
    corners: Sequence[Sequence[float]] | plane.Float64,
    width: int,
    height: int,
    *,
    k1: float = 0.0,
    quality: float = 1.0,
) -> Calibration:
    """Return the calibration of a ``width`` x ``height`` picture whose keyboard has these pixel corners.

    Order: A0 back (at the fallboard), C8 back, C8 front, A0 front, as seen through the lens (distorted by
    ``k1``).

    Raises:
        CalibrationError: not four finite points, points on a line, or a quadrangle that crosses itself.
    """
    points = np.asarray(corners, np.float64)
    if points.shape != (4, 2) or not np.isfinite(points).all():
        raise CalibrationError(
            "The keyboard has four corners, each x, y in pixels: A0 back, C8 back, C8 front, A0 front; "
            f"got {points.tolist()}."
        )
    edge = np.roll(points, -1, 0) - points
    following = np.roll(edge, -1, 0)
    turn = edge[:, 0] * following[:, 1] - edge[:, 1] * following[:, 0]
    if not ((turn > 0).all() or (turn < 0).all()):
        raise CalibrationError(
            f"The corners {points.tolist()} do not go round the keyboard once; "
            "give them in the order A0 back, C8 back, C8 front, A0 front."
        )
    matrix = plane.from_corners(plane.undistort(points, k1, width, height))
    return from_homography(matrix, width, height, k1=k1, quality=quality)


def from_homography(
    matrix: ArrayLike, width: int, height: int, *, k1: float = 0.0, quality: float = 1.0
) -> Calibration:
    """Return the calibration with this (3, 3) homography keyboard plane -> ideal pixels."""
    rows = np.asarray(matrix, np.float64).tolist()
    return msgspec.convert(
        {"width": width, "height": height, "homography": rows, "k1": k1, "quality": quality}, Calibration
    )


def save(calibration: Calibration, path: Path) -> None:
    """Write ``calibration`` as JSON; the file is replaced in one step, so a power cut leaves the old one.

    Raises:
        CalibrationError: the file cannot be written.
    """
    text = msgspec.json.format(msgspec.json.encode(calibration), indent=2) + b"\n"
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with draft.open("wb") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
    except OSError as error:
        with contextlib.suppress(OSError):
            draft.unlink()
        raise CalibrationError(
            f"The calibration cannot be written to {path}: {error.strerror}; choose another place."
        ) from error


def load(path: Path) -> Calibration:
    """Read a calibration.

    Raises:
        CalibrationError: the file is missing, damaged, or not a calibration of this version.
    """
    try:
        text = path.read_bytes()
    except OSError as error:
        raise CalibrationError(
            f"The calibration {path} cannot be read: {error.strerror}; run `ivories setup` to make one."
        ) from error
    try:
        found = msgspec.json.decode(text, type=Calibration)
    except msgspec.DecodeError as error:
        raise CalibrationError(
            f"{path} is not a calibration ({error}); run `ivories setup` to make a new one."
        ) from error
    if found.format != FORMAT:
        raise CalibrationError(
            f"{path} has the format {found.format!r}, but this version reads {FORMAT!r}; "
            "run `ivories setup` again."
        )
    numbers = np.array([*np.ravel(found.homography), found.k1, found.quality])
    if found.width < 4 or found.height < 4 or abs(np.linalg.det(found.homography)) < 1e-12:
        raise CalibrationError(f"The geometry in {path} is impossible; run `ivories setup` again.")
    if not np.isfinite(numbers).all():
        raise CalibrationError(f"{path} holds numbers that are not finite; run `ivories setup` again.")
    return found
