"""What ``ivories setup`` does with a recording: find the keyboard in it, and what it looks like at rest.

A recording can be looked at before it is transcribed, as the instrument looks at the empty keyboard before
someone plays. No note is decided here.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import av
import numpy as np

from ivories.datatypes import UInt8, VideoFrame
from ivories.errors import CalibrationError, ConfigError, SourceError
from ivories.sources.video_file import luma_plane
from ivories.vision import calibration as calibrations
from ivories.vision.calibration import Calibration
from ivories.vision.find_keyboard import find_keyboard
from ivories.vision.strip import FRAMES, StripFrontEnd, StripSpec

_LOOKS: Final = 60  # pictures looked at, spread over the recording
_WHOLE_S: Final = 90.0  # a recording up to this length is decoded as a whole: it may hold one key frame only
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
    frames = list(_spread(path))
    if not frames:
        raise SourceError(f"{path}: no pictures could be decoded")
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
    return np.take_along_axis(ordered, middle[None], axis=0)[0].astype(np.uint8)


def calibration_from(corners: str | None, file: Path | None, video: Path) -> Calibration:
    """Return the position that the user gives, with a rest image of ``video`` if it has none.

    Raises:
        ConfigError: the corners are not four points, or both ways are used.
        CalibrationError: the file is no calibration, or is for another picture size.
    """
    if corners and file:
        raise ConfigError("--corners and --calibration exclude each other")
    if file is not None:
        given = calibrations.load(file)
    else:
        width, height = _size(video)
        try:
            given = calibrations.from_corners(parse_corners(corners or ""), width, height)
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


def _size(path: Path) -> tuple[int, int]:
    try:
        with av.open(str(path)) as container:
            stream = container.streams.video[0]
            return stream.width, stream.height
    except (av.error.FFmpegError, OSError, IndexError) as error:
        raise SourceError(f"{path}: the pictures cannot be read: {error}") from error


def _spread(path: Path) -> Iterator[UInt8]:
    """Yield about ``_LOOKS`` pictures spread over the recording."""
    try:
        with av.open(str(path)) as container:
            stream = container.streams.video[0]
            stream.thread_type = "AUTO"
            duration_s = (container.duration or 0) / av.time_base
            if 0 < duration_s <= _WHOLE_S or not container.duration:
                yield from _every(container, stream, duration_s)
                return
            for look in range(_LOOKS):
                container.seek(int((look + 0.5) * container.duration / _LOOKS))
                frame = next(container.decode(stream), None)
                if frame is not None:
                    yield _luma(frame)
    except (av.error.FFmpegError, OSError, IndexError) as error:
        raise SourceError(f"{path}: the pictures cannot be read: {error}") from error


def _every(
    container: "av.container.InputContainer", stream: "av.video.stream.VideoStream", duration_s: float
) -> Iterator[UInt8]:
    rate = float(stream.average_rate or 30)
    step = max(1, round(max(duration_s, 1.0) * rate / _LOOKS))
    for i, frame in enumerate(container.decode(stream)):
        if i % step == 0:
            yield _luma(frame)


def _luma(frame: "av.VideoFrame") -> UInt8:
    return np.array(luma_plane(frame))
