# What the C extension offers; edge/native/binding/ holds the source.

from typing import Any

import numpy as np
from numpy.typing import NDArray

SIMD: str
AUDIO_KERNEL_REVISION: int

class AudioFrontEnd:
    def __init__(
        self,
        *,
        hop: int,
        bands: int,
        windows: tuple[
            tuple[int, NDArray[np.float32], NDArray[np.int32], NDArray[np.int32], NDArray[np.float32]], ...
        ],
        circle: NDArray[np.float32],
        step: float,
        floor: float,
        release: float,
    ) -> None: ...
    def due(self, count: int, /) -> int: ...
    def push(
        self, samples: NDArray[np.float32] | int, bins: NDArray[np.int8], level: NDArray[np.float32], /
    ) -> int: ...
    def reset(self) -> None: ...

StripFrontEnd: Any

def resample(
    x: NDArray[np.float32],
    filter: NDArray[np.float32],  # noqa: A002 - positional only
    up: int,
    down: int,
    first: int,
    out: NDArray[np.float32],
    /,
) -> None: ...
