"""A machine in QEMU: started, reached over ssh on a loopback port, its power cut.

Nothing outside reaches it and it reaches nothing. Its disk is an overlay of the image that image.sh built, so
that a machine may be thrown away, or started again after a power cut, with what it had written.
"""

import contextlib
import os
import shlex
import socket
import subprocess
import tempfile
import time
from functools import cache
from pathlib import Path
from typing import Final

HOST: Final = "piano"
"""What ssh calls the machine"""
QEMU: Final = "qemu-system-x86_64"
BOOT_S: Final = 1200.0
"""How long an emulated machine may take until it answers, on a host with other things to do"""
_KVM_S: Final = 15.0
# A CPU of a thousand million instructions per second of its own time, however slow it is emulated: what is in
# time on such a machine is in time here, and takes longer to watch.
_EMULATED: Final = ("-accel", "tcg", "-icount", "shift=0,sleep=on")
# On a counted clock each round of a repeated string instruction is a jump of its own: told that these are
# slow, kernel and programs copy and clear memory otherwise, and it starts in five sixths of the time.
_CPU, _CPU_WORDS = "max,-erms,-fsrm", "clearcpuid=rep_good"
_VIRTUALIZED: Final = ("-accel", "kvm")


class GuestError(Exception):
    """The machine did not start, or a command in it failed."""


@cache
def accelerator(image: Path) -> tuple[str, ...]:
    """Return QEMU's options for KVM where the kernel of ``image`` starts under it, else for emulation.

    That /dev/kvm can be opened is not enough: some hosts offer it and run no ordinary kernel.
    """
    asked = os.environ.get("ACCEL", "")
    if asked:
        return {"kvm": _VIRTUALIZED, "tcg": _EMULATED}[asked]
    if not os.access("/dev/kvm", os.R_OK | os.W_OK):
        return _EMULATED
    probe = [*_VIRTUALIZED, *_machine(image, "earlyprintk=serial panic=1"), "-serial", "stdio"]
    with subprocess.Popen([QEMU, *probe], stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as process:
        assert process.stdout is not None
        os.set_blocking(process.stdout.fileno(), False)
        said, deadline = b"", time.monotonic() + _KVM_S
        while b"Linux version" not in said and process.poll() is None and time.monotonic() < deadline:
            said += process.stdout.read() or b""
            time.sleep(0.05)
        process.kill()
    return _VIRTUALIZED if b"Linux version" in said else _EMULATED


def _machine(image: Path, kernel_words: str) -> list[str]:
    return [
        "-M", "q35,sata=off,smbus=off,i8042=off", "-cpu", _CPU, "-m", "1536",
        "-nodefaults", "-no-reboot", "-display", "none",
        "-kernel", str(image / "vmlinuz"), "-initrd", str(image / "initrd.img"),
        "-append", f"console=ttyS0 root=/dev/vda rw {_CPU_WORDS} {kernel_words}",
    ]  # fmt: skip


class Guest:
    """One machine.

    Args:
        image: folder that image.sh filled.
        disk: of this machine; made when it does not exist.
        scratch: folder for the console's log and what ssh needs.
        origin: disk of another machine, switched off, that this one's starts from; None: the image's.
    """

    def __init__(self, image: Path, disk: Path, scratch: Path, origin: Path | None = None) -> None:
        self.disk, self.console = disk, scratch / "console.log"
        self.film: Path | None = None
        """File that it has as its second disk, not to be written to, from the next start on"""
        self.starts = 0
        self._image, self._scratch = image, scratch
        self._line = tempfile.mkdtemp(prefix="hil")  # a socket's path must be short
        self._process: subprocess.Popen[bytes] | None = None
        self.ssh = f"ssh -F {scratch}/ssh_config"
        """The command that reaches it as host ``piano``"""
        if not disk.exists():
            below = origin.resolve() if origin else image.resolve() / "disk.img"
            kind = "qcow2" if origin else "raw"
            _call(f"qemu-img create -q -f qcow2 -F {kind} -b {below} {disk}")

    @property
    def accelerator(self) -> str:
        """``kvm`` or ``tcg``."""
        return accelerator(self._image)[1]

    def start(self, *, counted: bool = True) -> float:
        """Switch it on; return after how many seconds it answered. Raises GuestError.

        Args:
            counted: where it is emulated, on a clock of its own that its one CPU keeps pace with; else on the
                clock on the wall, with two CPUs: to get work done on, too slow to play on.
        """
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        options, cpus = accelerator(self._image), "2"
        if options == _EMULATED:  # counted instructions are those of one CPU
            options, cpus = (_EMULATED, "1") if counted else (("-accel", "tcg"), "2")
        film = ["-drive", f"file={self.film},if=virtio,format=raw,readonly=on"] if self.film else []
        self._configure_ssh(port)
        self.starts += 1
        begin = time.monotonic()
        with self.console.open("ab") as log:
            log.write(f"\n=== start {self.starts}\n".encode())
            log.flush()
            said_before = log.tell()
            self._process = subprocess.Popen(
                [QEMU, *options, *_machine(self._image, "quiet mitigations=off"),
                 "-smp", cpus, "-serial", "stdio",
                 "-drive", f"file={self.disk},if=virtio,format=qcow2,discard=unmap", *film,
                 "-netdev", f"user,id=wire,restrict=on,hostfwd=tcp:127.0.0.1:{port}-10.0.2.15:22",
                 "-device", "virtio-net-pci,netdev=wire", "-device", "virtio-rng-pci"],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            )  # fmt: skip
        while time.monotonic() < begin + BOOT_S:
            if self._process.poll() is not None:
                raise GuestError(f"QEMU ended with {self._process.returncode}:\n{self.last_words()}")
            # Not by trying: a connection to a machine that starts is taken and left to wait.
            if b"ssh answers" in self.console.read_bytes()[said_before:]:
                self.run("true")
                return time.monotonic() - begin
            time.sleep(0.2)
        raise GuestError(f"the machine does not answer after {BOOT_S:.0f} s:\n{self.last_words()}")

    def run(self, command: str, content: bytes = b"", timeout: float = 600.0) -> str:
        """Return what a shell command of the account pi prints; raises GuestError when it fails."""
        call = [*shlex.split(self.ssh), HOST, command]
        try:
            done = subprocess.run(call, input=content, capture_output=True, check=False, timeout=timeout)
        except subprocess.TimeoutExpired as error:
            raise GuestError(f"`{command}` did not end within {timeout:.0f} s") from error
        if done.returncode != 0:
            said = (done.stdout + done.stderr).decode(errors="replace")
            raise GuestError(f"`{command}` failed with {done.returncode}:\n{said[-3000:]}")
        return done.stdout.decode()

    def put(self, content: bytes | Path, target: str) -> None:
        """Write a file of root's."""
        data = content if isinstance(content, bytes) else content.read_bytes()
        self.run(f"sudo tee {shlex.quote(target)} >/dev/null", data)

    def wait_for(self, command: str, seconds: float = 300.0) -> float:
        """Return after how many seconds here ``command`` succeeded, within ``seconds`` of its own clock.

        The machine itself tries again: a call from here costs a slow one more than most commands do. Raises
        GuestError with what the command said last.
        """
        begin = time.monotonic()
        again = shlex.quote(f"until {{ {command}; }} >/dev/null 2>&1; do sleep 0.2; done")
        try:
            self.run(f"timeout {seconds:.0f} sh -c {again}", timeout=20 * seconds)
        except GuestError:
            self.run(command)
        return time.monotonic() - begin

    def cut_power(self) -> None:
        """End it as a pulled plug does: nothing more is written."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None
            # The connection's local end may not have noticed yet.
            subprocess.run([*shlex.split(self.ssh), "-O", "exit", HOST], capture_output=True, check=False)

    def switch_off(self) -> None:
        """Let it shut down in order, for at most five minutes."""
        if self._process is None:
            return
        with contextlib.suppress(GuestError):
            self.run("sudo systemctl poweroff")
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(300)
        self.cut_power()

    def last_words(self) -> str:
        """Return the end of what its console showed."""
        return self.console.read_text(errors="replace")[-2000:]

    def _configure_ssh(self, port: int) -> None:
        options = {
            "HostName": "127.0.0.1", "Port": port, "User": "pi",
            "IdentityFile": self._image.resolve() / "key",
            "IdentitiesOnly": "yes", "UserKnownHostsFile": self._scratch / "known", "HostKeyAlias": HOST,
            "StrictHostKeyChecking": "accept-new", "ConnectTimeout": 300, "LogLevel": "ERROR",
            # One connection for all commands: to agree on its keys is a second's work there.
            "ControlMaster": "auto", "ControlPersist": "yes", "ControlPath": f"{self._line}/%p",
        }  # fmt: skip
        lines = [f"Host {HOST}", *(f"  {name} {value}" for name, value in options.items())]
        (self._scratch / "ssh_config").write_text("\n".join(lines) + "\n")


def _call(command: str) -> None:
    done = subprocess.run(shlex.split(command), capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise GuestError(f"{command} failed: {done.stderr}")
