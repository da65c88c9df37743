"""Material to judge by: recordings with MIDI files beside them, and rendered pieces of the test split."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import msgspec
import numpy as np
import soundfile
from numpy.typing import NDArray

from ivories.datatypes import Float32, KeyEvidence
from ivories.errors import SourceError
from ivories_training.audio.calibrate import notes_of
from ivories_training.audio.conditions import changed
from ivories_training.audio.dataset import maker
from ivories_training.audio.excerpts import PREROLL_S
from ivories_training.audio.listener import Listener
from ivories_training.audio.sample_bank import RATE
from ivories_training.audio.settings import Settings
from ivories_training.performances import Performance, read_midi

SOUNDS: Final = (".wav", ".flac", ".ogg", ".mp3")


@dataclass(frozen=True)
class Take:
    """A sound, what was played in it, and what the network says of it; times from its first sample."""

    name: str
    evidence: Sequence[KeyEvidence]
    truth: NDArray[np.void]
    """NOTE_DTYPE; a note ends where its sound does"""
    pedal: NDArray[np.float64]
    """(P, 2) seconds: sustain pedal down, up"""
    begin_s: float
    """Notes struck from here"""
    end_s: float
    """until here count"""
    samples: Float32
    """(n,) as heard"""
    rate: int


def load_sound(path: Path) -> tuple[Float32, int]:
    """Return a recording mixed to mono, and its rate.

    Raises:
        SourceError: it cannot be read.
    """
    try:
        samples, rate = soundfile.read(str(path), dtype="float32", always_2d=True)
    except (OSError, soundfile.SoundFileError) as error:
        raise SourceError(f"cannot read the recording {path}: {error}") from error
    return np.ascontiguousarray(samples.mean(axis=1), np.float32), int(rate)


def recordings(listener: Listener, folder: Path) -> list[Take]:
    """Hear every sound in ``folder`` that has a MIDI file of the same name beside it.

    Raises:
        SourceError: there is none.
    """
    takes = []
    for path in sorted(p for p in folder.glob("*") if p.suffix.lower() in SOUNDS):
        midi = path.with_suffix(".mid")
        if midi.is_file():
            samples, rate = load_sound(path)
            evidence = listener.hear_stream(samples, rate)
            span = (0.0, len(samples) / rate)
            takes.append(_take(path.stem, evidence, read_midi(midi), span, samples, rate))
    if not takes:
        raise SourceError(f"no recording with a MIDI file of the same name in {folder}")
    return takes


@dataclass(frozen=True)
class Excerpt:
    """A rendered piece before any condition: the same playing on the same piano under each of them."""

    number: int
    dry: Float32
    """(n,) at 16 kHz; time 0 of ``played`` is ``PREROLL_S`` in"""
    played: Performance
    seconds: float
    """of ``played`` that were rendered"""


def excerpts(settings: Settings, count: int, *, installed: bool = False) -> list[Excerpt]:
    """Render ``count`` excerpts of the test split, without room, microphone or noise.

    ``installed``: the same playing, with velocities equally loud in all of them.

    Raises:
        SourceError: the test piano or the folder of performances is missing.
    """
    if not count:
        return []
    dry = replace(settings.excerpts, strength=0.0, background=0.0, invented=0.0, installed=installed)
    drawn = maker(msgspec.structs.replace(settings, excerpts=dry), "test")
    return [Excerpt(number, *drawn.sound(number), dry.seconds) for number in range(count)]


def rendered(listener: Listener, drawn: Sequence[Excerpt], condition: str) -> list[Take]:
    """Hear rendered excerpts under one of ``conditions.CONDITIONS``."""
    takes = []
    for excerpt in drawn:
        samples = changed(excerpt.dry, condition, excerpt.number)
        # The last horizon must have heard the last note that counts.
        span = (PREROLL_S, PREROLL_S + excerpt.seconds - listener.model.delay_ns / 1e9)
        moved = _later(excerpt.played, PREROLL_S)
        name = f"{excerpt.played.name} {excerpt.number}"
        takes.append(_take(name, listener.hear(samples), moved, span, samples, RATE))
    return takes


def _take(
    name: str,
    evidence: Sequence[KeyEvidence],
    played: Performance,
    span: tuple[float, float],
    samples: Float32,
    rate: int,
) -> Take:
    return Take(name, evidence, notes_of(played, -np.inf, np.inf), played.pedal, *span, samples, rate)


def _later(played: Performance, by_s: float) -> Performance:
    notes = played.notes.copy()
    for name in ("onset_s", "offset_s", "sounding_end_s"):
        notes[name] += by_s
    return Performance(played.name, notes, played.pedal + by_s)
