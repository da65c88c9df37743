"""What a file holds, before any stage is built for it."""

from dataclasses import dataclass
from pathlib import Path

import av

from ivories.errors import SourceError


@dataclass(frozen=True, slots=True)
class Media:
    path: Path
    audio: bool
    video: bool
    """Moving pictures; a cover picture in a sound file does not count"""
    duration_s: float
    """0 when the container does not say"""


def probe(path: Path) -> Media:
    """Look into ``path``.

    Raises:
        SourceError: missing, empty, not a sound or video file.
    """
    if not path.exists():
        raise SourceError(f"no such file: {path}")
    if path.is_dir():
        raise SourceError(f"{path} is a folder: name a sound or video file")
    if path.stat().st_size == 0:
        raise SourceError(f"{path} is empty")
    try:
        with av.open(str(path)) as container:
            video = [
                s for s in container.streams.video if not s.disposition & av.stream.Disposition.attached_pic
            ]
            duration = container.duration / av.time_base if container.duration else 0.0
            media = Media(path, bool(container.streams.audio), bool(video), duration)
    except (av.error.FFmpegError, OSError) as error:
        raise SourceError(f"{path} is not a sound or video file that can be read: {error}") from error
    if not media.audio and not media.video:
        raise SourceError(f"{path} holds neither sound nor pictures")
    return media
