"""The keyboard and the notes that rise from it, drawn with half-width character cells.

A picture is a grid of colours, two columns per character cell (left and right half block); a white key is
``unit`` half cells wide, so that 88 keys fit 78 cells and more.
"""

from collections.abc import Sequence
from functools import lru_cache
from itertools import pairwise
from typing import Final

from rich.color import Color
from rich.color_triplet import ColorTriplet
from rich.segment import Segment
from rich.style import Style

from ivories.keyboard import IS_BLACK, KEYS, NOTE_NAMES, WHITE_KEYS, pitch_of_key

Colour = tuple[int, int, int]
"""Red, green, blue 0..255"""

WHITE: Final[Colour] = (236, 233, 224)
GAP: Final[Colour] = (150, 146, 138)
BLACK: Final[Colour] = (32, 32, 36)
NARROWEST: Final = 78
"""Character cells that the keyboard needs"""

# Soft to loud: blue, teal, amber, red.
_RAMP: Final[tuple[tuple[float, Colour], ...]] = (
    (0.0, (70, 110, 220)),
    (0.4, (40, 180, 170)),
    (0.7, (240, 180, 50)),
    (1.0, (240, 70, 60)),
)


@lru_cache(maxsize=256)
def velocity_colour(velocity: int) -> Colour:
    """Return the colour of a note of ``velocity`` 1..127."""
    x = min(1.0, max(0.0, velocity / 127))
    for (x0, low), (x1, high) in pairwise(_RAMP):
        if x <= x1:
            return mix(low, high, (x - x0) / (x1 - x0))
    return _RAMP[-1][1]


@lru_cache(maxsize=4096)
def mix(one: Colour, other: Colour, share: float) -> Colour:
    """Return ``one`` moved by ``share`` 0..1 towards ``other``."""
    r, g, b = (round(a + (z - a) * share) for a, z in zip(one, other, strict=True))
    return r, g, b


class KeyboardPicture:
    """Where each key lies in a picture ``cells`` wide at most."""

    def __init__(self, cells: int) -> None:
        """Lay out the keys; raises ``ValueError`` below ``NARROWEST``."""
        self.unit = 2 * cells // WHITE_KEYS
        if self.unit < 3:
            raise ValueError(f"the keyboard needs {NARROWEST} cells, not {cells}")
        self.columns = WHITE_KEYS * self.unit
        self.cells = self.columns // 2
        black_width = round(0.65 * self.unit)
        self._span: list[tuple[int, int]] = []
        white = 0
        for key in range(KEYS):
            left = white * self.unit
            if IS_BLACK[key]:
                start = left - (black_width + 1) // 2
                self._span.append((start, start + black_width))
            else:
                self._span.append((left, left + self.unit - 1))
                white += 1

    def keys(self, lit: dict[int, Colour], *, far: bool) -> list[Colour]:
        """Return one row of colours: the ``far`` part with the black keys, or the near part without."""
        row = [GAP] * self.columns
        for black in (False, True) if far else (False,):
            for key, (start, end) in enumerate(self._span):
                if IS_BLACK[key] == black:
                    row[start:end] = [lit.get(key, BLACK if black else WHITE)] * (end - start)
        return row

    def lane(self, lit: dict[int, Colour], background: Colour) -> list[Colour]:
        """Return one row of colours of the air above the keys: only what is ``lit``."""
        row = [background] * self.columns
        for key in sorted(lit, key=lambda key: bool(IS_BLACK[key])):
            start, end = self._span[key]
            row[start:end] = [lit[key]] * (end - start)
        return row

    def octave_names(self) -> str:
        """Return a line of text with the name of each C below its key."""
        text = [" "] * self.cells
        for key in range(KEYS):
            pitch = pitch_of_key(key)
            if NOTE_NAMES[pitch % 12] == "C":
                cell = min(self._span[key][0] // 2, self.cells - 2)
                text[cell : cell + 2] = f"C{pitch // 12 - 1}"
        text[0:2] = "A0"
        return "".join(text)


def row_segments(row: Sequence[Colour]) -> list[Segment]:
    """Return one text line that shows ``row``, two columns per cell; runs of equal cells share a segment."""
    segments: list[Segment] = []
    run: tuple[Colour, Colour] | None = None
    length = 0
    for pair in [*zip(row[::2], row[1::2], strict=True), None]:
        if pair != run:
            if run is not None:
                left, right = run
                segments.append(Segment(("▌" if left != right else " ") * length, _style(left, right)))
            run, length = pair, 0
        length += 1
    return segments


@lru_cache(maxsize=4096)
def _style(left: Colour, right: Colour) -> Style:
    return Style(color=_rich_colour(left), bgcolor=_rich_colour(right))


def _rich_colour(colour: Colour) -> Color:
    return Color.from_triplet(ColorTriplet(*colour))
