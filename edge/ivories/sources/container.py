"""Opening a container of sound and pictures (mp4, mkv, mov, avi, ...) with sentences for what goes wrong."""

from pathlib import Path
from typing import Any

import av

from ivories.clock import SECOND
from ivories.errors import SourceError

MICROSECOND = 1_000


def check_file(path: Path) -> None:
    """Raise SourceError unless ``path`` is a file with something in it that may be read."""
    if path.is_dir():
        raise SourceError(f"{path} is a folder: name the file in it")
    try:
        size = path.stat().st_size
        with path.open("rb"):
            pass
    except FileNotFoundError as error:
        raise SourceError(f"there is no file {path}: check the name") from error
    except OSError as error:
        raise SourceError(f"{path} cannot be read: {error.strerror}") from error
    if size == 0:
        raise SourceError(f"{path} is empty: it holds not one byte")


def open_container(path: Path) -> Any:
    """Return the opened container; raises SourceError when ``path`` is none."""
    check_file(path)
    try:
        return av.open(str(path))
    except (av.error.FFmpegError, ValueError) as error:
        raise SourceError(f"{path} is not a sound or video file that can be read: {reason(error)}") from error


def reason(error: Exception) -> str:
    """Return what FFmpeg says, without its error number and file name."""
    return str(getattr(error, "strerror", None) or error)


def zero_ns(container: Any) -> int:
    """Return the time in the container that becomes 0, the same one for its sound and its pictures.

    That is the container's own 0, except where recording began later than that (an MPEG transport stream may
    begin anywhere): then the earliest stream's start, which is what players show as 0:00.
    """
    start = container.start_time  # microseconds, or None
    return max(0, start or 0) * MICROSECOND


def duration_ns(container: Any) -> int | None:
    """Return how long the container says it lasts; None when it does not say."""
    return None if container.duration is None else int(container.duration) * MICROSECOND


def ticks_ns(ticks: int, time_base: Any) -> int:
    """Return ``ticks`` of ``time_base`` (a Fraction of a second) as nanoseconds, without rounding twice."""
    return int(ticks) * int(time_base.numerator) * SECOND // int(time_base.denominator)
