"""A moving average of a network's weights: what is validated and kept."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import keras
from keras import ops


class WeightAverage:
    """Exponential moving average of a model's trainable weights."""

    def __init__(self, model: keras.Model, decay: float) -> None:
        self.variables = list(model.trainable_variables)
        self.decay = decay
        self.values = [ops.convert_to_tensor(ops.convert_to_numpy(v)) for v in self.variables]
        self.steps = 0

    def update(self) -> None:
        """Take in the present weights (faster at the start, when the average is young)."""
        self.steps += 1
        keep = min(self.decay, (1 + self.steps) / (10 + self.steps))
        fresh = [ops.stop_gradient(v.value) for v in self.variables]
        self.values = [keep * old + (1 - keep) * new for old, new in zip(self.values, fresh, strict=True)]

    def restore(self, values: Sequence[Any], steps: int) -> None:
        """Go on where another average was."""
        self.values, self.steps = [ops.convert_to_tensor(v) for v in values], steps

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Put the average into the model for the time of a ``with`` block."""
        kept = [ops.convert_to_numpy(v) for v in self.variables]
        self.copy()
        try:
            yield
        finally:
            for variable, value in zip(self.variables, kept, strict=True):
                variable.assign(value)

    def copy(self) -> None:
        """Put the average into the model for good."""
        for variable, value in zip(self.variables, self.values, strict=True):
            variable.assign(ops.convert_to_numpy(value))
