"""Preparing a system: install.sh below a folder and, where one may mount, in a copy of this system."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[2]
DEPLOY = PROJECT / "deploy"
INSTALL = DEPLOY / "install.sh"

# Run in a mount namespace of its own, so that nothing of it stays. apt-get is one that writes its words down.
OVERLAY = """
set -eu
mount -t tmpfs none $PLACE
cd $PLACE
mkdir upper work root
mount -t overlay overlay -o lowerdir=/,upperdir=upper,workdir=work root
"""
THROW_AWAY = """
mount -t proc none root/proc
mount --bind /dev root/dev
printf '#!/bin/sh\\necho "apt-get $*" >>/apt\\n' >root/usr/local/sbin/apt-get
chmod +x root/usr/local/sbin/apt-get
rm -rf root/run/systemd/system root/etc/ivories root/opt/ivories
cp -r $DEPLOY root/tmp/deploy
cp $KEY root/tmp/key.pub
exec chroot root sh -c '
  export PATH=/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin
  sh /tmp/deploy/install.sh --signer /tmp/key.pub || echo "failed: $?"
  echo AGAIN
  sh /tmp/deploy/install.sh --signer /tmp/key.pub || echo "failed: $?"
  echo THEN
  id -nG ivories; stat -c "%U %a" /var/lib/ivories; ls /etc/systemd/system/multi-user.target.wants
  ivories-release facts'
"""


def install(*arguments):
    done = subprocess.run(["sh", INSTALL, *arguments], capture_output=True, text=True, check=False)
    return done.returncode, done.stdout + done.stderr


def files(root):
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


@pytest.fixture
def key(tmp_path):
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", tmp_path / "key"], check=True)
    return tmp_path / "key.pub"


@pytest.fixture
def root(tmp_path):
    (tmp_path / "root").mkdir()
    return tmp_path / "root"


def test_everything_is_put_in_its_place_once(root, key):
    code, said = install("--root", root, "--signer", key)
    assert code == 0, said
    before = files(root)
    assert before.keys() >= {
        "etc/ivories/ivories.toml", "etc/ivories/release-signers", "etc/modules-load.d/ivories.conf",
        "etc/systemd/system.conf.d/ivories.conf", "etc/systemd/system/ivories.service",
        "etc/systemd/system/ivories-gadget.service", "etc/udev/rules.d/60-ivories.rules",
        "usr/local/sbin/ivories-release", "usr/local/sbin/ivories-gadget", "usr/local/bin/ivories",
        "usr/local/lib/ivories-release/__main__.py",
    }  # fmt: skip
    assert "would run: systemctl enable ivories.service ivories-gadget.service" in said
    code, said = install("--root", root, "--signer", key)
    assert code == 0
    assert "writing" not in said
    assert "making" not in said
    assert files(root) == before


def test_a_dry_run_changes_nothing_and_names_everything(root, key):
    code, said = install("--dry-run", "--root", root, "--signer", key)
    assert code == 0
    assert not files(root)
    assert f"writing {root}/etc/systemd/system/ivories.service" in said


def test_the_owners_settings_and_other_trusted_keys_stay(root, key):
    assert install("--root", root, "--signer", key)[0] == 0
    settings = root / "etc/ivories/ivories.toml"
    settings.write_text('[device]\nname = "upright"\n')
    other = key.with_name("other")
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", other], check=True)
    assert install("--root", root, "--signer", other.with_suffix(".pub"))[0] == 0
    assert settings.read_text() == '[device]\nname = "upright"\n'
    assert (root / "etc/ivories/release-signers").read_text().count("ssh-ed25519") == 2


def test_a_pi_gets_its_usb_port_turned_round_once(root, key):
    (root / "proc/device-tree").mkdir(parents=True)
    (root / "proc/device-tree/model").write_bytes(b"Raspberry Pi 4 Model B Rev 1.4\0")
    (root / "boot/firmware").mkdir(parents=True)
    config = root / "boot/firmware/config.txt"
    config.write_text("dtparam=audio=on\n\n[cm4]\notg_mode=1\n")
    code, said = install("--root", root)
    assert code == 0
    assert "sudo reboot" in said
    assert "python3-picamera2" in said
    text = config.read_text()
    assert text.startswith("dtparam=audio=on\n\n[cm4]\notg_mode=1\n")
    assert text.endswith(
        "[all]\n# Ivories: a MIDI keyboard on the USB port\ndtoverlay=dwc2,dr_mode=peripheral\n"
    )
    assert "reboot" not in install("--root", root)[1]
    assert config.read_text() == text


def test_mistakes_are_told_in_a_sentence(root, tmp_path):
    nonsense = tmp_path / "nonsense.pub"
    nonsense.write_text("hello")
    code, said = install("--root", root, "--signer", nonsense)
    assert (code, "is no public key" in said) == (1, True)
    assert install("--signer")[0] == 2
    assert install("--frobnicate")[0] == 2
    assert "this device will refuse every release" in install("--root", root)[1]
    assert len(INSTALL.read_text().splitlines()) < 200


def throw_away(command, place, **environment):
    return subprocess.run(
        ["unshare", "--mount", "sh", "-c", OVERLAY + command], capture_output=True, text=True, check=False,
        env=os.environ | environment | {"PLACE": str(place)},
    )  # fmt: skip


def test_a_whole_system_is_prepared_and_prepared_again(tmp_path, key):
    place = tmp_path / "place"
    place.mkdir()
    if throw_away("exit 0", place).returncode != 0:
        pytest.skip("needs the right to mount")
    done = throw_away(THROW_AWAY, place, DEPLOY=str(DEPLOY), KEY=str(key))
    first, again, then = (part.strip() for part in done.stdout.replace("THEN", "AGAIN").split("AGAIN"))
    assert "failed" not in done.stdout, done.stdout + done.stderr
    assert "writing /etc/systemd/system/ivories.service" in first
    assert again == "prepared; next: make deploy HOST=... on the workstation"
    groups, folder, *wanted, facts = then.splitlines()
    assert {"audio", "video", "plugdev"} <= set(groups.split())
    assert folder == "ivories 750"
    assert {"ivories.service", "ivories-gadget.service"} <= set(wanted)
    sys.path.append(str(DEPLOY))
    import release

    assert json.loads(facts)["system"] == release.system_hash()
