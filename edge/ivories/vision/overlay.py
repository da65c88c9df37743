"""Draws a calibration over the picture it belongs to, for people to check."""

from typing import Final

import cv2
import numpy as np

from ivories.datatypes import UInt8
from ivories.keyboard import BLACK_KEY_LENGTH, IS_BLACK, KEY_CENTRE, WHITE_KEYS
from ivories.vision.calibration import Calibration
from ivories.vision.homography import Float64

_EDGE: Final = (60, 60, 255)
_BLACK_KEY: Final = (255, 170, 0)
_MIDDLE_C: Final = (60, 220, 60)
_BLACK_HALF: Final = 0.29  # of a white key
_FINE: Final = 4  # binary places of a pixel when drawing


def draw_overlay(luma: UInt8, calibration: Calibration) -> UInt8:
    """Return (H, W, 3) BGR: the picture with its keyboard outlined.

    Red: white keys; blue: black keys; green: middle C. Lines that do not follow the keys show a wrong
    position at once.
    """
    shown = np.asarray(cv2.cvtColor(np.ascontiguousarray(luma), cv2.COLOR_GRAY2BGR), np.uint8)
    along = np.linspace(0.0, WHITE_KEYS, 105)
    for y in (0.0, 1.0):
        _draw(shown, calibration, np.stack([along, np.full_like(along, y)], 1), _EDGE)
    for x in range(WHITE_KEYS + 1):
        # black keys hide the back of most gaps
        back = 0.0 if x in {0, WHITE_KEYS} or not _under_black(x) else BLACK_KEY_LENGTH
        _draw(shown, calibration, np.array([[x, back], [x, 1.0]]), _EDGE)
    for x in KEY_CENTRE[IS_BLACK]:
        left, right = x - _BLACK_HALF, x + _BLACK_HALF
        front = BLACK_KEY_LENGTH
        _draw(
            shown, calibration, np.array([[left, 0], [left, front], [right, front], [right, 0]]), _BLACK_KEY
        )
    c4 = 23.0  # left side of middle C
    _draw(
        shown, calibration, np.array([[c4, 0.7], [c4 + 1, 0.7], [c4 + 1, 1], [c4, 1], [c4, 0.7]]), _MIDDLE_C
    )
    return shown


def _under_black(x: int) -> bool:
    return bool((np.abs(KEY_CENTRE[IS_BLACK] - x) < 0.5).any())


def _draw(shown: UInt8, calibration: Calibration, points: Float64, colour: tuple[int, int, int]) -> None:
    pixels = np.round(calibration.to_pixels(points) * (1 << _FINE)).astype(np.int32)
    cv2.polylines(
        shown, [pixels], isClosed=False, color=colour, thickness=1, lineType=cv2.LINE_AA, shift=_FINE
    )
