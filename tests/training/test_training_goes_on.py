"""Both trainings, cut off in the middle and called again, go on where they were."""

import dataclasses
import logging
import os
from pathlib import Path

os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import msgspec
import numpy as np
import pytest

from ivories.errors import ConfigError
from ivories.keyboard import KEYS
from ivories.vision.strip import StripSpec
from ivories_training import checkpoint
from ivories_training.audio import settings as audio_settings
from ivories_training.audio import stages as audio_stages
from ivories_training.audio import train as audio
from ivories_training.performances import NOTE
from ivories_training.video import train as video
from ivories_training.video import windows as video_windows
from ivories_training.video.sequences import AHEAD, BEFORE

CONFIGS = Path(__file__).parents[2] / "training" / "configs"


class Power(BaseException):
    """Cuts a training off in the middle."""


@pytest.fixture(autouse=True)
def _often(monkeypatch):
    monkeypatch.setattr(checkpoint, "KEEP_EVERY_S", 0.0)


def cut(monkeypatch, owner, name, after):
    """Let ``owner.name`` work ``after`` times."""
    calls, whole = [0], getattr(owner, name)

    def work(*args):
        calls[0] += 1
        if calls[0] > after:
            raise Power
        return whole(*args)

    monkeypatch.setattr(owner, name, work)


def write_sequences(folder):
    """Two sequences of noise, as the renderer leaves them."""
    rng, spec = np.random.default_rng(0), StripSpec()
    folder.mkdir(parents=True)
    np.save(folder / "00000.npy", rng.integers(0, 256, (2, 17, spec.rows, spec.width), np.uint8))
    np.savez(
        folder / "00000.npz",
        t_ns=np.tile(np.arange(16) * 33_000_000, (2, 1)),
        depth=rng.random((2, 16, KEYS)).astype(np.float16),
        pressed=rng.random((2, 16, KEYS)) < 0.1,
        onset=(rng.random((2, BEFORE + 16 + AHEAD, KEYS)) < 0.05).astype(np.uint8) * 64,
        visible=np.ones((2, 16, KEYS), bool),
    )


@pytest.mark.slow
def test_video_training_goes_on_in_the_phase_that_was_cut(tmp_path, monkeypatch):
    for split in ("train", "validation"):
        write_sequences(tmp_path / "data" / split)
    config = video.read_config(CONFIGS / "video-smoke.toml")
    tiny = video.NetworkConfig(stem=4, shape=4, parts=4, width=4)
    phase = dataclasses.replace(config.float_phase, steps=5, minutes=1e6, batch=2)
    config = dataclasses.replace(
        config,
        network=tiny,
        windows=dataclasses.replace(config.windows, keys=12),
        float_phase=phase,
        quantized_phase=phase,
        check_every=2,
    )
    run, said = tmp_path / "run", []
    with monkeypatch.context() as short:
        # 5 batches of the float phase, 30 to observe ranges, then 3 of the quantized phase
        cut(short, video_windows.Windows, "batch", 38)
        with pytest.raises(Power):
            video.train(config, tmp_path / "data", run, said.append)
    assert sorted(p.name for p in run.glob("*.*")) == ["float.weights.h5", "quantized.state.npz"]
    said.clear()
    video.train(config, tmp_path / "data", run, said.append)
    assert any(line.startswith("goes on after 3 steps") for line in said)
    assert sorted(p.name for p in run.glob("*.*")) == ["float.weights.h5", "quantized.weights.h5"]
    assert video.trained(config, run).model().count_params() > 0


def test_a_folder_of_another_video_experiment_is_refused(tmp_path):
    video.keep_config(CONFIGS / "video-smoke.toml", tmp_path)
    (tmp_path / "float.weights.h5").write_bytes(b"")
    video.keep_config(CONFIGS / "video-smoke.toml", tmp_path)
    changed = tmp_path / "changed" / "video-smoke.toml"
    changed.parent.mkdir()
    changed.write_text((CONFIGS / "video-smoke.toml").read_text().replace("stem = 16", "stem = 8"))
    with pytest.raises(ConfigError, match="another experiment"):
        video.keep_config(changed, tmp_path)


def write_excerpts(folder):
    """Two excerpts of noise, as the synthesizer leaves them."""
    rng = np.random.default_rng(0)
    folder.mkdir(parents=True)
    np.save(folder / "shard_0000.npy", rng.integers(-128, 128, (2, 320, 291, 3)).astype(np.int8))
    notes = np.array([(0.2, 0.3, 0.3, 40, 64)] * 2, NOTE)
    np.savez(
        folder / "shard_0000.npz",
        notes=notes,
        note_counts=[1, 1],
        pedals=np.zeros((0, 2)),
        pedal_counts=[0, 0],
    )


@pytest.mark.slow
def test_audio_training_goes_on_and_is_then_over(tmp_path, monkeypatch, caplog):
    caplog.set_level(logging.INFO)
    for split in ("train", "validation"):
        write_excerpts(tmp_path / "audio-material" / split)
    settings = audio_settings.Settings(
        network=audio_settings.NetworkConfig(stem=2, width=4, dilations=(1,), cross_before=(), bottleneck=2),
        train=audio_settings.TrainConfig(minutes=1e6, batch=2, hops=30, cold_hops=2, bfloat16=False),
    )
    with monkeypatch.context() as short:
        cut(short, audio._Run, "_step", 4)
        with pytest.raises(Power):
            audio_stages.run_stage("float", settings, tmp_path, tmp_path)
    assert (tmp_path / "float.state.npz").is_file()
    with np.load(tmp_path / "float.state.npz") as kept:
        spent_s = float(kept["n_spent_s"])
        assert int(kept["n_steps"]) == 4
    train = msgspec.structs.replace(settings.train, minutes=(spent_s + 0.5) / 60)
    audio_stages.run_stage("float", msgspec.structs.replace(settings, train=train), tmp_path, tmp_path)
    assert "goes on after 4 steps" in caplog.text
    assert not (tmp_path / "float.state.npz").exists()
    monkeypatch.setattr(audio, "train_float", None)
    audio_stages.run_stage("float", settings, tmp_path, tmp_path)
    assert "is trained already" in caplog.text


def test_a_folder_of_another_audio_experiment_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(audio_stages, "run_module", lambda *_, **__: None)
    settings = audio_settings.Settings()
    audio_stages.build(settings, tmp_path, tmp_path)
    (tmp_path / "float.weights.h5").write_bytes(b"")
    audio_stages.build(settings, tmp_path, tmp_path)
    other = msgspec.structs.replace(settings, data=audio_settings.DataConfig(hours=99.0))
    with pytest.raises(ConfigError, match="another experiment"):
        audio_stages.build(other, tmp_path, tmp_path)
