"""Which node of /dev is which camera: they are numbered as they come, and one may come back as another."""

from dataclasses import dataclass
from pathlib import Path
from typing import Final

FIRST: Final = "/dev/video0"
"""What is tried when the kernel names no USB camera"""
_LISTED: Final = Path("/sys/class/video4linux")
_NODES: Final = Path("/dev")


@dataclass(frozen=True, slots=True)
class CameraName:
    """What stays of a camera whose node gets another number.

    Attributes:
        product: what its driver calls it.
        index: of the node among those of this camera; the others give no pictures.
        place: where it is plugged in. Another place may be the same camera's.
    """

    product: str
    index: str
    place: str


def name_of(device: str) -> CameraName | None:
    """Return what the kernel knows of ``device``, a node or a link to one; None when it knows none."""
    node = Path(device).resolve()
    entry = _LISTED / node.name
    try:
        if node.parent != _NODES:
            return None
        product, index = ((entry / what).read_text().strip() for what in ("name", "index"))
        return CameraName(product, index, str((entry / "device").resolve()))
    except OSError:
        return None


def usb_cameras() -> list[str]:
    """Return the node of every USB camera that gives its pictures, those of low numbers first."""
    return [device for device, name in cameras() if name.index == "0" and "/usb" in name.place]


def find_again(device: str, name: CameraName | None) -> str:
    """Return the node that a camera has now.

    Args:
        device: the node that it had.
        name: what ``name_of`` said of it then.

    Returns:
        A node of the same product, best in the same place, best under the same name; ``device`` when there is
        none, or when nothing was known of it.
    """
    if name is None:
        return device
    here = name_of(device)
    known = ([(device, here)] if here else []) + cameras()
    same = [(node, now) for node, now in known if (now.product, now.index) == (name.product, name.index)]
    return next((node for node, now in same if now.place == name.place), same[0][0] if same else device)


def cameras() -> list[tuple[str, CameraName]]:
    """Return all nodes that the kernel lists, those of low numbers first, each with what it knows of it."""
    numbers = [entry.name.removeprefix("video") for entry in _LISTED.glob("video*")]
    nodes = [str(_NODES / f"video{number}") for number in sorted(map(int, filter(str.isdigit, numbers)))]
    return [(node, name) for node in nodes if (name := name_of(node))]
