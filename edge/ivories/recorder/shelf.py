"""The folder where takes lie: each in a folder of its own that is complete or not there at all."""

import contextlib
import errno
import logging
import os
import re
import shutil
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Final, TypeVar

from ivories.config import RecorderSection
from ivories.errors import SinkError

_log = logging.getLogger(__name__)

KEPT_FREE: Final = 200_000_000
"""Bytes of the disk that takes leave to others: a full one stops more than music"""
_NAME: Final = re.compile(r"\d{4}-\d\d-\d\d_\d\d-\d\d-\d\d(_\d+)?")
_MIB: Final = 1 << 20

Result = TypeVar("Result")


class Shelf:
    """Takes in one folder, which is made when the first one is saved.

    Args:
        folder: of the takes.
        limit_bytes: what they may take together.
        prune: delete the oldest ones when there is no room, instead of refusing a new one.
    """

    def __init__(self, folder: Path, limit_bytes: int, *, prune: bool = False) -> None:
        self.folder = folder
        self._limit_bytes = limit_bytes
        self._prune = prune

    @classmethod
    def of(cls, settings: RecorderSection) -> "Shelf":
        """Return the shelf that ``settings`` describe."""
        folder = Path(settings.folder).expanduser()
        return cls(folder, round(settings.limit_gb * 1e9), prune=settings.prune)

    def state(self) -> str:
        """Return how full it is; raises SinkError when no take can be saved there."""
        with _told(self.folder):
            if not os.access(self.folder, os.W_OK | os.X_OK):
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
            lacking = "" if self._prune else self._lacking(0)
        if lacking:
            raise SinkError(f"no room for a take in {self.folder}: {lacking}")
        limit = self._limit_bytes // _MIB
        return f"{len(self.takes())} in {self.folder}, {self.used_bytes() // _MIB} of {limit} MiB"

    def takes(self) -> list[Path]:
        """Return the folders of all takes, oldest first; none when the folder cannot be read."""
        try:
            return sorted(p for p in self.folder.iterdir() if _NAME.fullmatch(p.name) and p.is_dir())
        except OSError:
            return []

    def used_bytes(self) -> int:
        """Return what all takes take together."""
        return sum(map(_size, self.takes()))

    def tidy(self) -> None:
        """Remove what a power cut in the middle of a take has left."""
        with contextlib.suppress(OSError):
            for left in self.folder.glob(".*.part"):
                shutil.rmtree(left, ignore_errors=True)

    def put(
        self, when: datetime, most_bytes: int, write: Callable[[Path, str], Result]
    ) -> tuple[Path, Result]:
        """Let ``write`` fill a folder and add it to the shelf, all of it or nothing.

        Args:
            when: gives the name.
            most_bytes: what it may come to.
            write: called with a folder and the take's name; what it returns is returned with the folder of
                the take.

        Raises:
            SinkError: there is no room, or the folder cannot be written; ``write`` may raise it too.
        """
        with _told(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
            self._make_room(most_bytes)
            name = self._free_name(when)
            part = self.folder / f".{name}.part"
            part.mkdir()
        try:
            result = write(part, name)
            with _told(self.folder):
                _sync(part)
                part.rename(self.folder / name)
                _sync(self.folder)
        except BaseException:
            shutil.rmtree(part, ignore_errors=True)
            raise
        return self.folder / name, result

    def _free_name(self, when: datetime) -> str:
        name = first = when.strftime("%Y-%m-%d_%H-%M-%S")
        number = 1
        while (self.folder / name).exists() or (self.folder / f".{name}.part").exists():
            number += 1
            name = f"{first}_{number}"
        return name

    def _make_room(self, most_bytes: int) -> None:
        takes = self.takes()
        hopeless = self._lacking(most_bytes, without_bytes=self.used_bytes())
        while lacking := self._lacking(most_bytes):
            if hopeless or not self._prune or not takes:
                raise SinkError(f"no room for the take in {self.folder}: {lacking}")
            oldest = takes.pop(0)
            _log.warning("the take %s is deleted to make room", oldest)
            shutil.rmtree(oldest)

    def _lacking(self, most_bytes: int, without_bytes: int = 0) -> str:
        """Return why ``most_bytes`` more do not go in, were ``without_bytes`` deleted; empty when they do."""
        used = self.used_bytes() - without_bytes
        if used + most_bytes > self._limit_bytes:
            new = f", and this one may need {-(-most_bytes // _MIB)}" if most_bytes else ""
            return (
                f"{len(self.takes())} takes hold {used // _MIB} of {self._limit_bytes // _MIB} MiB{new}; "
                "move old ones away, raise recorder.limit_gb, or set recorder.prune"
            )
        free = shutil.disk_usage(self.folder).free + without_bytes
        if free < most_bytes + KEPT_FREE:
            return f"the disk has only {free // _MIB} MiB left; free some of it"
        return ""


def _size(folder: Path) -> int:
    with contextlib.suppress(OSError):
        return sum(file.stat().st_size for file in folder.iterdir())
    return 0


def _sync(folder: Path) -> None:
    number = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(number)
    finally:
        os.close(number)


@contextlib.contextmanager
def _told(folder: Path) -> Iterator[None]:
    """Turn an OSError into a sentence."""
    try:
        yield
    except SinkError:
        raise
    except OSError as error:
        hint = ""
        if error.errno in {errno.EACCES, errno.EPERM, errno.EROFS}:
            hint = "; let the user of the service write there, or choose another recorder.folder"
        raise SinkError(f"cannot save a take in {folder}: {error.strerror or error}{hint}") from error
