"""``ivories-release``: the device's side of an update; Python 3.11, systemd and ssh-keygen are all it needs.

    install < TAR    verify, build an environment of its own, check it, switch to it, watch it, go back if ill
    rollback         switch to the release before, watched in the same way
    recover          take back a switch that nobody confirmed; the service calls it before every start
    unstick          restart the computer if a driver holds the stopped service; the service calls it last
    facts, missing < MANIFEST, status

In /opt/ivories: ``store/`` holds received files by their SHA-256, ``releases/ID/`` one environment each
(usable once it holds ``ready``), ``current`` is the symlink that the service starts from, and ``pending``
exists between a switch and its confirmation. Killed anywhere, the release that ran before starts next.
"""

import contextlib
import fcntl
import hashlib
import json
import os
import platform
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from bundle import confirmed, installed, missing, parse_manifest, receive, releases
from environment import build, prune
from places import HOME, PENDING, PROTOCOL, RELEASES, ROOT, SERVICE, STORE, Refusal, current, say, step
from stuck import unstick
from switching import activate, service, take_back


@contextlib.contextmanager
def locked(wait_s: float = 60.0) -> Iterator[int]:
    """Be the only update; raises Refusal when another one goes on for ``wait_s``."""
    for folder in (STORE, RELEASES):
        folder.mkdir(parents=True, exist_ok=True)
    deadline = time.monotonic() + wait_s
    with (HOME / "lock").open("w") as file:
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError as error:
                if time.monotonic() >= deadline:
                    raise Refusal("another update is going on") from error
            time.sleep(0.05)
        yield file.fileno()


def install() -> None:
    """Install the bundle on standard input."""
    with locked() as lock:
        take_back()
        step("receive and verify")
        manifest, raw = receive(sys.stdin.buffer)
        # From here on the update finishes, well or not, even when the line to the workstation is cut.
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        os.nice(10)
        build(manifest, raw, lock)
        activate(manifest.id)
        step("tidy up")
        prune()
        say(f"release {manifest.id} (version {manifest.version}) runs")


def rollback() -> None:
    """Switch to the newest release before the current one that was well when it came."""
    with locked():
        take_back()
        usable, running = releases(), installed(current())
        older = [m for m in usable if running and (m.created, m.id) < (running.created, running.id)]
        older = [m for m in older if confirmed(m.id)]
        if not older:
            raise Refusal("there is no earlier release to go back to")
        activate(older[0].id)
        say(f"release {older[0].id} (version {older[0].version}) runs")


def recover() -> None:
    """Take back an unconfirmed switch, unless the update that made it is still at work."""
    if not PENDING.exists():
        return
    with contextlib.suppress(Refusal), locked(wait_s=0):
        take_back()


def facts() -> None:
    """Print what the workstation must know to build a bundle, as JSON."""
    units = ROOT / "etc/systemd/system"
    system = [*sorted(Path(__file__).parent.glob("*.py")), units / SERVICE, units / "ivories-gadget.service"]
    system.append(ROOT / "usr/local/sbin/ivories-gadget")
    content = b"".join(path.read_bytes() for path in system if path.is_file())
    python, libc = platform.python_version_tuple(), platform.libc_ver()[1]
    numpy = subprocess.run(
        [sys.executable, "-c", "import numpy; print(numpy.__version__)"],
        capture_output=True,
        text=True,
        check=False,
    ).stdout.strip()
    say(json.dumps({
        "protocol": PROTOCOL, "machine": platform.machine(), "python": ".".join(python[:2]), "libc": libc,
        "numpy": numpy, "current": current(), "system": hashlib.sha256(content).hexdigest(),
    }))  # fmt: skip


def tell_missing() -> None:
    """Print, as JSON, which files of the manifest on standard input are not here."""
    with locked():
        say(json.dumps(missing(parse_manifest(sys.stdin.buffer.read(1_000_000)))))


def status() -> None:
    """Print the releases and how the service is."""
    now = service()
    say(f"service: {now['ActiveState'] or 'unknown'} {now['StatusText']}".rstrip())
    for m in releases() if RELEASES.is_dir() else []:
        mark = "->" if m.id == current() else "  "
        failed = RELEASES / m.id / "failed"
        built = time.strftime("%Y-%m-%d %H:%M", time.gmtime(m.created))
        wrong = f"  not healthy: {failed.read_text()}" if failed.exists() else ""
        say(f"{mark} {m.id}  version {m.version}, built {built} UTC{wrong}")
    if PENDING.exists():
        say("an update goes on or was interrupted")


COMMANDS = {
    "install": install, "rollback": rollback, "recover": recover, "facts": facts, "missing": tell_missing,
    "status": status, "unstick": unstick,
}  # fmt: skip


def main() -> int:
    """Run the command named; 0 done, 1 refused or rolled back, 2 wrong use."""
    if len(sys.argv) != 2 or sys.argv[1] not in COMMANDS:
        print(f"usage: ivories-release {'|'.join(COMMANDS)}", file=sys.stderr)
        return 2
    os.umask(0o022)
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    try:
        COMMANDS[sys.argv[1]]()
    except Refusal as refusal:
        with contextlib.suppress(OSError):
            print(f"ivories-release: {refusal}", file=sys.stderr, flush=True)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
