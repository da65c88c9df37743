"""A network that plays back what it is given: a back-end of equal rank, for tests and rehearsals."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from ivories.datatypes import Int8
from ivories.errors import BackendError
from ivories.inference.base import Tensor

Step = Mapping[str, Int8]
"""Outputs by name; a missing one reads as its zero point"""


class ScriptedRuntime:
    """Answers step n with ``script[n]`` or ``script(n, inputs)``; after the last one with silence.

    Args:
        inputs: the tensors that it takes; shapes and dtypes are checked as a true network does.
        outputs: the tensors that it gives.
        script: outputs per step, or a function of the step number and the inputs.
    """

    def __init__(
        self,
        inputs: Sequence[Tensor],
        outputs: Sequence[Tensor],
        script: Sequence[Step] | Callable[[int, Mapping[str, Int8]], Step] = (),
    ) -> None:
        self.inputs = {tensor.name: tensor for tensor in inputs}
        self.outputs = {tensor.name: tensor for tensor in outputs}
        self.description = "scripted outputs, no network"
        self._script = script
        self._step = 0
        self._closed = False
        self._results = {tensor.name: np.empty(tensor.shape, np.int8) for tensor in outputs}

    def run(self, inputs: Mapping[str, Int8]) -> Mapping[str, Int8]:
        """Run one step; the arrays returned are overwritten by the next call.

        Raises:
            KeyError: an input is missing.
            ValueError: an input has another shape or dtype.
            BackendError: the runtime was closed.
        """
        if self._closed:
            raise BackendError("the network was closed before this step")
        for name, tensor in self.inputs.items():
            given = inputs[name]
            if given.shape != tensor.shape or given.dtype != np.int8:
                raise ValueError(f"input {name!r} is {given.dtype} {given.shape}, not int8 {tensor.shape}")
        step: Step = {}
        if callable(self._script):
            step = self._script(self._step, inputs)
        elif self._step < len(self._script):
            step = self._script[self._step]
        for name, result in self._results.items():
            result[...] = step.get(name, np.int8(self.outputs[name].zero_point))
        self._step += 1
        return self._results

    def close(self) -> None:
        """Free the network; calling again does nothing."""
        self._closed = True
