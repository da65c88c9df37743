"""What a file holds, before any stage is built for it."""

from dataclasses import dataclass
from pathlib import Path

import av

from ivories.clock import seconds
from ivories.errors import SourceError
from ivories.sources.container import duration_ns, open_container


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
    with open_container(path) as container:
        cover = av.stream.Disposition.attached_pic
        pictures = [stream for stream in container.streams.video if not stream.disposition & cover]
        length_ns = duration_ns(container) or 0
        media = Media(path, bool(container.streams.audio), bool(pictures), seconds(length_ns))
    if not media.audio and not media.video:
        raise SourceError(f"{path} holds neither sound nor pictures")
    return media
