"""A recording turned into MIDI beside basic-pitch, command beside command: CPU time of all threads.

What a program needs to start is taken off: it is the difference between a longer and a shorter recording.
"""

import os
import resource
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

from ivories.resources import bundled_take
from ivories.sources.sound_file import SoundFileSource
from ivories_training.audio.peers import PEERS, find

SHORT, LONG = 1, 4  # times the bundled take
BASIC_PITCH = PEERS[0]


@pytest.fixture(scope="module")
def recordings(tmp_path_factory):
    """The bundled take's sound once, and several times in a row; seconds of the one."""
    blocks = list(SoundFileSource(bundled_take()))
    samples, rate = np.concatenate([block.samples for block in blocks]), blocks[0].rate
    folder = tmp_path_factory.mktemp("recordings")
    files = []
    for times in (SHORT, LONG):
        files.append(folder / f"{times}.wav")
        soundfile.write(str(files[-1]), np.tile(samples, times), rate, "PCM_16")
    return files, len(samples) / rate


def cpu_s(call):
    """CPU seconds of a command and what it starts."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    words = [str(word) for word in call]
    done = subprocess.run(words, capture_output=True, text=True, check=False)  # noqa: S603 - found by us
    assert done.returncode == 0, done.stderr[-2000:]
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime


def test_ivories(recordings, measured, tmp_path):
    (short, long), seconds = recordings
    program = Path(sys.executable).with_name("ivories")
    spent = [
        cpu_s([program, "transcribe", "--audio-only", f, "-o", tmp_path / "x.mid"]) for f in (short, long)
    ]
    measured("sound to MIDI", spent[1] - spent[0], peer="basic-pitch", seconds=(LONG - SHORT) * seconds)


def test_basic_pitch(recordings, measured, tmp_path):
    named = os.environ.get("PEERS", "")
    found, missing = find(Path(named) if named else None)
    if BASIC_PITCH.name not in found:
        pytest.skip(
            next(m for m in missing if m.startswith(BASIC_PITCH.name)) + "; then PEERS=peers make bench"
        )
    (short, long), seconds = recordings
    program = found[BASIC_PITCH.name]
    spent = [cpu_s([program, *BASIC_PITCH.arguments(f, tmp_path / f"{f.stem}.mid")]) for f in (short, long)]
    measured(BASIC_PITCH.name, spent[1] - spent[0], seconds=(LONG - SHORT) * seconds)
