"""The configuration file: complete manual, typed, every mistake told at once."""

from pathlib import Path

import msgspec
import pytest

from ivories.config import Config, load_config, parse_config, to_toml
from ivories.errors import ConfigError

SAMPLE = Path(__file__).parents[2] / "deploy" / "ivories.toml"


def test_sample_file_names_every_setting_at_its_default():
    assert load_config(SAMPLE) == Config()
    assert msgspec.toml.decode(SAMPLE.read_bytes()) == msgspec.toml.decode(to_toml(Config()))


def test_every_setting_of_the_sample_file_is_explained():
    lines = SAMPLE.read_text().splitlines()
    for number, line in enumerate(lines):
        if line.startswith("["):
            assert lines[number + 1].startswith("#"), f"{line} has no comment"


def test_round_trip():
    config = parse_config({"mqtt": {"host": "broker.local"}, "video": {"fps": 30}})
    assert config.video.fps == 30.0
    assert parse_config(msgspec.toml.decode(to_toml(config))) == config


def test_all_mistakes_are_reported_at_once_with_the_nearest_key():
    with pytest.raises(ConfigError) as caught:
        parse_config(
            {
                "audoi": {},
                "mqtt": {"hsot": "x", "port": "many"},
                "video": {"width": 7},
                "decoding": {"policy": "x"},
            }
        )
    message = str(caught.value)
    for part in (
        "[audoi]", "did you mean audio?", "mqtt.hsot", "did you mean host?", "mqtt.port", "video.width",
        "160 to 4096", "decoding.policy",
    ):  # fmt: skip
        assert part in message


@pytest.mark.parametrize("text", ["[audio", "audio = 3", "\xff"])
def test_broken_files_give_one_sentence(tmp_path, text):
    path = tmp_path / "ivories.toml"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(ConfigError, match=str(path)):
        load_config(path)


def test_a_broker_that_must_be_has_a_name():
    with pytest.raises(ConfigError, match=r"mqtt\.host"):
        parse_config({"mqtt": {"enabled": "on"}})
    assert parse_config({"mqtt": {"enabled": "on", "host": "broker.local"}}).mqtt.enabled == "on"


def test_missing_file_is_named(tmp_path):
    with pytest.raises(ConfigError, match=r"absent\.toml"):
        load_config(tmp_path / "absent.toml")
