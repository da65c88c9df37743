"""A camera driver that hangs keeps its process in the kernel, where no signal reaches: a restart helps."""

import os
import pwd
import time
from pathlib import Path

from places import ROOT, STUCK_S, say
from switching import systemctl


def processes() -> set[int]:
    """Return the processes of the service's user that sleep uninterruptibly."""
    uid = pwd.getpwnam("ivories").pw_uid if str(ROOT) == "/" else os.getuid()
    return {int(folder.name) for folder in (ROOT / "proc").glob("[0-9]*") if _sleeps(folder, uid)}


def _sleeps(folder: Path, uid: int) -> bool:
    try:
        lines = (folder / "status").read_text().splitlines()
    except OSError:  # it has just ended
        return False
    fields = dict(line.split(":\t", 1) for line in lines if ":\t" in line)
    return fields["State"].startswith("D") and fields["Uid"].split()[0] == str(uid)


def unstick() -> None:
    """Restart the computer when a process of the stopped service stays in the kernel."""
    deadline = time.monotonic() + STUCK_S
    stuck = processes()
    while stuck:
        if time.monotonic() >= deadline:
            say(f"processes {sorted(stuck)} hang in a driver, which nothing ends: restarting the computer")
            systemctl("reboot", "--force")
            return
        time.sleep(STUCK_S / 20)
        stuck &= processes()
