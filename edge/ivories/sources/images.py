"""Pictures from a folder of images."""

import glob
import re
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np

from ivories.clock import SECOND
from ivories.datatypes import UInt8, VideoFrame, read_only
from ivories.errors import SourceError
from ivories.sources.pacing import Pace

SUFFIXES = frozenset({".bmp", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"})


class ImageFolderSource:
    """The images of a folder or a pattern (``take/*.png``) as frames, in natural order: 2 before 10.

    Args:
        path: the folder, or a pattern.
        fps: images per second.
        realtime: frames come at that rate, with monotonic stamps.
        epoch_ns: monotonic time of the first image, when ``realtime``.

    Raises:
        SourceError: there is no image, one cannot be read, or they differ in size.
    """

    def __init__(
        self, path: Path | str, fps: float = 30.0, *, realtime: bool = False, epoch_ns: int | None = None
    ) -> None:
        if fps <= 0:
            raise SourceError(f"images need a rate above 0 frames per second, not {fps:g}")
        pattern = f"{glob.escape(str(path))}/*" if Path(path).is_dir() else str(path)
        found = [Path(name) for name in glob.glob(pattern)]  # noqa: PTH207 (the pattern may be absolute)
        self._files = sorted((file for file in found if file.suffix.lower() in SUFFIXES), key=_natural)
        if not self._files:
            raise SourceError(f"there is no image in {path}: name a folder or a pattern such as take/*.png")
        self.fps = fps
        self.duration_ns = round(len(self._files) * SECOND / fps)
        self.height, self.width = _read(self._files[0]).shape
        self._pace = Pace(realtime, epoch_ns)

    def __repr__(self) -> str:
        """Name it for the log."""
        return f"{len(self._files)} images, {self.width} x {self.height}"

    def __iter__(self) -> Iterator[VideoFrame]:
        """Yield the frames. Raises SourceError at an image that is damaged or of another size."""
        for sequence, file in enumerate(self._files):
            t_ns = self._pace.stamp(round(sequence * SECOND / self.fps))
            if not self._pace.wait(t_ns):
                return
            luma = _read(file)
            if luma.shape != (self.height, self.width):
                raise SourceError(
                    f"{file} is {luma.shape[1]} x {luma.shape[0]}, "
                    f"the images before it are {self.width} x {self.height}"
                )
            yield VideoFrame(read_only(luma), t_ns, 0, sequence)

    def close(self) -> None:
        """Stop; calling again does nothing."""
        self._pace.stop()


def _read(file: Path) -> UInt8:
    # Decoded from memory, because OpenCV prints to the terminal about files that it cannot open.
    try:
        content = np.frombuffer(file.read_bytes(), np.uint8)
    except OSError as error:
        raise SourceError(f"{file} cannot be read: {error.strerror}") from error
    luma = cv2.imdecode(content, cv2.IMREAD_GRAYSCALE) if len(content) else None
    if luma is None:
        raise SourceError(f"{file} is not an image that can be read")
    return np.asarray(luma, np.uint8)


def _natural(file: Path) -> list[tuple[int, str]]:
    parts = re.split(r"(\d+)", file.name.lower())
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in parts]
