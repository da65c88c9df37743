"""``ivories devices``: the microphones, cameras and MIDI ports of this machine."""

from collections.abc import Callable

from rich.console import Console

from ivories.backends import load
from ivories.errors import IvoriesError
from ivories.sinks.rawmidi import find_gadget
from ivories.sources.v4l2_nodes import cameras


def run(console: Console) -> None:
    """Print one block per kind; what cannot be listed says why."""
    _show(console, "Microphones (audio.device)", list_microphones)
    _show(console, "Cameras (video.device)", _cameras)
    _show(console, "MIDI gadget (usb_midi.device)", _gadget)


def list_microphones() -> list[str]:
    """Return the names of ALSA's capture devices; raises BackendError without its library."""
    load("audio", "alsa")  # tells what to install when that is what is missing
    from ivories.sources.alsa import microphones

    return microphones()


def _show(console: Console, title: str, find: Callable[[], list[str]]) -> None:
    console.print(f"[bold]{title}[/bold]")
    try:
        found = find()
    except (IvoriesError, OSError) as error:
        console.print(f"  none: {error}", markup=False)
        return
    for name in found or ["none"]:
        console.print(f"  {name}", markup=False)


def _gadget() -> list[str]:
    node = find_gadget()
    return [] if node is None else [str(node)]


def _cameras() -> list[str]:
    """Name every V4L2 node with what the kernel calls it."""
    return [f"{node}  {name.product}" for node, name in cameras()]
