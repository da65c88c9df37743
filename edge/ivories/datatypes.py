"""Every record that crosses a stage. Arrays are read-only: whoever needs to keep or change one copies it.

K = 88 keys (see ``keyboard``). Times are CLOCK_MONOTONIC nanoseconds taken at the sensor edge; file sources
start their clock at 0 for the first sample or frame, so offline and live runs look the same downstream.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final, Generic, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

Float32 = NDArray[np.float32]
Bool = NDArray[np.bool_]
Int8 = NDArray[np.int8]
UInt8 = NDArray[np.uint8]
AnyArray = TypeVar("AnyArray", bound=NDArray[np.generic])


@dataclass(frozen=True, slots=True)
class AudioBlock:
    samples: Float32
    """(n,) mono, -1..1"""
    rate: int
    """Hertz"""
    first_sample: int
    """Index of sample 0 since the source started, lost samples counted"""
    t_ns: int
    """Time of sample 0"""
    gap: int = 0
    """Samples lost just before this block"""


@dataclass(frozen=True, slots=True)
class VideoFrame:
    luma: UInt8
    """(H, W) 0..255; rows may be padded (strided), pixels of a row are adjacent"""
    t_ns: int
    """Middle of the exposure"""
    exposure_ns: int
    """0 when unknown"""
    sequence: int
    """Frame count of the sensor; a jump tells of lost frames"""


@dataclass(frozen=True, slots=True)
class Spectrum:
    bins: Int8
    """(bands, windows), scale in the FrontEndSpec"""
    frame: int
    """Hop index since start or the last gap"""
    t_ns: int
    """Time just after the newest sample that this frame has seen"""
    level_db: float
    """Reference level the bins are relative to, dB full scale"""


@dataclass(frozen=True, slots=True)
class RectifiedStrip:
    pixels: Int8
    """(height, width, channels): see StripSpec"""
    t_ns: int
    """Mid-exposure of the newest frame"""
    frame_ns: int
    """Time since the frame before it"""
    calibration_id: str
    """Which keyboard position this strip was cut with"""
    visible: Bool
    """(K,) False where the key lies outside the picture or is covered"""


ONSET_PRIOR: Final = -6.0
"""Log-odds of an onset of a given key in a given 10 ms, before any evidence: about 20 notes per second"""


class Origin(StrEnum):
    AUDIO = "audio"
    VIDEO = "video"


@dataclass(frozen=True, slots=True)
class KeyEvidence:
    """What one sensor says of all keys, as log-likelihood ratios: 0 = knows nothing, positive = for.

    Row ``h`` of ``onset`` speaks of the time interval of length ``step_ns`` that ends at
    ``t_ns - horizon_ns[h]``: the same onset is judged again at every later horizon, each time with more to
    go by. A negative horizon is a prediction.
    """

    origin: Origin
    t_ns: int
    """Sensor time of the newest sample or pixel used"""
    step_ns: int
    """Hop or frame period"""
    horizon_ns: tuple[int, ...]
    """(H,) ascending"""
    onset: Float32
    """(H, K)"""
    frame: Float32
    """(K,) audio: sounding, video: pressed, at t_ns"""
    offset: Float32 | None
    """(K,) key released, at t_ns - offset_horizon_ns"""
    velocity: Float32
    """(K,) 0..1 of the onset within the last 100 ms, as a network sees it; NaN where unknown"""
    visible: Bool
    """(K,) False: this sensor cannot judge the key"""
    pedal: float | None = None
    """Sustain pedal down, log-odds at t_ns"""
    weight: float = 1.0
    """0..1: health of the sensor by its own data; 0 = dead, and what it says is worth nothing"""
    offset_horizon_ns: int = 0
    """How long after a release its sensor judges it"""
    loudness: Float32 | None = None
    """(H, K) dB, up to a constant: how loud a note is that began a horizon ago; None where nothing tells"""
    piano: float = 1.0
    """0..1: how likely it is a piano that is heard, and not a voice"""


@dataclass(frozen=True, slots=True)
class KeyPosterior:
    pressed: Float32
    """(K,) probability"""
    sounding: Float32
    """(K,) probability"""
    t_ns: int


class NoteKind(StrEnum):
    ONSET = "onset"
    OFFSET = "offset"
    PEDAL = "pedal"


@dataclass(frozen=True, slots=True)
class NoteEvent:
    kind: NoteKind
    key: int
    """0..87; -1 for the pedal"""
    velocity: int
    """1..127 for an onset; release velocity 0..127 for an offset; controller value for the pedal"""
    t_ns: int
    """Estimated (back-dated) time of the event in the room"""
    decided_ns: int
    """Sensor time at which the tracker was sure: decided_ns - t_ns is the decision delay"""
    confidence: float
    """0..1"""
    retracts: bool = False
    """An offset that takes back a ghost onset"""
    left_ns: dict[str, int] = field(default_factory=dict, compare=False, repr=False)
    """CLOCK_MONOTONIC nanoseconds at which its bytes left each sink, by the sink's name. The one part that is
    not known when the event is made: each sink enters its own moment, and nobody changes another's."""


@dataclass(frozen=True, slots=True)
class KeyState:
    pressed: Bool
    """(K,)"""
    since_ns: NDArray[np.int64]
    """(K,) time of the last change"""
    velocity: UInt8
    """(K,) of the last onset"""


In_contra = TypeVar("In_contra", contravariant=True)
Out_co = TypeVar("Out_co", covariant=True)


class Stage(Protocol, Generic[In_contra, Out_co]):
    """A synchronous step of the path: no threads, no clock reads, results depend on the pushed items only."""

    @property
    def delay_ns(self) -> int:
        """Time between an event in the input and the output that tells of it."""
        ...

    def push(self, item: In_contra, /) -> Sequence[Out_co]:
        """Take one item and return the outputs that it completes."""
        ...

    def reset(self) -> None:
        """Forget everything heard or seen so far."""
        ...


def read_only(array: AnyArray) -> AnyArray:
    """Return ``array`` with its writeable flag cleared."""
    array.flags.writeable = False
    return array
