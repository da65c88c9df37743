"""The script that makes the USB device port a MIDI keyboard, run by the shell in a stand-in of configfs."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

DEPLOY = Path(__file__).parents[2] / "deploy"
SCRIPT = DEPLOY / "gadget/ivories-gadget"
CONFIGFS = Path(__file__).parents[1] / "data/configfs.sh"


class Board:
    """A root folder with two USB device ports."""

    def __init__(self, root):
        self.root = root
        self.gadget = root / "sys/kernel/config/usb_gadget/ivories"
        self.gadget.parent.mkdir(parents=True)
        for name in ("fe980000.usb", "second.usb"):
            self.add_port(name)
        (root / "etc").mkdir()
        (root / "etc/machine-id").write_text("0123456789abcdef0123456789abcdef\n")
        tools = root / "tools"
        tools.mkdir()
        for name in ("mkdir", "rmdir", "modprobe", "mount"):
            shutil.copy(CONFIGFS, tools / name)
            (tools / name).chmod(0o755)
        self.environment = {"PATH": f"{tools}:{os.environ['PATH']}", "IVORIES_ROOT": str(root)}

    def add_port(self, name):
        (self.root / f"sys/class/udc/{name}").mkdir(parents=True)
        (self.root / f"sys/class/udc/{name}/state").write_text("configured\n")

    def run(self, command, **environment):
        (self.root / "calls").unlink(missing_ok=True)
        done = subprocess.run(
            ["sh", SCRIPT, command], env=self.environment | environment, capture_output=True, text=True,
            check=False,
        )  # fmt: skip
        return done.returncode, done.stdout + done.stderr

    def content(self):
        """Return what every file of the gadget holds, and where links lead."""
        found = {}
        for path in sorted(self.gadget.rglob("*")):
            name = str(path.relative_to(self.gadget))
            if path.is_symlink():
                found[name] = "-> " + str(path.resolve().relative_to(self.gadget))
            elif path.is_file():
                found[name] = path.read_text().strip()
        return found


@pytest.fixture
def board(tmp_path):
    return Board(tmp_path)


def test_up_makes_a_keyboard_called_ivories(board):
    code, said = board.run("up")
    assert (code, said) == (0, "Ivories is a USB-MIDI keyboard on fe980000.usb\n")
    content = board.content()
    told = {name: value for name, value in content.items() if value}
    serial = told.pop("strings/0x409/serialnumber")
    assert told == {
        "idVendor": "0x1d6b", "idProduct": "0x0104", "bcdUSB": "0x0200", "bcdDevice": "0x0100",
        "bDeviceClass": "0xef", "bDeviceSubClass": "0x02", "bDeviceProtocol": "0x01",
        "strings/0x409/manufacturer": "Ivories", "strings/0x409/product": "Ivories",
        "configs/c.1/MaxPower": "250", "configs/c.1/strings/0x409/configuration": "Ivories",
        "functions/midi.usb0/id": "Ivories", "functions/midi.usb0/in_ports": "1",
        "functions/midi.usb0/out_ports": "1", "functions/midi.usb0/buflen": "64",
        "functions/midi.usb0/qlen": "2", "configs/c.1/midi.usb0": "-> functions/midi.usb0",
        "UDC": "fe980000.usb",
    }  # fmt: skip
    assert len(serial) == 16
    assert "0123456789abcdef" not in serial
    assert board.run("status") == (0, "up on fe980000.usb, configured\n")


def test_the_serial_number_is_the_boards_where_it_has_one(board):
    (board.root / "proc/device-tree").mkdir(parents=True)
    (board.root / "proc/device-tree/serial-number").write_bytes(b"10000000abcd1234\0")
    assert board.run("up")[0] == 0
    assert board.content()["strings/0x409/serialnumber"] == "10000000abcd1234"


def test_up_again_changes_nothing_and_down_leaves_nothing(board):
    assert board.run("up")[0] == 0
    before = board.content()
    assert board.run("up") == (0, "")
    assert not (board.root / "calls").exists()
    assert board.content() == before
    assert board.run("down") == (0, "")
    assert not board.gadget.exists()
    assert board.run("down") == (0, "")
    assert board.run("status") == (0, "down\n")
    assert board.run("up")[0] == 0
    assert board.content() == before


def test_up_after_an_interrupted_one_begins_afresh(board):
    assert board.run("up", ETHERNET="yes")[0] == 0
    steps = len((board.root / "calls").read_text().splitlines())
    whole = board.content()
    assert board.run("down")[0] == 0
    for step in range(1, steps + 1):
        code, said = board.run("up", ETHERNET="yes", FAIL_AT=str(step))
        assert code != 0, said
        assert not board.content().get("UDC")
        code, said = board.run("up", ETHERNET="yes")
        assert code == 0, said
        assert board.content() == whole
        assert board.run("down")[0] == 0
        assert not board.gadget.exists()


def test_ethernet_on_the_same_cable_has_two_addresses_of_its_own(board):
    (board.root / "etc/default").mkdir()
    (board.root / "etc/default/ivories-gadget").write_text("ETHERNET=yes\n")
    assert board.run("up")[0] == 0
    content = board.content()
    assert content["configs/c.1/ncm.usb0"] == "-> functions/ncm.usb0"
    ours, theirs = (content[f"functions/ncm.usb0/{end}_addr"] for end in ("dev", "host"))
    assert (ours[:3], theirs[:3], ours[3:]) == ("02:", "06:", theirs[3:])
    assert len(bytes.fromhex(ours.replace(":", ""))) == 6
    assert content["bcdDevice"] == "0x0110"


def test_a_port_that_another_gadget_uses_is_left_to_it(board):
    other = board.gadget.with_name("printer")
    other.mkdir()
    (other / "UDC").write_text("fe980000.usb\n")
    assert "second.usb" in board.run("up")[1]
    assert board.content()["UDC"] == "second.usb"
    shutil.rmtree(board.root / "sys/class/udc/second.usb")
    assert board.run("down")[0] == 0
    code, said = board.run("up")
    assert code == 1
    assert "no free USB device port" in said
    assert "dtoverlay" in said


def test_the_port_may_be_named(board):
    assert board.run("up", UDC="second.usb")[0] == 0
    assert board.content()["UDC"] == "second.usb"
    assert board.run("down")[0] == 0
    code, said = board.run("up", UDC="third.usb")
    assert code == 1
    assert "there is no USB device port third.usb" in said
    assert not board.gadget.exists()


def test_the_module_is_loaded_and_configfs_mounted_where_they_are_not(board):
    shutil.rmtree(board.root / "sys/kernel")
    assert board.run("up")[0] == 0
    calls = (board.root / "calls").read_text().split()
    assert calls[:3] == ["modprobe", "mount", "mkdir"]
    assert board.content()["UDC"] == "fe980000.usb"


def test_wrong_use_is_told(board):
    code, said = board.run("upp")
    assert (code, said) == (2, "usage: ivories-gadget up|down|status\n")
