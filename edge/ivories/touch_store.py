"""The file that keeps how loud an instrument is, from one start to the next."""

import logging
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

import msgspec

from ivories.errors import SinkError
from ivories.fusion.touch import TouchScale
from ivories.runtime.seldom_writer import SeldomWriter
from ivories.sinks.atomic_file import AtomicFile

_log = logging.getLogger(__name__)

OFFER_S: Final = 300.0
"""No more writes than one in this time: memory cards wear out"""


class TouchStore:
    """Keeps the newest scale of velocities that is offered; what cannot be kept is learned again.

    Args:
        path: the file, which need not be there.
        clock: seconds, monotonic.
    """

    def __init__(self, path: Path, clock: Callable[[], float] = time.monotonic) -> None:
        self.path = path
        self._lock = threading.Lock()
        self._kept: TouchScale | None = None
        self._writer: SeldomWriter[TouchScale] = SeldomWriter("touch", self.keep, OFFER_S, clock)

    def load(self) -> TouchScale | None:
        """Return the scale in the file; None where there is none, or none that can be read."""
        try:
            self._kept = msgspec.json.decode(self.path.read_bytes(), type=TouchScale)
        except FileNotFoundError:
            return None
        except (OSError, msgspec.DecodeError) as error:
            _log.warning("%s holds no scale of velocities, it is learned anew: %s", self.path, error)
            return None
        return self._kept

    def keep(self, scale: TouchScale | None) -> None:
        """Write ``scale`` where it says something new; a failure is only logged."""
        with self._lock:
            if scale is None or scale == self._kept or not self.path.parent.is_dir():
                return  # a machine that keeps nothing has no such folder
            try:
                file = AtomicFile(self.path)
                file.file.write(msgspec.json.encode(scale) + b"\n")
                file.commit()
            except (OSError, SinkError) as error:
                _log.warning("the scale of velocities is not kept: %s", error)
            self._kept = scale

    def offer(self, tell: Callable[[], TouchScale | None]) -> None:
        """``keep`` soon and elsewhere what ``tell`` returns; it is asked where the time for it has come.

        The caller plays music: it cannot wait for a memory card, nor tell the scale a hundred times a second.
        """
        if self._writer.take_turn() and (scale := tell()) is not None:
            self._writer.put(scale)

    def close(self) -> None:
        """Finish writing; what is offered later is not kept."""
        self._writer.close()
