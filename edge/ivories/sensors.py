"""The microphone and the camera that a configuration asks for."""

import errno
import logging
import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final, TypeVar

from ivories.backends import BACKENDS, FAKES, load
from ivories.config import Config
from ivories.devices import list_microphones
from ivories.errors import BackendError, IvoriesError, SourceError
from ivories.sources.base import AudioSource, VideoSource
from ivories.sources.v4l2_nodes import FIRST, usb_cameras

_log = logging.getLogger(__name__)
_BOARD: Final = Path("/proc/device-tree/model")
_Source = TypeVar("_Source")


def open_microphone(config: Config) -> AudioSource:
    """Return the configured source of sound; ``auto`` takes the first capture device that opens.

    Raises:
        SourceError: no microphone could be opened.
        BackendError: the back-end named needs a library that is not installed.
    """
    audio = config.audio
    if audio.source == "auto" and audio.device == "default":
        return _first_microphone(audio.period_ms)
    name = "alsa" if audio.source == "auto" else audio.source
    source = load("audio", name)
    if name == "alsa":
        opened: AudioSource = source(device=audio.device, period_ms=audio.period_ms)
    elif name == "file":
        opened = source(Path(audio.device), realtime=True)
    else:
        opened = source(realtime=True)
    return opened


def _first_microphone(period_ms: float) -> AudioSource:
    """Open ALSA's default or else the first card that hears: on a Pi the default may be one that only plays.

    A device that another program holds is no reason to take the next: it is the one to be told of.
    """
    source = load("audio", "alsa")
    cards = [name for name in list_microphones() if name.startswith("plughw:")]
    opened: AudioSource = _first(
        ["default", *cards], lambda device: source(device=device, period_ms=period_ms)
    )
    return opened


def _first(devices: Iterable[str], open_one: Callable[[str], _Source]) -> _Source:
    """Return what opens first; raises SourceError with all reasons, or at once for a device in use."""
    reasons = []
    for device in devices:
        try:
            return open_one(device)
        except SourceError as error:
            if os.strerror(errno.EBUSY) in str(error):
                raise
            reasons.append(str(error))
            _log.debug("%s", error)
    raise SourceError("; ".join(dict.fromkeys(reasons)))


def open_camera(config: Config) -> VideoSource:
    """Return the configured source of pictures; ``auto`` walks the real cameras and says why each refused.

    Raises:
        SourceError: no camera could be opened.
        BackendError: the back-end named needs a library that is not installed.
    """
    video = config.video
    if video.source != "auto":
        return _camera(config, video.source)
    reasons = []
    for name in BACKENDS["video"]:
        if name in FAKES or name in {"file", "images"}:
            continue
        try:
            return _camera(config, name)
        except IvoriesError as error:
            _log.debug("camera %s refused: %s", name, error)
            if name != "picamera2" or not isinstance(error, BackendError) or _on_a_pi():
                reasons.append(f"{name}: {error}")
    raise SourceError("no camera: " + "; ".join(reasons))


def _on_a_pi() -> bool:
    """Whether this is a Raspberry Pi: elsewhere nobody wants to hear how its camera library is installed."""
    try:
        return b"Raspberry Pi" in _BOARD.read_bytes()
    except OSError:
        return False


def _cameras(device: str) -> list[str]:
    """Return the V4L2 nodes to try: ``device``, or for ``auto`` USB cameras before the very first."""
    if device != "auto":
        return [device]
    return list(dict.fromkeys([*usb_cameras(), FIRST]))


def _camera(config: Config, name: str) -> VideoSource:
    video = config.video
    source = load("video", name)
    size = {"width": video.width, "height": video.height, "fps": video.fps}
    if name == "v4l2":
        opened: VideoSource = _first(_cameras(video.device), lambda device: source(device=device, **size))
    elif name == "picamera2":
        opened = source(**size)
    elif name == "file":
        opened = source(Path(video.device), realtime=True)
    elif name == "images":
        opened = source(Path(video.device), fps=video.fps, realtime=True)
    else:
        opened = source(realtime=True)
    return opened
