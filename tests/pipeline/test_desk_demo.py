"""The images of the desk demo, without Docker: their files, their broker with its passwords, their piano."""

import json
import os
import re
import subprocess
import sys
import urllib.request
from pathlib import Path

import paho.mqtt.client as paho
import pytest
import yaml

from ivories.config import load_config
from ivories.media import probe
from ivories.resources import bundled_take
from ivories.sinks.mqtt.embedded_broker import HOST, _free_port
from mqtt_helpers import MOSQUITTO, answers, wait_for

PROJECT = Path(__file__).parents[2]
FOLDER = PROJECT / "deploy/docker"
DOCKERFILE = (FOLDER / "Dockerfile").read_text()
COMPOSE = yaml.safe_load((FOLDER / "compose.yaml").read_text())
SERVICES = COMPOSE["services"]
IVORIES = [sys.executable, "-c", "from ivories.cli import main; main()"]


def stages():
    """Return name -> instructions of each stage, continued lines joined."""
    text = re.sub(r"^#.*\n", "", DOCKERFILE.replace("\\\n", " "), flags=re.MULTILINE)
    found = {}
    for line in filter(None, map(str.strip, text.splitlines())):
        word, _, rest = line.partition(" ")
        if word == "FROM":
            found[rest.split(" AS ")[1]] = instructions = []
        elif word != "ARG":
            instructions.append((word, rest))
    return found


class TestFiles:
    def test_every_copied_file_is_there_and_not_ignored(self):
        allowed = {
            line[1:] for line in (PROJECT / ".dockerignore").read_text().splitlines() if line[:1] == "!"
        }
        for instructions in stages().values():
            for word, rest in instructions:
                if word != "COPY" or rest.startswith("--from="):
                    continue
                *sources, _ = rest.split()
                for source in sources:
                    assert (PROJECT / source).exists(), source
                    assert any(source == path or source.startswith(f"{path}/") for path in allowed), source

    def test_the_base_is_of_one_debian_and_nothing_runs_as_root(self):
        assert re.findall(r"^ARG BASE=(.*)$", DOCKERFILE, re.MULTILINE) == ["debian:bookworm-slim"]
        assert set(re.findall(r"^FROM (\S+)", DOCKERFILE, re.MULTILINE)) == {"${BASE}", "base"}
        for name in SERVICES:
            users = [rest for word, rest in stages()[name] if word == "USER"]
            assert users == ["ivories"], name

    def test_services_are_built_here_confined_and_reached_from_this_computer_only(self):
        assert set(SERVICES) == {"broker", "piano"}
        for name, service in SERVICES.items():
            build = service["build"]
            assert (build["target"], (FOLDER / build["context"]).resolve()) == (name, PROJECT)
            assert (PROJECT / build["dockerfile"]).samefile(FOLDER / "Dockerfile")
            assert service["read_only"] is True
            assert service["cap_drop"] == ["ALL"]
            assert "privileged" not in service
            for port in service.get("ports", []):
                assert port.startswith("127.0.0.1:"), port
            assert service["healthcheck"]["test"][0] == "CMD"

    def test_names_in_the_files_fit_together(self):
        config = load_config(FOLDER / "ivories.toml")
        assert config.mqtt.host == "broker"
        assert config.mqtt.password_file == f"/secrets/{config.mqtt.username}"
        assert config.mqtt.username == config.device.name  # as the access list wants it
        copied = {rest.split()[-1] for rest in (r for i in stages().values() for w, r in i if w == "COPY")}
        for service in SERVICES.values():
            path = service["healthcheck"]["test"][2]
            assert path in copied, path
        conf = (FOLDER / "mosquitto.conf").read_text()
        assert re.search(r"^acl_file (\S+)$", conf, re.MULTILINE)[1] in copied
        folder = re.search(r"^http_dir (\S+)$", conf, re.MULTILINE)[1]
        assert f"{folder}/piano.html" in copied
        said = subprocess.run([*IVORIES, "demo", "--help"], capture_output=True, text=True, check=True).stdout
        (command,) = [json.loads(rest) for word, rest in stages()["piano"] if word == "CMD"]
        assert command == ["demo", "--repeat"]
        assert "--repeat" in said


@pytest.fixture
def desk(tmp_path):
    """The broker as its image starts it, moved to free ports and into a folder of the test."""
    ports = {"1883": str(_free_port()), "9001": str(_free_port())}
    conf = (FOLDER / "mosquitto.conf").read_text()
    for old, new in ports.items():
        conf = conf.replace(f"listener {old}", f"listener {new} {HOST}")
    conf = conf.replace("/secrets/", f"{tmp_path}/").replace(
        "/etc/mosquitto/", f"{PROJECT}/deploy/mosquitto/"
    )
    conf = conf.replace("/usr/share/ivories/page", str(PROJECT / "deploy/dashboards"))
    (tmp_path / "mosquitto.conf").write_text(f"user {os.environ.get('USER', 'root')}\n{conf}")
    env = os.environ | {
        "SECRETS": str(tmp_path), "CONFIGURATION": str(tmp_path / "mosquitto.conf"), "PORT": ports["1883"],
    }  # fmt: skip
    with (tmp_path / "log").open("w") as log:
        process = subprocess.Popen(["sh", FOLDER / "broker.sh", "run"], env=env, stdout=log, stderr=log)
    try:
        wait_for(lambda: " running" in (tmp_path / "log").read_text() and answers(int(ports["9001"])), 20)
        yield tmp_path, ports, env
    finally:
        process.terminate()
        process.wait()


def enters(port, user, password, transport="tcp"):
    """Return whether the broker lets ``user`` in."""
    answer = []
    client = paho.Client(paho.CallbackAPIVersion.VERSION2, transport=transport)
    client.username_pw_set(user, password)
    client.on_connect = lambda client, data, flags, reason, properties: answer.append(not reason.is_failure)
    client.connect(HOST, port)
    client.loop_start()
    wait_for(lambda: answer)
    client.disconnect()
    client.loop_stop()
    return answer[0]


@pytest.mark.skipif(MOSQUITTO is None, reason="mosquitto is not installed")
class TestRunning:
    def test_passwords_are_made_once_and_needed_at_every_door(self, desk):
        folder, ports, env = desk
        secrets = {name: (folder / name).read_text().strip() for name in ("piano", "dashboard")}
        for name, password in secrets.items():
            assert len(password) == 24
            assert (folder / name).stat().st_mode & 0o077 == 0
            assert password not in (folder / "users").read_text()
            assert password not in (folder / "log").read_text()
        for transport, port in (("tcp", "1883"), ("websockets", "9001")):
            assert enters(int(ports[port]), "dashboard", secrets["dashboard"], transport)
            assert not enters(int(ports[port]), "dashboard", secrets["piano"], transport)
            assert not enters(int(ports[port]), "", "", transport)
        assert subprocess.run(["sh", FOLDER / "broker.sh", "check"], env=env, check=False).returncode == 0
        (folder / "dashboard").write_text("wrong\n")
        done = subprocess.run(
            ["sh", FOLDER / "broker.sh", "check"], env=env, check=False, capture_output=True
        )
        assert done.returncode != 0
        (folder / "mosquitto.conf").write_text("")  # a second start: another broker, the same passwords
        again = env | {"CONFIGURATION": "/nonexistent"}
        subprocess.run(["sh", FOLDER / "broker.sh", "run"], env=again, check=False, capture_output=True)
        assert (folder / "piano").read_text().strip() == secrets["piano"]

    def test_the_broker_serves_the_page(self, desk):
        _, ports, _ = desk
        with urllib.request.urlopen(f"http://{HOST}:{ports['9001']}/piano.html", timeout=10) as page:
            assert page.read() == (PROJECT / "deploy/dashboards/piano.html").read_bytes()

    def test_the_piano_plays_over_and_over_and_is_found_healthy(self, desk):
        folder, ports, _ = desk
        settings = (FOLDER / "ivories.toml").read_text()
        settings = settings.replace('"broker"', f'"{HOST}"\nport = {ports["1883"]}')
        settings = settings.replace("/secrets/", f"{folder}/")
        (folder / "ivories.toml").write_text(settings)
        healthy = [sys.executable, FOLDER / "healthy.py", folder / "ivories.toml"]
        with (folder / "said").open("w") as said:
            piano = subprocess.Popen(
                [*IVORIES, "demo", "--repeat", "--config", folder / "ivories.toml"],
                cwd=folder, stdout=said, stderr=said, env=os.environ | {"PYTHONUNBUFFERED": "1"},
            )  # fmt: skip
        try:
            done = subprocess.run(healthy, capture_output=True, text=True, check=False, timeout=120)
            assert done.returncode == 0, done.stdout + (folder / "said").read_text()
            assert {"kind", "pitch", "delay_ms"} <= json.loads(done.stdout).keys()
            # A second time through, with the same process: notes of it come after the take's length.
            length_s = probe(bundled_take()).duration_s
            onsets = re.compile(r"^onset .* at ([\d.]+) s", re.MULTILINE)
            wait_for(lambda: float(onsets.findall((folder / "said").read_text())[-1]) > length_s + 1, 60)
            assert piano.poll() is None
            piano.terminate()
            assert piano.wait(20) == 0
        finally:
            piano.kill()
            piano.wait()
        assert not (folder / "demo.mid").exists()

    def test_a_piano_that_cannot_enter_is_not_healthy_and_says_why(self, tmp_path):
        (tmp_path / "piano").write_text("secret\n")
        (tmp_path / "piano").chmod(0o600)
        settings = (FOLDER / "ivories.toml").read_text().replace("/secrets/", f"{tmp_path}/")
        settings = settings.replace('"broker"', f'"{HOST}"\nport = {_free_port()}')
        (tmp_path / "ivories.toml").write_text(settings)
        healthy = [sys.executable, FOLDER / "healthy.py", tmp_path / "ivories.toml"]
        done = subprocess.run(healthy, capture_output=True, text=True, check=False, timeout=60)
        assert done.returncode == 1
        assert done.stdout.startswith("no note comes through the broker:")
        assert "Traceback" not in done.stderr
