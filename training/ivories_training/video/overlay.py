"""A video for people to look at: what was told of every key beside what was true."""

from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Final

import av
import cv2
import numpy as np
from numpy.typing import NDArray

from ivories.clock import SECOND
from ivories.errors import SinkError
from ivories.keyboard import BLACK_KEY_LENGTH, IS_BLACK, KEY_CENTRE, LOWEST_PITCH, WHITE_KEYS
from ivories_training.video.clips import Clip

UInt8 = NDArray[np.uint8]

RIGHT: Final = (70, 200, 70)
FALSE: Final = (60, 60, 255)
MISSED: Final = (255, 150, 40)
"""Blue, green, red"""
_OPAQUE: Final = 0.65
_BLACK_HALF: Final = 0.29  # of a white key
_TICKS: Final = 1000  # per second
_GAP: Final = _TICKS // 2
"""Between two clips"""


class OverlayVideo:
    """An H.264 file that clips are added to, one after the other.

    Args:
        path: of the file, NAME.mp4.

    Raises:
        SinkError: it cannot be written.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._out = av.open(str(path), "w")
        except (OSError, ValueError, av.error.FFmpegError) as error:
            raise SinkError(f"cannot write the overlay video {path}: {error}") from error
        self._stream: av.VideoStream | None = None
        self._begin = 0

    def add(self, clip: Clip, notes: NDArray[np.void], caption: str) -> None:
        """Append a clip with the notes (``report.DECIDED_DTYPE``) told in it."""
        for t_ns, picture in drawn(clip, notes, caption):
            if self._stream is None:
                self._stream = self._out.add_stream("libx264", rate=30)
                self._stream.width, self._stream.height = (size - size % 2 for size in picture.shape[1::-1])
                self._stream.pix_fmt = "yuv420p"
                self._stream.codec_context.time_base = Fraction(1, _TICKS)
                self._stream.options = {"crf": "23", "preset": "veryfast", "bf": "0"}
            size = (self._stream.width, self._stream.height)
            shown = picture if picture.shape[1::-1] == size else cv2.resize(picture, size)
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(shown, np.uint8), format="bgr24")
            frame.pts, frame.time_base = self._begin + t_ns * _TICKS // SECOND, Fraction(1, _TICKS)
            self._out.mux(self._stream.encode(frame))
        self._begin += int(clip.t_ns[-1]) * _TICKS // SECOND + _GAP

    def close(self) -> None:
        """Finish the file."""
        if self._stream is not None:
            self._out.mux(self._stream.encode(None))
        self._out.close()


def drawn(clip: Clip, notes: NDArray[np.void], caption: str) -> Iterator[tuple[int, UInt8]]:
    """Yield time and (H, W, 3) BGR picture: right keys green, false ones red, missed ones blue.

    A key counts as told from the moment of the decision, as a listener would have it.
    """
    outlines = [key_outline(clip, key) for key in range(len(IS_BLACK))]
    keyboard = _pixels(clip, [(0, 0), (WHITE_KEYS, 0), (WHITE_KEYS, 1), (0, 1)])
    for t_ns, luma, pressed in zip(clip.t_ns, clip.pictures, clip.pressed, strict=True):
        now = int(t_ns) / SECOND
        sounding = notes[(notes["decided_s"] <= now) & (notes["offset_s"] > now)]
        told = np.zeros(len(pressed), bool)
        told[sounding["pitch"] - LOWEST_PITCH] = True
        shown = np.asarray(cv2.cvtColor(np.ascontiguousarray(luma), cv2.COLOR_GRAY2BGR), np.uint8)
        tinted = shown.copy()
        for key in np.flatnonzero(told | pressed):
            colour = RIGHT if told[key] and pressed[key] else FALSE if told[key] else MISSED
            cv2.fillPoly(tinted, [outlines[key]], colour)
        shown = cv2.addWeighted(tinted, _OPAQUE, shown, 1 - _OPAQUE, 0)
        cv2.polylines(
            shown, [keyboard], isClosed=True, color=(0, 200, 255), thickness=1, lineType=cv2.LINE_AA
        )
        _write(shown, [f"{caption}  {now:5.2f} s"], 18)
        _write(shown, ["green: right", "red: false", "blue: missed"], luma.shape[0] - 8)
        yield int(t_ns), np.asarray(shown, np.uint8)


def key_outline(clip: Clip, key: int) -> NDArray[np.int32]:
    """Return (4, 2) pixels: a black key whole, a white key in front of the black ones."""
    x = float(KEY_CENTRE[key])
    half, back, front = (
        (_BLACK_HALF, 0.0, BLACK_KEY_LENGTH) if IS_BLACK[key] else (0.44, BLACK_KEY_LENGTH, 1.0)
    )
    return _pixels(clip, [(x - half, back), (x + half, back), (x + half, front), (x - half, front)])


def _pixels(clip: Clip, points: Sequence[tuple[float, float]]) -> NDArray[np.int32]:
    return np.asarray(np.round(clip.calibration.to_pixels(np.array(points, float))), np.int32)


def _write(shown: NDArray[np.uint8], words: Sequence[str], y: int) -> None:
    place = (8, y)
    for colour, thickness in (((0, 0, 0), 3), ((255, 255, 255), 1)):
        cv2.putText(
            shown, "   ".join(words), place, cv2.FONT_HERSHEY_SIMPLEX, 0.45, colour, thickness, cv2.LINE_AA
        )
