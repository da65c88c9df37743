"""Files that a user may have broken: what reads them gives a value or one sentence, and nothing else ever."""

import contextlib
import json
import math
import tempfile
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from damage import edited, told
from ivories.config import load_config, parse_config
from ivories.errors import CalibrationError, ConfigError, ModelError
from ivories.fusion.loudness_filter import LoudnessFilter
from ivories.inference.manifest import check, load_manifest
from ivories.touch_store import TouchStore
from ivories.vision import calibration

PROJECT = Path(__file__).parents[2]
CONFIG = (PROJECT / "deploy/ivories.toml").read_bytes()
MANIFEST = (PROJECT / "models/audio.toml").read_bytes()
SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20)
JSON = st.recursive(
    SCALARS, lambda x: st.lists(x, max_size=3) | st.dictionaries(st.text(max_size=8), x, max_size=3)
)
TOKENS = st.sampled_from(
    [b"[", b"]", b"[[", b'"', b"'", b"=", b"\n", b"{", b"}", b"-", b"1e999", b"nan", b"inf", b"\\u"]
)
NUMBERS = st.floats() | st.integers(0, 3)
KEYFULS = st.builds(lambda most, one: [*[most] * 87, one], NUMBERS, NUMBERS | SCALARS)
TOUCHES = st.fixed_dictionaries({"key_db": KEYFULS, "key_notes": KEYFULS}).map(
    lambda v: json.dumps(v).encode()
)
EDITS = st.lists(
    st.tuples(st.floats(0, 1), st.integers(0, 40), st.binary(max_size=8) | TOKENS), min_size=1, max_size=4
)


@pytest.fixture(scope="module")
def file():
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder) / "file"


@given(st.binary(max_size=60) | JSON.map(lambda value: json.dumps(value).encode()) | TOUCHES)
def test_any_file_as_the_scale_of_velocities(file, content):
    file.write_bytes(content)
    scale = TouchStore(file).load()
    assert scale is None or math.isfinite(
        LoudnessFilter(scale.key_db, scale.key_notes).above_db(40, 0, -40.0, trust=0.3)
    )


READERS = [(load_config, ConfigError), (load_manifest, ModelError), (calibration.load, CalibrationError)]


@pytest.mark.parametrize(("read", "error"), READERS)
@given(
    content=st.binary(max_size=200) | st.text(max_size=200).map(lambda text: text.encode("utf-8", "replace"))
)
def test_any_bytes(file, read, error, content):
    told(read, file, content, error)


@pytest.mark.parametrize(("read", "error"), READERS)
@pytest.mark.parametrize(
    "content", [b"[" * 100_000, b"a = " + b"[" * 5000, b'{"a":' * 5000, b"\xef\xbb\xbf[audio]", b"\0"]
)
def test_content_made_to_hurt(file, read, error, content):
    told(read, file, content, error)


@given(EDITS)
def test_an_edited_configuration(file, edits):
    told(load_config, file, edited(CONFIG, edits), ConfigError)


@given(EDITS)
def test_an_edited_manifest(file, edits):
    file.write_bytes(edited(MANIFEST, edits))
    with contextlib.suppress(ModelError):
        check(load_manifest(file), file.parent, "")


@given(st.dictionaries(st.text(max_size=8) | st.sampled_from(["audio", "mqtt", "video"]), JSON, max_size=3))
def test_any_tables_as_configuration(raw):
    with contextlib.suppress(ConfigError):
        parse_config(raw)


@given(st.sampled_from(sorted(msgspec.toml.decode(MANIFEST))), JSON)
def test_any_value_in_a_manifest(file, field, value):
    with contextlib.suppress(TypeError, OverflowError, UnicodeEncodeError):  # TOML cannot say it
        file.write_bytes(msgspec.toml.encode(msgspec.toml.decode(MANIFEST) | {field: value}))
        told(load_manifest, file, file.read_bytes(), ModelError)
