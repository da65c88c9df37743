"""The test report names what was tested: the instruction set and the revision of the C code."""

from ivories import native


def pytest_report_header():
    return f"front ends in C: {native.simd()}, audio kernel revision {native.AUDIO_KERNEL_REVISION}"
