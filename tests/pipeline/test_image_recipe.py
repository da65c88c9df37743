"""The recipe of the flashable image without making one: its words, its files, its stand-in for ssh."""

import os
import re
import subprocess
from pathlib import Path

import pytest
import yaml

PROJECT = Path(__file__).parents[2]
FOLDER = PROJECT / "deploy/image"
BUILD = FOLDER / "build.sh"


def build(*arguments, **environment):
    done = subprocess.run(
        ["sh", BUILD, *arguments], capture_output=True, text=True, check=False, env=os.environ | environment
    )
    return done.returncode, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ([], "say which file to write"),
        (["--frobnicate", "x.img"], "there is no option --frobnicate"),
        (["--arch"], "--arch wants a value"),
        (["--arch", "amd64", "--board", "pi", "x.img"], "no image is made for pi on amd64"),
        (["--arch", "riscv64", "x.img"], "no image is made for uefi on riscv64"),
        (["--ssh-key", str(BUILD), "x.img"], "is no public key"),
    ],
)
def test_mistakes_are_told_in_a_sentence_and_nothing_is_made(tmp_path, arguments, says):
    code, said = build(*arguments, TMPDIR=str(tmp_path))
    assert code == 1
    assert said.startswith("build.sh: ")
    assert says in said
    assert not list(tmp_path.iterdir())


def test_every_option_that_the_first_lines_tell_of_is_taken():
    text = BUILD.read_text()
    told = set(re.findall(r"^#   (--[a-z-]+)", text, re.MULTILINE))
    taken = set(re.findall(r"^ +(--[a-z-]+)\) ", text, re.MULTILINE))
    assert told == taken


def test_what_it_asks_of_the_installation_script_is_what_that_installs():
    (pattern,) = re.findall(r"sed -n '([^']+)' \"\$project/deploy/install.sh\"", BUILD.read_text())
    asked = subprocess.run(
        ["sed", "-n", pattern, PROJECT / "deploy/install.sh"], capture_output=True, text=True, check=True
    ).stdout.split()
    assert {"python3", "python3-venv", "sudo", "openssh-client", "alsa-utils"} <= set(asked)


def test_the_first_start_reads_what_lies_on_the_card():
    cloud = yaml.safe_load((FOLDER / "cloud.cfg").read_text())
    text = BUILD.read_text()
    label = cloud["datasource"]["NoCloud"]["fs_label"]
    assert f"-n {label} " in text
    assert f"LABEL={label} " in text
    assert 'cp "$here/user-data" "$here/network-config"' in text
    account = cloud["system_info"]["default_user"]
    assert (account["name"], account["lock_passwd"]) == ("pi", True)
    user = (FOLDER / "user-data").read_text()
    assert user.startswith("#cloud-config\n")
    assert yaml.safe_load(user)["ssh_pwauth"] is False
    network = (FOLDER / "network-config").read_text()
    assert set(yaml.safe_load(network)["ethernets"]) == {"cable"}
    wireless = yaml.safe_load(re.sub(r"^#(?=wifis| )(?! [A-Z])", "", network, flags=re.MULTILINE))
    assert wireless["wifis"]["wlan0"]["access-points"] == {"network": {"password": "password"}}


def test_a_key_gets_into_user_data(tmp_path):
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", tmp_path / "key"], check=True)
    (line,) = re.findall(r"^.*(sed -i \"s\|.*)$", BUILD.read_text(), re.MULTILINE)
    (tmp_path / "boot").mkdir()
    (tmp_path / "boot/user-data").write_text((FOLDER / "user-data").read_text())
    env = os.environ | {"opener": str(tmp_path / "key.pub"), "work": str(tmp_path)}
    subprocess.run(["sh", "-c", line], env=env, check=True)
    keys = yaml.safe_load((tmp_path / "boot/user-data").read_text())["ssh_authorized_keys"]
    assert keys == [" ".join((tmp_path / "key.pub").read_text().split()[:2])]


def test_the_stand_in_for_ssh_runs_the_command_below_the_root(tmp_path):
    fake = tmp_path / "chroot"
    fake.write_text('#!/bin/sh\necho "root $1"\nshift\nexec "$@"\n')
    fake.chmod(0o755)
    env = os.environ | {"PATH": f"{tmp_path}:{os.environ['PATH']}"}
    enter = ["sh", FOLDER / "enter.sh", "/somewhere"]
    shared = ["-o", "ControlMaster=auto", "-o", "ControlPath=/x"]
    done = subprocess.run(
        [*enter, *shared, "-t", "image", "cat; false && echo no || echo yes"],
        input="words", capture_output=True, text=True, check=False, env=env,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (0, "root /somewhere\nwordsyes\n")
    sudo = [*enter, *shared, "image", "sudo -n echo one && sudo echo two"]
    assert subprocess.run(sudo, capture_output=True, text=True, env=env, check=True).stdout.endswith(
        "one\ntwo\n"
    )
    done = subprocess.run([*enter, *shared, "image", "exit 3"], capture_output=True, check=False, env=env)
    assert done.returncode == 3
    done = subprocess.run([*enter, *shared, "-O", "exit", "image"], capture_output=True, check=False, env=env)
    assert (done.returncode, done.stdout) == (0, b"")
