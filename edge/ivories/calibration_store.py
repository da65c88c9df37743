"""The calibration file of a running instrument.

The position of the keyboard and the time between eyes and ears come at different moments and from different
threads, and a piano is often switched off by its plug: each is kept as soon as it is known, and neither
overwrites the other.
"""

import logging
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

import msgspec

from ivories.clock import MILLISECOND
from ivories.errors import IvoriesError
from ivories.runtime.seldom_writer import SeldomWriter
from ivories.vision import calibration as calibrations
from ivories.vision.calibration import Calibration

_log = logging.getLogger(__name__)

SAME_SKEW_NS: Final = 2 * MILLISECOND
"""A skew that differs by no more is not worth a write"""
OFFER_S: Final = 60.0
"""No more writes of the skew than one in this time: memory cards wear out"""


class CalibrationStore:
    """One calibration file and what is known of it; all methods may be called from any thread.

    Args:
        path: the file, which need not be there.
        clock: seconds, monotonic.
    """

    def __init__(self, path: Path, clock: Callable[[], float] = time.monotonic) -> None:
        self.path = path
        self._lock = threading.Lock()  # reading, changing and writing are one
        self._writer: SeldomWriter[int] = SeldomWriter("skew", self.keep_skew, OFFER_S, clock)
        self._known_ns: int | None = None
        """The skew in the file"""

    def load(self) -> Calibration | None:
        """Return what is kept; None when there is no file.

        Raises:
            CalibrationError: the file is damaged or cannot be read.
        """
        with self._lock:
            return self._load()

    def save(self, found: Calibration) -> Calibration:
        """Keep a position, and with it the skew that the file has; return what was written.

        Raises:
            CalibrationError: the file cannot be written.
        """
        with self._lock:
            try:
                known = self._load()
            except IvoriesError as error:
                _log.warning("%s", error)  # it is replaced by a good one now
                known = None
            if known is not None and not found.audio_video_skew_ns:
                found = msgspec.structs.replace(found, audio_video_skew_ns=known.audio_video_skew_ns)
            calibrations.save(found, self.path)
            self._known_ns = found.audio_video_skew_ns
            return found

    def keep_position(self, found: Calibration) -> None:
        """``save`` for those who go on without; a failure is only logged."""
        try:
            self.save(found)
        except IvoriesError as error:
            _log.warning("%s", error)

    def keep_skew(self, skew_ns: int) -> None:
        """Write a skew that differs by more than ``SAME_SKEW_NS`` into the file, if there is one."""
        with self._lock:
            try:
                known = self._load()
                if known is None or abs(known.audio_video_skew_ns - skew_ns) <= SAME_SKEW_NS:
                    return
                calibrations.save(msgspec.structs.replace(known, audio_video_skew_ns=skew_ns), self.path)
                self._known_ns = skew_ns
                _log.info("audio-video skew: %+.1f ms, kept in %s", skew_ns / MILLISECOND, self.path)
            except IvoriesError as error:
                _log.warning("%s", error)

    def offer_skew(self, skew_ns: int | None) -> None:
        """``keep_skew`` soon and elsewhere: the caller plays music and cannot wait for a memory card."""
        if skew_ns is None or not self._writer.take_turn():
            return
        if self._known_ns is None or abs(self._known_ns - skew_ns) > SAME_SKEW_NS:
            self._writer.put(skew_ns)

    def close(self) -> None:
        """Finish writing; what is offered later is not kept."""
        self._writer.close()

    def _load(self) -> Calibration | None:
        if not self.path.exists():
            return None
        known = calibrations.load(self.path)
        self._known_ns = known.audio_video_skew_ns
        return known
