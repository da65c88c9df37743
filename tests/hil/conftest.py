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
from hil.laptop import SPEAKER
from hil.piano import PROJECT, TOOLS, Piano, tell, write_take

WORK = PROJECT / "build/hil"
FIRST = WORK / "first"
"""Folder of the machine that Ivories is deployed to"""
COPY = os.environ.get("COPY", "")
"""Take a copy of that machine, in a folder of this name, in place of preparing one"""

BEGINS_S = 2.0
"""Of the take, which is silent at first: where no note counts, nobody waits for that"""

# What the owner of this piano has changed in /etc/ivories/ivories.toml.
SETTINGS = {
    "audio": {"source": "alsa", "device": "plughw:CARD=Loopback,DEV=1"},
    "video": {"source": "off"},
    "mqtt": {"host": "localhost"},
}


def settings_text(settings):
    """Return ``settings``, by section and name, as TOML."""
    return "".join(
        f"[{section}]\n" + "".join(f"{name} = {json.dumps(value)}\n" for name, value in values.items())
        for section, values in settings.items()
    )


def pytest_collection_modifyitems(items):
    """Give emulation its time: the first test prepares the machine."""
    for item in items:
        item.add_marker(pytest.mark.timeout(7200))


@pytest.fixture(scope="session")
def work():
    """Folder of this run; what the last one left in it goes."""
    folder = WORK / COPY if COPY else FIRST
    if COPY and not (FIRST / "ready").exists():
        pytest.exit(f"there is no machine in {FIRST} to copy: make hil SHORT=1", 1)
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder


@pytest.fixture(scope="session")
def take(work):
    """The bundled take as a sound file."""
    return write_take(work / "take.wav")


@pytest.fixture(scope="session")
def film():
    """Pictures for the machine's camera: none, where a module does not say otherwise."""


@pytest.fixture(scope="session")
def machine(work, film):
    """A bare Debian, or what became of one, started."""
    image = WORK / "amd64"
    subprocess.run(["sh", Path(__file__).parent / "image.sh", image], check=True)
    guest = Guest(image, work / "disk.qcow2", work, FIRST / "disk.qcow2" if COPY else None)
    guest.film = film
    tell(f"{guest.accelerator}: answers after {guest.start(counted=bool(COPY)):.0f} s")
    yield guest
    guest.switch_off()


@pytest.fixture(scope="session")
def piano(machine, work, take):
    """The machine prepared, configured, deployed to, and playing."""
    piano = Piano(machine, FIRST / "key", os.environ.get("MODELS", PROJECT / "models"))
    if not COPY:
        _deploy(piano, take)
    piano.settle()
    yield piano
    if not COPY:
        machine.switch_off()
        (work / "ready").touch()


@pytest.fixture
def untroubled(piano):
    """The same process has to run after the test as before."""
    before = piano.guest.run("sudo systemctl show ivories -p MainPID -p NRestarts")
    yield piano
    assert piano.guest.run("sudo systemctl show ivories -p MainPID -p NRestarts") == before


def _deploy(piano, take):
    machine = piano.guest
    machine.run(f"sudo mkdir -p {TOOLS}")
    music = write_take(take.with_name("music.wav"), BEGINS_S)
    for file in (take, music, PROJECT / "tests/port_receiver.py", Path(__file__).parent / "laptop.py"):
        machine.put(file, f"{TOOLS}/{file.name}")
    piano.said_at_install = piano.release("install")
    machine.put(settings_text(SETTINGS).encode(), "/etc/ivories/ivories.toml")
    # Somebody plays meanwhile: a microphone that hears nothing at all is muted, says the release's doctor.
    player = f"while aplay -q -D {SPEAKER} {piano.take}; do :; done"
    machine.run(f"sudo systemd-run -q --unit=pianist sh -c '{player}'")
    piano.said_at_deploy = piano.release("deploy")
    machine.run("sudo systemctl is-active pianist && sudo systemctl stop pianist")


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
        (guest.console.parent / f"{item.name}.journal").write_text(journal)
        report.sections.append(("the machine's journal", journal[-4000:]))
    return report
