"""A real instrument behind a real broker: commands are obeyed and answered, figures are published."""

import json
import queue

import paho.mqtt.client as paho
import pytest
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from ivories.fusion.tracker import Tracker, TrackerSettings
from ivories.instrument import Instrument
from ivories.runtime.timing import StageTimes
from ivories.sinks.memory import MemorySink
from ivories.sinks.mqtt.embedded_broker import HOST, start_broker
from ivories.sinks.mqtt.sink import MqttSink
from mqtt_helpers import BROKERS, MOSQUITTO, Dashboard, wait_for
from support import FRAME_NS, HOP_NS, audio_evidence, video_evidence

CHOICES = {
    (policy, dynamics): TrackerSettings(
        audio_thresholds=thresholds, video_thresholds=(9.0, 9.0, 9.0, 9.0), wait_ms=wait_ms
    )
    for policy, thresholds in {"earliest": (1.0, 1.0, 1.0), "surest": (99.0, 99.0, 1.0)}.items()
    for dynamics, wait_ms in {"early": 0.0, "faithful": 20.0}.items()
}


class Stage:
    """Broker, instrument with a sink at it, dashboard; ``play`` lets hops of 10 ms pass."""

    def __init__(self, broker, **options):
        self.dashboard = Dashboard(broker.port)
        options = {"device": "salon", "protocol": broker.protocol, "stats_s": 0.1} | options
        self.sink = MqttSink(host=broker.host, port=broker.port, **options)
        self.memory = MemorySink()
        self.instrument = Instrument(
            Tracker(CHOICES["earliest", "early"]), [self.memory, self.sink], StageTimes(),
            CHOICES, "earliest", "early",
        )  # fmt: skip
        self.hop = self.frame = 0
        wait_for(lambda: self.sink.connected)
        wait_for(lambda: self.latest("status") == b"online")

    def latest(self, name):
        return self.dashboard.latest(f"ivories/salon/{name}")

    def replies(self):
        return [json.loads(p) for topic, p, _ in self.dashboard.messages if topic == "ivories/salon/reply"]

    def play(self, hops=40, notes=(), *, seen=False):
        shown = [(key, hop * HOP_NS + HOP_NS // 2, end * HOP_NS) for key, hop, end in notes]
        for _ in range(hops):
            while seen and self.frame * FRAME_NS <= self.hop * HOP_NS:
                self.instrument.push(video_evidence(self.frame, shown, strength=20.0))
                self.frame += 1
            self.instrument.push(audio_evidence(self.hop, notes, strength=(9, 9, 9)))
            self.hop += 1

    def ask(self, name, payload=b"", *, verb="set", **options):
        """Publish a command and beat until a reply to it is here; return the reply."""
        count = len(self.replies())
        self.dashboard.client.publish(f"ivories/salon/{verb}/{name}", payload, 1, **options)

        def answered():
            self.instrument.beat()
            return len(self.replies()) > count

        wait_for(answered)
        return self.replies()[-1]

    def close(self):
        self.instrument.finish()
        self.dashboard.close()


@pytest.fixture(params=BROKERS)
def stage(request):
    with start_broker(request.param) as broker:
        stage = Stage(broker)
        yield stage
        stage.close()


def test_the_policy_is_set_shown_and_decides(stage):
    wait_for(lambda: stage.latest("policy") == b"earliest")
    assert json.loads(stage.latest("info"))["commands"] == ["policy", "dynamics", "panic"]
    reply = stage.ask("policy", b'{"value": "surest", "id": "7f"}')
    assert reply == {"command": "policy", "ok": True, "value": "surest", "error": None, "id": "7f"}
    wait_for(lambda: stage.latest("policy") == b"surest")
    stage.play(30, [(39, 10, 25)])
    (onset,) = [event for event in stage.memory.events if event.kind == "onset"]
    assert onset.decided_ns - onset.t_ns > 80e6  # decided at the last horizon, 90 ms
    for wrong, error in {
        b"balanced": "known: earliest, surest",
        b"\xff": "neither",
        b"{": "not a command",
    }.items():
        reply = stage.ask("policy", wrong)
        assert not reply["ok"]
        assert error in reply["error"]
    assert "unknown command 'volume'" in stage.ask("volume", b"11")["error"]
    assert stage.instrument.controls.policy == "surest"


def test_the_dynamics_are_set_shown_and_say_whether_a_note_waits_for_its_sound(stage):
    wait_for(lambda: stage.latest("dynamics") == b"early")
    stage.play(60, seen=True)
    for dynamics in ("faithful", "early"):
        reply = stage.ask("dynamics", json.dumps({"value": dynamics, "id": 7}).encode())
        assert reply == {"command": "dynamics", "ok": True, "value": dynamics, "error": None, "id": 7}
        wait_for(lambda wanted=dynamics: stage.latest("dynamics") == wanted.encode())
        assert stage.ask("dynamics", verb="get")["state"] == dynamics
        stage.play(60, [(39, stage.hop + 30, stage.hop + 50)], seen=True)
        onset = [event for event in stage.memory.events if event.kind == "onset"][-1]
        assert (onset.decided_ns < (stage.hop - 30) * HOP_NS) == (dynamics == "early")
    for wrong, error in {
        b"auto": "known: early, faithful",
        b"loud": "choose one of auto, early, faithful",
    }.items():
        assert error in stage.ask("dynamics", wrong)["error"]
    assert (stage.instrument.controls.policy, stage.instrument.controls.dynamics) == ("earliest", "early")


def test_panic_lets_all_notes_go_and_the_music_goes_on(stage):
    stage.play(40, [(39, 10, 400), (43, 12, 400)])
    assert stage.memory.held.keys
    assert stage.ask("panic")["ok"]
    assert not stage.memory.held.keys
    assert stage.memory.releases == 1
    wait_for(lambda: stage.latest("keys/hex") == b"0" * 22)
    stage.play(60, [(39, 10, 400), (50, 60, 400)])
    assert set(stage.memory.held.keys) == {50}


def test_every_retained_topic_can_be_asked_for(stage):
    stage.play(60, [(39, 10, 400)])
    wait_for(lambda: stage.latest("keys/hex") != b"0" * 22 and stage.latest("policy"))
    retained = {topic.removeprefix("ivories/salon/") for topic, _, _ in stage.dashboard.messages}
    retained -= {"note", "reply"}
    assert {"info", "keys", "keys/hex", "pedal", "policy", "dynamics", "stats", "status"} <= retained
    for name in sorted(retained):
        reply = stage.ask(name, b'{"id": 3}', verb="get")
        assert (reply["command"], reply["ok"], reply["id"]) == (f"get/{name}", True, 3)
        if name != "stats":  # which go on
            held = stage.latest(name).decode()
            assert reply["state"] == (json.loads(held) if held.startswith("{") else held)
    told = {json.loads(p)["unix_s"] for t, p, _ in stage.dashboard.messages if t == "ivories/salon/stats"}
    assert stage.ask("stats", verb="get")["state"]["unix_s"] >= min(told)
    wrong = stage.ask("note", verb="get")
    assert not wrong["ok"]
    assert "known: info, keys" in wrong["error"]


def test_the_figures_are_published_again_and_again(stage):
    stage.play(60, [(39, 10, 30), (43, 15, 40)])
    stage.instrument.controls.lost = lambda: {"frames": 3}

    def stats():
        return json.loads(stage.latest("stats"))

    wait_for(lambda: stats()["notes"] == 2)
    wait_for(lambda: stats()["published"] == 4 and stats()["lost"] == {"frames": 3})
    assert (stats()["retractions"], stats()["dropped"], stats()["connections"]) == (0, 0, 1)
    assert stats()["health"] == {"microphone": 1.0, "camera": 0.0}
    delays = [m for topic, p, _ in stage.dashboard.messages if topic.endswith("/stats")
              if (m := json.loads(p)["delay_ms"])]  # fmt: skip
    assert sum(delay["notes"] for delay in delays) == 2
    assert all(0 < delay["p50"] <= delay["p95"] <= delay["max"] < 100 for delay in delays)
    first = stats()["uptime_s"]
    wait_for(lambda: stats()["uptime_s"] > first)
    assert stats()["delay_ms"] is None


def test_a_broker_that_comes_back_is_told_the_policy_and_the_figures():
    with start_broker() as broker:
        stage = Stage(broker)
        stage.ask("policy", b"surest")
        stage.ask("dynamics", b"faithful")
        broker.stop()
        wait_for(lambda: not stage.sink.connected)
        with start_broker(broker.which, port=broker.port):
            stage.dashboard.messages.clear()
            wait_for(lambda: stage.latest("policy") == b"surest" and stage.latest("stats"))
            assert stage.latest("dynamics") == b"faithful"
            assert stage.ask("panic")["ok"]
            stage.close()


def test_commands_can_be_switched_off():
    with start_broker() as broker:
        stage = Stage(broker, commands=False)
        wait_for(lambda: json.loads(stage.latest("info"))["commands"] == [])
        stage.dashboard.client.publish("ivories/salon/set/policy", "surest", 1).wait_for_publish(5)
        stage.play(20)
        stage.close()
        assert stage.latest("policy") is None
        assert stage.instrument.controls.policy == "earliest"


@pytest.mark.skipif(MOSQUITTO is None, reason="mosquitto is not installed")
def test_mqtt_5_answers_come_to_their_sender_alone_with_its_mark():
    with start_broker("mosquitto") as broker:
        stage = Stage(broker)
        answers = queue.SimpleQueue()
        client = paho.Client(paho.CallbackAPIVersion.VERSION2, protocol=paho.MQTTv5)
        client.on_message = lambda client, data, message: answers.put(message)
        client.on_connect = lambda client, *_: client.subscribe("ivories/salon/reply/me", 1)
        client.on_subscribe = lambda *_: answers.put(None)
        client.connect(HOST, broker.port)
        client.loop_start()
        answers.get(timeout=5)
        properties = Properties(PacketTypes.PUBLISH)
        properties.ResponseTopic = "ivories/salon/reply/me"
        for mark, value, ok in ((b"\0\1", "surest", True), (b"\0\2", "sooner", False)):
            properties.CorrelationData = mark
            client.publish("ivories/salon/set/policy", value, 1, properties=properties)
            wait_for(lambda: stage.instrument.beat() or not answers.empty())
            answer = answers.get()
            assert answer.properties.CorrelationData == mark
            assert json.loads(answer.payload)["ok"] is ok
        properties.ResponseTopic = "ivories/salon/status"
        client.publish("ivories/salon/set/panic", b"", 1, properties=properties)
        wait_for(lambda: stage.instrument.beat() or stage.replies())
        assert [reply["ok"] for reply in stage.replies()] == [False]
        assert stage.latest("status") == b"online"
        client.disconnect()
        client.loop_stop()
        stage.close()


def test_a_flood_of_commands_does_not_hold_up_the_notes():
    with start_broker() as broker:
        stage = Stage(broker)
        for count in range(2000):
            stage.dashboard.client.publish("ivories/salon/set/" + "policy"[: count % 7], "x", 0)
        for start in range(0, 100, 10):
            stage.play(10, [(20 + start // 10, start + 2, start + 8)])
        stage.play(10)
        wait_for(lambda: stage.sink.published == len(stage.memory.events))
        assert len(stage.memory.events) == 20
        assert stage.sink.dropped == 0
        stage.ask("policy", b'{"value": "surest", "id": "last"}')
        wait_for(lambda: stage.instrument.beat() or stage.replies()[-1]["id"] == "last")
        assert stage.replies()[-1]["ok"]
        stage.close()
