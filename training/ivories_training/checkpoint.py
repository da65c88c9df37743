"""Going on after an interruption: the state of a training on disk, and whose training a folder holds.

While a phase runs, ``PHASE.state.npz`` beside its weights holds everything that decides how it goes on:
weights, the optimizer's moments, moving averages, how far it came. It is gone when the phase is over.
"""

import time
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from ivories.errors import ConfigError

KEEP_EVERY_S: Final = 120.0
"""So much work is lost at most"""
WEIGHTS: Final = ".weights.h5"
STATE: Final = ".state.npz"


class Checkpoint:
    """The state of one phase.

    Args:
        weights: PHASE.weights.h5, where the phase leaves its result.
    """

    def __init__(self, weights: Path) -> None:
        self.path = weights.with_name(weights.name.removesuffix(WEIGHTS) + STATE)
        self._kept = time.monotonic()

    @property
    def due(self) -> bool:
        """Whether it is time to keep the state again."""
        return time.monotonic() - self._kept >= KEEP_EVERY_S

    def keep(self, variables: Sequence[Any], numbers: Mapping[str, float]) -> None:
        """Write ``variables`` and ``numbers``; where that is interrupted, the old state stays."""
        from keras import ops

        arrays = {f"v{i}": np.asarray(ops.convert_to_numpy(v)) for i, v in enumerate(variables)}
        part = self.path.with_name(f".{self.path.name}")
        part.parent.mkdir(parents=True, exist_ok=True)
        with part.open("wb") as file:
            np.savez(file, **arrays, **{f"n_{name}": np.float64(value) for name, value in numbers.items()})
        part.replace(self.path)
        self._kept = time.monotonic()

    def restore(self, variables: Sequence[Any]) -> tuple[list[NDArray[Any]], dict[str, float]] | None:
        """Return the kept arrays, one for each of ``variables``, and the numbers; None where nothing is kept.

        Raises:
            ConfigError: the state is damaged, or that of another network.
        """
        if not self.path.is_file():
            return None
        try:
            with np.load(self.path) as kept:
                arrays = [kept[f"v{i}"] for i in range(sum(name[0] == "v" for name in kept.files))]
                numbers = {name[2:]: float(kept[name]) for name in kept.files if name.startswith("n_")}
        except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
            raise ConfigError(
                f"{self.path} is damaged, remove it to begin this phase again: {error}"
            ) from error
        if [a.shape for a in arrays] != [tuple(v.shape) for v in variables]:
            raise ConfigError(
                f"{self.path} is the state of another network: remove it, or name another --run folder"
            )
        return arrays, numbers

    def remove(self) -> None:
        """The phase is over."""
        self.path.unlink(missing_ok=True)


def assign(variables: Sequence[Any], arrays: Sequence[NDArray[Any]]) -> None:
    """Give every Keras variable its array."""
    for variable, array in zip(variables, arrays, strict=True):
        variable.assign(array)


def finished(weights: Path, after: Path | None = None) -> bool:
    """Return whether a phase left its ``weights``, is not under way again, and began ``after`` the last."""
    if not weights.is_file() or Checkpoint(weights).path.is_file():
        return False
    return after is None or not after.is_file() or after.stat().st_mtime <= weights.stat().st_mtime


def claim(run: Path, same: bool) -> None:
    """Refuse to train in a folder that holds the training of another experiment.

    Args:
        run: the folder.
        same: whether the experiment's file in it says the same as the one asked for (or there is none yet).

    Raises:
        ConfigError: it is another one, and there are weights or a state of it.
    """
    held = sorted(path.name for kind in (WEIGHTS, STATE) for path in run.glob(f"*{kind}"))
    if held and not same:
        raise ConfigError(
            f"{run} holds the training of another experiment ({', '.join(held)}): name another --run folder, "
            "or remove these files to train again on the material that is there"
        )
