"""The C path, with a clear word when it is missing."""

from typing import Any

from ivories.errors import BackendError

try:
    from ivories import _native
except ImportError as error:
    raise BackendError(
        f"the compiled part of Ivories is missing or does not fit this machine ({error}): "
        "install Ivories again; in a source checkout run `pip install -e .`"
    ) from error

AudioFrontEnd: Any = _native.AudioFrontEnd
"""(hop, bands, windows, circle, step, floor, release); see edge/native/audio_frontend.h."""

AUDIO_KERNEL_REVISION: int = _native.AUDIO_KERNEL_REVISION
"""Raised in C whenever the same tables would give other bits."""


def simd() -> str:
    """Return the instruction set this build runs on: ``neon``, ``sse2`` or ``scalar``."""
    name: str = _native.SIMD
    return name
