"""Tables for the terminal, of at most 120 columns, in which nothing is cut off."""

import math
from collections.abc import Sequence
from typing import Final

from rich.table import Table

WIDTH: Final = 120


def table(title: str, words: Sequence[str], numbers: Sequence[str]) -> Table:
    """Return an empty table: columns of words to the left, of numbers to the right."""
    made = Table(title=title, title_justify="left")
    for name in words:
        made.add_column(name, no_wrap=True)
    for name in numbers:
        made.add_column(name, justify="right", no_wrap=True)
    return made


def score(value: float, digits: int = 3) -> str:
    """Return a number as text; a dash where it says nothing."""
    return "-" if math.isnan(value) else f"{value:.{digits}f}"


def ms(value: float, digits: int = 0) -> str:
    """Return milliseconds as text; a dash where they say nothing."""
    return "-" if math.isnan(value) else f"{value:.{digits}f} ms"
