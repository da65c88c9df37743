"""Real-time scheduling and resident memory, where the system allows them."""

import ctypes
import logging
import os
from typing import Final, Protocol

_log = logging.getLogger(__name__)

_MCL_CURRENT: Final = 1
_MCL_FUTURE: Final = 2


class Wishes(Protocol):
    """The ``[runtime]`` section."""

    realtime_priority: int
    lock_memory: bool


def raise_priority(wishes: Wishes) -> list[str]:
    """Apply ``wishes`` to this process; return (and log) a sentence for each that was refused.

    The instrument also works without: a refusal costs jitter under load, not notes.
    """
    refused = []
    if wishes.realtime_priority:
        try:
            os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(wishes.realtime_priority))
        except OSError as error:
            refused.append(
                f"SCHED_FIFO {wishes.realtime_priority} refused ({error.strerror}): "
                "set LimitRTPRIO in the service"
            )
    if wishes.lock_memory:
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.mlockall(_MCL_CURRENT | _MCL_FUTURE) != 0:
            reason = os.strerror(ctypes.get_errno())
            refused.append(f"memory cannot be locked ({reason}): set LimitMEMLOCK=infinity in the service")
    for sentence in refused:
        _log.warning("%s", sentence)
    return refused
