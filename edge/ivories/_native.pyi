# What the C extension offers; edge/native/binding/ holds the source.

import numpy as np
from numpy.typing import NDArray

SIMD: str
AUDIO_KERNEL_REVISION: int
STRIP_KERNEL_REVISION: int

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

class StripFrontEnd:
    def __init__(
        self,
        spec: tuple[int, ...],
        width: int,
        height: int,
        corner: NDArray[np.uint16],
        weights: NDArray[np.uint8],
    ) -> None: ...
    def push(self, picture: NDArray[np.uint8], t_ns: int, out: NDArray[np.int8], /) -> bool: ...
    def process(
        self, frames: NDArray[np.uint8], t_ns: NDArray[np.int64], out: NDArray[np.int8], rectified: bool, /
    ) -> int: ...
    def reset(self) -> None: ...
    def set_rest(self, image: NDArray[np.uint8], /) -> None: ...
    def get_rest(self, image: NDArray[np.uint8], /) -> bool: ...
    def get_luma(self, image: NDArray[np.uint8], /) -> None: ...

def resample(
    x: NDArray[np.float32],
    filter: NDArray[np.float32],  # noqa: A002 - positional only
    up: int,
    down: int,
    first: int,
    out: NDArray[np.float32],
    /,
) -> None: ...
