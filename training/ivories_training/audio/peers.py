"""Other programs on the same sounds, judged by the same code: each in an environment of its own.

They see a whole recording before they speak; their scores say what waiting and a large network are worth.
"""

import hashlib
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import soundfile

from ivories.errors import ConfigError
from ivories.notes import NOTE_DTYPE, read_notes
from ivories_training.audio.calibrate import notes_of
from ivories_training.audio.judged import Judged
from ivories_training.audio.takes import Take
from ivories_training.performances import read_midi

_SLOWEST: Final = 120.0
"""Seconds of computing per second of sound after which a program is given up"""
_LEAST_S: Final = 1800.0
"""and never before this, for a busy machine"""
CACHE: Final = Path("~/.cache/ivories/peers")


@dataclass(frozen=True)
class Peer:
    """A program that turns a WAV file into a MIDI file."""

    name: str
    command: str
    arguments: Callable[[Path, Path], list[str]]
    """(sound, MIDI file wanted) -> arguments"""
    written: Callable[[Path, Path], Path]
    """(sound, MIDI file wanted) -> where it leaves the MIDI file"""
    pedal: bool
    """It tells of the sustain pedal"""
    install: str
    """pip's words in an environment of its own"""


PEERS: Final = (
    Peer(
        "basic-pitch",
        "basic-pitch",
        lambda sound, midi: [str(midi.parent), str(sound)],
        lambda sound, midi: midi.with_name(f"{sound.stem}_basic_pitch.mid"),
        pedal=False,
        install="pip install --no-deps basic-pitch && pip install onnxruntime librosa mir_eval pretty_midi "
        "'resampy<0.4.3' scikit-learn 'setuptools<81'",
    ),
    Peer(
        "Transkun",
        "transkun",
        lambda sound, midi: [str(sound), str(midi)],
        lambda _sound, midi: midi,
        pedal=True,
        install="pip install transkun 'setuptools<81'",
    ),
)


def find(folder: Path | None) -> tuple[dict[str, Path], list[str]]:
    """Return the commands found, by the name of their peer, and a sentence for each one that is missing.

    Args:
        folder: looked in first (and in its ``bin``); then PATH.

    Raises:
        ConfigError: there is no such folder.
    """
    if folder is not None and not folder.is_dir():
        raise ConfigError(f"--peers-from {folder}: there is no such folder; name a Python environment")
    places = [] if folder is None else [str(folder), str(folder / "bin")]
    found, missing = {}, []
    for peer in PEERS:
        path = next((p for place in places if (p := shutil.which(peer.command, path=place))), None)
        path = path or shutil.which(peer.command)
        if path is None:
            missing.append(
                f"{peer.name} is not installed; in an environment of its own: "
                f"python3 -m venv peers && . peers/bin/activate && {peer.install}"
            )
        else:
            found[peer.name] = Path(path).absolute()
    return found, missing


def transcribe(name: str, command: Path, takes: Sequence[Take], cache: Path | None = None) -> list[Judged]:
    """Run one peer over ``takes``, one after the other; what it said of the same sound before is kept.

    Args:
        name: of the peer.
        command: its program.
        takes: what it shall hear.
        cache: folder of MIDI files by sound and program.

    Raises:
        ConfigError: the program failed; its last words are in the message.
    """
    peer = next(p for p in PEERS if p.name == name)
    kept = CACHE.expanduser() if cache is None else cache
    kept.mkdir(parents=True, exist_ok=True)
    return [_judged(peer, take, _told(peer, command, take, kept)) for take in takes]


def _told(peer: Peer, command: Path, take: Take, cache: Path) -> Path:
    """Return the MIDI file for a take."""
    with tempfile.TemporaryDirectory(prefix="ivories-peers-") as scratch:
        sound = Path(scratch) / "take.wav"
        soundfile.write(str(sound), np.clip(take.samples, -1, 1), take.rate, "PCM_16")
        program = f"{command} {command.stat().st_mtime_ns}".encode()
        digest = hashlib.sha256(program + sound.read_bytes()).hexdigest()[:24]
        kept = cache / f"{peer.command}-{digest}.mid"
        if not kept.is_file():
            midi = _run(peer, command, sound, len(take.samples) / take.rate)
            shutil.copyfile(midi, kept.with_suffix(".part"))
            kept.with_suffix(".part").replace(kept)
    return kept


def _run(peer: Peer, command: Path, sound: Path, seconds: float) -> Path:
    wanted = sound.with_suffix(".mid")
    call = [str(command), *peer.arguments(sound, wanted)]
    try:
        done = subprocess.run(  # noqa: S603 - a program that the user named
            call, capture_output=True, text=True, check=False, timeout=max(_LEAST_S, _SLOWEST * seconds)
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ConfigError(f"{peer.name} ({command}) did not work: {error}") from error
    midi = peer.written(sound, wanted)
    if done.returncode or not midi.is_file():
        words = (done.stderr.strip() or done.stdout.strip() or "it said nothing").splitlines()[-1]
        raise ConfigError(f"{peer.name} ({command}) left no MIDI file (status {done.returncode}): {words}")
    return midi


def _judged(peer: Peer, take: Take, midi: Path) -> Judged:
    none = np.zeros((0, 2))
    if not len(read_notes(midi)):
        return Judged(take, np.zeros(0, NOTE_DTYPE), none if peer.pedal else None)
    told = read_midi(midi)
    return Judged(take, notes_of(told, -np.inf, np.inf), told.pedal if peer.pedal else None)
