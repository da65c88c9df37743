"""One reference experiment as data: what it sees or hears, what it says, how it is trained.

No Keras here, so that a back-end can still be chosen.
"""

from pathlib import Path
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from ivories.audio.spec import FrontEndSpec
from ivories.keyboard import KEYS
from ivories_training.audio.excerpts import ExcerptConfig
from ivories_training.audio.instruments import InstrumentConfig
from ivories_training.experiment import read
from ivories_training.schedule import PhaseConfig
from ivories_training.video.balance import Balance

NOTE_NAMES = 12
FRAMES = 5
"""Pictures that are seen at once"""
Share = Annotated[float, Meta(ge=0, le=1)]
Count = Annotated[int, Meta(ge=1)]


class Table(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A table of the file: unknown names are mistakes."""


class PictureNetworkConfig(Table):
    """Raw pictures in: one convolution over space and all five moments, then residual blocks."""

    rows: Count = 480
    columns: Count = 640
    stem: Count = 32
    """channels after the convolution over time"""
    widths: tuple[Count, ...] = (32, 64, 128, 256, 256)
    """channels of each residual block; each halves rows and columns"""
    hidden: Count = 128
    """features of the whole picture"""


class LayerConfig(Table):
    """One convolution over hops and bands."""

    filters: Count
    hops: Count = 1
    bands: Count = 3
    stride: Count = 1
    """over the bands"""


class SpectrumNetworkConfig(Table):
    """Spectra in: convolutions over hops and bands, one over all bands, then layers per hop."""

    layers: tuple[LayerConfig, ...] = ()
    channels: Count = 1
    """multiplies the filters of ``layers``"""
    hops: Count = 5
    """that the convolution over all bands sees"""
    hidden: Annotated[tuple[Count, ...], Meta(min_length=1)] = (512, 512)
    dropout: Share = 0.0

    @property
    def context(self) -> int:
        """Return the hops that one output looks at; it speaks of the middle one."""
        return self.hops + sum(layer.hops - 1 for layer in self.layers)


class Augment(Table):
    """Changes of a window of pictures with luma 0..1; light is the same for all its pictures."""

    brightness: Share = 0.2
    """added, drawn within this of 0"""
    contrast: tuple[float, float] = (0.7, 1.3)
    """drawn between; about the window's mean"""
    noise: Share = 0.05
    """standard deviation, of each pixel and picture alone"""


class PictureData(Table):
    """Rendered clips."""

    clips: Count = 24
    validation_clips: Count = 4
    seconds: float = 8.0
    rate: float = 30.0
    validation_windows: Count = 64
    performances: str = ""
    """Folder of MIDI files; empty: invented pieces"""


class SoundData(Table):
    """Excerpts, or single buffers, of synthesized playing."""

    excerpts: Count = 200
    validation_excerpts: Count = 12
    hops: Count = 100
    """of a training sequence"""
    performances: str = ""
    """Folder of MIDI files; empty: invented pieces"""


class _Experiment(Table, frozen=True, kw_only=True, tag_field="input"):
    """What all kinds share."""

    name: str
    seed: int = 1
    positive: float = 9.0
    """Weight of a key that is down against one that is not"""
    float_phase: PhaseConfig = msgspec.field(default_factory=lambda: PhaseConfig(precision="float32"))
    quantized_phase: PhaseConfig = msgspec.field(
        default_factory=lambda: PhaseConfig(steps=2000, minutes=10, learning_rate=1e-4, precision="float32")
    )
    check_every: int = 200
    """Batches between two looks at the validation material"""


class Pictures(_Experiment, frozen=True, kw_only=True, tag="pictures"):
    """Five raw pictures -> which keys are down in the newest."""

    network: PictureNetworkConfig = PictureNetworkConfig()
    data: PictureData = PictureData()
    augment: Augment = Augment()
    balance: Balance = Balance()

    @property
    def outputs(self) -> int:
        """Return the number of outputs."""
        return KEYS


class Spectrogram(_Experiment, frozen=True, kw_only=True, tag="spectrogram"):
    """A running spectrogram -> which keys, or which of the twelve note names, sound."""

    frontend: FrontEndSpec
    network: SpectrumNetworkConfig = SpectrumNetworkConfig()
    data: SoundData = SoundData()
    excerpts: ExcerptConfig = ExcerptConfig()
    instruments: InstrumentConfig = InstrumentConfig()
    says: Literal["keys", "note names"] = "keys"

    @property
    def outputs(self) -> int:
        """Return the number of outputs."""
        return NOTE_NAMES if self.says == "note names" else KEYS


class Buffer(_Experiment, frozen=True, kw_only=True, tag="buffer"):
    """One spectrum of one short buffer -> how strong each key is in it."""

    frontend: FrontEndSpec
    network: SpectrumNetworkConfig = SpectrumNetworkConfig(hops=1)
    data: SoundData = SoundData()
    instruments: InstrumentConfig = InstrumentConfig()

    @property
    def outputs(self) -> int:
        """Return the number of outputs."""
        return KEYS


Experiment = Pictures | Spectrogram | Buffer


def load(path: Path) -> Experiment:
    """Read an experiment.

    Raises:
        ConfigError: the file is missing, or a name or a value in it is wrong.
    """
    return read(path, Experiment, "a reference experiment")
