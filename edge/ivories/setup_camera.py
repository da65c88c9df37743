"""``ivories setup``: find the keyboard, look at what was found, remember it."""

from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import cv2
import numpy as np
from rich.console import Console

from ivories.calibration_store import CalibrationStore
from ivories.clock import MILLISECOND, SECOND
from ivories.config import Config
from ivories.datatypes import UInt8, VideoFrame
from ivories.errors import CalibrationError, ConfigError, SinkError, SourceError
from ivories.sensors import open_camera
from ivories.sources.base import Exposing
from ivories.sources.container import check_file
from ivories.survey import calibration_from, parse_corners, rest_image, survey
from ivories.vision import calibration as calibrations
from ivories.vision.calibration import Calibration
from ivories.vision.exposure import ExposureWatch
from ivories.vision.find_keyboard import find_keyboard
from ivories.vision.overlay import draw_overlay

_SETTLED_NS = 1500 * MILLISECOND  # without a change of the exposure
_PATIENCE_NS = 10 * SECOND
_FRAMES = 75  # two and a half seconds of an ordinary camera: enough for hands to move away


def run(
    config: Config,
    source: Path | None,
    corners: str | None,
    output: Path | None,
    picture: Path | None,
    console: Console,
) -> None:
    """Find the keyboard with the camera, or in the picture or video ``source``, and write the calibration.

    Raises:
        CalibrationError: no keyboard found; the message says what was seen and what to do.
        ConfigError: ``picture`` is no name of a picture, or the corners are not four points.
        SourceError: the camera or file cannot be read.
        SinkError: the calibration or the picture cannot be written.
    """
    output = output or Path(config.video.calibration)
    if picture is not None and (
        not cv2.haveImageWriter(str(picture)) or not picture.absolute().parent.is_dir()
    ):
        raise ConfigError(
            f"cannot draw into {picture}: use a folder that exists and a name that ends in .png"
        )
    if source is not None and source.suffix.lower() in {".png", ".jpg", ".jpeg"}:
        frames = [_read_picture(source)]
        found = _find(frames, corners)
    elif source is not None:
        found = calibration_from(corners, None, source) if corners else survey(source)
        frames = []
    else:
        frames, found = _look(config, corners)
        found = found.with_rest(rest_image(frames, found))
    found = CalibrationStore(output).save(found)
    console.print(f"Keyboard found, quality {found.quality:.2f}; wrote {output}")
    if found.audio_video_skew_ns:
        console.print(f"  eye-ear skew of before kept: {found.audio_video_skew_ns / MILLISECOND:+.1f} ms")
    for name, (x, y) in zip(("A0 back", "C8 back", "C8 front", "A0 front"), found.corners(), strict=True):
        console.print(f"  {name}: {x:.1f}, {y:.1f}")
    if picture is not None:
        shown = frames[len(frames) // 2] if frames else _first_frame(source)
        if not cv2.imwrite(str(picture), draw_overlay(shown, found)):
            raise SinkError(f"the picture {picture} cannot be written: choose another folder")
        console.print(f"Drew it into {picture}")


def _find(frames: list[UInt8], corners: str | None) -> Calibration:
    if corners:
        height, width = frames[0].shape
        return calibrations.from_corners(parse_corners(corners), width, height)
    return find_keyboard(frames)


def _look(config: Config, corners: str | None) -> tuple[list[UInt8], Calibration]:
    """Return pictures exposed as `ivories run` will have them, and where the keyboard is in them."""
    camera = open_camera(config)
    try:
        pictures = iter(camera)
        frames = _pictures(pictures)
        found = _find(frames, corners)
        if (
            config.video.exposure == "auto"
            and isinstance(camera, Exposing)
            and _hold_highlights(camera, pictures, found)
        ):
            frames = _pictures(pictures)
    finally:
        camera.close()
    return frames, found


def _pictures(pictures: Iterator[VideoFrame]) -> list[UInt8]:
    frames = [np.array(frame.luma) for frame in islice(pictures, _FRAMES)]
    if not frames:
        raise CalibrationError("the camera gave no picture: check its cable with `ivories doctor`")
    return frames[5:] or frames  # the first pictures of a camera are still being exposed


def _hold_highlights(camera: Exposing, pictures: Iterator[VideoFrame], found: Calibration) -> bool:
    """Have the camera leave white keys their shades; return whether it was asked to."""
    watch, changed_ns, first_ns, asked = ExposureWatch(found), None, None, False
    for frame in pictures:
        first_ns = frame.t_ns if first_ns is None else first_ns
        stops = watch.push(frame)
        if stops is not None:
            if not camera.correct_exposure(stops):
                break
            asked, changed_ns = True, frame.t_ns
        if frame.t_ns - (first_ns if changed_ns is None else changed_ns) > _SETTLED_NS:
            break
        if frame.t_ns - first_ns > _PATIENCE_NS:
            break
    return asked


def _read_picture(path: Path) -> UInt8:
    check_file(path)
    image = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
    if image is None:
        raise SourceError(f"{path} is not a picture that can be read")
    return np.asarray(image, np.uint8)


def _first_frame(source: Path | None) -> UInt8:
    capture = cv2.VideoCapture(str(source))
    ok, image = capture.read()
    capture.release()
    if not ok:
        raise SourceError(f"{source}: no pictures could be decoded")
    return np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2GRAY), np.uint8)
