"""The video front end: picture -> key-aligned strip of five differences from the rest image, and the luma.

Block k of the strip, 12 columns wide, is centred on key k and spans 1.35 white-key widths, so that a
network needs no gather: neighbouring blocks overlap in the keyboard plane. The same C code serves training
and device.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

from ivories.datatypes import Bool, Int8, RectifiedStrip, UInt8, VideoFrame, read_only
from ivories.errors import CalibrationError
from ivories.keyboard import KEY_CENTRE, KEYS
from ivories.native import STRIP_KERNEL_REVISION
from ivories.native import StripFrontEnd as NativeStripFrontEnd
from ivories.vision.calibration import Calibration
from ivories.vision.rest_image import RestSpec

FRAMES: Final = 5
CHANNELS: Final = FRAMES + 1
_PATCH: Final = 4
_WEIGHT_SUM: Final = 255


@dataclass(frozen=True, slots=True)
class StripSpec:
    """Geometry of the strip (lengths in white-key widths across, white-key lengths along the keys)."""

    rows: int = 48
    columns: int = 12
    """Per key"""
    block_width: float = 1.35
    top: float = -0.06
    """y of the first row's upper side; 0 is the fallboard"""
    bottom: float = 1.08
    """y of the last row's lower side; 1 is the front edge"""
    oversample_from: float = 1.5
    """Picture pixels per strip pixel from which two samples are averaged along that axis"""
    visible_share: float = 0.7
    """Share of a block inside the picture that makes its key visible"""
    light_top: float = 0.0
    light_bottom: float = 0.6
    """Range of y where the light is judged: the back of the keys, which hands cover least"""
    rest: RestSpec = field(default_factory=RestSpec)

    @property
    def width(self) -> int:
        """Columns of the whole strip."""
        return KEYS * self.columns

    @property
    def shape(self) -> tuple[int, int, int]:
        """Shape of `RectifiedStrip.pixels`: five differences, oldest first, then the newest luma - 128."""
        return self.rows, self.width, CHANNELS

    @property
    def fingerprint(self) -> str:
        """SHA-256 of everything that decides the strip's bits, but for the calibration."""
        keys = [round(float(x), 6) for x in KEY_CENTRE]
        text = json.dumps([asdict(self), keys, CHANNELS, STRIP_KERNEL_REVISION], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()

    def plane_x(self) -> NDArray[np.float64]:
        """Return the keyboard-plane x of the middle of every column, (width,)."""
        across = (np.arange(self.columns) + 0.5) / self.columns - 0.5
        return (KEY_CENTRE[:, None] + across * self.block_width).reshape(-1)

    def plane_y(self) -> NDArray[np.float64]:
        """Return the keyboard-plane y of the middle of every row, (rows,)."""
        return self.top + (np.arange(self.rows) + 0.5) * (self.bottom - self.top) / self.rows

    def native(self) -> tuple[int, ...]:
        """Return the C ``rest_spec``."""
        judged = np.flatnonzero((self.plane_y() >= self.light_top) & (self.plane_y() <= self.light_bottom))
        first, end = (int(judged[0]), int(judged[-1]) + 1) if judged.size else (0, self.rows)
        return (self.rows, KEYS, self.columns, first, end, *self.rest.native())


@dataclass(frozen=True, slots=True)
class StripTable:
    """Where every strip pixel comes from: a 4 x 4 patch of the picture and its weights."""

    corner: NDArray[np.uint16]
    """(rows, width, 2) x, y of the patch's first pixel"""
    weights: UInt8
    """(rows, width, 16) row by row, sum 255; all 0 outside the picture"""
    visible: Bool
    """(88,)"""


def table(spec: StripSpec, calibration: Calibration) -> StripTable:
    """Return the sampling table of ``calibration``'s picture.

    A strip pixel is the mean of one, two or four bilinear samples: where the picture is finer than the strip
    along an axis, two samples half a strip pixel apart along it (nearer where they would leave the patch).
    """
    width, height = calibration.width, calibration.height
    dx, dy = spec.block_width / spec.columns, (spec.bottom - spec.top) / spec.rows
    x, y = np.broadcast_arrays(spec.plane_x()[None, :], spec.plane_y()[:, None])

    def pixels(right: NDArray[np.float64] | float, down: NDArray[np.float64] | float) -> NDArray[np.float64]:
        return calibration.to_pixels(np.stack([x + right * dx, y + down * dy], -1))

    middle = pixels(0, 0)
    along = pixels(0.5, 0) - pixels(-0.5, 0)
    across = pixels(0, 0.5) - pixels(0, -0.5)
    scale = np.stack([_length(along), _length(across)], -1)
    share = np.where(scale > spec.oversample_from, 0.25, 0.0)
    extent = 2 * (share[..., :1] * np.abs(along) + share[..., 1:] * np.abs(across)).max(-1, keepdims=True)
    share = share * np.minimum(1, 1.999 / np.maximum(extent, 1e-9))
    samples = np.stack(
        [pixels(sx * share[..., 0], sy * share[..., 1]) for sy in (-1, 1) for sx in (-1, 1)]
    )  # (4, rows, width, 2)
    column, line = middle[..., 0], middle[..., 1]
    inside = (column >= 0) & (column <= width - 1) & (line >= 0) & (line <= height - 1)
    samples = np.where(inside[..., None], samples, 0)

    floor = np.floor(samples)
    corner = np.clip(floor.min(0), 0, (width - _PATCH, height - _PATCH))
    weight = np.zeros((spec.rows, spec.width, _PATCH * _PATCH))
    for point, low in zip(samples, floor, strict=True):
        for down in (0, 1):
            for right in (0, 1):
                tap = np.clip(low + np.array([right, down]), 0, (width - 1, height - 1)) - corner
                tap = np.clip(tap, 0, _PATCH - 1).astype(np.intp)
                part = np.where((right, down), point - low, low + 1 - point).prod(-1)
                at = (tap[..., 1] * _PATCH + tap[..., 0])[..., None]
                np.put_along_axis(weight, at, np.take_along_axis(weight, at, -1) + part[..., None] / 4, -1)
    weights = _whole(weight * inside[..., None])
    visible = inside.reshape(spec.rows, KEYS, spec.columns).mean((0, 2)) >= spec.visible_share
    return StripTable(corner.astype(np.uint16), weights, visible)


def _length(vector: NDArray[np.float64]) -> NDArray[np.float64]:
    length: NDArray[np.float64] = np.sqrt(vector[..., 0] ** 2 + vector[..., 1] ** 2)
    return length


def _whole(weight: NDArray[np.float64]) -> UInt8:
    """Round to whole numbers that sum to exactly 255 per pixel (largest remainders first), or to 0."""
    scaled = np.round(weight * _WEIGHT_SUM, 6)  # what is left of rounding errors must not decide
    whole = np.floor(scaled)
    lacking = np.where(weight.sum(-1) > 0, _WEIGHT_SUM - whole.sum(-1), 0)
    order = np.argsort(whole - scaled, axis=-1, kind="stable")
    rank = np.argsort(order, axis=-1, kind="stable")
    whole += rank < lacking[..., None]
    return whole.astype(np.uint8)


class StripFrontEnd:
    """Stage VideoFrame -> RectifiedStrip.

    Nothing comes out until the rest image is known (``spec.rest.start_s`` = 2 s after the first frame; at
    once when the calibration or `set_rest` gave one) and five frames were seen since. Each strip's array is
    new, written once and never touched again, so it may be kept.
    """

    def __init__(
        self, spec: StripSpec, calibration: Calibration, frame_shape: tuple[int, int] | None = None
    ) -> None:
        """Make the tables.

        Args:
            spec: The strip's geometry and time constants.
            calibration: The keyboard's place; its rest image, if any, is the first one.
            frame_shape: (H, W) of the frames to come, checked at once; default: the calibration's.

        Raises:
            CalibrationError: the calibration is for another picture size, shows fewer than one whole key, or
                carries a rest image of another strip.
        """
        self.spec = spec
        self.calibration = calibration
        self._check(frame_shape or (calibration.height, calibration.width))
        if min(calibration.width, calibration.height) < _PATCH:
            raise CalibrationError("A picture of fewer than 4 x 4 pixels cannot show a keyboard.")
        made = table(spec, calibration)
        if not made.visible.any():
            raise CalibrationError(
                f"The calibration {calibration.id} puts the whole keyboard outside the picture; "
                "run `ivories setup` again."
            )
        self.visible = read_only(made.visible)
        self._native = NativeStripFrontEnd(
            spec.native(), calibration.width, calibration.height, made.corner, made.weights
        )
        self._id = calibration.id
        self._last_ns: int | None = None
        self._first_rest: UInt8 | None = None
        if calibration.rest is not None:
            self.set_rest(calibration.rest.image())

    @property
    def delay_ns(self) -> int:
        """0: a strip leaves with its newest frame."""
        return 0

    @property
    def fingerprint(self) -> str:
        """The spec's fingerprint."""
        return self.spec.fingerprint

    @property
    def rest(self) -> UInt8 | None:
        """The rest image under the present light, (rows, width) uint8; None while it is being learnt."""
        image = np.empty((self.spec.rows, self.spec.width), np.uint8)
        return image if self._native.get_rest(image) else None

    def set_rest(self, image: UInt8) -> None:
        """Start from this (rows, width) rest image, now and after every `reset`.

        Raises:
            CalibrationError: the image has another shape.
        """
        if image.shape != (self.spec.rows, self.spec.width) or image.dtype != np.uint8:
            raise CalibrationError(
                f"The rest image is {image.shape} {image.dtype}, but this strip needs "
                f"{(self.spec.rows, self.spec.width)} uint8; let it be learnt again."
            )
        self._first_rest = np.ascontiguousarray(image)
        self._native.set_rest(self._first_rest)

    def reset(self) -> None:
        """Forget every frame; the rest image becomes the one given, or is learnt anew."""
        self._native.reset()
        self._last_ns = None
        if self._first_rest is not None:
            self._native.set_rest(self._first_rest)

    def push(self, item: VideoFrame, /) -> Sequence[RectifiedStrip]:
        """Take one frame.

        Raises:
            CalibrationError: the frame has another size than the calibration.
        """
        luma = item.luma
        self._check(luma.shape)
        if luma.strides[1] != 1:
            luma = np.ascontiguousarray(luma)
        pixels = np.empty(self.spec.shape, np.int8)
        complete = self._native.push(luma, item.t_ns, pixels)
        frame_ns = 0 if self._last_ns is None else max(0, item.t_ns - self._last_ns)
        self._last_ns = item.t_ns
        if not complete:
            return []
        return [RectifiedStrip(read_only(pixels), item.t_ns, frame_ns, self._id, self.visible)]

    def process(self, frames: UInt8, t_ns: NDArray[np.int64]) -> Int8:
        """Push many frames at once, for training.

        Args:
            frames: (T, H, W) pictures, or (T, rows, width) luma that is rectified already.
            t_ns: (T,) their times.

        Returns:
            (S, rows, width, 6) int8, the strips of the last S frames, as from `push`.

        Raises:
            CalibrationError: the frames have another size.
        """
        rectified = frames.shape[1:] == (self.spec.rows, self.spec.width)
        if not rectified:
            self._check(frames.shape[1:])
        strips = np.empty((len(frames), *self.spec.shape), np.int8)
        times = np.ascontiguousarray(t_ns, np.int64)
        count = self._native.process(np.ascontiguousarray(frames), times, strips, rectified)
        if len(times):
            self._last_ns = int(times[-1])
        return strips[:count]

    def rectify(self, luma: UInt8) -> UInt8:
        """Return the (rows, width) rectified luma of one picture, to look at or to store.

        Pushes nothing: a second front end does the work, so that this one's memory stays as it is.
        """
        self._check(luma.shape)
        made = table(self.spec, self.calibration)
        looking = NativeStripFrontEnd(
            self.spec.native(), self.calibration.width, self.calibration.height, made.corner, made.weights
        )
        looking.push(np.ascontiguousarray(luma), 0, np.empty(self.spec.shape, np.int8))
        image = np.empty((self.spec.rows, self.spec.width), np.uint8)
        looking.get_luma(image)
        return image

    def fits(self, frame: VideoFrame) -> bool:
        """Return whether ``frame`` has the size that the calibration is for."""
        return frame.luma.shape == (self.calibration.height, self.calibration.width)

    def _check(self, shape: tuple[int, ...]) -> None:
        expected = (self.calibration.height, self.calibration.width)
        if tuple(shape) != expected:
            found = " x ".join(str(n) for n in reversed(shape))
            raise CalibrationError(
                f"The camera's picture is {found} pixels, but the calibration {self.calibration.id} was made "
                f"for {expected[1]} x {expected[0]}; set the camera to that size or run `ivories setup` "
                "again."
            )
