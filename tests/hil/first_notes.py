"""The first note on a laptop, and on after a kill."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from hil.piano import share, tell

NOTES = 50  # of the take, some nine seconds
SILENCE_S = 0.3  # what may pass until a dead application's notes are let go


@pytest.fixture(scope="session")
def expected(take, work):
    """Pitches of the onsets that the same networks hear in the same sound on this computer, in order."""
    program = Path(sys.executable).with_name("ivories")
    events = work / "take.jsonl"
    subprocess.run([program, "transcribe", take, "-o", work / "take.mid", "--events", events], check=True)
    lines = [json.loads(line) for line in events.read_text().splitlines()]
    return [event["pitch"] for event in lines if event["kind"] == "onset"]


def test_what_is_played_arrives_over_usb_and_mqtt(piano, expected):
    piano.guest.run(
        "nohup mosquitto_sub -h localhost -t 'ivories/piano/note' >/tmp/notes 2>/dev/null </dev/null & echo"
    )
    report = piano.laptop(take=piano.take, notes=NOTES)
    piano.guest.run("pkill mosquitto_sub || true")
    pitches = [pitch for _, pitch in report["onsets"]]
    same = share(pitches, expected[: len(pitches)])
    tell(f"{len(pitches)} onsets over USB, {same:.0%} of them as expected")
    assert same >= 0.8
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
