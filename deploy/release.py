"""Bring a release onto a device over ssh: ``release.py deploy|rollback|status|install HOST``.

Runs on the workstation, behind ``make deploy HOST=pi@piano.local`` and its kin. ``install`` prepares a bare
system once; ``deploy`` builds, signs, sends what the device lacks, and lets it install, check, switch and,
when the new release is ill, switch back. Whatever happens to workstation or line, an instrument plays on.
"""

import argparse
import contextlib
import hashlib
import io
import json
import shlex
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path
from typing import Any, Final

from pack import (
    PROJECT,
    Bundle,
    ReleaseError,
    build_wheel,
    fetch_dependencies,
    find_models,
    make_key,
    microphone_library,
    pack,
)

DEPLOY: Final = PROJECT / "deploy"
PROTOCOL: Final = 1
PROGRAM: Final = "sudo -n /usr/local/sbin/ivories-release"
KEY: Final = Path("~/.config/ivories/release").expanduser()


class Device:
    """A device reached by ssh; one connection serves all commands, so that a password is asked for once.

    Args:
        host: as ssh takes it.
        ssh: the ssh command, with options of the user's own.
        program: how the device's side is called there.
        scratch: folder for the connection's socket.
    """

    def __init__(self, host: str, ssh: str, program: str, scratch: Path) -> None:
        self.host = host
        self._program = program
        shared = ["-o", "ControlMaster=auto", "-o", f"ControlPath={scratch}/ssh", "-o", "ControlPersist=60"]
        self._ssh = [*shlex.split(ssh), *shared]

    def close(self) -> None:
        """End the connection."""
        subprocess.run([*self._ssh, "-O", "exit", self.host], capture_output=True, check=False)

    def ask(self, command: str, content: bytes = b"") -> Any:
        """Return the JSON that a command of the device's side answers."""
        done = subprocess.run(
            [*self._ssh, self.host, f"{self._program} {command}"], input=content, stdout=subprocess.PIPE,
            check=False,
        )  # fmt: skip
        if done.returncode == 127 or (done.returncode == 1 and not done.stdout):
            raise ReleaseError(f"{self.host} is not prepared: run make install HOST={self.host}")
        if done.returncode != 0:
            raise ReleaseError(
                f"{self.host} cannot be asked for its {command} (ssh status {done.returncode})"
            )
        try:
            return json.loads(done.stdout)
        except ValueError as error:
            raise ReleaseError(
                f"{self.host} answered {done.stdout[:80]!r} instead of its {command}"
            ) from error

    def call(self, command: str, terminal: bool = False) -> None:
        """Run a command of the device's side; what it says is shown."""
        self.check([*self._ssh, *(["-t"] if terminal else []), self.host, command])

    def run(self, command: str) -> None:
        """Call the device's program."""
        self.call(f"{self._program} {command}")

    def check(self, command: list[str]) -> None:
        """Run ``command``; raises ReleaseError when it fails."""
        if subprocess.run(command, check=False).returncode != 0:
            raise ReleaseError(f"{self.host}: not done, see above")

    def send(self, command: str, members: list[tuple[str, bytes | Path]]) -> None:
        """Give ``members`` as a tar stream to a shell command there."""
        process = subprocess.Popen([*self._ssh, self.host, command], stdin=subprocess.PIPE)
        assert process.stdin is not None  # noqa: S101 - asked for above
        # A device that refuses early closes the pipe; its own words and its status say why.
        with (
            contextlib.suppress(BrokenPipeError),
            process.stdin,
            tarfile.open(fileobj=process.stdin, mode="w|") as tar,
        ):
            for name, content in members:
                _add(tar, name, content)
        if process.wait() != 0:
            raise ReleaseError(f"{self.host}: not done, see above")

    def install(self, bundle: Bundle) -> None:
        """Send what the device lacks of ``bundle`` and let it install."""
        lacking = self.ask("missing", bundle.manifest)
        size = sum(bundle.files[sha].stat().st_size for sha in lacking)
        print(f"sending {len(lacking)} of {len(bundle.files)} files, {size / 1e6:.1f} MB", flush=True)
        members: list[tuple[str, bytes | Path]] = [
            ("manifest.json", bundle.manifest), ("manifest.json.sig", bundle.signature),
        ]  # fmt: skip
        self.send(f"{self._program} install", members + [(sha, bundle.files[sha]) for sha in lacking])


def _add(tar: tarfile.TarFile, name: str, content: bytes | Path) -> None:
    """Append a member without owner or date, and without the mode's write bits for others."""
    member = tarfile.TarInfo(name)
    member.mode = 0o644
    if isinstance(content, bytes):
        member.size = len(content)
        tar.addfile(member, io.BytesIO(content))
        return
    member.size = content.stat().st_size
    with content.open("rb") as file:
        tar.addfile(member, file)


def system_hash() -> str:
    """Return the hash of what ``install`` puts outside of the releases, as the device computes it."""
    files = [*sorted((DEPLOY / "device").glob("*.py")), DEPLOY / "systemd/ivories.service"]
    files += [DEPLOY / "systemd/ivories-gadget.service", DEPLOY / "gadget/ivories-gadget"]
    return hashlib.sha256(b"".join(path.read_bytes() for path in files)).hexdigest()


def deploy(device: Device, options: argparse.Namespace) -> None:
    """Build, sign, send, install."""
    models = find_models(options.models)
    facts = device.ask("facts")
    if facts["protocol"] != PROTOCOL:
        raise ReleaseError(f"{device.host} speaks another protocol: run make install HOST={device.host}")
    if tuple(map(int, facts["python"].split("."))) < (3, 11):
        raise ReleaseError(
            f"{device.host} has Python {facts['python']}, 3.11 is needed: install a newer system"
        )
    if facts["system"] != system_hash():
        print(f"note: service files of {device.host} differ from these: make install HOST={device.host}")
    with tempfile.TemporaryDirectory() as folder:
        print(f"building for {device.host}: {facts['machine']}, Python {facts['python']}", flush=True)
        wheel = build_wheel(Path(folder, "wheel"), facts["machine"])
        others = Path(folder, "others")
        if options.fetch_there:
            brought = microphone_library(others, facts)  # there is none to fetch, and no compiler there
        else:
            brought = fetch_dependencies(wheel, others, facts)
        fetch = options.fetch_there
        device.install(pack(wheel, brought, models, facts, options.key, fetch_there=fetch))


def install(device: Device, options: argparse.Namespace) -> None:
    """Prepare a bare system: packages, user, units, and the key whose releases it will trust."""
    public = make_key(options.key)
    files = [p for p in DEPLOY.rglob("*") if p.is_file() and "__pycache__" not in p.parts]
    members: list[tuple[str, bytes | Path]] = [(str(p.relative_to(PROJECT)), p) for p in files]
    place = ".cache/ivories-install"
    device.send(
        f"rm -rf {place} && mkdir -p {place} && tar -x -C {place}", [*members, ("signer.pub", public)]
    )
    device.call(
        f"sudo sh {place}/deploy/install.sh --signer {place}/signer.pub && rm -rf {place}", terminal=True
    )
    print(f"{device.host} is prepared: make deploy HOST={device.host}")


def main() -> int:
    """Run the command named; 0 done, 1 not done."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("command", choices=["deploy", "rollback", "status", "install"])
    parser.add_argument("host", nargs="?", default="", help="as ssh takes it, for example pi@piano.local")
    parser.add_argument("--key", type=Path, default=KEY, help="signs the release")
    parser.add_argument("--models", type=Path, default=PROJECT / "models", help="folder of the networks")
    parser.add_argument("--fetch-there", action="store_true", help="the device downloads the dependencies")
    parser.add_argument("--ssh", default="ssh", help="ssh command with options")
    parser.add_argument("--program", default=PROGRAM, help="how the device's side is called there")
    options = parser.parse_args()
    if not options.host or options.host.startswith("-"):
        print("say which device: HOST=pi@piano.local", file=sys.stderr)
        return 2
    with tempfile.TemporaryDirectory() as scratch:
        device = Device(options.host, options.ssh, options.program, Path(scratch))
        try:
            if options.command == "deploy":
                deploy(device, options)
            elif options.command == "install":
                install(device, options)
            else:
                device.run(options.command)
        except ReleaseError as error:
            print(f"{options.command}: {error}", file=sys.stderr)
            return 1
        except KeyboardInterrupt:
            print(
                f"{options.command}: stopped here; the device finishes or undoes what it had begun",
                file=sys.stderr,
            )
            return 1
        finally:
            device.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
