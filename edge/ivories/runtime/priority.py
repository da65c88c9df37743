"""Real-time scheduling and resident memory, where the system allows them."""

import ctypes
import logging
import os
from typing import Final

_log = logging.getLogger(__name__)

_MCL_CURRENT: Final = 1
_MCL_FUTURE: Final = 2
# Only what has been touched: else every thread's whole stack, and all that libraries reserve, several times
# the memory that is in use.
_MCL_ONFAULT: Final = 4
# Niceness where nothing is real-time: a computer too slow for all loses pictures, then takes, and no sound.
_BEHIND: Final = 5
_BACK: Final = 10


def raise_priority(*, realtime_priority: int, lock_memory: bool) -> list[str]:
    """Apply both wishes; return (and log) a sentence for each that was refused.

    The scheduling is that of the calling thread and of all threads and processes that it starts later; the
    memory is all that the process has touched or will touch. The instrument also works without: a refusal
    costs jitter under load, not notes.
    """
    refused = []
    if realtime_priority:
        try:
            os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(realtime_priority))
        except OSError as error:
            refused.append(
                f"SCHED_FIFO {realtime_priority} refused ({error.strerror}), going on with ordinary "
                "scheduling: set LimitRTPRIO in the service"
            )
    if lock_memory:
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.mlockall(_MCL_CURRENT | _MCL_FUTURE | _MCL_ONFAULT) != 0:
            reason = os.strerror(ctypes.get_errno())
            refused.append(
                f"memory cannot be locked ({reason}), going on with memory that may be swapped: "
                "set LimitMEMLOCK=infinity in the service"
            )
    for sentence in refused:
        _log.warning("%s", sentence)
    return refused


def stand_back() -> None:
    """Let the calling thread run when others leave time, also when it was started by a real-time one."""
    if os.sched_getscheduler(0) & ~os.SCHED_RESET_ON_FORK != os.SCHED_OTHER:
        os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))
    _be_nice(_BACK)


def step_behind() -> None:
    """Let the calling thread run behind those that it was started by, real-time or not."""
    if os.sched_getscheduler(0) & ~os.SCHED_RESET_ON_FORK != os.SCHED_FIFO:
        _be_nice(_BEHIND)
        return
    priority = os.sched_getparam(0).sched_priority
    if priority > os.sched_get_priority_min(os.SCHED_FIFO):
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(priority - 1))


def _be_nice(least: int) -> None:
    """Give the calling thread a niceness of ``least``, unless it has more; nobody is refused that."""
    if os.getpriority(os.PRIO_PROCESS, 0) < least:  # 0: this thread, as Linux has it
        os.setpriority(os.PRIO_PROCESS, 0, least)
