"""Experiments' files: every slip is told with its place, whichever kind of table it is in."""

import pytest

from ivories.errors import ConfigError
from ivories_training.audio import settings as audio
from ivories_training.reference import settings as reference
from ivories_training.video.train import read_config


@pytest.mark.parametrize(
    ("read", "text", "said"),
    [
        (read_config, "[windows]\nlamp_shares = 0.1", "windows.lamp_shares"),
        (read_config, "[windows.balance]\nonsets = 1.0", "onsets"),
        (read_config, "[windows]\nkeys = 'all'", "windows.keys"),
        (audio.load, "[network]\ndilation = [1]", "network.dilation"),
        (audio.load, "[train]\nminute = 3", "minute"),
        (reference.load, 'input = "pictures"\nname = "x"\n[float_phase]\nstep = 1', "float_phase.step"),
        (reference.load, 'input = "smells"\nname = "x"', "smells"),
        (read_config, "name = ", "Invalid value"),
    ],
)
def test_a_slip_is_told_with_file_and_place(tmp_path, read, text, said):
    path = tmp_path / "mine.toml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=f"mine.toml is not an? .*{said}"):
        read(path)


def test_what_is_not_named_keeps_its_default(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text("[train]\nminutes = 3.0\n[instruments.licences]\nmine = 'CC0-1.0'\n")
    assert audio.load(path).train.minutes == 3
    assert audio.load(path).network == audio.Settings().network
