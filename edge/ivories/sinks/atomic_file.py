"""A file that appears under its name complete or not at all."""

import contextlib
import os
import tempfile
from pathlib import Path
from typing import BinaryIO, cast

from ivories.errors import SinkError


class AtomicFile:
    """A temporary file beside ``path`` that ``commit`` renames to it in one step."""

    def __init__(self, path: Path) -> None:
        """Open the temporary file.

        Raises:
            SinkError: the folder does not exist or cannot be written, or ``path`` is a folder.
        """
        self.path = path
        if path.is_dir():
            raise SinkError(f"cannot write {path}: it is a folder; name a file")
        try:
            number, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".part")
        except OSError as error:
            raise SinkError(f"cannot write {path}: {_reason(error, path.parent)}") from error
        self._temporary = Path(name)
        self.file: BinaryIO = cast("BinaryIO", os.fdopen(number, "wb"))

    def commit(self) -> None:
        """Write to the disk and let the file appear, with the permissions of any new file."""
        try:
            self.file.flush()
            os.fchmod(self.file.fileno(), 0o666 & ~_umask())
            os.fsync(self.file.fileno())
            self.file.close()
            self._temporary.replace(self.path)
        except OSError as error:
            self.discard()
            raise SinkError(f"cannot write {self.path}: {_reason(error, self.path.parent)}") from error

    def discard(self) -> None:
        """Leave nothing behind."""
        with contextlib.suppress(OSError):  # closing flushes, which fails on a full disk
            self.file.close()
        self._temporary.unlink(missing_ok=True)


def _reason(error: OSError, folder: Path) -> str:
    if isinstance(error, FileNotFoundError):
        return f"the folder {folder} does not exist; make it first"
    if isinstance(error, PermissionError):
        return f"no permission to write in {folder}; choose another folder"
    return error.strerror or str(error)


def _umask() -> int:
    mask = os.umask(0o077)
    os.umask(mask)
    return mask
