"""From one release to another and, when the new one is ill or was never confirmed, back."""

import json
import subprocess
import time
from pathlib import Path

from bundle import installed
from places import (
    CURRENT,
    HEALTH_S,
    HOME,
    PENDING,
    RELEASES,
    ROOT,
    SERVICE,
    SETTLE_S,
    SYSTEMCTL,
    Refusal,
    current,
    say,
    step,
    sync,
    write,
)


def switch(release: str) -> None:
    """Let ``current`` name ``release``, in one indivisible step."""
    link = HOME / ".current"
    link.unlink(missing_ok=True)
    link.symlink_to(Path("releases") / release)
    link.replace(CURRENT)
    sync(HOME)


def systemctl(*words: str) -> str:
    """Return what systemctl prints; it failing shows in the state of the service."""
    done = subprocess.run(
        [*SYSTEMCTL, *words], stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )
    return done.stdout


def service() -> dict[str, str]:
    """Return ActiveState, InvocationID, NRestarts, StatusText of the service."""
    names = ("ActiveState", "InvocationID", "NRestarts", "StatusText")
    shown = systemctl("show", SERVICE, *(f"--property={name}" for name in names))
    pairs = (line.partition("=") for line in shown.splitlines())
    return dict.fromkeys(names, "") | {name: value for name, _, value in pairs}


def watch(before: dict[str, str]) -> str:
    """Wait until the service is as well as it was ``before``; return what is wrong, empty for nothing."""
    deadline, well_since, crashes = time.monotonic() + HEALTH_S, 0.0, ""
    while True:
        now = service()
        state, fresh = now["ActiveState"], now["InvocationID"] != before["InvocationID"]
        if fresh:
            crashes = crashes or now["NRestarts"]
        if state == "failed" or (fresh and now["NRestarts"] != crashes):
            return f"it fails at start {now['StatusText']}".strip()
        # A piano whose sensors are not plugged in was not ready before, and need not be now.
        waits = (
            state == "activating"
            and before["ActiveState"] != "active"
            and now["StatusText"].startswith("waiting")
        )
        well = fresh and (state == "active" or waits)
        well_since = (well_since or time.monotonic()) if well else 0.0
        if well_since and time.monotonic() - well_since >= SETTLE_S:
            return ""
        if time.monotonic() > deadline:
            return f"not ready after {HEALTH_S:.0f} s, it is {state} {now['StatusText']}".strip()
        time.sleep(min(0.5, SETTLE_S))


def _restart() -> None:
    systemctl("reset-failed", SERVICE)
    systemctl("restart", "--no-block", SERVICE)


def activate(release: str) -> None:
    """Switch to ``release`` and keep it when it is well; raises Refusal after going back otherwise.

    Where no services run, in an image that is being made, it is switched to and no more.
    """
    if str(ROOT) == "/" and not Path("/run/systemd/system").is_dir():
        step("switch; no service runs here that could be restarted")
        switch(release)
        _confirm(release)
        return
    before, old = service(), current()
    if old and before["ActiveState"] == "active":
        _confirm(old)  # also where it came before releases were confirmed
    step("note the switch")
    write(PENDING, json.dumps({"from": old, "to": release}).encode())
    step("switch")
    switch(release)
    step("restart the service")
    _restart()
    step("wait until it is healthy")
    wrong = watch(before)
    if not wrong or not old:
        step("confirm")
        if not wrong:
            _confirm(release)
        PENDING.unlink()
        sync(HOME)
        if wrong:
            raise Refusal(f"{release} is not healthy: {wrong}; there is none to go back to")
        return
    step("go back")
    switch(old)
    _restart()
    PENDING.unlink()
    sync(HOME)
    (RELEASES / release / "failed").write_text(wrong)
    raise Refusal(f"{release} is not healthy: {wrong}; {old} runs again")


def _confirm(release: str) -> None:
    """Note that ``release`` was once seen to be well: one to go back to."""
    write(RELEASES / release / "confirmed", b"")


def take_back() -> None:
    """Undo a switch that was never confirmed."""
    if not PENDING.exists():
        return
    try:
        old = json.loads(PENDING.read_bytes())["from"]
    except (ValueError, KeyError, TypeError):
        old = ""
    if old and installed(old):
        switch(old)
        say(f"an update was interrupted: {old} is current again")
    PENDING.unlink()
