"""From the workstation to a device over a true ssh connection: the project's wheel, doctor and service."""

import contextlib
import getpass
import hashlib
import importlib.metadata
import json
import os
import shutil
import socket
import subprocess
import sys
import sysconfig
import tempfile
import time
from pathlib import Path

import msgspec
import numpy as np
import pytest
import soundfile

from device_site import PROGRAM, Site, pack
from ivories import native
from ivories.audio.spec import FrontEndSpec, fingerprint
from ivories.inference.manifest import save_manifest
from ivories.vision.strip import StripSpec
from pipeline.test_senses import DATA, HEARING, SEEING

import release  # isort: skip - found beside pack, which device_site puts on the path

SSHD = shutil.which("sshd", path=os.environ.get("PATH", "") + ":/usr/sbin")
SETUPTOOLS = [int(part) for part in importlib.metadata.version("setuptools").split(".")[:1]]

pytestmark = [
    pytest.mark.timeout(900),  # a wheel is compiled and two environments are made
    pytest.mark.skipif(SSHD is None, reason="openssh-server is not installed"),
    pytest.mark.skipif(
        SETUPTOOLS < [77], reason="setuptools 77 is needed to build the wheel without a network"
    ),
]

CONFIG = """
[audio]
source = "file"
device = "{sound}"
[video]
source = "off"
[usb_midi]
enabled = "off"
[alsa_seq]
enabled = "off"
"""

# What systemd does for Type=notify: READY=1 on a socket makes the service active. The service keeps our id.
SUPERVISE = """
import os, socket
root = os.environ["IVORIES_ROOT"]
path = root + "/run/notify"
if os.path.exists(path):
    os.unlink(path)
listener = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
listener.bind(path)
listener.settimeout(0.5)
service = os.getpid()
if os.fork():
    listener.close()
    os.environ["NOTIFY_SOCKET"] = path
    program = root + "/opt/ivories/current/venv/bin/ivories"
    log = os.open(root + "/run/log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.execv(program, [program, "run", "--view", "--config", root + "/etc/ivories/ivories.toml"])
while os.getppid() == service:
    try:
        if b"READY=1" in listener.recv(4096):
            open(root + "/run/ready", "w").close()
    except TimeoutError:
        pass
"""


@contextlib.contextmanager
def sshd(site):
    """Run an sshd on loopback for this user alone; yield the ssh command that reaches it as host `piano`."""
    folder = site.workstation
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    host_key, user_key = site.new_key("host"), site.new_key("user")
    # As if the dependencies came with the device's own Python: without the project itself.
    packages = folder / "packages"
    packages.mkdir()
    for entry in Path(sysconfig.get_path("platlib")).iterdir():
        if "ivories" not in entry.name:
            (packages / entry.name).symlink_to(entry)
    kept = ("IVORIES_ROOT", "SYSTEMCTL", "IVORIES_HEALTH_S", "IVORIES_SETTLE_S")
    environment = {name: site.environment[name] for name in kept} | {"PYTHONPATH": str(packages)}
    (folder / "sshd_config").write_text(
        f"Port {port}\nListenAddress 127.0.0.1\nHostKey {host_key}\nAuthorizedKeysFile {user_key}.pub\n"
        "PidFile none\nUsePAM no\nStrictModes no\nPasswordAuthentication no\nPermitRootLogin yes\n"
        "SetEnv " + " ".join(f'{name}="{value}"' for name, value in environment.items()) + "\n"
    )
    (folder / "ssh_config").write_text(
        f"Host piano\nHostName 127.0.0.1\nPort {port}\nUser {getpass.getuser()}\nIdentityFile {user_key}\n"
        f"IdentitiesOnly yes\nUserKnownHostsFile {folder}/known\nStrictHostKeyChecking accept-new\n"
        "LogLevel ERROR\n"
    )
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(exist_ok=True)
    with (folder / "sshd.log").open("w") as log:
        process = subprocess.Popen([SSHD, "-D", "-e", "-f", folder / "sshd_config"], stderr=log)
    try:
        deadline = time.monotonic() + 5
        while "listening" not in (folder / "sshd.log").read_text():
            assert process.poll() is None, (folder / "sshd.log").read_text()
            assert time.monotonic() < deadline
            time.sleep(0.02)
        yield f"ssh -F {folder}/ssh_config"
    finally:
        process.terminate()
        process.wait()


def tiny_models(folder, change=b""):
    """Write the two small test networks with manifests that fit this release's front ends."""
    folder.mkdir()
    prints = {
        "audio": fingerprint(FrontEndSpec(), native.AUDIO_KERNEL_REVISION), "video": StripSpec().fingerprint,
    }  # fmt: skip
    for manifest in (HEARING, SEEING):
        content = (DATA / manifest.file).read_bytes()
        (folder / manifest.file).write_bytes(content + change)
        whole = msgspec.structs.replace(
            manifest, sha256=hashlib.sha256(content).hexdigest(), frontend=prints[manifest.kind],
            thresholds={name: [2.0, 1.0, 0.0] for name in ("earliest", "balanced", "surest")},
        )  # fmt: skip
        save_manifest(whole, folder / f"{manifest.kind}.toml")
    return folder


def running(site):
    """Return the release whose interpreter runs the service."""
    pid = (site.root / "run/pid").read_text().strip()
    return Path(f"/proc/{pid}/cmdline").read_text().split("/releases/")[1].split("/")[0]


def test_deploy_refuse_roll_back_and_status_over_ssh(monkeypatch, capfd):
    # The wheel is built with what is installed here: a test needs no network.
    monkeypatch.setenv("PIP_NO_BUILD_ISOLATION", "0")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    with tempfile.TemporaryDirectory() as folder:
        supervise = Path(folder) / "supervise.py"
        supervise.write_text(SUPERVISE)
        site = Site(Path(folder) / "device", start=f"{sys.executable} -IS {supervise}")
        site.environment["IVORIES_HEALTH_S"] = "60"
        sound = site.workstation / "room.wav"
        soundfile.write(sound, np.zeros(300 * 16_000, np.int16), 16_000)
        (site.root / "etc/ivories/ivories.toml").write_text(CONFIG.replace("{sound}", str(sound)))
        models = tiny_models(site.workstation / "models")
        with sshd(site) as ssh, contextlib.closing(site):
            program = f"{sys.executable} {PROGRAM}"

            def workstation(command, *options):
                done = subprocess.run(
                    [sys.executable, pack.PROJECT / "deploy/release.py", command, "piano", "--ssh", ssh,
                     "--program", program, "--key", site.key, *options],
                    capture_output=True, text=True, check=False,
                )  # fmt: skip
                return done.returncode, done.stdout + done.stderr

            code, said = workstation("deploy", "--fetch-there", "--models", models)
            assert code == 0, said
            first = running(site)
            assert f"release {first}" in said
            assert (site.root / "run/ready").exists()  # sound went through the network

            # The same wheel with damaged networks: its doctor says so, and nothing changes.
            device = release.Device("piano", ssh, program, site.workstation)
            with contextlib.closing(device):
                facts = device.ask("facts")
                kept = json.loads((site.root / "opt/ivories/current/manifest.json").read_text())["files"][0]
                wheel = site.workstation / Path(kept["path"]).name
                shutil.copy(site.root / "opt/ivories/store" / kept["sha256"], wheel)
                bad = sorted(tiny_models(site.workstation / "bad", b"!").iterdir())
                time.sleep(1.1)  # a release is named by its second
                with pytest.raises(release.ReleaseError):
                    device.install(pack.pack(wheel, [], bad, facts, site.key))
            said = capfd.readouterr().err
            assert "finds something wrong, nothing was changed" in said
            assert "audio network" in said
            assert running(site) == first
            assert workstation("rollback")[0] == 1

            code, said = workstation("status")
            assert code == 0
            assert "service: active" in said
            assert f"-> {first}" in said
