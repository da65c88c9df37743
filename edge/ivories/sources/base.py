"""What every source of sound or pictures offers."""

from collections.abc import Iterator
from typing import Protocol, runtime_checkable

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


@runtime_checkable
class Exposing(Protocol):
    """A camera that can be asked for less light while it films."""

    exposure_means: str
    """By which control it does so; empty where this camera, or its driver, cannot"""

    def correct_exposure(self, stops: float) -> bool:
        """Expose by ``stops`` (negative: less light) beside what the camera chooses; 0 leaves it alone again.

        May be called from any thread. A camera that is lost and comes back is asked again.

        Returns:
            Whether it obeyed; at once or with one of the next frames.
        """
        ...
