"""A device in a folder: its program is the real one; systemctl and the making of environments are small.

The fake systemctl starts real processes from ``current``, calls ``recover`` first, and does one at a time.
A release's wheel is a zip with one module that serves its version on a Unix socket.
"""

import contextlib
import hashlib
import io
import json
import os
import platform
import signal
import socket
import subprocess
import sys
import tarfile
import threading
import time
import zipfile
from pathlib import Path

sys.path.append(str(Path(__file__).parents[1] / "deploy"))
import pack

PROGRAM = Path(__file__).parents[1] / "deploy/device"
STEPS = 12  # of an update, see the calls of step() in deploy/device

# Called as: python -c KILLER N < bundle. Kills itself where step N would begin; N = 0 never.
KILLER = """
import os, runpy, signal, sys
sys.path.insert(0, sys.argv[2])
import places
count = 0
def step(name):
    global count
    count += 1
    if count == kill_at:
        os.kill(os.getpid(), signal.SIGKILL)
    places.say(f"step {count}: {name}")
places.step = step
kill_at, program = int(sys.argv[1]), sys.argv[2]
sys.argv = [program, sys.argv[3]]
runpy.run_path(program + "/__main__.py", run_name="__main__")
"""

MODULE = """
import os, socket, sys, time
VERSION, ILLNESS = {version!r}, {illness!r}
def main():
    root = os.environ["IVORIES_ROOT"]
    if sys.argv[1] == "doctor":
        print("doctor of", VERSION, flush=True)
        if ILLNESS == "doctor dies":
            os.kill(os.getpid(), 11)
        sys.exit(ILLNESS == "doctor")
    if ILLNESS == "crash":
        sys.exit(1)
    if ILLNESS == "hang":
        time.sleep(600)
    path = root + "/run/answer"
    server = socket.socket(socket.AF_UNIX)
    if os.path.exists(path):
        os.unlink(path)
    server.bind(path)
    server.listen()
    open(root + "/run/ready", "w").close()
    while True:
        line = server.accept()[0]
        line.sendall(VERSION.encode())
        line.close()
main()
"""

MAKER = """
import os, sys, venv, zipfile
place, wheels = sys.argv[1], sys.argv[2:]
venv.create(place, with_pip=False, symlinks=True, system_site_packages=True)
for wheel in wheels:
    zipfile.ZipFile(wheel).extractall(place + "/lib")
script = place + "/bin/ivories"
with open(script, "w") as file:
    file.write("#!/bin/sh\\nexec " + place + "/bin/python -IS " + place + '/lib/service.py "$@"\\n')
os.chmod(script, 0o755)
"""

SYSTEMCTL = """#!/bin/sh
run=$IVORIES_ROOT/run
alive() {
  grep -qs '^State:' /proc/$(cat $run/pid)/status && ! grep -qs '^State:.[ZX]' /proc/$(cat $run/pid)/status
}
case $1 in
  show)
    if [ ! -e $run/pid ]; then state=inactive
    elif ! alive; then state=failed
    elif [ -e $run/ready ]; then state=active
    else state=activating; fi
    echo "ActiveState=$state"; echo "InvocationID=$(cat $run/count)"; echo NRestarts=0; echo StatusText=
    ;;
  restart)
    exec 9>$run/lock </dev/null >/dev/null 2>&1
    flock 9
    [ -e $run/pid ] && kill -9 $(cat $run/pid)
    rm -f $run/ready
    {python} {program} recover 9>&-
    count=$(cat $run/count); echo $((count + 1)) > $run/count
    setsid {start} 9>&- &
    echo $! > $run/pid
    ;;
esac
"""


class Site:
    """A device whose root is ``root``, and a workstation with a key that it trusts."""

    def __init__(self, root, start="$IVORIES_ROOT/opt/ivories/current/venv/bin/ivories run"):
        self.root = root
        for folder in ("etc/ivories", "run", "opt/ivories", "workstation"):
            (root / folder).mkdir(parents=True)
        self.workstation = root / "workstation"
        self.key = self.new_key("key")
        public = self.key.with_suffix(".pub").read_text()
        (root / "etc/ivories/release-signers").write_text(f"ivories-release {public}")
        (root / "run/count").write_text("0")
        systemctl, maker = self.workstation / "systemctl", self.workstation / "maker.py"
        text = SYSTEMCTL.replace("{python}", sys.executable).replace("{program}", str(PROGRAM))
        systemctl.write_text(text.replace("{start}", start))
        systemctl.chmod(0o755)
        maker.write_text(MAKER)
        self.environment = os.environ | {
            "IVORIES_ROOT": str(root), "SYSTEMCTL": str(systemctl), "IVORIES_HEALTH_S": "8",
            "IVORIES_SETTLE_S": "0.02", "IVORIES_ENVIRONMENT": f"{sys.executable} -IS {maker}",
        }  # fmt: skip
        self.bundles = 0

    def new_key(self, name):
        key = self.workstation / name
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key], check=True)
        return key

    def close(self):
        if (self.root / "run/pid").exists():
            with contextlib.suppress(ProcessLookupError):
                os.kill(int((self.root / "run/pid").read_text()), signal.SIGKILL)

    def manifest(self, version, illness="", **changes):
        """Return the manifest of a release and its files by hash."""
        self.bundles += 1
        wheel = io.BytesIO()
        with zipfile.ZipFile(wheel, "w") as file:
            undated = zipfile.ZipInfo("service.py")  # the same release has the same hash in the next second
            file.writestr(undated, MODULE.format(version=version, illness=illness))
        files = {
            "wheels/ivories-1-py3-none-any.whl": wheel.getvalue(),
            "models/audio.tflite": version.encode(),
        }
        hashed = [(name, hashlib.sha256(content).hexdigest(), content) for name, content in files.items()]
        manifest = {
            "format": 1, "id": f"20300101-{self.bundles:06d}-test", "version": version,
            "created": 1_900_000_000 + self.bundles, "machine": platform.machine(), "complete": True,
            "files": [{"path": n, "sha256": sha, "size": len(content)} for n, sha, content in hashed],
        } | changes  # fmt: skip
        return json.dumps(manifest).encode(), {sha: content for _, sha, content in hashed}

    def bundle(self, version, illness="", key=None, **changes):
        """Return a signed bundle as the workstation sends it."""
        manifest, files = self.manifest(version, illness, **changes)
        return self.tar(manifest, pack.sign(manifest, key or self.key), files)

    def tar(self, manifest, signature, files):
        stream = io.BytesIO()
        with tarfile.open(fileobj=stream, mode="w|") as tar:
            members = {"manifest.json": manifest, "manifest.json.sig": signature, **files}
            for name, content in members.items():
                member = tarfile.TarInfo(name)
                member.size = len(content)
                tar.addfile(member, io.BytesIO(content))
        return stream.getvalue()

    def run(self, command, content=b"", kill_at=0, kill_after=None):
        """Call the device's program; killed at a step, or after so many seconds."""
        process = subprocess.Popen(
            [sys.executable, "-IS", "-c", KILLER, str(kill_at), PROGRAM, command], env=self.environment,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip
        if kill_after is not None:
            threading.Timer(kill_after, process.kill).start()
        with contextlib.suppress(BrokenPipeError):
            process.stdin.write(content)
            process.stdin.close()
        # Not to the end of its output: processes that outlive it may hold the pipe.
        process.stdin = None
        code = process.wait()
        os.set_blocking(process.stdout.fileno(), False)
        said = (process.stdout.read() or b"").decode()
        process.stdout.close()
        return code, said

    def restart(self):
        """Start the service afresh, as after a power cut."""
        subprocess.run([self.environment["SYSTEMCTL"], "restart"], env=self.environment, check=False)

    def answer(self, seconds=10.0):
        """Return the version of the service that answers."""
        deadline = time.monotonic() + seconds
        while True:
            with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as line:
                line.connect(str(self.root / "run/answer"))
                said = line.recv(100).decode()
                if said:
                    return said
            assert time.monotonic() < deadline, "nothing answers"
            time.sleep(0.005)

    def pending(self):
        return (self.root / "opt/ivories/pending").exists()

    def releases(self):
        return sorted(path.name for path in (self.root / "opt/ivories/releases").iterdir())
