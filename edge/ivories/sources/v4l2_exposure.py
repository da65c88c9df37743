"""The exposure controls of a V4L2 camera, through a file handle of their own beside the one that streams.

Some drivers shift their automatic exposure by some stops (a bias). Most USB cameras only know automatic and
manual: theirs is made manual, at the time that the automatic exposure had chosen, for as long as a correction
is wanted. ``restore`` gives the camera back as it was.
"""

import fcntl
import os
import struct
from typing import Final, Self

QUERYCTRL: Final = 0xC0445624
QUERYMENU: Final = 0xC02C5625
G_CTRL: Final = 0xC008561B
S_CTRL: Final = 0xC008561C
"""The kernel's VIDIOC_* requests"""
AUTO: Final = 0x009A0901
ABSOLUTE: Final = 0x009A0902
BIAS: Final = 0x009A0913
"""Its V4L2_CID_EXPOSURE_AUTO, V4L2_CID_EXPOSURE_ABSOLUTE and V4L2_CID_AUTO_EXPOSURE_BIAS"""
MANUAL: Final = 1
"""Its V4L2_EXPOSURE_MANUAL"""
_UNIT_S: Final = 1e-4  # of ABSOLUTE
_BIAS_UNIT: Final = 1e-3  # stops
_INTEGER_MENU: Final = 9
_DISABLED: Final = 0x0001
_READ_ONLY: Final = 0x0004
_CONTROL: Final = struct.Struct("=Ii")
_QUERY: Final = struct.Struct("=II32siiiiI8x")
_MENU: Final = struct.Struct("=IIq24xI")


class V4l2Exposure:
    """What the camera can do about its exposure.

    Args:
        device: such as ``/dev/video0``.
        fps: frames per second; no exposure may last longer than a frame.
    """

    def __init__(self, device: str, fps: float) -> None:
        self.device = device
        """The camera's node; another one once it came back as that"""
        self._longest = max(1, int(1 / fps / _UNIT_S))
        self._was: dict[int, int] = {}  # control -> value before the first correction
        self.means = self._find()
        """``bias``, ``manual``, or empty where nothing can be done"""

    def correct(self, stops: float) -> bool:
        """Expose by ``stops`` beside the camera's own choice; return whether it obeyed."""
        if not self.means:
            return False
        if stops == 0:
            return self.restore()
        try:
            with _Handle(self.device) as camera:
                if self.means == "bias":
                    self._bias(camera, stops)
                else:
                    self._by_hand(camera, stops)
        except OSError:
            return False
        return True

    def restore(self) -> bool:
        """Leave the camera's exposure as it was found; return whether it obeyed."""
        if not self._was:
            return True
        try:
            with _Handle(self.device) as camera:
                for control, value in self._was.items():
                    if control != ABSOLUTE or self._was.get(AUTO) == MANUAL:  # else it is automatic again
                        camera.set(control, value)
        except OSError:
            return False
        self._was = {}
        return True

    def _find(self) -> str:
        try:
            with _Handle(self.device) as camera:
                if camera.steps(BIAS):
                    return "bias"
                if camera.range(AUTO) and camera.range(ABSOLUTE):
                    return "manual"
        except OSError:
            pass
        return ""

    def _bias(self, camera: "_Handle", stops: float) -> None:
        self._was.setdefault(BIAS, camera.get(BIAS))
        steps = camera.steps(BIAS)
        own = steps.get(self._was[BIAS], 0.0)
        camera.set(BIAS, min(steps, key=lambda index: abs(steps[index] - own - stops)))

    def _by_hand(self, camera: "_Handle", stops: float) -> None:
        if AUTO not in self._was:  # the time is read while the camera still chooses it
            self._was = {ABSOLUTE: min(camera.get(ABSOLUTE), self._longest), AUTO: camera.get(AUTO)}
        low, high = camera.range(ABSOLUTE) or (1, self._longest)
        camera.set(AUTO, MANUAL)
        camera.set(ABSOLUTE, round(min(max(self._was[ABSOLUTE] * 2.0**stops, low), high)))


class _Handle:
    """The device, opened for its controls alone. Every method raises OSError where the camera refuses."""

    def __init__(self, device: str) -> None:
        self._file = os.open(device, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._file)

    def get(self, control: int) -> int:
        """Return the control's value."""
        done = bytearray(_CONTROL.pack(control, 0))
        fcntl.ioctl(self._file, G_CTRL, done)
        return int(_CONTROL.unpack(done)[1])

    def set(self, control: int, value: int) -> None:
        """Set the control."""
        fcntl.ioctl(self._file, S_CTRL, bytearray(_CONTROL.pack(control, value)))

    def range(self, control: int) -> tuple[int, int] | None:
        """Return smallest and largest value, or None where there is no such control to set."""
        found = self._query(control)
        return None if found is None else found[1:]

    def steps(self, control: int) -> dict[int, float]:
        """Return index -> stops of an integer menu; empty where there is no such control to set."""
        found = self._query(control)
        if found is None or found[0] != _INTEGER_MENU:
            return {}
        steps = {}
        for index in range(found[1], found[2] + 1):
            item = bytearray(_MENU.pack(control, index, 0, 0))
            try:
                fcntl.ioctl(self._file, QUERYMENU, item)
            except OSError:  # menus may have holes
                continue
            steps[index] = _MENU.unpack(item)[2] * _BIAS_UNIT
        return steps

    def _query(self, control: int) -> tuple[int, int, int] | None:
        """Return type, smallest and largest value."""
        asked = bytearray(_QUERY.pack(control, 0, b"", 0, 0, 0, 0, 0))
        try:
            fcntl.ioctl(self._file, QUERYCTRL, asked)
        except OSError:
            return None
        _, kind, _, low, high, _, _, flags = _QUERY.unpack(asked)
        return None if flags & (_DISABLED | _READ_ONLY) else (kind, low, high)
