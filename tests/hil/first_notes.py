"""From a bare Debian to the first note on a laptop, and on after a kill: what must hold before all else."""

import json
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from hil.piano import tell

SILENCE_S = 0.3  # what may pass until a dead application's notes are let go


@pytest.fixture(scope="session")
def expected(take, work):
    """Pitches of the onsets that the same networks hear in the same sound on this computer, in order."""
    program = Path(sys.executable).with_name("ivories")
    events = work / "take.jsonl"
    subprocess.run([program, "transcribe", take, "-o", work / "take.mid", "--events", events], check=True)
    lines = [json.loads(line) for line in events.read_text().splitlines()]
    return [event["pitch"] for event in lines if event["kind"] == "onset"]


def share(some, others):
    """Return how much of both sequences of pitches is the same, 0..1."""
    common = sum((Counter(some) & Counter(others)).values())
    return common / max(len(some), len(others), 1)


def test_preparing_again_changes_nothing(piano):
    assert "is prepared" in piano.said_at_install
    again = piano.release("install")
    assert "is prepared" in again
    assert "writing" not in again


def test_the_release_brings_what_it_hears_with(piano):
    wanted = "import alsaaudio; alsaaudio.PCM_FORMAT_S24_3LE"
    piano.guest.run(f"/opt/ivories/current/venv/bin/python -c '{wanted}'")


def test_the_release_runs_with_its_watchdog(piano):
    assert "runs" in piano.said_at_deploy
    status = piano.release("status")
    assert "service: active playing" in status, status
    shown = piano.guest.run("sudo systemctl show ivories -p WatchdogUSec -p NRestarts -p User")
    assert set(shown.split()) == {"WatchdogUSec=15s", "NRestarts=0", "User=ivories"}


def test_the_usb_host_sees_a_keyboard_called_ivories(piano):
    gadget = piano.guest.run("sudo /usr/local/sbin/ivories-gadget status").strip()
    assert gadget == "up on dummy_udc.0, configured"
    cards = piano.guest.run("cat /proc/asound/cards")
    assert "USB-Audio - Ivories" in cards, cards
    product = piano.guest.run("cat /sys/bus/usb/devices/1-1/product /sys/bus/usb/devices/1-1/serial").split()
    assert product[0] == "Ivories"
    assert len(product[1]) == 16


def test_what_is_played_arrives_over_usb_and_mqtt(piano, expected):
    piano.guest.run(
        "nohup mosquitto_sub -h localhost -t 'ivories/piano/note' >/tmp/notes 2>/dev/null </dev/null & echo"
    )
    report = piano.laptop()
    piano.guest.run("pkill mosquitto_sub || true")
    pitches = [pitch for _, pitch in report["onsets"]]
    tell(f"{len(pitches)} onsets over USB, {len(expected)} expected, {share(pitches, expected):.0%} the same")
    assert share(pitches, expected) >= 0.8
    assert (report["stuck"], report["pedal"], report["torn"]) == ([], 0, 0)
    messages = [json.loads(line) for line in piano.guest.run("cat /tmp/notes").splitlines()]
    published = [note["pitch"] for note in messages if note["kind"] == "onset"]
    assert sorted(published) == sorted(pitches)


def test_no_note_outlives_a_killed_service_and_it_plays_again(piano):
    report = piano.laptop(strike="kill -9 {pid}")
    assert report["held"]
    assert report["ended_after_s"] <= SILENCE_S
    assert report["back_after_s"] is not None
    assert (report["stuck"], report["pedal"], report["torn"]) == ([], 0, 0)
    assert piano.guest.run("sudo systemctl show ivories -p NRestarts --value").strip() == "1"
