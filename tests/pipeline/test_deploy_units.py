"""The systemd units: well formed, and closed to all that the instrument does not need."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

UNITS = sorted((Path(__file__).parents[2] / "deploy/systemd").glob("*.service"))
EXPOSURE = {"ivories.service": 2.5, "ivories-gadget.service": 3.0}

pytestmark = pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd is not installed")


def analyze(*words):
    done = subprocess.run(["systemd-analyze", *words], capture_output=True, text=True, check=False)
    return done.returncode, done.stdout + done.stderr


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.name)
def test_systemd_understands_every_line(unit, tmp_path):
    # The programs are not installed here: one that is takes their place.
    copy = tmp_path / unit.name
    copy.write_text(re.sub(r"(?m)^(Exec\w+=[-+]*)\S+", r"\1/bin/true", unit.read_text()))
    code, said = analyze("verify", "--man=no", str(copy))
    assert (code, said) == (0, "")
    copy.write_text(copy.read_text().replace("NoNewPrivileges=yes", "NoNewPriviledges=yes"))
    assert "NoNewPriviledges" in analyze("verify", "--man=no", str(copy))[1]


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.name)
def test_little_is_exposed(unit):
    _, said = analyze("security", "--offline=yes", "--no-pager", str(unit))
    found = re.search(r"Overall exposure level for \S+: ([\d.]+)", said)
    assert found, said
    assert float(found[1]) <= EXPOSURE[unit.name], said


def test_the_kernel_knows_cameras_and_microphones_before_they_are_allowed():
    unit = next(unit for unit in UNITS if unit.name == "ivories.service").read_text()
    for module, kind in (("snd", "alsa"), ("videodev", "video4linux"), ("videodev", "media")):
        assert f"DeviceAllow=char-{kind} rw" in unit
        for word in ("Wants", "After"):
            assert re.search(rf"(?m)^{word}=.*\bmodprobe@{module}\.service\b", unit), (word, module)
