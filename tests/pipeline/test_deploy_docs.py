"""What the pages about installation tell one to type exists, and says yes to its options."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from ivories.config import load_config

PROJECT = Path(__file__).parents[2]
DOCS = PROJECT / "deploy/docs"
NAMES = ("install.md", "deploy.md", "security.md", "takes.md", "desk.md", "boards.md", "image.md")
PAGES = [DOCS / name for name in NAMES]
UNITS = {path.stem for path in (PROJECT / "deploy/systemd").iterdir()}
UNITS |= {"nv-l4t-usb-device-mode"}  # of a Jetson
# Of Debian, with options that were tried by hand.
SYSTEM = {"aseqdump", "cat", "dpkg", "install", "modprobe", "ss", "ssh"}


def commands():
    for page in PAGES:
        for block in re.findall(r"^ *```sh\n(.*?)^ *```$", page.read_text(), re.MULTILINE | re.DOTALL):
            for line in block.splitlines():
                words = shlex.split(line, comments=True)
                if words:
                    yield pytest.param(words, id=f"{page.name}: {' '.join(words)}")


def words_of_help(*program):
    done = subprocess.run(
        [*program, "--help"], capture_output=True, text=True, check=False, env={"COLUMNS": "200"}
    )
    assert "--help" in done.stdout, done.stderr
    return done.stdout


def run_script(script, *arguments):
    """Run a script that changes nothing, or find the options of one that makes an image."""
    if script == "deploy/image/build.sh":
        assert {word for word in arguments if word.startswith("--")} <= taken_by_build(), arguments
        return
    assert (script, *arguments) == ("deploy/install.sh", "--dry-run")
    done = subprocess.run(["sh", script, *arguments], cwd=PROJECT, capture_output=True, check=False)
    assert done.returncode == 0


def taken_by_build():
    text = (PROJECT / "deploy/image/build.sh").read_text()
    return set(re.findall(r"^ +(--[a-z-]+)\) ", text, re.MULTILINE))


def check_compose(*arguments):
    compose, option, file, command, *rest = arguments
    assert (compose, option) == ("compose", "-f")
    services = yaml.safe_load((PROJECT / file).read_text())["services"]
    known = {"up": {"--build"}, "exec": set(services) | {"cat", "/secrets/dashboard"}, "down": {"--volumes"}}
    assert set(rest) <= known[command], rest


@pytest.mark.parametrize("words", list(commands()))
def test_a_command_exists(words):
    if words[0] == "sudo":
        words = words[3:] if words[1] == "-u" else words[1:]
    program, *arguments = words
    options = {word for word in arguments if word.startswith("--")}
    if program == "make":
        targets = [word for word in arguments if "=" not in word]
        done = subprocess.run(
            ["make", "-n", "-C", PROJECT, "VENV=/nowhere", *arguments],
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        for target in targets:
            assert re.search(rf"^{target}:.*## ", (PROJECT / "Makefile").read_text(), re.MULTILINE)
    elif program == "ivories":
        names = [word for word in arguments if word.isalpha()][: 2 if arguments[0] == "config" else 1]
        said = words_of_help(sys.executable, "-c", "from ivories.cli import main; main()", *names)
        assert all(option in said for option in options)
    elif program in {"ivories-release", "ivories-gadget"}:
        source = (
            "deploy/device/__main__.py" if program == "ivories-release" else "deploy/gadget/ivories-gadget"
        )
        assert re.search(rf"\b{arguments[0]}\b", (PROJECT / source).read_text())
    elif program == "sh":
        run_script(*arguments)
    elif program == "docker":
        check_compose(*arguments)
    elif program == "python3":
        said = words_of_help(sys.executable, PROJECT / arguments[0])
        assert all(option in said for option in options)
    elif program in {"systemctl", "journalctl", "systemd-analyze"}:
        assert UNITS & set(arguments)
    else:
        assert program in SYSTEM


def test_train_and_deploy_come_in_this_order_also_side_by_side():
    done = subprocess.run(
        ["make", "-n", "-j4", "-C", PROJECT, "VENV=/nowhere", "deploy", "train-qat", "HOST=pi@piano.local"],
        capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    assert 0 < done.index("ivories-train all") < done.index("release.py deploy pi@piano.local")


def test_the_pages_name_no_setting_or_file_that_is_not_there():
    sections = {
        name: getattr(load_config(PROJECT / "deploy/ivories.toml"), name)
        for name in ("mqtt", "usb_midi", "recorder", "rtp_midi")
    }
    for page in PAGES:
        text = page.read_text()
        for target in re.findall(r"\]\(([^)#:]+)\)", text):
            assert (DOCS / target).exists(), (page.name, target)
        for section, key in re.findall(r"`(mqtt|usb_midi|recorder|rtp_midi)\.(\w+)`", text):
            assert hasattr(sections[section], key)
