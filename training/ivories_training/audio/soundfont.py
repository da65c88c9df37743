"""SoundFont presets as sample banks: FluidSynth plays every key once per velocity layer."""

import shutil
import subprocess
import tempfile
from pathlib import Path

import mido
import numpy as np
import soundfile
import soxr

from ivories.errors import SourceError
from ivories.keyboard import KEYS, pitch_of_key
from ivories_training.audio.sample_bank import RATE, Float32, SampleBank, longest_s, make_bank

RENDER_RATE = 44_100
LAYERS = ((48, 36), (84, 68), (127, 104))
"""(highest velocity, velocity played) per layer"""
GAP_S = 0.4


def read_preset(path: Path, program: int, name: str, bank: int = 0) -> SampleBank:
    """Render preset (``bank``, ``program``) of a SoundFont.

    Raises:
        SourceError: FluidSynth is not installed, or the SoundFont cannot be rendered.
    """
    program_path = shutil.which("fluidsynth")
    if program_path is None:
        raise SourceError("sample banks from SoundFonts need the program fluidsynth: apt install fluidsynth")
    if not path.is_file():
        raise SourceError(f"no SoundFont at {path}")
    recordings: list[tuple[int, dict[int, Float32]]] = []
    with tempfile.TemporaryDirectory() as folder:
        for highest, velocity in LAYERS:
            score, sound = Path(folder) / "keys.mid", Path(folder) / "keys.wav"
            starts = _write_score(score, bank, program, velocity)
            options = ["-ni", "-q", "-g", "0.5", "-R", "0", "-C", "0", "-r", str(RENDER_RATE), "-O", "s16"]
            command = [program_path, *options, "-T", "wav", "-F", str(sound), str(path), str(score)]
            done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
            if done.returncode or not sound.is_file():
                raise SourceError(f"fluidsynth cannot render {path}: {done.stderr.strip()[-200:]}")
            recordings.append((highest, _cut(sound, starts)))
    return make_bank(name, recordings)


def _write_score(path: Path, bank: int, program: int, velocity: int) -> list[float]:
    """Write a MIDI file that plays the keys one after another; return their start times in seconds."""
    track = mido.MidiTrack()
    track.append(mido.MetaMessage("set_tempo", tempo=500_000))
    track.append(mido.Message("control_change", control=0, value=bank))
    track.append(mido.Message("program_change", program=program))
    starts, now = [], 0.0
    for key in range(KEYS):
        pitch, length = pitch_of_key(key), longest_s(key)
        starts.append(now + GAP_S)
        track.append(mido.Message("note_on", note=pitch, velocity=velocity, time=round(GAP_S * 1000)))
        track.append(mido.Message("note_off", note=pitch, time=round(length * 1000)))
        now += GAP_S + length
    track.append(mido.MetaMessage("end_of_track", time=1000))
    file = mido.MidiFile(ticks_per_beat=500)
    file.tracks.append(track)
    file.save(str(path))
    return starts


def _cut(sound: Path, starts: list[float]) -> dict[int, Float32]:
    recordings = {}
    with soundfile.SoundFile(str(sound)) as stream:
        for key, start in enumerate(starts):
            stream.seek(int((start - 0.02) * RENDER_RATE))
            frames = stream.read(int(longest_s(key) * RENDER_RATE), dtype="float32", always_2d=True)
            mono = np.ascontiguousarray(frames[:, 0])
            recordings[key] = soxr.resample(mono, RENDER_RATE, RATE, quality="MQ")
    return recordings
