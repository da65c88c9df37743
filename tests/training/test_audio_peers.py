"""Other programs beside the ear, and the command that scores a folder."""

from pathlib import Path

import numpy as np
import pytest
import soundfile
from typer.testing import CliRunner

pytest.importorskip("scipy")
pytest.importorskip("soxr")

from ivories.errors import ConfigError
from ivories.notes import read_notes
from ivories_training.audio import evaluate as judge
from ivories_training.audio import peers
from ivories_training.audio.measures import row
from ivories_training.audio.takes import load_sound
from scripted_takes import program, take, write_midi

MODELS = Path(__file__).parents[2] / "models"


def test_peers_are_run_on_the_same_sound_and_judged_alike(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    write_midi(tmp_path / "told.mid", [(31, 505, 900), (60, 1005, 1300)])
    program(
        tmp_path / "env/bin/basic-pitch", f'cp {tmp_path}/told.mid "$1/$(basename "$2" .wav)_basic_pitch.mid"'
    )
    found, missing = peers.find(tmp_path / "env")
    assert list(found) == ["basic-pitch"]
    assert len(missing) == 1
    assert "Transkun is not installed" in missing[0]
    assert "pip install transkun" in missing[0]
    (judged,) = peers.transcribe("basic-pitch", found["basic-pitch"], [take()], tmp_path / "cache")
    scored = row("piece", "basic-pitch", [judged])
    assert (scored.notes, scored.found, scored.recall) == (5, 2, pytest.approx(0.4))
    assert np.isnan(scored.delay_mean_ms)
    assert np.isnan(scored.pedal_on_f1)
    (tmp_path / "told.mid").unlink()  # a second run would fail: what was said before is kept
    (again,) = peers.transcribe("basic-pitch", found["basic-pitch"], [take()], tmp_path / "cache")
    assert again.notes.tolist() == judged.notes.tolist()
    with pytest.raises(ConfigError, match="left no MIDI file"):
        peers.transcribe("basic-pitch", found["basic-pitch"], [take(hops=310)], tmp_path / "cache")


def test_a_peer_that_fails_is_named_with_its_last_words(tmp_path: Path) -> None:
    program(tmp_path / "transkun", "echo no such weights >&2; exit 3")
    found, _ = peers.find(tmp_path)
    with pytest.raises(ConfigError, match=r"Transkun .* left no MIDI file \(status 3\): no such weights"):
        peers.transcribe("Transkun", found["Transkun"], [take()], tmp_path)
    with pytest.raises(ConfigError, match="no such folder"):
        peers.find(tmp_path / "nowhere")


def test_the_command_scores_a_folder(tmp_path: Path, monkeypatch) -> None:
    from ivories_training.cli import cli

    monkeypatch.setattr(judge, "SILENT_SECONDS", 0.5)
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    rng, rate = np.random.default_rng(0), 22050
    soundfile.write(str(tmp_path / "one.wav"), rng.normal(0, 1e-3, (rate, 2)), rate)
    write_midi(tmp_path / "one.mid", [(60, 200, 400)])
    assert load_sound(tmp_path / "one.wav")[0].shape == (rate,)
    assert len(read_notes(tmp_path / "one.mid")) == 1
    command = [
        "evaluate", "audio", str(tmp_path), "--model", str(MODELS / "audio.toml"), "--excerpts", "0",
        "--peers", "--frontier", str(tmp_path / "f.svg"), "--json", str(tmp_path / "f.json"),
    ]  # fmt: skip
    done = CliRunner().invoke(cli, command)
    assert done.exit_code == 0, done.output
    assert "one" in done.output
    assert "basic-pitch is not installed" in done.output
    assert (tmp_path / "f.svg").is_file()
    content = (tmp_path / "f.json").read_text()
    assert '"sha256"' in content
    assert '"talk"' in content
