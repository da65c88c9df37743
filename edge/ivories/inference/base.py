"""What every inference back-end offers."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from ivories.datatypes import Int8


@dataclass(frozen=True, slots=True)
class Tensor:
    """One int8 tensor of a model: real value = scale * (int8 - zero_point)."""

    name: str
    shape: tuple[int, ...]
    scale: float
    zero_point: int


class Runtime(Protocol):
    """One loaded int8 network. Not thread-safe: one owner."""

    @property
    def description(self) -> str:
        """Which interpreter runs on what, for the log and ``ivories doctor``."""
        ...

    @property
    def inputs(self) -> Mapping[str, Tensor]:
        """Input tensors by name."""
        ...

    @property
    def outputs(self) -> Mapping[str, Tensor]:
        """Output tensors by name."""
        ...

    def run(self, inputs: Mapping[str, Int8]) -> Mapping[str, Int8]:
        """Run one step. The returned arrays are valid until the next call."""
        ...

    def close(self) -> None:
        """Free the network; calling again does nothing."""
        ...
