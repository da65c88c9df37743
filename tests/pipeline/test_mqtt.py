"""MQTT against a real broker: state for late comers, a broker that comes, goes and hangs, access by files."""

import json
import os
import signal
import socket
import struct
import subprocess
import sys
import threading
import time

import numpy as np
import pytest

from ivories.errors import BackendError, ConfigError, SinkError
from ivories.sinks.mqtt import embedded_broker
from ivories.sinks.mqtt import queue as mqtt_queue
from ivories.sinks.mqtt.access import Broker
from ivories.sinks.mqtt.embedded_broker import HOST, start_broker
from ivories.sinks.mqtt.link import MqttLink
from ivories.sinks.mqtt.messages import keys_hex
from ivories.sinks.mqtt.sink import MqttSink
from mqtt_helpers import BROKERS, MOSQUITTO, Dashboard, answers, wait_for
from played import Player, offset, onset, pedal


@pytest.fixture(params=BROKERS)
def broker(request):
    with start_broker(request.param) as broker:
        yield broker


def sink_at(broker, opened, **options):
    options = {"device": "salon", "protocol": broker.protocol} | options
    sink = MqttSink(host=broker.host, port=broker.port, **options)
    opened.append(sink)
    wait_for(lambda: sink.connected)
    return sink


def test_a_late_comer_finds_the_whole_state(broker, opened):
    sink = sink_at(broker, opened, models={"audio": "a1b2"})
    Player(sink).play(onset(0, 1.0, 30), onset(87, 1.5, 99), pedal(90, 1.6), onset(5, 1.7), offset(5, 1.8))
    wait_for(lambda: sink.published == 5)
    time.sleep(0.1)
    dashboard = Dashboard(broker.port)
    opened.append(dashboard)
    wait_for(lambda: len(dashboard.messages) >= 5)
    assert all(retained for _, _, retained in dashboard.messages)
    state = {topic: payload for topic, payload, _ in dashboard.messages}
    assert state["ivories/salon/status"] == b"online"
    assert state["ivories/salon/keys/hex"] == b"8000000000000000000001"
    keys = json.loads(state["ivories/salon/keys"])
    assert keys["hex"] == "8000000000000000000001"
    assert keys["pressed"] == [
        {"key": 0, "pitch": 21, "name": "A0", "velocity": 30},
        {"key": 87, "pitch": 108, "name": "C8", "velocity": 99},
    ]
    assert json.loads(state["ivories/salon/pedal"]) == {"value": 90, "down": True}
    info = json.loads(state["ivories/salon/info"])
    assert (info["schema"], info["device"], info["models"]) == (1, "salon", {"audio": "a1b2"})
    assert "ivories/salon/note" not in state


def test_notes_arrive_in_order_and_the_end_is_said(broker, opened):
    dashboard = Dashboard(broker.port)
    opened.append(dashboard)
    sink = sink_at(broker, opened)
    Player(sink).play(onset(48, 1.0, 77), pedal(127, 1.1), offset(48, 1.2, retracts=True), onset(50, 2.0))
    sink.close()
    wait_for(lambda: dashboard.latest("ivories/salon/status") == b"offline")
    notes = dashboard.notes()
    assert [(n["kind"], n["name"], n["velocity"]) for n in notes] == [
        ("onset", "A4", 77), ("pedal", "pedal", 127), ("offset", "A4", 50), ("onset", "B4", 64),
        ("offset", "B4", 64), ("pedal", "pedal", 0),
    ]  # fmt: skip
    assert [n["sequence"] for n in notes] == [1, 2, 3, 4, 5, 6]
    assert [n["retracts"] for n in notes] == [False, False, True, False, False, False]
    assert abs(notes[0]["unix_s"] - time.time()) < 20
    assert json.loads(dashboard.latest("ivories/salon/keys"))["pressed"] == []


def test_how_long_a_note_takes_to_a_subscriber(broker, opened, capsys):
    arrived = threading.Event()
    dashboard = Dashboard(broker.port)
    opened.append(dashboard)
    dashboard.client.on_message = lambda client, data, m: arrived.set() if m.topic.endswith("note") else None
    sink = sink_at(broker, opened)
    player, trips, sends = Player(sink), [], []
    for count in range(200):
        event, state = (onset if count % 2 == 0 else offset)(count // 2 % 88), player.state()
        arrived.clear()
        start = time.perf_counter()
        sink.send(event, state)
        sends.append(1e6 * (time.perf_counter() - start))
        assert arrived.wait(5)
        trips.append(1e3 * (time.perf_counter() - start))
    with capsys.disabled():
        print(  # noqa: T201  figures to see
            f"\nMQTT {sink.protocol} over {broker.which}: note to subscriber in "
            f"{np.percentile(trips, 50):.2f} ms (p50), {np.percentile(trips, 99):.2f} ms (p99); "
            f"send takes {np.percentile(sends, 50):.0f} us (p50)"
        )
    assert np.percentile(trips, 50) < 20  # a delayed acknowledgement would cost 40


def test_home_assistant_is_told_again_when_it_starts(broker, opened):
    dashboard = Dashboard(broker.port)
    opened.append(dashboard)
    sink_at(broker, opened, home_assistant=True)
    topic = "homeassistant/device/ivories_salon/config"
    wait_for(lambda: dashboard.latest(topic))
    description = json.loads(dashboard.latest(topic))
    assert description["device"]["identifiers"] == ["ivories_salon"]
    assert description["origin"]["name"] == "Ivories"
    assert description["availability_topic"] == "ivories/salon/status"
    entities = description["components"]
    assert len({entity["unique_id"] for entity in entities.values()}) == len(entities)
    published = {f"ivories/salon/{name}" for name in ("keys", "pedal", "note", "stats")}
    assert {entity["state_topic"] for entity in entities.values()} == published
    assert all(entity["platform"] for entity in entities.values())
    time.sleep(0.1)
    dashboard.messages.clear()
    dashboard.client.publish("homeassistant/status", "online", 1)
    wait_for(lambda: dashboard.latest(topic))


def test_a_broker_that_is_absent_at_the_start_stops_nothing(opened, caplog):
    port = embedded_broker._free_port()
    sink = MqttSink(
        host=HOST, port=port, device="salon", protocol="3.1.1" if BROKERS == ["amqtt"] else "auto"
    )
    opened.append(sink)
    player = Player(sink)
    player.play(onset(39), onset(43))
    wait_for(lambda: "no MQTT broker at" in caplog.text)
    assert not sink.connected
    with start_broker(port=port):
        wait_for(lambda: sink.connected)
        dashboard = Dashboard(port)
        opened.append(dashboard)
        wait_for(lambda: dashboard.latest("ivories/salon/keys/hex") == keys_hex(player.state()).encode())


def test_while_the_broker_is_away_the_queue_is_bounded_and_drops_are_counted(opened, monkeypatch):
    monkeypatch.setattr(mqtt_queue, "WAITING", 100)
    sink = MqttSink(host=HOST, port=embedded_broker._free_port())
    opened.append(sink)
    player = Player(sink)
    start = time.monotonic()
    for count in range(2000):
        player.play(onset(count % 88), offset(count % 88))
    assert time.monotonic() - start < 2
    assert sink.dropped == 3900
    assert "100 waiting" in repr(sink)
    start = time.monotonic()
    sink.close()
    assert time.monotonic() - start < 3


def test_a_broker_killed_in_the_middle_gets_the_state_and_the_latest_notes(broker, opened):
    sink = sink_at(broker, opened)
    player = Player(sink)
    player.play(onset(39), onset(43), pedal(127))
    wait_for(lambda: sink.published == 3)
    broker.stop()
    wait_for(lambda: not sink.connected)
    player.play(offset(39), onset(50), pedal(0))
    with start_broker(broker.which, port=broker.port):
        dashboard = Dashboard(broker.port)
        opened.append(dashboard)
        wait_for(lambda: len(dashboard.notes()) >= 3)
        wait_for(lambda: dashboard.latest("ivories/salon/status") == b"online")  # the last of the retained
        wait_for(lambda: dashboard.latest("ivories/salon/keys/hex") == keys_hex(player.state()).encode())
        assert [n["sequence"] for n in dashboard.notes()][-3:] == [4, 5, 6]
        assert json.loads(dashboard.latest("ivories/salon/pedal")) == {"value": 0, "down": False}
        assert dashboard.latest("ivories/salon/info")
        assert sink.dropped == 0
        sink.close()


def test_a_message_that_finds_the_connection_broken_only_costs_the_connection():
    broker = Broker(host=HOST, port=embedded_broker._free_port(), username="", password="", tls=None,
                    keepalive_s=60, protocol="3.1.1")  # fmt: skip
    link = MqttLink(broker, client_id="salon", will=("salon", "gone"), on_message=print)
    bell = os.eventfd(0)
    with socket.create_server((broker.host, broker.port)) as listening:
        link.step(bell, 0)
        conversation, _ = listening.accept()
        conversation.sendall(b"\x20\x02\x00\x00")  # welcome
        wait_for(lambda: link.step(bell, 0.05) or link.connected)
        conversation.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        conversation.close()
        for _ in range(3):
            link.publish("salon", "a note")  # the client library gives its socket up on the way
        assert link.connected
        link.step(bell, 0)
        assert not link.connected
        os.close(bell)


def test_notes_that_waited_too_long_are_dropped_and_counted(opened, monkeypatch):
    monkeypatch.setattr(mqtt_queue, "LATE_S", 0.2)
    port = embedded_broker._free_port()
    sink = MqttSink(host=HOST, port=port, device="salon", protocol="3.1.1")
    opened.append(sink)
    player = Player(sink)
    player.play(onset(39), offset(39), onset(40))
    time.sleep(0.3)
    with start_broker(port=port):
        dashboard = Dashboard(port)
        opened.append(dashboard)
        wait_for(lambda: dashboard.latest("ivories/salon/keys/hex") == keys_hex(player.state()).encode())
        assert sink.dropped == 3
        assert dashboard.notes() == []
        sink.close()


@pytest.mark.skipif(MOSQUITTO is None, reason="mosquitto is not installed")
class TestMosquitto:
    """What only a broker with access control, or one that can be stopped, shows."""

    @pytest.fixture
    def start(self, tmp_path):
        """Start mosquitto with given lines of configuration; returns (port, process)."""
        processes = []

        def start(*lines, port=None):
            port = port or embedded_broker._free_port()
            (tmp_path / "mosquitto.conf").write_text(
                "\n".join((f"listener {port} {HOST}", "user root", *lines)) + "\n"
            )
            process = subprocess.Popen([MOSQUITTO, "-c", str(tmp_path / "mosquitto.conf")])
            processes.append(process)
            wait_for(lambda: answers(port))
            return port, process

        yield start
        for process in processes:
            process.send_signal(signal.SIGCONT)
            process.terminate()
            process.wait()

    def test_mqtt_5_is_spoken_where_it_is_understood(self, start, opened):
        port, _ = start("allow_anonymous true")
        sink = MqttSink(host=HOST, port=port)
        opened.append(sink)
        wait_for(lambda: sink.connected)
        assert sink.protocol == "5"

    def test_a_broker_that_hangs_blocks_nothing_and_bounds_what_waits(self, start, opened, monkeypatch):
        monkeypatch.setattr(mqtt_queue, "WAITING", 200)
        port, process = start("allow_anonymous true")
        sink = MqttSink(host=HOST, port=port, device="salon")
        opened.append(sink)
        wait_for(lambda: sink.connected)
        process.send_signal(signal.SIGSTOP)
        player = Player(sink)
        start_s = time.monotonic()
        for count in range(1000):
            player.play(onset(count % 80), offset(count % 80))
        assert time.monotonic() - start_s < 2
        player.play(onset(85))
        time.sleep(0.1)
        assert sink.published + sink.dropped + len(sink._queue) == 2001
        assert sink.published <= 64
        process.send_signal(signal.SIGCONT)
        dashboard = Dashboard(port)
        opened.append(dashboard)
        wait_for(lambda: dashboard.latest("ivories/salon/keys/hex") == keys_hex(player.state()).encode())

    def test_the_last_will_tells_of_a_death(self, start, opened, tmp_path):
        port, _ = start("allow_anonymous true")
        dashboard = Dashboard(port)
        opened.append(dashboard)
        program = (
            "import time; from ivories.sinks.mqtt.sink import MqttSink; "
            f"MqttSink(host='{HOST}', port={port}, device='attic'); time.sleep(60)"
        )
        child = subprocess.Popen([sys.executable, "-c", program])
        wait_for(lambda: dashboard.latest("ivories/attic/status") == b"online", 15)
        child.kill()
        child.wait()
        wait_for(lambda: dashboard.latest("ivories/attic/status") == b"offline")

    def test_a_password_from_a_private_file(self, start, opened, tmp_path, caplog):
        users = tmp_path / "users"
        subprocess.run(["mosquitto_passwd", "-b", "-c", str(users), "piano", "s3cret"], check=True)
        port, _ = start("allow_anonymous false", f"password_file {users}")
        secret = tmp_path / "password"
        secret.write_text("s3cret\n")
        secret.chmod(0o600)
        sink = MqttSink(host=HOST, port=port, username="piano", password_file=str(secret))
        opened.append(sink)
        wait_for(lambda: sink.connected)
        secret.write_text("wrong")
        other = MqttSink(host=HOST, port=port, username="piano", password_file=str(secret), device="other")
        opened.append(other)
        wait_for(lambda: "ot authorized" in caplog.text or "ot authorised" in caplog.text)
        assert not other.connected
        assert "s3cret" not in caplog.text + repr(sink) + repr(sink._link._broker)

    def test_tls_with_an_own_authority_and_client_certificates(self, start, opened, tmp_path, caplog):
        def openssl(*arguments):
            subprocess.run(["openssl", *arguments], check=True, cwd=tmp_path, capture_output=True)

        openssl("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", "ca.key", "-out", "ca.crt",
                "-days", "2", "-subj", "/CN=Home")  # fmt: skip
        (tmp_path / "names").write_text("subjectAltName=IP:127.0.0.1\n")
        for who in ("broker", "piano"):
            openssl("req", "-newkey", "rsa:2048", "-nodes", "-keyout", f"{who}.key", "-out", f"{who}.csr",
                    "-subj", f"/CN={who}")  # fmt: skip
            openssl("x509", "-req", "-in", f"{who}.csr", "-CA", "ca.crt", "-CAkey", "ca.key",
                    "-CAcreateserial", "-out", f"{who}.crt", "-days", "2", "-extfile", "names")  # fmt: skip
        port, _ = start(
            "allow_anonymous true", "require_certificate true", f"cafile {tmp_path}/ca.crt",
            f"certfile {tmp_path}/broker.crt", f"keyfile {tmp_path}/broker.key",
        )  # fmt: skip
        files = {"cert_file": f"{tmp_path}/piano.crt", "key_file": f"{tmp_path}/piano.key"}
        sink = MqttSink(host=HOST, port=port, tls=True, ca_file=f"{tmp_path}/ca.crt", **files)
        opened.append(sink)
        wait_for(lambda: sink.connected)
        player = Player(sink)
        for count in range(100):
            player.play(onset(count % 88), offset(count % 88))
        wait_for(lambda: sink.published == 200)
        stranger = MqttSink(
            host=HOST, port=port, tls=True, device="stranger"
        )  # trusts the system's authorities
        opened.append(stranger)
        wait_for(lambda: "CERTIFICATE_VERIFY_FAILED" in caplog.text)
        assert not stranger.connected


def test_a_password_file_that_others_can_read_is_refused(tmp_path):
    (tmp_path / "password").write_text("x")
    (tmp_path / "password").chmod(0o640)
    with pytest.raises(ConfigError, match="chmod 600"):
        MqttSink(host=HOST, username="piano", password_file=str(tmp_path / "password"))
    with pytest.raises(ConfigError, match="cannot read"):
        MqttSink(host=HOST, username="piano", password_file=str(tmp_path / "nothing"))


def test_unfit_tls_files_are_refused(tmp_path):
    (tmp_path / "ca.crt").write_text("not a certificate")
    with pytest.raises(ConfigError, match="TLS files"):
        MqttSink(host=HOST, tls=True, ca_file=str(tmp_path / "ca.crt"))


@pytest.mark.parametrize("names", [{"device": "a/b"}, {"device": ""}, {"device": "a+"}, {"prefix": "x/#"}])
def test_names_that_cannot_be_topics_are_refused(names):
    with pytest.raises(ConfigError, match="cannot be part of a topic"):
        MqttSink(host=HOST, **names)


def test_a_closed_sink_takes_no_notes():
    sink = MqttSink(host=HOST, port=embedded_broker._free_port())
    sink.close()
    with pytest.raises(SinkError, match="closed"):
        Player(sink).play(onset(39))


def test_a_broker_that_cannot_start_says_why(monkeypatch):
    with start_broker() as broker, pytest.raises(BackendError, match="does not start"):
        start_broker("amqtt", port=broker.port)
    monkeypatch.setattr(embedded_broker.shutil, "which", lambda *_, **__: None)
    with pytest.raises(BackendError, match="apt-get install mosquitto"):
        start_broker("mosquitto")
