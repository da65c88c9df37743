"""A recording is judged by what the device would have made of it."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile

pytest.importorskip("scipy")
pytest.importorskip("soxr")

from ivories.app import Application
from ivories.config import Config
from ivories.inference.manifest import load_manifest
from ivories.media import probe
from ivories.report import notes_of_events
from ivories.resources import bundled_take
from ivories.sources.sound_file import SoundFileSource
from ivories.transcribe import Recording, transcribe
from ivories_training.audio.judged import decide
from ivories_training.audio.listener import Listener
from ivories_training.audio.takes import recordings

MODELS = Path(__file__).parents[2] / "models"
SECONDS = 4


def test_a_recording_is_heard_bit_by_bit_as_by_transcribe(tmp_path: Path) -> None:
    source = SoundFileSource(bundled_take())
    samples = np.concatenate([block.samples for block in source])[: SECONDS * source.rate]
    assert source.rate == 44_100, "a rate that must be resampled"
    loud = np.clip(4 * samples / np.abs(samples).max(), -1, 1)  # so that it clips, and the ear counts less
    soundfile.write(tmp_path / "take.wav", np.stack([loud, loud], 1), source.rate)
    shutil.copy(bundled_take().with_suffix(".mid"), tmp_path / "take.mid")
    manifest = load_manifest(MODELS / "audio.toml")
    (take,) = recordings(Listener(manifest, MODELS), tmp_path)
    assert take.end_s == SECONDS
    assert min(evidence.weight for evidence in take.evidence) < 1
    judged = decide(take, manifest.thresholds["balanced"]).notes
    app = Application(Config(), video=False)
    told = notes_of_events(transcribe(app, Recording(audio=probe(tmp_path / "take.wav")), []).events)
    app.close()
    assert len(judged) >= 10
    np.testing.assert_array_equal(judged, told)
