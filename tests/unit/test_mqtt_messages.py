"""The payloads on MQTT are those that the documentation describes."""

import json
import re
from pathlib import Path

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ivories.datatypes import KeyState
from ivories.errors import CommandError
from ivories.keyboard import KEYS
from ivories.sinks.mqtt.commands import COMMANDS, check
from ivories.sinks.mqtt.home_assistant import discovery, discovery_topic
from ivories.sinks.mqtt.messages import (
    MESSAGES,
    SCHEMA,
    NoteMessage,
    ReplyMessage,
    StatsMessage,
    TakeMessage,
    info_message,
    keys_hex,
    keys_message,
    note_message,
    pedal_message,
)
from ivories.sinks.mqtt.schema import files, schemas
from played import onset, pedal

DOCS = Path(__file__).parents[2] / "deploy/docs"
PAGE = (DOCS / "mqtt.md").read_text()
SCHEMAS = DOCS / "mqtt"
KEY_SETS = st.sets(st.integers(0, KEYS - 1))


def plain(message):
    return json.loads(msgspec.json.encode(message))


def whole(message):
    """Check that the message, once sent, is one that its type takes."""
    assert msgspec.json.decode(msgspec.json.encode(message), type=type(message)) == message


def state_with(keys):
    pressed = np.zeros(KEYS, bool)
    pressed[list(keys)] = True
    return KeyState(pressed, np.zeros(KEYS, np.int64), np.arange(KEYS, dtype=np.uint8) + 1)


def test_the_example_of_a_note_has_exactly_the_fields_that_are_sent_and_explained():
    example = json.loads(re.search(r"`note`:\n\n```json\n(.*?)```", PAGE, re.DOTALL)[1])
    played = onset(48, 12.3456, 77)
    played.left_ns.update(alsa_seq=12_383_900_000, mqtt=12_384_000_000)
    message = note_message(played, 0, 512, one_clock=True)
    assert message.left_s == example["left_s"]
    assert list(plain(message)) == list(example)
    for field in plain(message):
        assert re.search(rf"^\| `{field}` \|", PAGE, re.MULTILINE), field
    for event in (onset(48), pedal(90)):
        whole(note_message(event, 0, 1))
        event.left_ns["mqtt"] = 1
        assert "left_s" not in plain(note_message(event, 0, 1)), "a recording has a clock of its own"


def test_the_example_of_the_keys_has_exactly_the_fields_that_are_sent():
    example = json.loads(re.search(r"`keys`: `(\{.*?\})`\.", PAGE)[1])
    message = keys_message(state_with([48]), 1.0)
    assert list(plain(message)) == list(example)
    assert list(plain(message)["pressed"][0]) == list(example["pressed"][0])
    whole(message)


@pytest.mark.parametrize(
    ("before", "kind"),
    [
        ("`stats`:", StatsMessage),
        ("has saved last.", TakeMessage),
        ("what is wrong:", ReplyMessage),
    ],
)
def test_the_other_examples_have_exactly_the_fields_that_are_sent(before, kind):
    example = re.search(re.escape(before) + r"\n\n```json\n(.*?)```", PAGE, re.DOTALL)[1]
    message = msgspec.json.decode(example, type=kind)
    assert plain(message) == json.loads(example)
    if kind is not ReplyMessage:
        for field in plain(message):
            assert f"`{field}`" in PAGE, field
    else:
        with pytest.raises(CommandError, match=re.escape(message.error)):
            check(message.command, message.value)


def test_the_example_of_an_answer_is_one_that_is_sent():
    example = re.search(r"as `state`:\n\n```json\n(.*?)```", PAGE, re.DOTALL)[1]
    assert plain(msgspec.json.decode(example, type=ReplyMessage)) == json.loads(example)


def test_the_other_payloads_are_named_in_the_table_of_topics():
    for field in (*plain(pedal_message(0)), *plain(info_message("piano", "1", {}))):
        assert f"`{field}`" in PAGE, field
    assert f"version {SCHEMA}" in PAGE


@given(KEY_SETS)
def test_the_formula_of_the_documentation_reads_the_compact_keys(keys):
    formula = re.search(r"In Python: `(.*)`", PAGE)[1]
    text = keys_hex(state_with(keys))
    assert len(text) == 22
    assert eval(formula, {"text": text}) == sorted(keys)


@given(KEY_SETS)
def test_the_json_of_the_keys_agrees_with_the_compact_form(keys):
    message = keys_message(state_with(keys), 2.5)
    assert [key.key for key in message.pressed] == sorted(keys)
    assert all(key.velocity == key.key + 1 for key in message.pressed)
    assert message.hex == keys_hex(state_with(keys))


def test_nothing_is_down_before_the_first_note():
    assert plain(keys_message(None, 0.0)) == {"hex": "0" * 22, "pressed": [], "t_s": 0.0}


def test_the_announcement_to_home_assistant_is_documented_and_whole():
    assert discovery_topic("homeassistant", "DEVICE") in PAGE
    # every field that a template reads is one that is sent
    sent = {
        f"P/{topic}": {field.encode_name for field in msgspec.structs.fields(kind)}
        for topic, kind in MESSAGES.items()
    }
    entities = discovery("salon", "P", "1.0", ("earliest", "surest"), ("early",), takes=True)["components"]
    for entity in entities.values():
        assert f"| {entity['name']}" in PAGE
        assert {"platform", "name", "unique_id"} <= entity.keys()
        if "command_topic" in entity:
            assert entity["command_topic"].removeprefix("P/set/") in COMMANDS
        else:
            read = set(re.findall(r"value_json\.(\w+)", entity["value_template"]))
            assert read
            assert read <= sent[entity["state_topic"]]
    assert entities["policy"]["options"] == ["earliest", "surest"]
    assert entities["dynamics"]["options"] == ["early"]
    assert (entities["dynamics"]["state_topic"], entities["dynamics"]["platform"]) == ("P/dynamics", "select")
    assert not {"policy", "dynamics", "save_take"} & discovery("salon", "P", "1.0")["components"].keys()


def test_the_schemas_beside_the_documentation_are_those_of_the_messages():
    written = {path.name: path.read_text() for path in SCHEMAS.glob("*.json")}
    assert written == files(), f"run: python -m ivories.sinks.mqtt.schema {SCHEMAS}"
    for name, schema in schemas().items():
        assert f"`{name}" in PAGE
        assert schema["$ref"].removeprefix("#/$defs/") in schema["$defs"]


def test_every_message_refuses_what_its_schema_excludes():
    note = plain(note_message(onset(48), 0, 512))
    for wrong in ({"key": 88}, {"velocity": 128}, {"kind": "tap"}, {"sequence": 0}, {"confidence": 1.1}):
        with pytest.raises(msgspec.ValidationError):
            msgspec.convert(note | wrong, NoteMessage)
