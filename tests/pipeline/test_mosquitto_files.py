"""The broker configuration that is shipped: it starts, and lets each user do what it says and no more."""

import getpass
import os
import shutil
import subprocess
import time
from pathlib import Path

import paho.mqtt.client as paho
import pytest

from ivories.sinks.mqtt.embedded_broker import HOST, _free_port
from ivories.sinks.mqtt.messages import keys_hex
from ivories.sinks.mqtt.sink import MqttSink
from played import Player, offset, onset

FOLDER = Path(__file__).parents[2] / "deploy/mosquitto"
MOSQUITTO = shutil.which("mosquitto", path=os.environ.get("PATH", "") + ":/usr/sbin")

pytestmark = pytest.mark.skipif(MOSQUITTO is None, reason="mosquitto is not installed")


def wait_for(condition, seconds=5.0):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


@pytest.fixture
def port(tmp_path):
    """A broker with the shipped files, moved to free ports and into a folder of the test."""
    port, websockets = _free_port(), _free_port()
    text = (FOLDER / "ivories.conf").read_text()
    text = text.replace("/etc/mosquitto/", f"{tmp_path}/").replace("/var/lib/mosquitto/", f"{tmp_path}/")
    text = text.replace("listener 1883", f"listener {port} {HOST}").replace("9001", str(websockets))
    (tmp_path / "mosquitto.conf").write_text(f"user {getpass.getuser()}\n{text}")
    shutil.copy(FOLDER / "ivories.acl", tmp_path)
    (tmp_path / "ivories.users").touch()
    for user in ("salon", "attic", "dashboard", "homeassistant"):
        subprocess.run(["mosquitto_passwd", "-b", tmp_path / "ivories.users", user, "pw"], check=True)
    log = (tmp_path / "log").open("w")
    process = subprocess.Popen([MOSQUITTO, "-c", tmp_path / "mosquitto.conf"], stderr=log, stdout=log)
    wait_for(lambda: " running" in (tmp_path / "log").read_text())
    yield port
    process.terminate()
    process.wait()
    log.close()


class User:
    def __init__(self, port, name, password="pw"):
        self.messages, self.answer, self.denied = {}, None, []
        self.client = paho.Client(paho.CallbackAPIVersion.VERSION2, protocol=paho.MQTTv5)
        self.client.username_pw_set(name, password)
        self.client.on_connect = self.on_connect
        self.client.on_message = lambda client, data, m: self.messages.__setitem__(m.topic, m.payload)
        self.client.on_publish = lambda client, data, mid, reason, _: self.denied.append(reason.is_failure)
        self.client.connect(HOST, port)
        self.client.loop_start()
        wait_for(lambda: self.answer is not None)

    def on_connect(self, client, data, flags, reason, properties):
        self.answer = not reason.is_failure
        client.subscribe("#", 1)

    def may_write(self, topic):
        count = len(self.denied)
        self.client.publish(topic, "x", 1)
        wait_for(lambda: len(self.denied) > count)
        return not self.denied[-1]

    def close(self):
        self.client.disconnect()
        self.client.loop_stop()


def test_a_piano_is_seen_by_readers_and_speaks_for_itself_alone(port, tmp_path):
    secret = tmp_path / "secret"
    secret.write_text("pw\n")
    secret.chmod(0o600)
    sink = MqttSink(
        host=HOST, port=port, device="salon", username="salon", password_file=str(secret), home_assistant=True
    )
    wait_for(lambda: sink.connected)
    dashboard, home = User(port, "dashboard"), User(port, "homeassistant")
    wait_for(lambda: dashboard.messages.get("ivories/salon/status") == b"online")
    wait_for(lambda: "homeassistant/device/ivories_salon/config" in home.messages)
    attic = User(port, "attic")
    assert attic.may_write("ivories/attic/note")
    assert not attic.may_write("ivories/salon/note")
    assert not attic.may_write("homeassistant/device/ivories_salon/config")
    assert not dashboard.may_write("ivories/salon/note")
    assert not dashboard.may_write("ivories/salon/set/panic")
    assert home.may_write("ivories/salon/set/panic")
    wait_for(lambda: b"panic takes no value" in home.messages.get("ivories/salon/reply", b""))
    assert not attic.may_write("ivories/salon/set/panic")
    assert home.may_write("homeassistant/status")
    assert "ivories/salon/status" not in attic.messages
    for user in (dashboard, home, attic, sink):
        user.close()


@pytest.mark.parametrize(("name", "password"), [("salon", "wrong"), ("stranger", "pw"), ("", "")])
def test_nobody_enters_without_a_password(port, name, password):
    user = User(port, name, password)
    assert user.answer is False
    user.close()


def start(folder, port, text):
    """Start mosquitto with its files in ``folder``; return the process once it runs."""
    folder.mkdir(exist_ok=True)
    (folder / "mosquitto.conf").write_text(f"listener {port} {HOST}\nuser {getpass.getuser()}\n{text}")
    with (folder / "log").open("w") as log:
        process = subprocess.Popen([MOSQUITTO, "-c", folder / "mosquitto.conf"], stderr=log, stdout=log)
    wait_for(lambda: " running" in (folder / "log").read_text() or process.poll() is not None)
    assert process.poll() is None, (folder / "log").read_text()
    return process


def test_the_bridge_carries_the_pianos_to_the_centre_and_catches_up(tmp_path):
    here, centre = _free_port(), _free_port()
    text = (FOLDER / "bridge.conf").read_text().replace("broker.example.org:8883", f"{HOST}:{centre}")
    assert "\nbridge_cafile " in text  # the line goes through foreign networks
    text = text.replace("bridge_cafile", "#bridge_cafile").replace(
        "#topic ivories/+/set", "topic ivories/+/set"
    )
    central = start(tmp_path / "centre", centre, "allow_anonymous true\n")
    house = start(tmp_path / "house", here, f"allow_anonymous true\n{text}")
    sink = MqttSink(host=HOST, port=here, device="salon")
    player = Player(sink)
    try:
        player.play(onset(39))
        far = User(centre, "anybody")
        wait_for(
            lambda: far.messages.get("house1/ivories/salon/keys/hex") == keys_hex(player.state()).encode(), 15
        )
        wait_for(lambda: far.messages.get("house1/ivories/salon/status") == b"online")
        wait_for(lambda: far.messages.get("house1/bridge") == b"1")
        far.client.publish("house1/ivories/salon/set/panic", b"", 1)
        wait_for(lambda: b"takes no commands" in far.messages.get("house1/ivories/salon/reply", b""))
        far.close()
        central.kill()
        central.wait()
        player.play(onset(50), offset(39))
        central = start(tmp_path / "centre", centre, "allow_anonymous true\n")
        far = User(centre, "anybody")
        wait_for(
            lambda: far.messages.get("house1/ivories/salon/keys/hex") == keys_hex(player.state()).encode(), 15
        )
        wait_for(lambda: far.messages.get("house1/ivories/salon/status") == b"online")
        house.kill()
        house.wait()
        wait_for(lambda: far.messages.get("house1/bridge") == b"0")
        far.close()
    finally:
        sink.close()
        for process in (house, central):
            process.terminate()
            process.wait()
