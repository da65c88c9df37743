"""What ``ivories setup`` does with a recording: find the keyboard in it, and what it looks like at rest.

A recording can be looked at before it is transcribed, as the instrument looks at the empty keyboard before
someone plays. No note is decided here.
"""

import itertools
import re
from pathlib import Path
from typing import Final

import numpy as np

from ivories.clock import seconds
from ivories.datatypes import UInt8, VideoFrame
from ivories.errors import CalibrationError, ConfigError
from ivories.sources.video_file import VideoFileSource
from ivories.vision import calibration as calibrations
from ivories.vision.calibration import Calibration
from ivories.vision.find_keyboard import find_keyboard
from ivories.vision.strip import FRAMES, StripFrontEnd, StripSpec

_LOOKS: Final = 60  # pictures looked at
_LOOKED_AT_S: Final = 120.0  # of a longer recording, the beginning tells enough: the camera stands still
_DARK: Final = 10.0  # mean luma below which there is nothing to see


def survey(path: Path, given: Calibration | None = None) -> Calibration:
    """Return where the keyboard lies in the video ``path``, with its rest image.

    Args:
        path: any video file.
        given: a position found before; then only the rest image is made.

    Raises:
        SourceError: the file cannot be read.
        CalibrationError: there is no keyboard to be found; the message says what was seen.
    """
    frames = _spread(path)
    if max(float(frame.mean()) for frame in frames) < _DARK:
        raise CalibrationError(f"the pictures of {path} are black: check the lens cap and the light")
    if given is None:
        try:
            given = find_keyboard(frames)
        except CalibrationError as error:
            raise CalibrationError(f"{path}: {error}") from error
    return given.with_rest(rest_image(frames, given))


def rest_image(frames: list[UInt8], calibration: Calibration) -> UInt8:
    """Return the (rows, width) strip of the keyboard at rest, from pictures of it being played.

    Per pixel the densest third of the values over time: a key is up and uncovered more often, and always
    looks the same, while hands differ. (The shorth of Andrews et al. 1972, with a third instead of a half.)
    """
    spec = StripSpec()
    frontend = StripFrontEnd(spec, calibration)
    frontend.set_rest(np.zeros((spec.rows, spec.width), np.uint8))
    # The newest picture is the last channel; the first ones only fill the five-frame ring.
    lumas = [
        strip.pixels[..., FRAMES]
        for i, luma in enumerate(frames[:1] * (FRAMES - 1) + frames)
        for strip in frontend.push(VideoFrame(luma, i * 40_000_000, 0, i))
    ]
    ordered = np.sort(np.stack(lumas).astype(np.int16) + 128, axis=0)
    share = max(1, len(ordered) // 3)
    spans = ordered[share - 1 :] - ordered[: len(ordered) - share + 1]
    middle = spans.argmin(axis=0) + share // 2
    rest: UInt8 = np.take_along_axis(ordered, middle[None], axis=0)[0].astype(np.uint8)
    return rest


def calibration_from(corners: str | None, file: Path | None, video: Path) -> Calibration:
    """Return the position that the user gives, with a rest image of ``video`` if it has none.

    Raises:
        ConfigError: the corners are not four points, or both ways are used.
        CalibrationError: the file is no calibration, or is for another picture size.
    """
    if corners and file:
        raise ConfigError("--corners and --calibration exclude each other")
    source = VideoFileSource(video)
    source.close()
    if file is not None:
        given = calibrations.load(file)
        if (given.width, given.height) != (source.width, source.height):
            raise CalibrationError(
                f"{file} was made for pictures of {given.width} x {given.height}, but those of {video} are "
                f"{source.width} x {source.height}: leave --calibration out, or make another one with "
                f"`ivories setup {video}`"
            )
    else:
        try:
            given = calibrations.from_corners(parse_corners(corners or ""), source.width, source.height)
        except CalibrationError as error:
            raise ConfigError(str(error)) from error
    return given if given.rest is not None else survey(video, given)


def parse_corners(text: str) -> list[tuple[float, float]]:
    """Return the four points of 'x,y x,y x,y x,y'; raises ConfigError for anything else."""
    numbers = re.fullmatch(r"\s*" + r"[\s;]+".join([r"(-?[\d.]+),(-?[\d.]+)"] * 4) + r"\s*", text)
    if numbers is None:
        raise ConfigError(f"--corners wants four points as 'x,y x,y x,y x,y', not {text!r}")
    try:
        values = [float(x) for x in numbers.groups()]
    except ValueError as error:
        raise ConfigError(f"--corners wants numbers: {error}") from error
    return list(zip(values[::2], values[1::2], strict=True))


def _spread(path: Path) -> list[UInt8]:
    """Return about ``_LOOKS`` pictures spread over the recording, or over its first minutes."""
    source = VideoFileSource(path)
    rate = source.fps or 30.0
    length_s = min(seconds(source.duration_ns or 0) or _LOOKED_AT_S, _LOOKED_AT_S)
    step = max(1, round(length_s * rate / _LOOKS))
    try:
        looked_at = itertools.islice(source, 0, int(_LOOKED_AT_S * rate), step)
        return [np.array(frame.luma) for frame in looked_at]
    finally:
        source.close()
