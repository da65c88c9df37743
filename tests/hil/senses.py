"""A camera besides the microphone: the take is seen and heard, and the ear goes on while the eye is gone."""

import json
import os
import re
from pathlib import Path

import numpy as np
import pytest

from hil.conftest import SETTINGS, settings_text
from hil.piano import TOOLS, tell, write_film
from ivories.notes import NOTE_DTYPE, read_notes
from ivories.resources import bundled_take
from ivories.scoring import score_notes

CAMERA = "/dev/video0"
POSITION = "/var/lib/ivories/calibration.json"
SIZE = 768, 576
# Every second picture, and none for takes: both senses are all that an emulated processor can do.
SEEN = {"source": "auto", "width": SIZE[0], "height": SIZE[1], "fps": 15}
RECORDED = {"video": False}
DECIDED = {"dynamics": "early"}  # else notes that are seen wait for their sound
QUALITY = 0.5  # of the position found
RETURN_S = 2.0
MEANWHILE_S = 2.0
BOTH, EYE_ALONE = 0.8, 0.5  # onset F1, within 0.1 s after the same delay for all
AHEAD = 3  # notes that are told before they sound; who only hears needs 20 ms and more
JOURNAL = "sudo journalctl -u ivories -b --no-pager -o short-unix"


@pytest.fixture(scope="session")
def film(work):
    """The pictures of the take; the machine has them as a disk, being too many to send."""
    return write_film(work / "take.yuv", *SIZE)


@pytest.fixture(scope="session")
def stage(piano):
    """The piano with a pianist who can be seen, but nothing to see him with yet."""
    guest = piano.guest
    guest.put(Path(__file__).with_name("performer.py"), f"{TOOLS}/performer.py")
    settings = SETTINGS | {"video": SEEN, "recorder": RECORDED, "decoding": DECIDED}
    guest.put(settings_text(settings).encode(), "/etc/ivories/ivories.toml")
    guest.run("echo rest | sudo tee /run/performer")
    guest.run(f"sudo systemd-run -q --unit=performer python3 {TOOLS}/performer.py {piano.take} /dev/vdb")
    guest.run("sudo systemctl restart ivories")
    piano.settle()
    return piano


def perform(piano, word, seconds=10.0, **plan):
    """Let the pianist play, or a part of it; return the laptop's report."""
    report = piano.laptop(
        begin=f"echo {word} >/run/performer", end="echo rest >/run/performer", seconds=seconds, **plan
    )
    assert (report["stuck"], report["pedal"], report["torn"]) == ([], 0, 0)
    assert report["plugged"] == 1
    return report


def f1(report, seconds):
    """Return the onset F1 of what arrived over USB against what was played, whatever the common delay is."""
    truth = read_notes(bundled_take().with_suffix(".mid"))
    truth = truth[truth["onset_s"] < seconds]
    onsets = np.array([(s, s + 0.1, pitch, 64) for s, pitch in report["onsets"]], NOTE_DTYPE)
    onsets = onsets[onsets["onset_s"] < seconds + 0.3]
    delays = np.arange(-0.2, 0.5, 0.01)
    return max(score_notes(truth, _earlier(onsets, delay), 0.1).f1 for delay in delays)


def _earlier(notes, seconds):
    moved = notes.copy()
    for name in ("onset_s", "offset_s"):
        moved[name] -= seconds
    return moved


def said(piano, words):
    """Return when the service last said ``words``, a pattern, seconds since 1970."""
    lines = [line for line in piano.guest.run(JOURNAL).splitlines() if re.search(words, line)]
    assert lines, f"it never said: {words}"
    return float(lines[-1].split()[0])


def plugged_in(piano, node=CAMERA):
    """Return when the camera, or another sensor's node, could last be opened again, s since 1970."""
    return float(piano.guest.run(f"stat -c %.9Z {node}"))


def pulled_out(piano, driver, seconds=2, held="", **plan):
    """Let the pianist play while the sensor of a driver is pulled out for ``seconds``; return the report.

    ``held`` is a node that somebody has open meanwhile.
    """
    device, at = f"{driver}.0", f"/sys/bus/platform/drivers/{driver}"
    out = f"echo {device} > {at}/unbind"
    report = perform(
        piano, "play", strike=f"exec 9<{held}; {out}; sleep 5" if held else out, strike_after_s=2,
        repair=f"echo {device} > {at}/bind; udevadm settle", repair_after_s=seconds, **plan,
    )  # fmt: skip
    assert report["back_after_s"] is not None
    return report


def is_soon_back(piano, what, node=CAMERA):
    """Wait until the service has ``what``, a pattern, back, and check how long after its return that was."""
    back = f"{what} is back"
    piano.guest.wait_for(f"{JOURNAL} | grep -q '{back}'", 30)
    is_soon_used(piano, back, node)


def is_soon_used(piano, words, node=CAMERA):
    """Check how long after its return the service said of a sensor that it has it: ``words``, a pattern."""
    late_s = said(piano, words) - plugged_in(piano, node)
    tell(f"used {late_s:.2f} s after it was plugged in as {node}")
    assert late_s <= RETURN_S


@pytest.mark.usefixtures("untroubled")
def test_a_camera_plugged_in_later_is_used_and_finds_the_keyboard(stage):
    told = "sudo systemctl show ivories -p StatusText --value"
    stage.guest.wait_for(f"{told} | grep '^playing; camera: no camera'", 30)
    stage.guest.run("sudo modprobe vivid && sudo udevadm settle")
    stage.guest.wait_for(f"sudo test -e {POSITION}", 60)
    is_soon_used(stage, f"camera: V4L2 {CAMERA}")
    found = json.loads(stage.guest.run(f"sudo cat {POSITION}"))
    assert (found["width"], found["height"]) == SIZE
    assert found["quality"] >= QUALITY


@pytest.mark.usefixtures("untroubled")
@pytest.mark.parametrize("name", ["its own", "another"] if os.environ.get("FULL") else ["another"])
def test_a_camera_pulled_out_leaves_the_ear_and_comes_back_under(name, stage):
    # A node that somebody still has open keeps its number.
    report = pulled_out(stage, "vivid", held=CAMERA if name == "another" else "", meanwhile_s=MEANWHILE_S)
    tell(f"{report['meanwhile']} notes by ear alone")
    assert report["meanwhile"] >= 3
    node = "/dev/" + stage.guest.run(
        "cd /sys/class/video4linux && grep -lx vivid-000-vid-cap */name | cut -d / -f 1"
    ).strip()  # fmt: skip
    assert (node == CAMERA) == (name == "its own")
    is_soon_back(stage, f"camera {node}", node)


@pytest.mark.usefixtures("untroubled")
def test_a_microphone_pulled_out_leaves_the_eye_and_is_used_again(stage):
    report = pulled_out(stage, "snd_aloop", 3, meanwhile_s=MEANWHILE_S)
    tell(f"{report['meanwhile']} notes by eye alone")
    assert report["meanwhile"] >= 1
    node = stage.guest.run("echo /dev/snd/pcmC$(readlink /proc/asound/Loopback | tr -d a-z)D1c").strip()
    is_soon_back(stage, "microphone .*", node)


def test_the_take_is_seen_and_heard(stage):
    # By now it has learnt how far its camera's and its microphone's times are apart.
    guest = stage.guest
    guest.run(
        "nohup mosquitto_sub -h localhost -t 'ivories/piano/note' >/tmp/notes 2>/dev/null </dev/null & echo"
    )
    report = perform(stage, "play")
    guest.run("pkill mosquitto_sub || true")
    notes = [json.loads(line) for line in guest.run("cat /tmp/notes").splitlines()]
    ahead = sum(note["decided_s"] < note["t_s"] for note in notes if note["kind"] == "onset")
    both = f1(report, 9.5)
    tell(f"{len(report['onsets'])} onsets over USB, F1 {both:.3f}, {ahead} told ahead of their sound")
    assert both >= BOTH
    assert ahead >= AHEAD


def test_what_is_only_seen_is_played(stage):
    report = perform(stage, "film", 7.0)
    alone = f1(report, 6.5)
    tell(f"{len(report['onsets'])} onsets over USB by eye alone, F1 {alone:.3f}")
    assert alone >= EYE_ALONE
