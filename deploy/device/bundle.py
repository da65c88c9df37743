"""A bundle: a signed manifest and the files that it names, as a tar stream; received, checked and kept."""

import hashlib
import json
import platform
import re
import shutil
import subprocess
import tarfile
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from places import (
    HOME,
    LARGEST_FILE,
    NAMESPACE,
    PROTOCOL,
    RELEASES,
    SIGNERS,
    SPARE_BYTES,
    STORE,
    Refusal,
    current,
)


@dataclass(frozen=True)
class Entry:
    """One file of a release: path below wheels/ or models/, content, size in bytes."""

    path: str
    sha256: str
    size: int


@dataclass(frozen=True)
class Manifest:
    """What a release consists of; ``created`` in Unix seconds."""

    id: str
    version: str
    created: int
    machine: str
    complete: bool
    """True: the wheels are all there is to install; False: pip fetches what they depend on"""
    files: tuple[Entry, ...]


def parse_manifest(raw: bytes) -> Manifest:
    """Return the checked content of a manifest; raises Refusal for anything unexpected."""
    try:
        content = json.loads(raw)
        manifest = Manifest(
            id=_text(content["id"], r"[0-9]{8}-[0-9]{6}-[0-9a-z]{1,16}"),
            version=_text(content["version"], r"[0-9A-Za-z.+-]{1,40}"),
            created=_count(content["created"], 1 << 40),
            machine=_text(content["machine"], r"[0-9a-z_]{1,20}"),
            complete=content["complete"] is True,
            files=tuple(
                Entry(
                    _text(
                        entry["path"], r"(wheels/[\w.+!-]{1,150}\.whl|models/[\w.+-]{1,100}\.(tflite|toml))"
                    ),
                    _text(entry["sha256"], r"[0-9a-f]{64}"),
                    _count(entry["size"], LARGEST_FILE),
                )
                for entry in content["files"]
            ),
        )
        if _count(content["format"], 1 << 20) != PROTOCOL:
            raise Refusal("the bundle has another format: run `make install` for this device first")
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        raise Refusal(f"the manifest is malformed ({type(error).__name__}: {error})") from error
    if not any(re.match(r"wheels/ivories-", entry.path) for entry in manifest.files):
        raise Refusal("the bundle has no wheel of Ivories")
    return manifest


def _text(value: Any, pattern: str) -> str:
    if not isinstance(value, str) or not re.fullmatch(pattern, value, re.ASCII):
        raise ValueError(f"unexpected {str(value)[:60]!r}")
    return value


def _count(value: Any, limit: int) -> int:
    if type(value) is not int or not 0 <= value <= limit:
        raise ValueError(f"unexpected number {str(value)[:60]!r}")
    return value


def verify(manifest: bytes, signature: bytes) -> None:
    """Raise Refusal unless one of this device's signers signed ``manifest``."""
    if not SIGNERS.is_file():
        raise Refusal(f"no {SIGNERS}: `make install` puts the public key there")
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "sig").write_bytes(signature)
        done = subprocess.run(
            ["ssh-keygen", "-Y", "verify", "-f", SIGNERS, "-I", NAMESPACE, "-n", NAMESPACE,
             "-s", f"{folder}/sig"],
            input=manifest, capture_output=True, check=False,
        )  # fmt: skip
    if done.returncode != 0:
        raise Refusal("the bundle's signature is not by a key that this device trusts: nothing was changed")


def receive(stream: BinaryIO) -> tuple[Manifest, bytes]:
    """Read a bundle: manifest, signature, then files named by their hash; keep what was announced and signed.

    Returns the manifest, parsed and raw. Raises Refusal when it breaks off or is not what it says.
    """
    try:
        with tarfile.open(fileobj=stream, mode="r|") as tar:
            members = iter(tar)
            raw = _content(tar, next(members, None), "manifest.json")
            signature = _content(tar, next(members, None), "manifest.json.sig")
            verify(raw, signature)
            manifest = parse_manifest(raw)
            _check_fit(manifest)
            wanted = {entry.sha256: entry for entry in manifest.files}
            for member in members:
                entry = wanted.get(member.name)
                content = tar.extractfile(member)
                if entry is None or content is None or member.size != entry.size:
                    raise Refusal(f"the bundle holds {member.name[:80]!r}, which its manifest does not name")
                _keep(content, entry)
    except (tarfile.TarError, EOFError, OSError) as error:
        raise Refusal(f"the transfer broke off ({error}): nothing was changed") from error
    lacking = missing(manifest)
    if lacking:
        raise Refusal(f"the transfer broke off, {len(lacking)} files are missing: nothing was changed")
    return manifest, raw


def _content(tar: tarfile.TarFile, member: tarfile.TarInfo | None, name: str) -> bytes:
    content = tar.extractfile(member) if member is not None and member.name == name else None
    if content is None or member is None or member.size > 1_000_000:
        raise Refusal(f"this is no bundle: {name} was expected")
    return content.read()


def _check_fit(manifest: Manifest) -> None:
    if manifest.machine != platform.machine():
        raise Refusal(f"the bundle is for {manifest.machine}, this device is {platform.machine()}")
    running = installed(current())
    if running and manifest.created < running.created:
        raise Refusal(f"the bundle is older than {running.id}, which runs: `make rollback` goes back")
    needed = 4 * sum(entry.size for entry in manifest.files) + SPARE_BYTES
    if shutil.disk_usage(HOME).free < needed:
        raise Refusal(f"{needed // 1_000_000} MB must be free in {HOME}: make room first")


def _keep(content: Any, entry: Entry) -> None:
    digest = hashlib.sha256()
    with tempfile.NamedTemporaryFile(dir=STORE, prefix=".", delete=False) as file:
        for chunk in iter(lambda: content.read(1 << 20), b""):
            digest.update(chunk)
            file.write(chunk)
    if digest.hexdigest() != entry.sha256:
        Path(file.name).unlink()
        raise Refusal(f"{entry.path} arrived damaged: nothing was changed, deploy again")
    Path(file.name).chmod(0o644)  # the service reads the models
    Path(file.name).replace(STORE / entry.sha256)


def missing(manifest: Manifest) -> list[str]:
    """Return the hashes of the files of ``manifest`` that this device does not hold."""
    held = {path.name: path.stat().st_size for path in STORE.iterdir()}
    return sorted({entry.sha256 for entry in manifest.files if held.get(entry.sha256) != entry.size})


def installed(release: str) -> Manifest | None:
    """Return the manifest of a usable release."""
    folder = RELEASES / release
    if not release or not (folder / "ready").exists():
        return None
    return parse_manifest((folder / "manifest.json").read_bytes())


def confirmed(release: str) -> bool:
    """Return whether ``release`` was ever seen to be well; one whose update was cut off was not."""
    return (RELEASES / release / "confirmed").exists()


def releases() -> list[Manifest]:
    """Return the usable releases, newest first."""
    found = [installed(folder.name) for folder in RELEASES.iterdir()]
    return sorted((m for m in found if m), key=lambda m: (m.created, m.id), reverse=True)
