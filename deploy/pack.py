"""Make a bundle: the wheel for the device's processor, what it depends on, the models, a signed manifest."""

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

PROJECT: Final = Path(__file__).resolve().parents[1]
NAMESPACE: Final = "ivories-release"
# What a wheel is built of; the build runs on a copy, so that nothing of an earlier build gets in.
_SOURCES: Final = (
    "pyproject.toml", "README.md", "LICENSE", "MANIFEST.in", "edge", "training", "models",
)  # fmt: skip
MICROPHONE: Final = "pyalsaaudio>=0.11"
_BUILT: Final = shutil.ignore_patterns("*.so", "__pycache__", "*.egg-info", "build")
_TRIPLETS: Final = {
    "aarch64": "aarch64-linux-gnu",
    "armv7l": "arm-linux-gnueabihf",
    "x86_64": "x86_64-linux-gnu",
}


class ReleaseError(Exception):
    """Its message tells the one who deploys what happened and what to do."""


@dataclass(frozen=True)
class Bundle:
    """A signed manifest, and where the content of each hash that it names lies."""

    id: str
    manifest: bytes
    signature: bytes
    files: dict[str, Path]


def build_wheel(target: Path, machine: str) -> Path:
    """Return the wheel of this working tree for ``machine``, built in ``target``.

    For another processor than this one's the C code is cross-compiled: it uses Python's limited API, whose
    headers say the same on all 64-bit Linux machines.
    """
    target.mkdir(parents=True, exist_ok=True)
    env = dict(os.environ)
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder)
        for name in _SOURCES:
            if (PROJECT / name).is_dir():
                shutil.copytree(PROJECT / name, copy / name, ignore=_BUILT)
            elif (PROJECT / name).exists():
                shutil.copy(PROJECT / name, copy)
        if machine != os.uname().machine:
            env |= _cross(machine, copy / "headers")
        _run([sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "-w", str(target), str(copy)], env)
    found = sorted(target.glob("ivories-*.whl"))
    if len(found) != 1 or not found[0].name.endswith(f"{machine}.whl"):
        raise ReleaseError(f"the build gave {[w.name for w in found]}, one wheel for {machine} was expected")
    return found[0]


def _cross(machine: str, headers: Path) -> dict[str, str]:
    triplet = _TRIPLETS.get(machine)
    if triplet is None or machine not in {"aarch64", "x86_64"}:
        raise ReleaseError(f"no networks run on {machine}: install a 64-bit system on the device")
    compiler = f"{triplet}-gcc"
    if shutil.which(compiler) is None:
        package = f"gcc-{triplet.replace('_', '-')}"
        raise ReleaseError(f"the device is {machine}: install {compiler} (Debian: apt-get install {package})")
    # Debian's Python.h asks for a pyconfig.h of the target's own; that of this machine says the same.
    name = f"python{sys.version_info.major}.{sys.version_info.minor}"
    place = headers / triplet / name
    place.mkdir(parents=True)
    own = _TRIPLETS.get(os.uname().machine, "")
    (place / "pyconfig.h").write_text(f"#include </usr/include/{own}/{name}/pyconfig.h>\n")
    return {
        "CC": compiler, "LDSHARED": f"{compiler} -shared", "CFLAGS": f"-fcf-protection=none -I{headers}",
        "_PYTHON_HOST_PLATFORM": f"linux-{machine}",
    }  # fmt: skip


def fetch_dependencies(wheel: Path, target: Path, device: dict[str, Any]) -> list[Path]:
    """Download the wheels that ``wheel`` needs for the device's processor and Python; return them."""
    machine, python = device["machine"], device["python"]
    digits = python.replace(".", "")
    newest = int(re.search(r"\.(\d+)", device["libc"] or "2.31").group(1))  # type: ignore[union-attr]
    tags = [f"manylinux_2_{n}_{machine}" for n in range(newest, 16, -1)]
    tags += [f"manylinux2014_{machine}", f"linux_{machine}"]
    command = [
        sys.executable, "-m", "pip", "download", "-q", "--dest", str(target), "--only-binary=:all:",
        "--implementation", "cp", "--python-version", python,
        "--abi", f"cp{digits}", "--abi", "abi3", "--abi", "none",
    ]  # fmt: skip
    for tag in tags:
        command += ["--platform", tag]
    # Debian's picamera2 is compiled for the NumPy that Debian has; a newer major version breaks it.
    held = ["numpy<2"] if device["numpy"].startswith("1.") else []
    _run([*command, str(wheel), *held], dict(os.environ))
    microphone_library(target, device)
    return sorted(path for path in target.glob("*.whl") if path.name != wheel.name)


def microphone_library(target: Path, device: dict[str, Any]) -> list[Path]:
    """Return the wheel of ``build_microphone_library``; none, and a note, where it cannot be built here."""
    target.mkdir(parents=True, exist_ok=True)
    try:
        return [build_microphone_library(target, device)]
    except ReleaseError as error:
        print(f"note: the device will not hear, as this release comes without {MICROPHONE}: {error}")
        return []


def build_microphone_library(target: Path, device: dict[str, Any]) -> Path:
    """Return a wheel of pyalsaaudio for the device, built in ``target``.

    There is none to download, and what Debian 12 and 13 bring is too old. It is compiled for one Python only,
    so this one must be the device's.

    Raises:
        ReleaseError: this Python is another, or ALSA's headers or the compiler are not installed here.
    """
    machine, python = device["machine"], device["python"]
    own = f"{sys.version_info.major}.{sys.version_info.minor}"
    if python != own:
        raise ReleaseError(f"the device has Python {python}, here is {own}: deploy from a .venv of {python}")
    header = Path("/usr/include/alsa/asoundlib.h")
    if not header.is_file():
        raise ReleaseError(f"there is no {header} (Debian: apt-get install libasound2-dev)")
    env = dict(os.environ)
    with tempfile.TemporaryDirectory() as folder:
        if machine != os.uname().machine:
            headers = Path(folder, "headers")
            env |= _cross(machine, headers)
            (headers / "alsa").symlink_to(header.parent)
            _stand_in(Path(folder), env)
            env["LDFLAGS"] = f"-L{folder} -Wl,--no-as-needed"
            tag = f"cpython-{python.replace('.', '')}-{_TRIPLETS[machine]}"
            env["SETUPTOOLS_EXT_SUFFIX"] = f".{tag}.so"
        # Not from the cache, which does not know what a wheel was linked against.
        pip = [sys.executable, "-m", "pip", "wheel", "-q", "--no-cache-dir", "--no-deps", "-w", str(target)]
        _run([*pip, MICROPHONE], env)
    return next(target.glob("pyalsaaudio-*.whl"))


def _stand_in(folder: Path, env: dict[str, str]) -> None:
    """Make a ``libasound.so`` to link against for the device: names of this computer's, with their versions.

    Without versions the device's libasound would take its caller for one of 2003, when functions of the
    same names took other arguments, and no microphone could be opened.
    """
    own = f"/usr/lib/{_TRIPLETS.get(os.uname().machine, '')}/libasound.so"
    listed = _run([env["CC"].replace("gcc", "readelf"), "-W", "--dyn-syms", own], env).decode()
    nodes: dict[str, list[str]] = {}
    for name, version in re.findall(r" (\w+)@@(\S+)$", listed, re.MULTILINE):
        nodes.setdefault(version, []).append(name)
    script = [f"{version} {{ global: {'; '.join(names)}; }};" for version, names in nodes.items()]
    (folder / "versions").write_text("\n".join(script))
    functions = [f"void {name}(void) {{}}\n" for names in nodes.values() for name in names]
    (folder / "stub.c").write_text("".join(functions))
    how = ["-shared", "-nostdlib", "-fno-builtin", f"-Wl,--version-script={folder}/versions"]
    how += ["-Wl,-soname,libasound.so.2", "-o", f"{folder}/libasound.so"]
    _run([env["CC"], *how, f"{folder}/stub.c"], env)


def pack(
    wheel: Path,
    dependencies: list[Path],
    models: list[Path],
    device: dict[str, Any],
    key: Path,
    *,
    fetch_there: bool = False,
) -> Bundle:
    """Return the signed bundle of these files.

    Args:
        wheel: of Ivories, for the device.
        dependencies: wheels of everything it needs; empty: the device fetches them itself.
        models: network files and their manifests; empty: those in the wheel.
        device: what the device's ``facts`` said.
        key: private key, or the public key of one that ssh-agent holds.
        fetch_there: the device fetches what is not among the dependencies.
    """
    placed = [(f"wheels/{path.name}", path) for path in (wheel, *dependencies)]
    placed += [(f"models/{path.name}", path) for path in models]
    hashed = [(name, path, hashlib.sha256(path.read_bytes()).hexdigest()) for name, path in placed]
    created = int(time.time())
    manifest = {
        "format": 1,
        "id": f"{time.strftime('%Y%m%d-%H%M%S', time.gmtime(created))}-{_revision()}",
        "version": wheel.name.split("-")[1],
        "created": created,
        "machine": device["machine"],
        "complete": bool(dependencies) and not fetch_there,
        "files": [{"path": name, "sha256": sha, "size": path.stat().st_size} for name, path, sha in hashed],
    }
    raw = json.dumps(manifest, indent=1).encode()
    return Bundle(str(manifest["id"]), raw, sign(raw, key), {sha: path for _, path, sha in hashed})


def find_models(folder: Path) -> list[Path]:
    """Return the network files in ``folder`` with their manifests."""
    found = sorted([*folder.glob("*.tflite"), *folder.glob("*.toml")])
    if not any(path.suffix == ".tflite" for path in found):
        raise ReleaseError(f"there are no networks in {folder}: run make train-qat")
    return found


def sign(content: bytes, key: Path) -> bytes:
    """Return the signature of ``content``."""
    if not key.exists():
        raise ReleaseError(
            f"there is no key {key}: `make install HOST=...` makes one, or name yours with --key FILE"
        )
    return _run(
        ["ssh-keygen", "-q", "-Y", "sign", "-f", str(key), "-n", NAMESPACE], dict(os.environ), content
    )


def make_key(key: Path) -> Path:
    """Return the public half of ``key``; a key that does not exist yet is made, for its owner alone."""
    public = key if key.suffix == ".pub" else key.with_name(key.name + ".pub")
    if not public.exists():
        key.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        _run(
            ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", NAMESPACE, "-f", str(key)], dict(os.environ)
        )
        print(f"made {key}: it signs releases; keep it to yourself and keep a copy")
    return public


def _revision() -> str:
    def git(*words: str) -> str:
        done = subprocess.run(["git", "-C", PROJECT, *words], capture_output=True, text=True, check=False)
        return done.stdout.strip() if done.returncode == 0 else ""

    revision = git("rev-parse", "--short=8", "HEAD")
    return revision + ("dirty" if git("status", "--porcelain", "-uno") else "") if revision else "local"


def _run(command: list[str], env: dict[str, str], content: bytes = b"") -> bytes:
    try:
        done = subprocess.run(command, env=env, input=content, capture_output=True, check=False)
    except FileNotFoundError as error:
        raise ReleaseError(f"{command[0]} is not installed") from error
    if done.returncode != 0:
        said = done.stderr.decode(errors="replace")[-3000:]
        raise ReleaseError(f"{' '.join(command[:5])} ... failed:\n{said}")
    return done.stdout
