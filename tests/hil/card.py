"""A card that deploy/image/build.sh made, started by its own boot loader: from there to the first note.

    IMAGE=pc.img KEY=~/.ssh/id_ed25519 .venv/bin/python -m pytest -sv tests/hil/card.py

IMAGE is an image for UEFI, made with --ssh-key KEY.pub; it is not written to. ARCH=arm64 says that it is for
ARM, RELEASE_KEY what signed its release. The tests are one story, told in order: what a newcomer meets.
"""

import json
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

from hil.guest import Guest, GuestError
from hil.piano import PROJECT, TOOLS, Piano, share, tell, write_take

KEY = Path(os.environ.get("KEY", "~/.ssh/id_ed25519")).expanduser()
RELEASE_KEY = Path(os.environ.get("RELEASE_KEY", "~/.config/ivories/release")).expanduser()
ARCH = os.environ.get("ARCH", "amd64")
IMAGE = Path(os.environ.get("IMAGE", PROJECT / f"build/card/{ARCH}.img"))
PAGE = PROJECT / "deploy/docs/install.md"
SIZE_GB = 8  # of the card, which the first start takes whole
START_S = 5400  # emulated, on a busy host: the firmware, a kernel with all drivers, cloud-init
SERVICE_S = 600  # of its own clock
MACHINES = {
    "amd64": ["qemu-system-x86_64", "-M", "q35", "-cpu", "max"],
    "arm64": ["qemu-system-aarch64", "-M", "virt", "-cpu", "cortex-a72"],  # the processor of a Raspberry Pi 4
}
FIRMWARE = {"amd64": "/usr/share/ovmf/OVMF.fd", "arm64": "/usr/share/qemu-efi-aarch64/QEMU_EFI.fd"}
# As in guest.py: what takes 10 ms there takes 10 ms of its clock, however slowly it is emulated.
COUNTED = ["-icount", "shift=0,sleep=on"]
FIRST_PARTITION = 1 << 20  # bytes from the start of the image
MICROPHONE = "plughw:CARD=Loopback,DEV=1"
FOR_EVER = {"aseqdump", "journalctl"}  # run until they are stopped
ON_THE_WORKSTATION = {"make", "sh"}
LACKS = {"setup": "no camera"}  # what a machine without one answers


class Card(Guest):
    """A machine that finds everything, the kernel too, on its disk."""

    def __init__(self, image, scratch, arch):
        (scratch / "disk.img").symlink_to(image.resolve())
        shutil.copy(KEY, scratch / "key")
        super().__init__(scratch, scratch / "card.qcow2", scratch)
        subprocess.run(["qemu-img", "resize", "-q", self.disk, f"{SIZE_GB}G"], check=True)
        self._machine, self._firmware = MACHINES[arch], ["-bios", FIRMWARE[arch]]
        self._loaded = []

    def start(self, counted=False):
        """Switch it on; return after how many seconds the account pi could be entered.

        Args:
            counted: on a clock of its own, slow enough to play on. A firmware, which waits by counting, takes
                hours there, so the kernel is started from here, with what the boot loader would give it.
        """
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        self._configure_ssh(port)
        begin = time.monotonic()
        how = [*COUNTED, *self._entry()] if counted else self._firmware
        with self.console.open("ab") as log:
            self._process = subprocess.Popen(
                [*self._machine, "-accel", "tcg", *how,
                 "-m", "1536", "-nodefaults", "-display", "none", "-serial", "stdio",
                 "-drive", f"file={self.disk},if=none,id=card,format=qcow2,discard=unmap",
                 "-device", "virtio-blk-pci,drive=card,bootindex=1",
                 "-netdev", f"user,id=wire,restrict=on,hostfwd=tcp:127.0.0.1:{port}-:22",
                 "-device", "virtio-net-pci,netdev=wire,romfile=", "-device", "virtio-rng-pci"],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            )  # fmt: skip
        # A connection is given up after a minute by what stands for the network, and tried again.
        while time.monotonic() < begin + START_S:
            assert self._process.poll() is None, self.last_words()
            try:
                self.run("true")
            except GuestError:
                time.sleep(2)
            else:
                return time.monotonic() - begin
        raise GuestError(f"it does not answer after {START_S} s:\n{self.last_words()}")

    def _entry(self):
        """Return QEMU's options for what the boot loader's entry on the card says."""
        partition = f"{self.disk.parent / 'disk.img'}@@{FIRST_PARTITION}"

        def take(name):
            target = self.disk.parent / Path(name).name
            subprocess.run(["mcopy", "-n", "-o", "-i", partition, f"::{name}", target], check=True)
            return target

        listed = ["mdir", "-b", "-i", partition, "::loader/entries"]
        (entry,) = subprocess.run(listed, capture_output=True, text=True, check=True).stdout.split()
        lines = [line.split(None, 1) for line in take(entry.removeprefix("::")).read_text().splitlines()]
        says = {line[0]: line[1] for line in lines if len(line) == 2}
        kernel, initrd = take(says["linux"]), take(says["initrd"])
        return ["-kernel", kernel, "-initrd", initrd, "-append", says["options"]]


@pytest.fixture(scope="module")
def piano(tmp_path_factory):
    """The card in a machine that was switched on for the first time."""
    assert IMAGE.is_file(), f"there is no {IMAGE}: make it with deploy/image/build.sh, or name it in IMAGE"
    card = Card(IMAGE, tmp_path_factory.mktemp("card"), ARCH)
    tell(f"answers {card.start():.0f} s after it was switched on for the first time")
    yield Piano(card, RELEASE_KEY, PROJECT / "models")
    card.switch_off()


@pytest.fixture(scope="module")
def card(piano):
    """The machine itself."""
    return piano.guest


def test_the_first_start_makes_it_a_device_of_its_own(card):
    # On the clock on the wall an emulated one may not start within a service's time.
    card.run("sudo systemctl stop --no-block ivories")
    card.wait_for("test -e /run/cloud-init/result.json", START_S)
    result = json.loads(card.run("cat /run/cloud-init/result.json"))["v1"]
    assert result["errors"] == []
    assert "NoCloud" in result["datasource"]
    assert card.run("hostname").strip() == "piano"
    assert re.fullmatch("[0-9a-f]{32}", card.run("cat /etc/machine-id").strip())
    assert card.run("ls /etc/ssh/ssh_host_ed25519_key.pub")
    size = int(card.run("df --output=size -B1 / | tail -1"))
    assert size > 0.9 * (SIZE_GB * 2**30 - 2**29), "it did not grow"
    assert card.run("sudo ls /boot/efi").split()
    passwords = card.run("sudo cut -d : -f 2 /etc/shadow").split()
    assert not [word for word in passwords if word.startswith("$")], "an account has a password"


def test_the_second_start_changes_nothing(card):
    before = card.run("cat /etc/machine-id /etc/ssh/ssh_host_ed25519_key.pub")
    card.switch_off()
    tell(f"answers {card.start(counted=True):.0f} s after it was switched on again, on a clock of its own")
    assert card.run("cat /etc/machine-id /etc/ssh/ssh_host_ed25519_key.pub") == before
    assert card.run("ls /etc/cloud/cloud-init.disabled")
    assert card.run("ls /run/cloud-init/disabled")


def test_ivories_is_installed_and_says_what_it_waits_for(card):
    assert card.run("systemctl is-enabled ivories ivories-gadget").split() == ["enabled", "enabled"]
    card.wait_for("systemctl show ivories -p StatusText --value | grep -q waiting", SERVICE_S)
    tell(card.run("systemctl show ivories -p StatusText --value"))
    shown = card.run("systemctl show ivories -p NRestarts -p User -p SubState").split()
    assert set(shown) == {"NRestarts=0", "User=ivories", "SubState=start"}
    failed = card.run("systemctl list-units --failed --plain --no-legend")
    assert failed == "", failed


def test_the_cable_and_the_microphone_are_plugged_in(card):
    # A USB device port whose cable leads to a USB host of its own, and a sound card that hears what it plays.
    card.run("sudo modprobe dummy_hcd && sudo modprobe snd-aloop pcm_substreams=1")
    assert MICROPHONE in card.run("ivories devices").split()
    # Step 4: which of several sound cards.
    settings = card.run("cat /etc/ivories/ivories.toml")
    assert '\ndevice = "default"\n' in settings
    named = settings.replace('\ndevice = "default"\n', f'\ndevice = "{MICROPHONE}"\n')
    card.put(named.encode(), "/etc/ivories/ivories.toml")
    card.run("sudo systemctl restart --no-block ivories")
    seconds = card.wait_for("systemctl is-active --quiet ivories", SERVICE_S)
    tell(f"hears {seconds:.0f} s after the microphone came")


def commands():
    """What the page says to type on the device."""
    for block in re.findall(r"^ *```sh\n(.*?)^ *```$", PAGE.read_text(), re.MULTILINE | re.DOTALL):
        for line in block.splitlines():
            words = shlex.split(line, comments=True)
            if words and words[0] not in ON_THE_WORKSTATION:
                yield line.strip()


@pytest.mark.parametrize("line", list(commands()))
def test_what_the_newcomer_types_on_the_device(card, line):
    words = set(shlex.split(line))
    expected = [answer for word, answer in LACKS.items() if word in words]
    try:
        said = card.run(f"timeout 5 {line}; [ $? = 124 ]" if words & FOR_EVER else f"{line} 2>&1")
    except GuestError as error:
        if not expected:
            raise
        said = str(error)
    assert all(answer in said for answer in expected), said
    assert "Traceback" not in said
    if "doctor" in words:
        assert "audio network" in said
        assert "video network" in said
    tell(f"$ {line}\n{said[-3000:]}")


def test_the_computer_at_the_other_end_sees_a_keyboard_called_ivories(card):
    # The gadget was restarted a moment ago.
    card.wait_for("sudo ivories-gadget status | grep -qx 'up on dummy_udc.0, configured'", 120)
    card.wait_for("grep -q 'USB-Audio - Ivories$' /proc/asound/cards", 120)


def test_the_first_notes(piano, tmp_path):
    take = write_take(tmp_path / "take.wav")
    piano.settle()
    piano.guest.run(f"sudo mkdir -p {TOOLS}")
    for file in (take, PROJECT / "tests/port_receiver.py", PROJECT / "tests/hil/laptop.py"):
        piano.guest.put(file, f"{TOOLS}/{file.name}")
    # By number: the keyboard at the other end of the cable, which is this machine too, has the same name.
    port = "$(aconnect -i | sed -n \"s/^client \\([0-9]*\\): 'Ivories' \\[type=user.*/\\1/p\")"
    piano.guest.run(f"nohup aseqdump -p {port} >/tmp/shown 2>&1 </dev/null & echo")
    report = piano.laptop(take=piano.take)
    piano.guest.run("pkill aseqdump")
    pitches = [pitch for _, pitch in report["onsets"]]
    wanted = transcribed(take, tmp_path)
    same = share(pitches, wanted)
    tell(f"{len(pitches)} onsets over USB, {len(wanted)} expected, {same:.0%} the same")
    assert same >= 0.8
    assert (report["stuck"], report["pedal"], report["torn"]) == ([], 0, 0)
    shown = re.findall(r"Note on +\d+, note (\d+), velocity [1-9]", piano.guest.run("cat /tmp/shown"))
    assert sorted(map(int, shown)) == sorted(pitches)


def transcribed(take, scratch):
    """Return the pitches of the onsets that the same networks hear in ``take`` on this computer."""
    program = Path(sys.executable).with_name("ivories")
    call = [program, "transcribe", take, "-o", scratch / "take.mid", "--events", scratch / "take.jsonl"]
    subprocess.run(call, check=True)
    events = map(json.loads, (scratch / "take.jsonl").read_text().splitlines())
    return [event["pitch"] for event in events if event["kind"] == "onset"]


def test_the_workstation_knows_it_and_need_not_prepare_it_again(piano):
    assert "service: active playing" in piano.release("status")
    assert "writing" not in piano.release("install")


def test_it_takes_an_update(piano):
    before = piano.guest.run("readlink /opt/ivories/current")
    assert "runs" in piano.release("deploy")
    assert piano.guest.run("readlink /opt/ivories/current") != before
    assert "service: active playing" in piano.release("status")
