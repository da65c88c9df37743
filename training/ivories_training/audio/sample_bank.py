"""Sampled pianos in memory: one recording per key and velocity layer, mono, 16 kHz, attack at sample 0.

Banks come from SFZ folders and from folders of ``NN-PedalOffForte1Close.wav`` files (here), from SoundFonts
(``soundfont``) and from imagination (``imagined``); all are kept as .npz files in a cache folder.
"""

import hashlib
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
import soxr
from numpy.typing import NDArray

from ivories.errors import SourceError
from ivories.keyboard import KEYS, pitch_of_key

RATE = 16_000
FURTHEST = KEYS
"""Semitones that a recording may be shifted by: from one end of the keyboard to the other"""
Float32 = NDArray[np.float32]
Int16 = NDArray[np.int16]

_TOKEN = re.compile(r"<(\w+)>|(\w+)=(.*?)(?=\s+\w+=|\s*<\w+>|$)", re.MULTILINE)
_WAV_NAME = re.compile(r"(\d\d)-(Pedal\w*?)(Piano|Mezzo\w*|Forte)(\d)Close\.wav", re.IGNORECASE)
_LOUDNESS = {"piano": 0, "mezzopiano": 1, "mezzo": 1, "mezzoforte": 2, "forte": 3}


@dataclass(frozen=True)
class Layer:
    """The recordings for velocities up to ``highest``."""

    highest: int
    samples: tuple[Int16, ...]
    """88 arrays of their own lengths; empty where a key has no recording"""


@dataclass(frozen=True)
class SampleBank:
    """One piano."""

    name: str
    layers: tuple[Layer, ...]
    """By ascending velocity"""

    def sample(self, key: int, velocity: int) -> Int16:
        """Return the recording to play for ``key`` at ``velocity`` 1..127."""
        for layer in self.layers:
            if velocity <= layer.highest:
                return layer.samples[key]
        return self.layers[-1].samples[key]


def cached(folder: Path, identity: str, build: Callable[[], SampleBank]) -> SampleBank:
    """Return the bank kept in ``folder`` under ``identity``, or build and keep it."""
    path = folder / f"{hashlib.sha256(identity.encode()).hexdigest()[:16]}.npz"
    if path.is_file():
        with np.load(path) as kept:
            return _unpack(str(kept["name"]), kept["highest"], kept["lengths"], kept["samples"])
    bank = build()
    folder.mkdir(parents=True, exist_ok=True)
    lengths = np.array([[len(s) for s in layer.samples] for layer in bank.layers])
    joined = np.concatenate([s for layer in bank.layers for s in layer.samples])
    part = path.with_suffix(".part.npz")
    np.savez(
        part,
        name=bank.name,
        highest=[layer.highest for layer in bank.layers],
        lengths=lengths,
        samples=joined,
    )
    part.replace(path)
    return bank


def _unpack(name: str, highest: NDArray[np.int64], lengths: NDArray[np.int64], samples: Int16) -> SampleBank:
    parts = np.split(samples, np.cumsum(lengths.ravel())[:-1])
    layers = (Layer(int(top), tuple(parts[i * KEYS : (i + 1) * KEYS])) for i, top in enumerate(highest))
    return SampleBank(name, tuple(layers))


def make_bank(name: str, recordings: Iterable[tuple[int, dict[int, Float32]]]) -> SampleBank:
    """Build a bank from (highest velocity, key -> recording at 16 kHz) per layer.

    Attacks are moved to sample 0. Layers are brought to one mean level, since the synthesizer decides how
    loud a velocity is; differences between the keys stay.
    """
    layers = []
    for highest, layer in sorted(recordings, key=lambda item: item[0]):
        aligned = {key: align(samples) for key, samples in layer.items()}
        levels = [float(np.sqrt(np.mean(s[: RATE // 3] ** 2))) for s in aligned.values() if len(s)]
        if not levels:
            continue
        gain = 0.05 / max(float(np.mean(levels)), 1e-6)
        scaled = {
            key: np.clip(s * (gain * 32767), -32767, 32767).astype(np.int16) for key, s in aligned.items()
        }
        layers.append(Layer(highest, tuple(scaled.get(key, np.zeros(0, np.int16)) for key in range(KEYS))))
    if not layers:
        raise SourceError(f"piano {name} has no samples")
    return SampleBank(name, tuple(layers))


def align(samples: Float32) -> Float32:
    """Cut what lies before the attack (2 ms are kept) and fade the end out."""
    step = RATE // 1000
    head = np.abs(samples[: RATE // 2])
    if len(head) < step or not head.any():
        return samples[:0]
    envelope = head[: len(head) // step * step].reshape(-1, step).max(axis=1)
    attack = int(np.argmax(envelope > envelope.max() * 10 ** (-22 / 20)))
    cut = samples[max(0, attack - 2) * step :].copy()
    fade = min(len(cut), RATE // 4)
    cut[len(cut) - fade :] *= np.linspace(1, 0, fade, dtype=np.float32)
    return cut


def longest_s(key: int) -> float:
    """Return how many seconds of a key's sound are kept: long strings ring long."""
    return float(np.interp(key, [0, 40, 87], [8.0, 6.0, 2.0]))


def load_recording(path: Path, semitones: float, key: int, offset: int = 0) -> Float32:
    """Read a sound file, mix it to mono, shift it by ``semitones`` (resampling), at 16 kHz.

    Raises:
        SourceError: the file is missing or unreadable, or would no longer sound like a piano.
    """
    if not abs(semitones) <= FURTHEST:
        raise SourceError(f"piano sample {path} is wanted {semitones:g} semitones away: {FURTHEST} will do")
    try:
        rate = soundfile.info(str(path)).samplerate
        frames = int(longest_s(key) * rate * 1.2)
        samples, rate = soundfile.read(
            str(path), frames=frames, start=offset, dtype="float32", always_2d=True
        )
    except (OSError, soundfile.SoundFileError) as error:
        raise SourceError(f"cannot read piano sample {path}: {error}") from error
    # One side only: mixing two microphones would cancel some partials.
    mono = np.ascontiguousarray(samples[:, 0])
    shifted = soxr.resample(mono, rate * 2 ** (semitones / 12), RATE, quality="MQ")
    return shifted[: int(longest_s(key) * RATE)]


def read_sfz(path: Path) -> SampleBank:
    """Read the attack samples of an SFZ instrument (what the keys sound like with the pedal up).

    Raises:
        SourceError: the instrument or a sample is missing, or says what is no number where there must be one.
    """
    try:
        return make_bank(path.stem, _layers(path).items())
    except (ValueError, IndexError, OverflowError, RecursionError) as error:
        raise SourceError(f"cannot read SFZ instrument {path}: {error}") from error


def _layers(path: Path) -> dict[int, dict[int, Float32]]:
    """Return highest velocity -> key -> samples."""
    layers: dict[int, dict[int, Float32]] = {}
    for region in _regions(path):
        if "sample" not in region or "locc64" in region or region.get("trigger", "attack") != "attack":
            continue
        highest = int(region.get("hivel", 127))
        centre = int(region.get("pitch_keycenter", region.get("key", 60)))
        low, high = (int(region.get(name, region.get("key", centre))) for name in ("lokey", "hikey"))
        file = path.parent / (region.get("default_path", "") + region["sample"].replace("\\", "/"))
        for key in range(KEYS):
            pitch = pitch_of_key(key)
            if low <= pitch <= high:
                shift = pitch - centre + float(region.get("tune", 0)) / 100
                sound = load_recording(file, shift, key, int(region.get("offset", 0)))
                if "cutoff" in region:
                    sound = _low_pass(sound, float(region["cutoff"]))
                layers.setdefault(highest, {})[key] = sound
    return layers


def _low_pass(samples: Float32, cutoff: float) -> Float32:
    if not cutoff > 0:
        raise ValueError(f"no filter has its cutoff at {cutoff} Hz")
    spectrum = np.fft.rfft(samples)
    frequency = np.fft.rfftfreq(len(samples), 1 / RATE)
    return np.fft.irfft(spectrum / (1 + (frequency / cutoff) ** 2), len(samples)).astype(np.float32)


def _regions(path: Path) -> list[dict[str, str]]:
    """Return the regions of an SFZ file, each with what it inherits from control, global and group."""
    levels: dict[str, dict[str, str]] = {}
    regions: list[dict[str, str]] = []
    current: dict[str, str] = {}
    for header, opcode, value in _TOKEN.findall(_sfz_text(path, path.parent, {})):
        if header:
            current = {}
            if header in ("control", "global", "master", "group"):
                levels[header] = current
                if header == "global":
                    levels.pop("group", None)
            elif header == "region":
                for level in ("control", "global", "master", "group"):
                    current.update(levels.get(level, {}))
                regions.append(current)
        else:
            current[opcode] = value.strip()
    return regions


def _sfz_text(path: Path, root: Path, defined: dict[str, str]) -> str:
    """Return the text with comments gone, $names replaced and #include files in place."""
    try:
        text = path.read_text("utf-8", errors="replace")
    except OSError as error:
        raise SourceError(f"cannot read SFZ instrument {path}: {error}") from error
    lines = []
    for raw in text.splitlines():
        line = raw.split("//")[0].strip()
        if line.startswith("#define"):
            _, name, value = line.split(maxsplit=2)
            defined[name] = value
            continue
        for name in sorted(defined, key=len, reverse=True):
            line = line.replace(name, defined[name])
        if line.startswith("#include"):
            line = _sfz_text(root / line.split('"')[1], root, defined)
        if line:
            lines.append(line)
    return "\n".join(lines)


def read_wav_folder(folder: Path) -> SampleBank:
    """Read a folder of ``NN-PedalOffForte1Close.wav`` files: NN the key 1..88, then pedal, loudness, take.

    Raises:
        SourceError: keys are missing; the message counts them.
    """
    layers: dict[int, dict[int, Float32]] = {}
    for path in sorted(folder.glob("*.wav")):
        match = _WAV_NAME.fullmatch(path.name)
        if match and match[2].lower() == "pedaloff":
            rank = _LOUDNESS.get(match[3].lower(), 1) * 10 + int(match[4])
            key = int(match[1]) - 1
            if 0 <= key < KEYS:
                layers.setdefault(rank, {})[key] = load_recording(path, 0.0, key)
    missing = KEYS - max((len(layer) for layer in layers.values()), default=0)
    if missing:
        raise SourceError(
            f"{folder} lacks samples of {missing} keys (NN-PedalOffForte1Close.wav, NN = 01..88)"
        )
    ranks = sorted(layers)
    return make_bank(
        folder.name, [(round(127 * (i + 1) / len(ranks)), layers[r]) for i, r in enumerate(ranks)]
    )
