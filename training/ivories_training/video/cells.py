"""Pressed or not, frame by frame and key by key: counted for kinds of keys, of visibility and of light.

What counts is the device's own state after each frame, as it stands at that moment: nothing is made up later.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from ivories.datatypes import KeyEvidence
from ivories.keyboard import IS_BLACK, KEYS, WHITE_KEYS
from ivories_training.video.clips import Clip

Bool = NDArray[np.bool_]

BALANCE: Final = 3.0
"""Log-likelihood ratio at which a frame alone says that a key is pressed: one key in twenty is down"""
PARTLY: Final = 0.2
MOSTLY: Final = 0.8
"""Share of a key hidden by hands from which it is partly covered, and covered"""
DIM: Final = 80.0
BRIGHT: Final = 170.0
"""Mean luma of the white keys' front below which a picture is dim, and from which it is bright"""
ALL: Final = "all"
NETWORK: Final = "by the network alone"
"""What each frame says for itself, without the memory that the device has"""
SETTLED: Final = "two frames from any change"


@dataclass(frozen=True)
class CellScores:
    """(frame, key) cells of one kind; precision, recall and F1 are those of "pressed"."""

    kind: str
    cells: int
    pressed: int
    """How many of them are"""
    accuracy: float
    precision: float
    recall: float
    f1: float


@dataclass(frozen=True)
class Counts:
    """Cells by (truth, told)."""

    both: int = 0
    told: int = 0
    """of which ``both`` are right"""
    true: int = 0
    cells: int = 0

    def __add__(self, other: "Counts") -> "Counts":
        return Counts(
            self.both + other.both, self.told + other.told, self.true + other.true, self.cells + other.cells
        )

    def scores(self, kind: str) -> CellScores:
        """Return what the counts come to; NaN of nothing."""
        wrong = self.told + self.true - 2 * self.both
        return CellScores(
            kind=kind,
            cells=self.cells,
            pressed=self.true,
            accuracy=_share(self.cells - wrong, self.cells),
            precision=_share(self.both, self.told),
            recall=_share(self.both, self.true),
            f1=_share(2 * self.both, self.told + self.true),
        )


def alone(evidence: Sequence[KeyEvidence]) -> Bool:
    """Return (n, K): what the frames say each for itself."""
    return np.array([one.frame > BALANCE for one in evidence], bool).reshape(-1, KEYS)


def count(clip: Clip, evidence: Sequence[KeyEvidence], down: Bool) -> dict[str, Counts]:
    """Return the counts of every kind of cell that the clip has, in the frames that were judged.

    Args:
        clip: with the truth.
        evidence: of n frames.
        down: (n, K) keys that the device took for pressed after each of them.
    """
    at = {int(t): i for i, t in enumerate(clip.t_ns)}
    rows = [at[one.t_ns] for one in evidence]
    truth = clip.pressed[rows].reshape(-1, KEYS)
    visible = np.array([one.visible for one in evidence], bool).reshape(-1, KEYS)
    black = np.broadcast_to(IS_BLACK, truth.shape)
    kinds: dict[str, Bool] = {
        ALL: np.ones(truth.shape, bool),
        "white keys": ~black,
        "black keys": black,
        "judged visible": visible,
        "judged hidden": ~visible,
        SETTLED: _settled(clip.pressed)[rows].reshape(-1, KEYS),
    }
    if clip.covered is not None:
        covered = clip.covered[rows].reshape(-1, KEYS)
        kinds["free keys"] = covered < PARTLY
        kinds["partly covered"] = (covered >= PARTLY) & (covered < MOSTLY)
        kinds["covered or outside"] = covered >= MOSTLY
    kinds[light(clip)] = kinds[ALL]
    found = {kind: _counts(truth, down, mask) for kind, mask in kinds.items() if mask.any()}
    return found | {NETWORK: _counts(truth, alone(evidence), kinds[ALL])}


def _counts(truth: Bool, told: Bool, mask: Bool) -> Counts:
    return Counts(
        int((truth & told & mask).sum()),
        int((told & mask).sum()),
        int((truth & mask).sum()),
        int(mask.sum()),
    )


def _settled(pressed: Bool) -> Bool:
    """Return (F, K): no change of the key in this frame, the two before it, or the two after it."""
    changed = np.zeros((len(pressed) + 4, pressed.shape[1]), bool)
    changed[3:-2] = pressed[1:] != pressed[:-1]  # between frames i - 1 and i
    frames = len(pressed)
    near = [changed[i : i + frames] for i in range(1, 5)]
    return np.asarray(~np.logical_or.reduce(near), bool)


def light(clip: Clip) -> str:
    """Return how bright the white keys look in the first picture."""
    x, y = np.meshgrid(np.arange(WHITE_KEYS) + 0.5, [0.75, 0.85, 0.95])
    pixels = np.round(clip.calibration.to_pixels(np.stack([x.ravel(), y.ravel()], 1))).astype(int)
    height, width = clip.pictures.shape[1:]
    inside = (pixels >= 0).all(1) & (pixels[:, 0] < width) & (pixels[:, 1] < height)
    level = float(clip.pictures[0, pixels[inside, 1], pixels[inside, 0]].mean()) if inside.any() else 0.0
    return "dim light" if level < DIM else "bright light" if level >= BRIGHT else "medium light"


def pooled(counted: Iterable[dict[str, Counts]]) -> list[CellScores]:
    """Return the scores of every kind over several clips."""
    total: dict[str, Counts] = {}
    for counts in counted:
        for kind, one in counts.items():
            total[kind] = total.get(kind, Counts()) + one
    order = sorted(total, key=lambda kind: (kind.endswith("light"), 0))
    return [total[kind].scores(kind) for kind in order]


def _share(part: int, whole: int) -> float:
    return part / whole if whole else float("nan")
