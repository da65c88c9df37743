"""A moment with each sensor, for ``ivories doctor``: does it open, does it deliver, what does it deliver?"""

import errno
import os
import threading
from collections.abc import Callable, Iterable
from itertools import pairwise
from pathlib import Path
from typing import Final, TypeVar

import numpy as np

from ivories.clock import SECOND
from ivories.config import Config
from ivories.datatypes import AudioBlock, VideoFrame
from ivories.errors import BackendError, IvoriesError, SourceError
from ivories.sensors import open_camera, open_microphone
from ivories.sources.base import AudioSource, Exposing, VideoSource
from ivories.vision import calibration as calibrations
from ivories.vision.exposure import ExposureWatch

PATIENCE_S: Final = 3.0
"""How long a sensor that was opened may take to deliver"""
LISTEN_S: Final = 0.6
WATCH_S: Final = 1.0
_SETTLE_S: Final = 0.1  # of sound left out: some microphones begin with zeros
_DARK: Final = 10.0  # mean luma with nothing to see
_BRIGHT: Final = 245.0  # the same
_FULL_SCALE: Final = 0.99
_MICROPHONES: Final = "/dev/snd/pcmC*D*c"
_CAMERAS: Final = "/dev/video*"

Item = TypeVar("Item", AudioBlock, VideoFrame)
Source = TypeVar("Source", AudioSource, VideoSource)


class NothingSensedError(SourceError):
    """A sensor that works, muted or in the dark: no reason to refuse a release."""


class SensorInUseError(BackendError):
    """A sensor that another program holds; ``by_ivories``: certainly a running Ivories."""

    def __init__(self, message: str, *, by_ivories: bool) -> None:
        super().__init__(message)
        self.by_ivories = by_ivories


def hear(config: Config) -> str:
    """Listen to the configured microphone for a moment and return what it gave.

    Raises:
        SensorInUseError: another program holds it.
        NothingSensedError: it gives nothing but zeros.
        SourceError: it cannot be opened, or gives nothing.
        BackendError: a library is missing.
    """
    source = _opened(lambda: open_microphone(config), _MICROPHONES)
    name = repr(source)
    blocks = _moment(source, source.close, LISTEN_S)
    if not blocks:
        raise SourceError(f"{name} opened, but gave no sound within {PATIENCE_S:g} s: plug it in again")
    samples = np.concatenate([block.samples for block in blocks])[round(_SETTLE_S * source.rate) :]
    if not samples.any():
        if config.audio.source in {"auto", "alsa"}:
            raise NothingSensedError(
                f"{name} gives nothing but digital silence: is it muted (`alsamixer`, F4)?"
            )
        return f"{name}: silent at its beginning"
    clipped = np.count_nonzero(np.abs(samples) >= _FULL_SCALE)
    lost = sum(block.gap for block in blocks)
    level = np.sqrt(np.mean(np.square(samples, dtype=np.float64)))
    return (
        f"{name}: level {_db(level)} dB, peak {_db(np.abs(samples).max())} dB full scale"
        + (", and it clips: turn it down (`alsamixer`, F4)" if clipped >= 3 else "")
        + (f", {1000 * lost / source.rate:.0f} ms of it lost" if lost else "")
    )


def look(config: Config) -> str:
    """Look through the configured camera for a moment and return what it gave.

    Raises:
        SensorInUseError: another program holds it.
        NothingSensedError: its pictures are black or white.
        SourceError: it cannot be opened, or gives no pictures.
        BackendError: a library is missing.
    """
    source = _opened(lambda: open_camera(config), _CAMERAS)
    name = repr(source)
    frames = _moment(source, source.close, WATCH_S)
    if len(frames) < 2:
        raise SourceError(f"{name} opened, but gave no pictures within {PATIENCE_S:g} s: check its cable")
    luma = float(frames[-1].luma.mean())
    if luma < _DARK:
        raise NothingSensedError(f"{name} gives black pictures: check the lens cap and the light")
    if luma > _BRIGHT:
        raise NothingSensedError(
            f"{name} gives white pictures: there is too much light, or its exposure is fixed"
        )
    rate = (len(frames) - 1) * SECOND / max(1, frames[-1].t_ns - frames[0].t_ns)
    lost = sum(after.sequence - before.sequence - 1 for before, after in pairwise(frames))
    plain = _plain(config, frames[-1])
    return (
        f"{name}: {rate:.1f} frames per second (wanted {config.video.fps:g}), brightness {luma:.0f} of 255"
        + (f", {lost} frames lost" if lost else "")
        + (f", {plain:.0%} of the white keys plain white" if plain else "")
        + _exposure(config, source)
    )


def _plain(config: Config, frame: VideoFrame) -> float:
    """Return the share of the white keys that is plain white, 0 where nobody knows where they are."""
    try:
        calibration = calibrations.load(Path(config.video.calibration))
    except IvoriesError:
        return 0.0
    watch = ExposureWatch(calibration)
    watch.push(frame)
    return watch.plain


def _exposure(config: Config, source: VideoSource) -> str:
    """Return what can be done about too bright a picture."""
    if config.video.exposure == "camera":
        return "; its exposure is left to it (video.exposure)"
    if not isinstance(source, Exposing):
        return ""
    if source.exposure_means:
        return f"; it is asked for less light where white keys are plain white ({source.exposure_means})"
    return (
        "; its exposure cannot be corrected from here: where white keys are plain white, move the lamp or "
        "look for a setting with `v4l2-ctl -L`"
    )


def _db(amplitude: float) -> str:
    return f"{20 * np.log10(amplitude):.0f}"


def holder(pattern: str, proc: Path = Path("/proc")) -> str:
    """Return the command line of another process that has a device like ``pattern`` open, as far as visible.

    Empty when there is none, or when it is none of our business: other users' processes tell nothing.
    """
    devices = {str(path) for path in Path("/").glob(pattern.lstrip("/"))}
    for process in proc.glob("[0-9]*"):
        if process.name == str(os.getpid()):
            continue
        try:
            held = {str(number.readlink()) for number in (process / "fd").iterdir()}
            if held & devices:
                words = (process / "cmdline").read_bytes().split(b"\0")
                return b" ".join(words).decode(errors="replace").strip()
        except OSError:  # it ended, or is another user's
            continue
    return ""


def _opened(opening: Callable[[], Source], devices: str) -> Source:
    try:
        return opening()
    except IvoriesError as error:
        who = holder(devices)
        if any(Path(word).name == "ivories" for word in who.split()):
            raise SensorInUseError("in use by Ivories itself, so not opened here", by_ivories=True) from error
        if who or os.strerror(errno.EBUSY) in str(error):
            raise SensorInUseError(
                f"in use by another program ({who or 'not one of this user'}), so not opened here; if it is "
                "the running service, all is well: `systemctl stop ivories` lets doctor look closer",
                by_ivories=False,
            ) from error
        raise


def _moment(items_of: Iterable[Item], close: Callable[[], None], seconds: float) -> list[Item]:
    """Return what comes within ``seconds`` of the first item, or what came until patience ended."""
    items: list[Item] = []
    alarm = threading.Timer(PATIENCE_S, close)
    alarm.start()
    try:
        for item in items_of:
            items.append(item)
            if item.t_ns - items[0].t_ns >= seconds * SECOND:
                break
    finally:
        alarm.cancel()
        close()
    return items
