"""The payloads on MQTT are those that the documentation describes."""

import json
import re
from pathlib import Path

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from ivories.datatypes import KeyState
from ivories.keyboard import KEYS
from ivories.sinks.home_assistant import discovery, discovery_topic
from ivories.sinks.mqtt_messages import (
    SCHEMA,
    info_message,
    keys_hex,
    keys_message,
    note_message,
    pedal_message,
)
from played import onset, pedal

PAGE = (Path(__file__).parents[2] / "deploy/docs/mqtt.md").read_text()
KEY_SETS = st.sets(st.integers(0, KEYS - 1))


def state_with(keys):
    pressed = np.zeros(KEYS, bool)
    pressed[list(keys)] = True
    return KeyState(pressed, np.zeros(KEYS, np.int64), np.arange(KEYS, dtype=np.uint8) + 1)


def test_the_example_of_a_note_has_exactly_the_fields_that_are_sent_and_explained():
    example = json.loads(re.search(r"`note`:\n\n```json\n(.*?)```", PAGE, re.DOTALL)[1])
    message = note_message(onset(48, 12.3456, 77), 0, 512)
    assert list(message) == list(example)
    for field in message:
        assert re.search(rf"^\| `{field}` \|", PAGE, re.MULTILINE), field
    for event in (onset(48), pedal(90)):
        json.dumps(note_message(event, 0, 1))


def test_the_example_of_the_keys_has_exactly_the_fields_that_are_sent():
    example = json.loads(re.search(r"`keys`: `(\{.*?\})`\.", PAGE)[1])
    message = keys_message(state_with([48]), 1.0)
    assert list(message) == list(example)
    assert list(message["pressed"][0]) == list(example["pressed"][0])


def test_the_other_payloads_are_named_in_the_table_of_topics():
    for field in (*pedal_message(0), *info_message("piano", "1", {})):
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
    assert [key["key"] for key in message["pressed"]] == sorted(keys)
    assert all(key["velocity"] == key["key"] + 1 for key in message["pressed"])
    assert message["hex"] == keys_hex(state_with(keys))


def test_nothing_is_down_before_the_first_note():
    assert keys_message(None, 0.0) == {"hex": "0" * 22, "pressed": [], "t_s": 0.0}


def test_the_announcement_to_home_assistant_is_documented_and_whole():
    assert discovery_topic("homeassistant", "DEVICE") in PAGE
    entities = discovery("salon", "ivories/salon", "1.0")["components"]
    for entity in entities.values():
        assert f"| {entity['name']}" in PAGE
        assert {"platform", "name", "unique_id", "state_topic", "value_template"} <= entity.keys()
        # every field that a template reads is one that is sent
        sent = note_message(onset(1), 0, 1) | keys_message(None, 0.0) | pedal_message(0)
        assert set(re.findall(r"value_json\.(\w+)", entity["value_template"])) <= sent.keys()
