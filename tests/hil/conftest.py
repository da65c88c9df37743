"""Fixtures of the hardware-in-the-loop tests: a machine, and Ivories on it as a user would have put it there.

`make hil` names the modules to pytest; `make test`, which must do without QEMU, does not find them.
"""

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from hil.guest import Guest
from hil.piano import PROJECT, TOOLS, Piano, tell, write_take

WORK = PROJECT / "build/hil"
REUSE = bool(os.environ.get("REUSE"))
"""Go on with the machine of the last run, as it was deployed to"""

# What the owner of this piano has changed in /etc/ivories/ivories.toml.
SETTINGS = {
    "audio": {"source": "alsa", "device": "plughw:CARD=Loopback,DEV=1"},
    "video": {"source": "off"},
    "mqtt": {"host": "localhost"},
}


def pytest_collection_modifyitems(items):
    """Give emulation its time: the first test prepares the machine."""
    for item in items:
        item.add_marker(pytest.mark.timeout(1800))


@pytest.fixture(scope="session")
def work():
    """Folder of this run; what the last one left in it goes, unless the same machine shall go on."""
    folder = WORK / "run"
    if not REUSE:
        shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@pytest.fixture(scope="session")
def take(work):
    """The bundled take as a sound file."""
    return write_take(work / "take.wav")


@pytest.fixture(scope="session")
def machine(work):
    """A bare Debian, started."""
    image = WORK / "amd64"
    subprocess.run(["sh", Path(__file__).parent / "image.sh", image], check=True)
    guest = Guest(image, work / "disk.qcow2", work)
    tell(f"{guest.accelerator}: answers after {guest.start():.0f} s")
    yield guest
    guest.switch_off()


@pytest.fixture(scope="session")
def piano(machine, work, take):
    """The machine prepared, configured, deployed to, and playing."""
    piano = Piano(machine, work / "key", os.environ.get("MODELS", PROJECT / "models"))
    machine.run(f"sudo mkdir -p {TOOLS}")
    for file in (take, PROJECT / "tests/port_receiver.py", Path(__file__).parent / "laptop.py"):
        machine.put(file, f"{TOOLS}/{file.name}")
    if REUSE:
        piano.settle()
        return piano
    piano.said_at_install = piano.release("install")
    text = "".join(
        f"[{section}]\n" + "".join(f"{name} = {json.dumps(value)}\n" for name, value in settings.items())
        for section, settings in SETTINGS.items()
    )
    machine.put(text.encode(), "/etc/ivories/ivories.toml")
    piano.said_at_deploy = piano.release("deploy")
    piano.settle()
    return piano


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    """Keep what the machine had to say when a test failed."""
    report = yield
    if report.failed and "piano" in getattr(item, "funcargs", {}):
        guest = item.funcargs["piano"].guest
        try:
            journal = guest.run("sudo journalctl -b --no-pager -n 400")
        except Exception as error:  # it must not hide the failure itself
            journal = f"{error}\n{guest.last_words()}"
        (WORK / "run" / f"{item.name}.journal").write_text(journal)
        report.sections.append(("the machine's journal", journal[-4000:]))
    return report
