"""Which pianos are at hand, and what each may be used for.

The user's folder of sampled pianos (one sub-folder each: SFZ or ``NN-PedalOffForte1Close.wav``) comes first;
Debian's SoundFonts and imagined pianos are always there where FluidSynth is.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from ivories.errors import SourceError
from ivories_training.audio.imagined import imagine
from ivories_training.audio.sample_bank import SampleBank, cached, read_sfz, read_wav_folder
from ivories_training.audio.soundfont import read_preset

SOUNDFONTS = Path("/usr/share/sounds")


@dataclass(frozen=True)
class Preset:
    """A piano in a SoundFont package."""

    name: str
    file: str
    """Under /usr/share/sounds"""
    program: int
    licence: str


PRESETS = (
    Preset("fluid-grand", "sf2/FluidR3_GM.sf2", 0, "MIT"),
    Preset("fluid-bright", "sf2/FluidR3_GM.sf2", 1, "MIT"),
    Preset("fluid-honky-tonk", "sf2/FluidR3_GM.sf2", 3, "MIT"),
    Preset("musescore-grand", "sf3/MuseScore_General_Full.sf3", 0, "MIT"),
    Preset("musescore-bright", "sf3/MuseScore_General_Full.sf3", 1, "MIT"),
)
TEST_PRESET = Preset("timgm-grand", "sf2/TimGM6mb.sf2", 0, "GPL-2")
"""Never trained on: the test instrument (and its licence stays out of the weights)"""


IMAGINED = "imagined-"
"""How the names of imagined pianos begin"""


@dataclass(frozen=True)
class InstrumentConfig:
    """Which pianos to load."""

    folder: str = ""
    """Folder of sampled pianos, one sub-folder each; empty: none"""
    held_out: tuple[str, ...] = ("old-piano-fb",)
    """Sub-folders kept for validation"""
    presets: tuple[str, ...] = tuple(p.name for p in PRESETS)
    """Which pianos of Debian's SoundFonts, where they are installed"""
    imagined: int = 8
    """How many imagined pianos to train with"""
    cache: str = "~/.cache/ivories/pianos"
    """Where rendered and resampled pianos are kept"""
    licences: dict[str, str] = field(default_factory=dict)
    """Of pianos in ``folder``, for the model card"""
    weights: dict[str, float] = field(default_factory=dict)
    """How often a piano is drawn, relative to 1"""


def folder_bank(folder: Path) -> SampleBank:
    """Read the piano in ``folder``: its largest SFZ file, or named WAV files.

    Raises:
        SourceError: it holds neither.
    """
    instruments = sorted(folder.glob("*.sfz"), key=lambda p: -p.stat().st_size)
    if instruments:
        return read_sfz(instruments[0])
    if next(folder.glob("*Close.wav"), None):
        return read_wav_folder(folder)
    raise SourceError(f"no piano in {folder}: it needs an SFZ file or NN-PedalOffForte1Close.wav files")


def load(config: InstrumentConfig) -> tuple[dict[str, SampleBank], dict[str, SampleBank]]:
    """Return the pianos to train with and those held out for validation, by name.

    Raises:
        SourceError: a named folder is missing, a piano in it cannot be read, or no piano is left.
    """
    cache = Path(config.cache).expanduser()
    train: dict[str, SampleBank] = {}
    held_out: dict[str, SampleBank] = {}

    def add(name: str, identity: str, build: Callable[[], SampleBank]) -> None:
        target = held_out if name in config.held_out else train
        target[name] = cached(cache, identity, build)

    if config.folder:
        root = Path(config.folder).expanduser()
        if not root.is_dir():
            raise SourceError(f"no folder of pianos at {root}")
        for folder in sorted(p for p in root.iterdir() if p.is_dir()):
            add(folder.name, f"folder {folder.resolve()}", lambda folder=folder: folder_bank(folder))  # type: ignore[misc]
    for preset in PRESETS:
        path = SOUNDFONTS / preset.file
        if preset.name in config.presets and path.is_file():
            add(preset.name, f"preset {path} {preset.program}", lambda p=preset: _render(p))  # type: ignore[misc]
    for seed in range(config.imagined):
        add(f"{IMAGINED}{seed}", f"imagined 2 {seed}", lambda seed=seed: imagine(seed))  # type: ignore[misc]
    if not train:
        raise SourceError(
            "no piano to train with: apt install fluidsynth fluid-soundfont-gm, or name a folder of pianos"
        )
    if not held_out:
        held_out[f"{IMAGINED}1000"] = cached(cache, "imagined 2 1000", lambda: imagine(1000))
    return train, held_out


def test_bank(cache: str) -> SampleBank:
    """Return the piano that no network has trained on or been chosen by.

    Raises:
        SourceError: its package timgm6mb-soundfont is not installed.
    """
    path = SOUNDFONTS / TEST_PRESET.file
    return cached(Path(cache).expanduser(), f"preset {path} 0", lambda: _render(TEST_PRESET))


def _render(preset: Preset) -> SampleBank:
    return read_preset(SOUNDFONTS / preset.file, preset.program, preset.name)
