"""What every source of sound or pictures offers."""

from collections.abc import Iterator
from typing import Protocol

from ivories.datatypes import AudioBlock, VideoFrame


class AudioSource(Protocol):
    """Mono sound in blocks. Iteration ends with the file, or when ``close`` is called from another thread."""

    rate: int

    def __iter__(self) -> Iterator[AudioBlock]: ...

    def close(self) -> None:
        """Stop and free the device; calling again does nothing."""
        ...


class VideoSource(Protocol):
    """Grayscale frames. Iteration ends with the file, or when ``close`` is called from another thread."""

    width: int
    height: int

    def __iter__(self) -> Iterator[VideoFrame]: ...

    def close(self) -> None:
        """Stop and free the device; calling again does nothing."""
        ...
