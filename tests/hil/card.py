"""A card that deploy/image/build.sh made, started by its own boot loader: first start, newcomer's words.

    IMAGE=pc.img KEY=~/.ssh/id_ed25519 .venv/bin/python -m pytest -sv tests/hil/card.py

IMAGE is an amd64 or arm64 image for UEFI, made with --ssh-key KEY.pub. It is not written to.
"""

import os
import re
import shlex
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from hil.guest import HOST, Guest, GuestError
from hil.piano import PROJECT, RELEASE, tell

IMAGE = Path(os.environ.get("IMAGE", PROJECT / "pc.img"))
KEY = Path(os.environ.get("KEY", "~/.ssh/id_ed25519")).expanduser()
SIZE_GB = 8  # of the card, which the first start takes whole
FIRST_START_S = 900  # emulated: the firmware, a kernel with all drivers, keys, a file system that grows
FIRMWARE = {
    "q35": "/usr/share/ovmf/OVMF.fd",
    "virt": "/usr/share/qemu-efi-aarch64/QEMU_EFI.fd",
}
MACHINES = {
    "amd64": ["qemu-system-x86_64", "-M", "q35", "-cpu", "max", "-bios", FIRMWARE["q35"]],
    "arm64": ["qemu-system-aarch64", "-M", "virt", "-cpu", "cortex-a72", "-bios", FIRMWARE["virt"]],
}
FOR_EVER = {"aseqdump", "journalctl"}  # run until they are stopped
NEEDS = {"setup": "no camera"}  # what a machine without one answers


class Card(Guest):
    """A machine that finds everything, the kernel too, on its disk."""

    def __init__(self, image, scratch, arch):
        (scratch / "disk.img").symlink_to(image.resolve())
        shutil.copy(KEY, scratch / "key")
        super().__init__(scratch, scratch / "card.qcow2", scratch)
        subprocess.run(["qemu-img", "resize", "-q", self.disk, f"{SIZE_GB}G"], check=True)
        self._command = MACHINES[arch]

    def start(self):
        """Switch it on; return after how many seconds the account pi could be entered."""
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        self._configure_ssh(port)
        begin = time.monotonic()
        with self.console.open("ab") as log:
            self._process = subprocess.Popen(
                [*self._command, "-accel", "tcg", "-m", "1536", "-smp", "2", "-nodefaults",
                 "-display", "none", "-serial", "stdio", "-drive", f"file={self.disk},if=virtio,format=qcow2",
                 "-netdev", f"user,id=wire,restrict=on,hostfwd=tcp:127.0.0.1:{port}-:22",
                 "-device", "virtio-net-pci,netdev=wire", "-device", "virtio-rng-pci"],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            )  # fmt: skip
        while time.monotonic() < begin + FIRST_START_S:
            assert self._process.poll() is None, self.last_words()
            try:
                self.run("true", timeout=60)
            except GuestError:
                time.sleep(2)
            else:
                return time.monotonic() - begin
        raise GuestError(f"it does not answer after {FIRST_START_S} s:\n{self.last_words()}")


@pytest.fixture(scope="module")
def card(tmp_path_factory):
    """The card in a machine that was switched on for the first time."""
    assert IMAGE.is_file(), f"there is no {IMAGE}: make it with deploy/image/build.sh, or name it in IMAGE"
    card = Card(IMAGE, tmp_path_factory.mktemp("card"), os.environ.get("ARCH", "amd64"))
    tell(f"answers {card.start():.0f} s after it was switched on for the first time")
    card.run("sudo cloud-init status --wait", timeout=FIRST_START_S)
    yield card
    card.switch_off()


def test_the_first_start_makes_it_a_device_of_its_own(card):
    assert card.run("hostname").strip() == "piano"
    assert "done" in card.run("sudo cloud-init status")
    assert re.fullmatch("[0-9a-f]{32}", card.run("cat /etc/machine-id").strip())
    assert card.run("ls /etc/ssh/ssh_host_ed25519_key.pub")
    size = int(card.run("df --output=size -B1 / | tail -1"))
    assert size > 0.9 * (SIZE_GB * 2**30 - 2**29), "it did not grow"
    assert card.run("sudo ls /boot/efi").split()
    passwords = card.run("sudo cut -d : -f 2 /etc/shadow").split()
    assert not [word for word in passwords if word.startswith("$")], "an account has a password"


def test_ivories_is_installed_and_waits_for_its_sensors(card):
    assert card.run("systemctl is-enabled ivories ivories-gadget").split() == ["enabled", "enabled"]
    card.wait_for("systemctl show ivories -p StatusText --value | grep -q waiting", 300)
    shown = dict(
        line.split("=", 1)
        for line in card.run("systemctl show ivories -p NRestarts -p User -p SubState").splitlines()
    )
    assert shown == {"NRestarts": "0", "User": "ivories", "SubState": "start"}
    failed = card.run("systemctl list-units --failed --plain --no-legend")
    assert failed == "", failed


def test_doctor_finds_nothing_wrong(card):
    said = card.run("sudo -u ivories ivories doctor", timeout=300)
    tell(said)
    assert "wrong" not in re.sub(r"what was.*", "", said)
    assert "audio network" in said
    assert "video network" in said


def test_with_a_microphone_it_plays(card):
    # A sound card that hears what it plays, nothing so far; without one `systemctl start` waits for a sensor.
    card.run("sudo modprobe snd-aloop")
    tell(f"hears {card.wait_for('systemctl is-active --quiet ivories', 300):.0f} s after the microphone came")


def commands():
    """What the page says to type on the device."""
    text = (PROJECT / "deploy/docs/install.md").read_text()
    for block in re.findall(r"^ *```sh\n(.*?)^ *```$", text, re.MULTILINE | re.DOTALL):
        for line in block.splitlines():
            words = shlex.split(line, comments=True)
            if words and words[0] not in {"make", "sh"}:
                yield line.strip()


@pytest.mark.parametrize("line", list(commands()))
def test_what_the_newcomer_types_on_the_device(card, line):
    words = set(shlex.split(line))
    forever = words & FOR_EVER
    try:
        said = card.run(f"timeout 5 {line}; [ $? = 124 ]" if forever else f"{line} 2>&1", timeout=300)
    except GuestError as error:
        expected = [answer for word, answer in NEEDS.items() if word in words]
        if not expected:
            raise
        said = str(error)
        assert expected[0] in said, said
    assert "Traceback" not in said
    tell(f"$ {line}\n{said[-300:]}")


def test_the_workstation_knows_it_and_need_not_prepare_it_again(card):
    for command in ("status", "install"):
        done = subprocess.run(
            [sys.executable, RELEASE, command, HOST, "--ssh", card.ssh, "--key", os.environ["RELEASE_KEY"]],
            capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL,
        )  # fmt: skip
        said = done.stdout + done.stderr
        assert done.returncode == 0, said
        assert "writing" not in said, said
        tell(said)


def test_the_second_start_changes_nothing(card):
    before = card.run("cat /etc/machine-id /etc/ssh/ssh_host_ed25519_key.pub")
    card.switch_off()
    tell(f"answers {card.start():.0f} s after it was switched on again")
    assert card.run("cat /etc/machine-id /etc/ssh/ssh_host_ed25519_key.pub") == before
    assert "disabled" in card.run("cloud-init status || true")
