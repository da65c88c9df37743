"""``ivories setup``: find the keyboard, look at what was found, remember it."""

from pathlib import Path

import cv2
import numpy as np
from rich.console import Console

from ivories.calibration_store import CalibrationStore
from ivories.clock import MILLISECOND
from ivories.config import Config
from ivories.datatypes import UInt8
from ivories.errors import CalibrationError, ConfigError, SinkError, SourceError
from ivories.sensors import open_camera
from ivories.sources.container import check_file
from ivories.survey import calibration_from, parse_corners, rest_image, survey
from ivories.vision import calibration as calibrations
from ivories.vision.calibration import Calibration
from ivories.vision.find_keyboard import find_keyboard
from ivories.vision.overlay import draw_overlay

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
        frames = _look(config)
        found = _find(frames, corners)
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


def _look(config: Config) -> list[UInt8]:
    camera = open_camera(config)
    frames: list[UInt8] = []
    try:
        for frame in camera:
            frames.append(np.array(frame.luma))
            if len(frames) == _FRAMES:
                break
    finally:
        camera.close()
    if not frames:
        raise CalibrationError("the camera gave no picture: check its cable with `ivories doctor`")
    return frames[5:] or frames  # the first pictures of a camera are still being exposed


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
