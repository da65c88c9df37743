"""The examples for Node-RED, Telegraf and Grafana parse, and name only what a piano publishes or takes."""

import json
import re
import shutil
import subprocess
import tomllib
from pathlib import Path

import msgspec
import pytest

from ivories.controls import Controls
from ivories.sinks.mqtt.commands import CHOICES, COMMANDS, POLICIES, check, parse
from ivories.sinks.mqtt.messages import MESSAGES, ReplyMessage, keys_message, note_message
from ivories.sinks.mqtt.state import RetainedState
from ivories.sinks.mqtt.stats import Tally
from played import onset

FOLDER = Path(__file__).parents[2] / "deploy/dashboards"
FLOW = json.loads((FOLDER / "node-red.json").read_text())
NODES = {node["id"]: node for node in FLOW}
TELEGRAF = tomllib.loads((FOLDER / "telegraf.conf").read_text())
GRAFANA = json.loads((FOLDER / "grafana.json").read_text())


def stats():
    tally = Tally(one_clock=True)
    event = onset(40)
    event.left_ns["usb_midi"] = event.t_ns + 50_000_000
    tally.apply(event)
    controls = Controls(
        health=lambda: {"microphone": 1.0, "camera": 0.5}, lost=lambda: {"frames": 1, "evidence": 2}
    )
    return tally.message(controls, published=1, dropped=0, connections=1)


SAMPLES = {"stats": stats(), "note": note_message(onset(40), 0, 1)}


def published():
    state = RetainedState(
        base="ivories/piano", device="piano", models={}, origin_ns=0, discovery_prefix="",
        commands=tuple(COMMANDS), stats=stats,
    )  # fmt: skip
    state.controls = Controls("balanced", POLICIES, dynamics="auto", all_dynamics=CHOICES["dynamics"])
    return {*state.names, "note", "reply"}


def below(topic):
    """Return what stands below PREFIX/DEVICE/ in a topic of an example."""
    assert re.match(r"ivories/(\+|piano)/", topic), topic
    return topic.split("/", 2)[2]


def at(message, path):
    for part in path.split("."):
        message = message[part]
    return message


def test_the_samples_cover_every_field():
    for name, sample in SAMPLES.items():
        assert isinstance(sample, MESSAGES[name])
    assert SAMPLES["stats"].delay_ms is not None
    assert SAMPLES["stats"].left_ms["usb_midi"].p50 == 50.0


class TestNodeRed:
    def test_every_wire_ends_at_a_node_of_the_same_tab(self):
        assert len(NODES) == len(FLOW)
        for node in FLOW:
            for target in (wire for port in node.get("wires", []) for wire in port):
                assert NODES[target]["z"] == node["z"]
            if node["type"].startswith("mqtt ") and node["type"] != "mqtt-broker":
                assert NODES[node["broker"]]["type"] == "mqtt-broker"

    def test_it_subscribes_to_what_is_published_and_sends_commands_that_are_taken(self):
        sources = [node for node in FLOW if node["type"] == "mqtt in"]
        sinks = [node for node in FLOW if node["type"] == "mqtt out"]
        assert {below(node["topic"]) for node in sources} <= published()
        for node in sources:
            assert (node["datatype"] == "json") == (below(node["topic"]) in MESSAGES)
        for node in sinks:
            command = below(node["topic"]).removeprefix("set/")
            assert node["retain"] == "false"
            before = [n for n in FLOW for port in n.get("wires", []) if node["id"] in port]
            for payload in {n["payload"] if n["type"] == "inject" else n["op2"] for n in before}:
                assert payload, "Node-RED would send 0"
                check(command, parse(command, payload.encode()).value)

    @pytest.mark.skipif(shutil.which("node") is None, reason="node is not installed")
    def test_its_functions_work_on_real_messages(self):
        def run(name, topic, *messages):
            (function,) = [
                node["func"] for node in FLOW if node["type"] == "function" and node["name"] == name
            ]
            program = (
                "const kept = new Map();"
                "const context = { get: (k) => kept.get(k), set: (k, v) => kept.set(k, v) };"
                f"const step = new Function('msg', 'context', {json.dumps(function)});"
                f"const payloads = {msgspec.json.encode(messages).decode()};"
                f"console.log(JSON.stringify(payloads.map((payload) => "
                f"step({{ topic: {json.dumps(topic)}, payload }}, context)?.payload ?? null)));"
            )
            return json.loads(subprocess.run(["node", "-e", program], check=True, capture_output=True).stdout)

        keys = msgspec.to_builtins(keys_message(None, 0.0))
        a0 = keys | {"pressed": [{"name": "A0"}]}
        more = keys | {"pressed": [{"name": "A0"}, {"name": "C4"}]}
        refusal = ReplyMessage("policy", False, "x", "no policy 'x'", None)
        note = SAMPLES["note"]
        assert run("onsets only", "ivories/salon/note", note) == [
            f"salon: {note.name}, velocity {note.velocity}"
        ]
        assert run("A0 alone", "ivories/piano/keys", keys, a0, a0, keys, more, keys, a0) == [
            None, True, None, None, None, None, False,
        ]  # fmt: skip
        obeyed = msgspec.structs.replace(refusal, ok=True)
        assert run("refusals only", "ivories/salon/reply", refusal, obeyed) == ["no policy 'x'", None]
        told = run("changes only", "ivories/salon/status", "online", "online", "offline")
        assert told == [None, None, "salon is offline"]


class TestTelegraf:
    inputs = TELEGRAF["inputs"]["mqtt_consumer"]

    @pytest.mark.parametrize("number", range(len(inputs)))
    def test_it_reads_fields_that_are_there_with_their_types(self, number):
        part = self.inputs[number]
        (topic,) = part["topics"]
        name = below(topic)
        assert name in published()
        for parsing in part["topic_parsing"]:
            assert parsing == {"topic": topic, "measurement": "_/_/measurement", "tags": "_/device/_"}
        (reader,) = part["json_v2"]
        sample = msgspec.to_builtins(SAMPLES[name])
        assert isinstance(at(sample, reader["timestamp_path"]), float)
        kinds = {"int": int, "float": float}
        for field in reader["field"]:
            assert isinstance(at(sample, field["path"]), kinds[field["type"]]), field
            nullable = field["path"].split(".")[0] in {"delay_ms", "health", "lost"} and name == "stats"
            assert field.get("optional", False) == nullable, field
        for tag in reader.get("tag", []):
            assert isinstance(at(sample, tag["path"]), str)

    def test_no_password_is_written_down(self):
        assert all(part["password"] == "${IVORIES_MQTT_PASSWORD}" for part in self.inputs)

    @staticmethod
    def columns():
        """Return measurement -> names that a query may use."""
        found = {}
        for part in TestTelegraf.inputs:
            (reader,) = part["json_v2"]
            named = [*reader["field"], *reader.get("tag", [])]
            found[below(part["topics"][0])] = {x.get("rename", x["path"]) for x in named} | {"device"}
        return found


class TestGrafana:
    def test_every_query_asks_for_what_telegraf_writes(self):
        columns = TestTelegraf.columns()
        queries = [target["query"] for panel in GRAFANA["panels"] for target in panel["targets"]]
        queries += [v["query"] for v in GRAFANA["templating"]["list"] if v["type"] == "query"]
        assert len(queries) > 6
        for query in queries:
            measurement = re.search(r'FROM "(\w+)"', query)[1]
            named = set(re.findall(r'"(\w+)"', query)) - {measurement}
            assert named <= columns[measurement], query
            assert "$timeFilter" in query or query.startswith("SHOW TAG VALUES")

    def test_curves_have_no_finer_steps_than_the_figures_come(self):
        drawn = [panel for panel in GRAFANA["panels"] if panel["type"] == "timeseries"]
        assert {panel["interval"] for panel in drawn} == {"2m"}  # one message a minute

    def test_panels_have_their_own_numbers_and_places(self):
        panels = GRAFANA["panels"]
        assert len({panel["id"] for panel in panels}) == len(panels)
        cells = [
            (x, y)
            for panel in panels
            for x in range(panel["gridPos"]["x"], panel["gridPos"]["x"] + panel["gridPos"]["w"])
            for y in range(panel["gridPos"]["y"], panel["gridPos"]["y"] + panel["gridPos"]["h"])
        ]
        assert len(set(cells)) == len(cells)
        assert max(x for x, _ in cells) < 24

    def test_variables_that_are_used_are_defined(self):
        defined = {variable["name"] for variable in GRAFANA["templating"]["list"]}
        text = json.dumps([GRAFANA["panels"], GRAFANA["templating"]])
        built_in = {"timeFilter", "__interval", "__all", "tag_device"}
        assert set(re.findall(r"\$\{?(\w+)", text)) <= defined | built_in
