"""What a process holds: resident memory, C heap, Python objects, threads, open files."""

import contextlib
import ctypes
import gc
import os
import sys
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

MIB: Final = 1024 * 1024
WARM_UP: Final = 0.25
"""Share of the run in which caches may fill"""


@dataclass(frozen=True)
class Look:
    """The process after one repetition."""

    material_s: float
    resident_mib: float
    heap_mib: float
    """In use by C code"""
    blocks: int
    """In use by Python objects"""
    threads: int
    files: int


class _Mallinfo(ctypes.Structure):
    """What mallinfo2(3) returns."""

    _fields_ = tuple(
        (name, ctypes.c_size_t)
        for name in ("arena", "ordblks", "smblks", "hblks", "hblkhd", "usmblks", "fsmblks", "uordblks",
                     "fordblks", "keepcost")
    )  # fmt: skip


def look(material_s: float) -> Look:
    """Return what this process holds now, garbage collected."""
    gc.collect()
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    heap = 0
    with contextlib.suppress(AttributeError):  # glibc before 2.33, or another C library
        mallinfo = ctypes.CDLL(None).mallinfo2
        mallinfo.restype = _Mallinfo
        info = mallinfo()
        heap = info.uordblks + info.hblkhd
    return Look(
        material_s, pages * os.sysconf("SC_PAGE_SIZE") / MIB, heap / MIB, sys.getallocatedblocks(),
        threading.active_count(), len(list(Path("/proc/self/fd").iterdir())),
    )  # fmt: skip


def growth(looks: list[Look], name: str) -> tuple[float, float]:
    """Return by how much ``name`` grew since the warm-up, and hours of material since then."""
    settled = [x for x in looks if x.material_s >= WARM_UP * looks[-1].material_s]
    third = max(1, len(settled) // 3)  # medians of the ends: one look may fall on a peak
    before = float(np.median([getattr(x, name) for x in settled[:third]]))
    after = float(np.median([getattr(x, name) for x in settled[-third:]]))
    return after - before, (settled[-1].material_s - settled[0].material_s) / 3600
