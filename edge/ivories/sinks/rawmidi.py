"""What the kernel offers for a raw MIDI device node: the gadget's node, its short buffer, its cable."""

import contextlib
import fcntl
import os
import re
import select
import struct
from pathlib import Path
from typing import Final

# struct snd_rawmidi_params of <sound/asound.h>: stream, buffer_size, avail_min, flags, reserved
_PARAMS: Final = "@iNNI16s0N"
_OUTPUT: Final = 0
# Else closing sends one more byte, and waits ten seconds for a host that does not listen.
_NO_ACTIVE_SENSING: Final = 1
_IOCTL_PARAMS: Final = 0xC0005710 | struct.calcsize(_PARAMS) << 16
_IOCTL_DROP: Final = 0x40045730
SMALLEST_BUFFER: Final = 32
"""Bytes: with a closed host this is all that can wait in the node and be heard, stale, when it opens again"""


def find_gadget(root: Path = Path("/")) -> Path | None:
    """Return the device node of this board's own USB-MIDI gadget port, or None when it has none."""
    with contextlib.suppress(OSError):
        cards = (root / "proc/asound/cards").read_text()
        for card in re.findall(r"^ *(\d+) \[[^\]]*\]: MIDI Gadget - f_midi", cards, re.MULTILINE):
            node = root / f"dev/snd/midiC{card}D0"
            if node.exists():
                return node
    return None


def shorten_buffer(number: int) -> None:
    """Let the kernel keep ``SMALLEST_BUFFER`` bytes for the open node ``number``; nothing on other files."""
    params = struct.pack(_PARAMS, _OUTPUT, SMALLEST_BUFFER, 1, _NO_ACTIVE_SENSING, b"")
    with contextlib.suppress(OSError):
        fcntl.ioctl(number, _IOCTL_PARAMS, params)


def drop_unsent(number: int) -> None:
    """Throw away what the kernel keeps for ``number``, so that closing it cannot wait for the host."""
    with contextlib.suppress(OSError):
        fcntl.ioctl(number, _IOCTL_DROP, struct.pack("@i", _OUTPUT))


class Cable:
    """Tells when a host has taken the gadget up: until then the kernel accepts bytes and throws them away."""

    events = select.POLLPRI
    """What to poll ``fileno`` for; each time, ask ``taken_up``"""

    def __init__(self, state: Path) -> None:
        """Watch ``state``, the file that ``find_cable`` returned; raises ``OSError``."""
        self._file = state.open("rb", buffering=0)
        self.taken_up()  # only changes after a reading are told

    def fileno(self) -> int:
        """Return the descriptor to poll."""
        return self._file.fileno()

    def taken_up(self) -> bool:
        """Return whether the change that poll told of is a host's choice of the gadget's configuration."""
        return os.pread(self.fileno(), 64, 0).strip() == b"configured"

    def close(self) -> None:
        """Watch no longer."""
        self._file.close()


def find_cable(root: Path = Path("/")) -> Path | None:
    """Return the file with the state of this board's USB device port, or None when it has none."""
    return next(iter(sorted((root / "sys/class/udc").glob("*/state"))), None)
