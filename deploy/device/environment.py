"""A release on the device: a folder with an environment of its own, checked before it may start."""

import contextlib
import hashlib
import os
import pwd
import resource
import shlex
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

from bundle import Entry, Manifest, confirmed, releases
from places import CONFIG, ENVIRONMENT, KEEP, RELEASES, ROOT, STORE, Refusal, current, say, step, write


def build(manifest: Manifest, raw: bytes, lock: int) -> Path:
    """Make the release's folder with an environment of its own and its models; return it, usable."""
    folder = RELEASES / manifest.id
    if (folder / "ready").exists():
        return folder
    step("make the release's folder")
    shutil.rmtree(folder, ignore_errors=True)
    for entry in manifest.files:
        _take(entry, folder / entry.path)
    step("make the environment")
    wheels = sorted(str(folder / e.path) for e in manifest.files if e.path.startswith("wheels/"))
    venv = folder / "venv"
    if ENVIRONMENT:
        _run([*ENVIRONMENT, str(venv), *wheels], lock)
    else:
        # The system's pip does it: a copy of its own would cost an environment as long as half of the rest.
        _run([sys.executable, "-m", "venv", "--system-site-packages", "--without-pip", str(venv)], lock)
        pip = [sys.executable, "-I", "-m", "pip", "--python", f"{venv}/bin/python", "install"]
        pip += ["-q", "--no-input", "--disable-pip-version-check", "--no-compile"]
        how = ["--no-index", "--no-deps"] if manifest.complete else []
        _run([*pip, *how, *wheels], lock)
        _compile(next(venv.glob("lib/python3*/site-packages")), lock)
    shutil.rmtree(folder / "wheels")
    step("put the models in")
    if (folder / "models").is_dir():
        place = venv / "share/ivories/models"
        shutil.rmtree(place, ignore_errors=True)
        place.parent.mkdir(parents=True, exist_ok=True)
        (folder / "models").rename(place)
    step("check it with `ivories doctor`")
    _examine(folder, lock)
    step("keep it")
    (folder / "manifest.json").write_bytes(raw)
    os.sync()  # the mark must not reach the card before what it vouches for
    write(folder / "ready", b"")
    return folder


def _take(entry: Entry, target: Path) -> None:
    """Link ``entry`` out of the store, its content checked once more: memory cards forget."""
    source = STORE / entry.sha256
    with source.open("rb") as file:
        digest = hashlib.sha256()
        for chunk in iter(lambda: file.read(1 << 20), b""):
            digest.update(chunk)
    if digest.hexdigest() != entry.sha256:
        source.unlink()
        raise Refusal(f"{entry.path} was damaged while it lay here: nothing was changed, deploy again")
    target.parent.mkdir(parents=True, exist_ok=True)
    os.link(source, target)


def _run(command: list[str], lock: int) -> None:
    """Run a step of the building; should we be killed, it holds the lock until it has ended too."""
    done = subprocess.run(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        check=False, pass_fds=(lock,),
    )  # fmt: skip
    if done.returncode != 0:
        raise Refusal(f"{shlex.join(command[:4])} ... failed, nothing was changed:\n{done.stdout[-2000:]}")


def _compile(library: Path, lock: int) -> None:
    """Compile all modules but the libraries' tests, on all cores: the service may not write here later."""
    command = [sys.executable, "-I", "-m", "compileall", "-qq", "-j", "0", "-x", "/tests?/", str(library)]
    # Not checked: libraries bring templates that are no Python, and what is not compiled runs all the same.
    subprocess.run(command, stdin=subprocess.DEVNULL, check=False, pass_fds=(lock,))


def doctor(folder: Path, lock: int) -> tuple[bool, str]:
    """Return whether ``ivories doctor`` of that release is content, and what it said."""
    config = ["--config", str(CONFIG)] if CONFIG.is_file() else []
    as_user: dict[str, Any] = {}
    if os.geteuid() == 0 and str(ROOT) == "/":
        user = pwd.getpwnam("ivories")
        groups = os.getgrouplist(user.pw_name, user.pw_gid)
        as_user = {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": groups, "cwd": "/"}
        with contextlib.suppress(ValueError):  # not allowed where an image is made in a container
            resource.setrlimit(resource.RLIMIT_RTPRIO, (10, 10))  # as the service has it
    try:
        done = subprocess.run(
            [folder / "venv/bin/ivories", "doctor", *config], stdin=subprocess.DEVNULL, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False, pass_fds=(lock,), timeout=180,
            **as_user,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired) as error:
        return False, str(error)
    said = done.stdout
    if done.returncode < 0:
        said += f"{signal.strsignal(-done.returncode)} (signal {-done.returncode}) ended it\n"
    return done.returncode == 0, said


def _examine(folder: Path, lock: int) -> None:
    """Raise Refusal when the new release's doctor finds fault and the running one's does not."""
    content, said = doctor(folder, lock)
    if content:
        return
    before = current()
    if before and not doctor(RELEASES / before, lock)[0]:
        say("doctor finds something wrong, as it does with the release that runs now:\n" + said)
        return
    raise Refusal("`ivories doctor` of the new release finds something wrong, nothing was changed:\n" + said)


def prune() -> None:
    """Delete all but the newest releases that were well, and stored files that none of them names."""
    usable = releases()
    kept = [m for m in usable if m.id == current()]
    kept += [m for m in usable if m.id != current() and confirmed(m.id)][: KEEP - len(kept)]
    for folder in RELEASES.iterdir():
        if folder.name not in {m.id for m in kept}:
            (folder / "ready").unlink(missing_ok=True)
            shutil.rmtree(folder, ignore_errors=True)
    named = {entry.sha256 for m in kept for entry in m.files}
    for path in STORE.iterdir():
        if path.name not in named:
            path.unlink()
