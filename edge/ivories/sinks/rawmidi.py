"""What the kernel offers for a raw MIDI device node: finding the gadget's, keeping its buffer short."""

import contextlib
import fcntl
import re
import struct
from pathlib import Path
from typing import Final

# struct snd_rawmidi_params of <sound/asound.h>: stream, buffer_size, avail_min, flags, reserved
_PARAMS: Final = "@iNNI16s0N"
_OUTPUT: Final = 0
_IOCTL_PARAMS: Final = 0xC0005710 | struct.calcsize(_PARAMS) << 16
_IOCTL_DROP: Final = 0x40045730
SMALLEST_BUFFER: Final = 32
"""Bytes: with a closed host this is all that can wait in the node and be heard, stale, when it opens again"""


def find_gadget(root: Path = Path("/")) -> Path | None:
    """Return the device node of this board's own USB-MIDI gadget port, or None when it has none."""
    with contextlib.suppress(OSError):
        cards = (root / "proc/asound/cards").read_text()
        for card in re.findall(r"^ *(\d+) \[[^\]]*\]: f_midi", cards, re.MULTILINE):
            node = root / f"dev/snd/midiC{card}D0"
            if node.exists():
                return node
    return None


def shorten_buffer(number: int) -> None:
    """Let the kernel keep ``SMALLEST_BUFFER`` bytes for the open node ``number``; nothing on other files."""
    params = struct.pack(_PARAMS, _OUTPUT, SMALLEST_BUFFER, 1, 0, b"")
    with contextlib.suppress(OSError):
        fcntl.ioctl(number, _IOCTL_PARAMS, params)


def drop_unsent(number: int) -> None:
    """Throw away what the kernel keeps for ``number``, so that closing it cannot wait for the host."""
    with contextlib.suppress(OSError):
        fcntl.ioctl(number, _IOCTL_DROP, struct.pack("@i", _OUTPUT))
