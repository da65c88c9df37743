"""Where everything lies, how it is written so that a power cut does no harm, and how the update speaks."""

import contextlib
import os
import shlex
from pathlib import Path

PROTOCOL = 1
KEEP = 3
LARGEST_FILE = 500_000_000  # bytes
SPARE_BYTES = 200_000_000
NAMESPACE = "ivories-release"
SERVICE = "ivories.service"

ROOT = Path(os.environ.get("IVORIES_ROOT", "/"))
HOME = ROOT / "opt/ivories"
STORE, RELEASES, CURRENT, PENDING = (HOME / name for name in ("store", "releases", "current", "pending"))
SIGNERS = ROOT / "etc/ivories/release-signers"
CONFIG = ROOT / "etc/ivories/ivories.toml"

SYSTEMCTL = shlex.split(os.environ.get("SYSTEMCTL", "systemctl"))
# A program called with the environment's folder and the wheels, in place of venv and pip.
ENVIRONMENT = shlex.split(os.environ.get("IVORIES_ENVIRONMENT", ""))
HEALTH_S = float(os.environ.get("IVORIES_HEALTH_S", "90"))
# Shorter than the service's TimeoutStopSec.
STUCK_S = float(os.environ.get("IVORIES_STUCK_S", "3"))
SETTLE_S = float(os.environ.get("IVORIES_SETTLE_S", "5"))


class Refusal(Exception):  # noqa: N818 - its message is a sentence for the one who deploys
    """The update cannot be, or was not, done; what ran before still does."""


def current() -> str:
    """Return the id of the release that starts, empty without one."""
    return CURRENT.readlink().name if CURRENT.is_symlink() else ""


def write(path: Path, content: bytes) -> None:
    part = path.with_name(f".{path.name}")
    with part.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    part.replace(path)
    sync(path.parent)


def sync(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def step(name: str) -> None:
    """Tell what comes next."""
    say(f"  {name}")


def say(sentence: str) -> None:
    """Print, also when nobody listens any more."""
    with contextlib.suppress(OSError):
        print(sentence, flush=True)
