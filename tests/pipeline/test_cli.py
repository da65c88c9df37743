"""The command line as a user types it: real processes, the shipped models, files on disk."""

import importlib.metadata
import json
import shutil
import subprocess
import sys
from pathlib import Path

import mido
import numpy as np
import pytest
import soundfile

from ivories.notes import read_notes
from ivories.resources import bundled_take
from ivories.scoring import score_notes
from ivories.sources.sound_file import SoundFileSource

IVORIES = [sys.executable, "-c", "from ivories.cli import main; main()"]


def ivories(*arguments, cwd):
    return subprocess.run(
        [*IVORIES, *map(str, arguments)], capture_output=True, text=True, cwd=cwd, timeout=240, check=False
    )


def sentence(done):
    """Return the one line of complaint; fail on anything longer."""
    lines = done.stderr.strip().splitlines()
    assert "Traceback" not in done.stderr
    assert len([x for x in lines if x.startswith("ivories: ")]) >= 1, done.stderr
    return lines[-1]


@pytest.fixture(scope="module")
def take(tmp_path_factory):
    return bundled_take(), tmp_path_factory.mktemp("take")


def test_help_names_every_command(tmp_path):
    done = ivories("--help", cwd=tmp_path)
    assert done.returncode == 0
    for word in ("demo", "run", "transcribe", "setup", "doctor", "devices", "bench", "config"):
        assert word in done.stdout


def test_it_tells_its_version(tmp_path):
    done = ivories("--version", cwd=tmp_path)
    assert done.returncode == 0
    assert done.stdout.split() == ["ivories", importlib.metadata.version("ivories")]


def test_transcribe_a_video_with_sound(take):
    path, folder = take
    done = ivories("transcribe", path, "-o", folder / "out.mid", "--events", folder / "out.jsonl",
                   "--truth", path.with_suffix(".mid"), cwd=folder)  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "notes in" in done.stdout
    scores = score_notes(read_notes(path.with_suffix(".mid")), read_notes(folder / "out.mid"))
    assert scores.f1 > 0.6
    events = [json.loads(line) for line in (folder / "out.jsonl").read_text().splitlines()]
    onsets = [e for e in events if e["kind"] == "onset"]
    offsets = [e for e in events if e["kind"] == "offset"]
    assert len(onsets) == len(offsets)
    file = mido.MidiFile(folder / "out.mid")
    assert file.ticks_per_beat / 0.5 >= 2000  # ticks per second at 120 beats per minute: 0.5 ms or finer


@pytest.mark.parametrize("sense", ["--audio-only", "--video-only"])
def test_each_sense_alone_finds_notes(take, sense):
    path, folder = take
    output = folder / f"{sense}.mid"
    done = ivories("transcribe", path, sense, "-o", output, cwd=folder)
    assert done.returncode == 0, done.stderr
    assert len(read_notes(output)) > 5


def test_two_files_for_two_senses(take):
    path, folder = take
    sound = folder / "sound.wav"
    source = SoundFileSource(path)
    soundfile.write(sound, np.concatenate([block.samples for block in source]), source.rate)
    done = ivories("transcribe", "--video", path, "--audio", sound, "-o", folder / "two.mid", cwd=folder)
    assert done.returncode == 0, done.stderr
    assert len(read_notes(folder / "two.mid")) > 5


def test_the_same_input_gives_the_same_bytes(take):
    path, folder = take
    for name in ("a.mid", "b.mid"):
        assert ivories("transcribe", path, "--audio-only", "-o", folder / name, cwd=folder).returncode == 0
    assert (folder / "a.mid").read_bytes() == (folder / "b.mid").read_bytes()


def test_a_file_of_the_users_is_not_overwritten_unasked(take, tmp_path):
    song = tmp_path / "song.mp4"
    shutil.copyfile(take[0], song)
    song.with_suffix(".mid").write_bytes(b"dear to someone")
    done = ivories("transcribe", song, "--audio-only", cwd=tmp_path)
    assert done.returncode == 2
    assert "-o" in sentence(done)
    assert song.with_suffix(".mid").read_bytes() == b"dear to someone"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["-o", "song.wav"], "holds the recording"),
        (["-o", "x.mid", "--events", "song.wav"], "holds the recording"),
        (["-o", "x.mid", "--events", "x.mid"], "holds the notes"),
        (["-o", "."], "is a folder"),
        (["-o", "x.mid", "--events", "."], "is a folder"),
        (["-o", "absent/x.mid"], "no folder"),
        (["-o", "x.mid", "--corners", "1,2 3,4"], "only sound"),
        (["-o", "x.mid", "--calibration", "absent.json"], "only sound"),
    ],
)
def test_outputs_and_options_that_cannot_be_are_refused_before_the_work(tmp_path, arguments, words):
    song = tmp_path / "song.wav"
    soundfile.write(song, np.sin(np.arange(8000)), 16000)
    before = song.read_bytes()
    done = ivories("transcribe", "song.wav", *arguments, cwd=tmp_path)
    assert done.returncode == 2
    assert words in sentence(done)
    assert song.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["song.wav"]


@pytest.mark.parametrize("picture", ["found.foo", "found", "absent/found.png"])
def test_setup_refuses_a_picture_that_it_cannot_draw_before_it_looks(tmp_path, picture):
    done = ivories("setup", "absent.png", "-o", "found.json", "--picture", picture, cwd=tmp_path)
    assert done.returncode == 2
    assert picture in sentence(done)
    assert not list(tmp_path.iterdir())


def _empty(path):
    path.write_bytes(b"")


def _noise(path):
    path.write_bytes(bytes(range(256)) * 40)


def _truncated(path):
    path.write_bytes(b"RIFF\x24\x00\x00\x00WAVEfmt ")


@pytest.mark.parametrize(
    ("name", "make"), [("empty.wav", _empty), ("noise.flac", _noise), ("cut.wav", _truncated)]
)
def test_unreadable_files_get_one_sentence_and_leave_nothing(tmp_path, name, make):
    make(tmp_path / name)
    done = ivories("transcribe", name, "-o", "out.mid", cwd=tmp_path)
    assert done.returncode == 1
    assert name in sentence(done)
    assert sorted(p.name for p in tmp_path.iterdir()) == [name]


def test_silence_gets_one_sentence_and_leaves_nothing(tmp_path):
    soundfile.write(tmp_path / "quiet.wav", np.zeros(16000), 16000)
    done = ivories("transcribe", "quiet.wav", cwd=tmp_path)
    assert done.returncode == 1
    assert "silent" in sentence(done)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["quiet.wav"]


def test_black_pictures_get_one_sentence(tmp_path):
    import av

    path = tmp_path / "black.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=30)
        stream.width, stream.height, stream.pix_fmt = 320, 240, "yuv420p"
        for _ in range(30):
            frame = av.VideoFrame.from_ndarray(np.zeros((240, 320, 3), np.uint8), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    done = ivories("transcribe", path, cwd=tmp_path)
    assert done.returncode == 1
    assert "black" in sentence(done) or "dark" in sentence(done)
    assert not (tmp_path / "black.mid").exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["transcribe"], "name a sound file"),
        (["transcribe", "absent.wav"], "absent.wav"),
        (["transcribe", "--audio-only", "--video-only", "x.wav"], "exclude"),
        (["setup", "absent.png"], "no file absent.png"),
        (["config", "check", "absent.toml"], "absent.toml"),
        (["demo", "--config", "absent.toml"], "absent.toml"),
    ],
)
def test_wrong_use_is_told_in_a_sentence(tmp_path, arguments, words):
    done = ivories(*arguments, cwd=tmp_path)
    assert done.returncode in {1, 2}
    assert words in sentence(done)


def test_unknown_option_is_wrong_use(tmp_path):
    done = ivories("transcribe", "--colour", cwd=tmp_path)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr


def test_a_wrong_model_is_refused_with_advice(tmp_path, take):
    path, _ = take
    folder = tmp_path / "models"
    folder.mkdir()
    models = Path(__file__).parents[2] / "models"
    for file in models.glob("*.t*"):
        (folder / file.name).write_bytes(file.read_bytes())
    manifest = folder / "audio.toml"
    text = manifest.read_text()
    start = text.index('frontend = "') + len('frontend = "')
    manifest.write_text(text[:start] + "0" * 64 + text[start + 64 :])
    config = tmp_path / "ivories.toml"
    config.write_text(f'[models]\nfolder = "{folder}"\n')
    done = ivories("transcribe", path, "--audio-only", "-o", "x.mid", "-c", config, cwd=tmp_path)
    assert done.returncode == 1
    assert "front end" in sentence(done)
    assert "train" in sentence(done)


def test_config_show_round_trips(tmp_path):
    shown = ivories("config", "show", cwd=tmp_path)
    assert shown.returncode == 0
    (tmp_path / "all.toml").write_text(shown.stdout)
    assert ivories("config", "check", "all.toml", cwd=tmp_path).returncode == 0


def test_demo_leaves_its_files_and_prints_score_and_times(tmp_path):
    done = ivories("demo", "--fast", "--folder", "made", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert {p.name for p in (tmp_path / "made").iterdir()} == {"demo.mid", "demo.jsonl"}
    for words in ("onset F1", "Time per stage", "audio network", "video network"):
        assert words in done.stdout


def test_without_mir_eval_a_score_is_refused_before_the_work_and_the_demo_goes_on(tmp_path):
    hide = "import importlib.util as u; find = u.find_spec; u.find_spec = lambda name, *at: "
    hide += "None if name == 'mir_eval' else find(name, *at)"
    command = [sys.executable, "-c", f"{hide}; from ivories.cli import main; main()"]
    take = bundled_take()
    asked = subprocess.run(
        [*command, "transcribe", take, "--truth", take.with_suffix(".mid"), "-o", "out.mid"],
        cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert asked.returncode == 2
    assert "ivories[score]" in sentence(asked)
    assert not (tmp_path / "out.mid").exists()
    shown = subprocess.run(
        [*command, "demo", "--fast"], cwd=tmp_path, capture_output=True, text=True, check=True
    ).stdout  # fmt: skip
    assert "notes found" in shown
    assert "ivories[score]" in shown.replace("\n", "")
    assert "Time per stage" in shown


def test_doctor_and_devices_never_stumble(tmp_path):
    for word in ("doctor", "devices"):
        done = ivories(word, cwd=tmp_path)
        assert "Traceback" not in done.stderr
        assert done.returncode == 0, done.stdout
