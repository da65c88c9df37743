"""The 88-key keyboard: numbering, colours and plane geometry.

Inside Ivories a key is its index 0..87 (A0..C8). MIDI pitches 21..108 appear only at the edges, and only
through this module. The keyboard plane has x in white-key widths (0 at the left side of A0, 52 at the right
side of C8) and y in white-key lengths (0 at the fallboard, 1 at the front edge).
"""

from typing import Final

import numpy as np
from numpy.typing import NDArray

KEYS: Final = 88
LOWEST_PITCH: Final = 21
HIGHEST_PITCH: Final = 108
WHITE_KEYS: Final = 52
BLACK_KEY_LENGTH: Final = 0.64
"""Front end of a black key, in white-key lengths from the fallboard."""
WHITE_KEY_WIDTH_MM: Final = 23.5
WHITE_KEY_LENGTH_MM: Final = 150.0

NOTE_NAMES: Final = ("C", "C#", "D", "D#", "E", "F", "F#", "G", "G#", "A", "A#", "B")

# A black key's centre lies off the boundary of its white neighbours, in white-key widths (piano makers'
# usual spacing: the two-group spreads by 0.12, the three-group by 0.16).
_BLACK_SHIFT: Final = {1: -0.12, 3: 0.12, 6: -0.16, 8: 0.0, 10: 0.16}


def key_of_pitch(pitch: int) -> int:
    """Return the key index 0..87 of MIDI ``pitch``; raises ``ValueError`` outside 21..108."""
    if not LOWEST_PITCH <= pitch <= HIGHEST_PITCH:
        raise ValueError(f"pitch {pitch} is outside the piano's {LOWEST_PITCH}..{HIGHEST_PITCH}")
    return pitch - LOWEST_PITCH


def pitch_of_key(key: int) -> int:
    """Return the MIDI pitch 21..108 of ``key``; raises ``ValueError`` outside 0..87."""
    if not 0 <= key < KEYS:
        raise ValueError(f"key {key} is outside 0..{KEYS - 1}")
    return key + LOWEST_PITCH


def key_name(key: int) -> str:
    """Return the scientific name of ``key``, for example ``A0`` or ``F#4``."""
    pitch = pitch_of_key(key)
    return f"{NOTE_NAMES[pitch % 12]}{pitch // 12 - 1}"


def _geometry() -> tuple[NDArray[np.bool_], NDArray[np.float64]]:
    black = np.zeros(KEYS, bool)
    centre = np.zeros(KEYS)
    white = 0
    for key in range(KEYS):
        pitch_class = pitch_of_key(key) % 12
        if pitch_class in _BLACK_SHIFT:
            black[key] = True
            centre[key] = white + _BLACK_SHIFT[pitch_class]
        else:
            centre[key] = white + 0.5
            white += 1
    black.flags.writeable = False
    centre.flags.writeable = False
    return black, centre


IS_BLACK, KEY_CENTRE = _geometry()
"""IS_BLACK (88,) bool; KEY_CENTRE (88,) float64: x of each key's middle in white-key widths."""
