"""One experiment of the audio network as data: read from TOML, copied beside every result."""

from dataclasses import dataclass, replace
from pathlib import Path

import msgspec

from ivories_training.audio.excerpts import ExcerptConfig
from ivories_training.audio.instruments import InstrumentConfig
from ivories_training.experiment import read


@dataclass(frozen=True)
class NetworkConfig:
    """Sizes of the audio network; the shipped one is deeper (``configs/audio.toml``)."""

    context: int = 3
    """Hops seen by the first convolution"""
    stem: int = 16
    """Channels per semitone column"""
    width: int = 40
    """Channels per key"""
    partials: tuple[int, ...] = (-12, 0, 12, 19, 24, 28, 31, 34, 36, 38, 40, 43)
    """Semitones from a key to the columns it reads: an octave below, its partials 1..10 and 12"""
    dilations: tuple[int, ...] = (1, 2, 4, 8, 16)
    """Hops of look-back per residual layer"""
    cross_before: tuple[int, ...] = (1, 3)
    """Residual layers (by index) preceded by a stage across keys"""
    cross_keys: tuple[int, ...] = (-24, -19, -12, -7, -1, 0, 1, 7, 12, 19, 24)
    """Keys that a cross-key stage looks at, relative to its own"""
    bottleneck: int = 12
    """Channels per looked-at key"""
    horizons: tuple[int, ...] = (2, 3, 5, 9)
    """Onset horizons in hops"""

    @property
    def channels(self) -> tuple[str, ...]:
        """Names of the ``keys`` channels in order."""
        middle = self.horizons[len(self.horizons) // 2]
        return (*(f"onset@{h}" for h in self.horizons), "frame", f"offset@{middle}", "velocity")


class DataConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What is made before training."""

    performances: str = ""
    """Folder of MIDI files; empty: invented performances alone"""
    hours: float = 16.0
    """Of training excerpts"""
    validation_minutes: float = 20.0
    calibration_excerpts: int = 60
    """Validation excerpts that calibrate the heads"""
    threshold_excerpts: int = 12
    """Validation excerpts on which commit thresholds are searched"""
    shard_excerpts: int = 100
    seed: int = 0
    workers: int = 1


class TrainConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How the network is trained."""

    start_from: str = ""
    """An int8 audio model whose layers, where they fit, the float network begins with; empty: from nothing"""
    minutes: float = 55.0
    """Wall-clock time of float training; the learning rate follows the clock"""
    quantized_minutes: float = 6.0
    """Wall-clock time of quantization-aware fine-tuning"""
    batch: int = 6
    hops: int = 200
    """Hops per training sequence"""
    cold_hops: int = 16
    """Hops at the start of a sequence that do not count: the past is not known there"""
    learning_rate: float = 4e-3
    quantized_learning_rate: float = 2e-4
    average_decay: float = 0.998
    """Per step, of the moving average of the weights that is validated and exported"""
    bfloat16: bool = True
    seed: int = 0


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A whole experiment."""

    name: str = "audio"
    network: NetworkConfig = msgspec.field(default_factory=NetworkConfig)
    instruments: InstrumentConfig = msgspec.field(default_factory=InstrumentConfig)
    excerpts: ExcerptConfig = msgspec.field(default_factory=ExcerptConfig)
    data: DataConfig = msgspec.field(default_factory=DataConfig)
    train: TrainConfig = msgspec.field(default_factory=TrainConfig)


def load(path: Path) -> Settings:
    """Read settings.

    Raises:
        ConfigError: the file is missing, or a name or a value in it is wrong.
    """
    return read(path, Settings, "an experiment of the audio network")


def save(settings: Settings, path: Path) -> None:
    """Write ``settings`` as TOML."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(msgspec.toml.encode(msgspec.to_builtins(settings)))


def adjusted(
    settings: Settings, pianos: Path | None, performances: Path | None, minutes: float | None
) -> Settings:
    """Return ``settings`` with what the command line names in place."""
    if pianos is not None:
        settings = msgspec.structs.replace(
            settings, instruments=replace(settings.instruments, folder=str(pianos.expanduser().resolve()))
        )
    if performances is not None:
        data = msgspec.structs.replace(settings.data, performances=str(performances.expanduser().resolve()))
        settings = msgspec.structs.replace(settings, data=data)
    if minutes is not None:
        settings = msgspec.structs.replace(
            settings, train=msgspec.structs.replace(settings.train, minutes=minutes)
        )
    return settings
