"""The C path, with a clear word when it is missing."""

from ivories.errors import BackendError

try:
    from ivories._native import (
        AUDIO_KERNEL_REVISION,
        SIMD,
        STRIP_KERNEL_REVISION,
        AudioFrontEnd,
        StripFrontEnd,
        resample,
    )
except ImportError as error:
    raise BackendError(
        f"the compiled part of Ivories is missing or does not fit this machine ({error}): "
        "install Ivories again; in a source checkout run `pip install -e .`"
    ) from error

__all__ = [
    "AUDIO_KERNEL_REVISION",
    "STRIP_KERNEL_REVISION",
    "AudioFrontEnd",
    "StripFrontEnd",
    "resample",
    "simd",
]


def simd() -> str:
    """Return the instruction set that the front ends run on: ``neon``, ``sse2`` or ``scalar``."""
    return SIMD
