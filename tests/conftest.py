"""Settings of the whole suite, and a report header that names what was tested."""

import os

import pytest
from hypothesis import settings

from ivories import native

# A gate gives the same answer twice; HYPOTHESIS_PROFILE=explore looks for what nobody has seen yet.
settings.register_profile("gate", derandomize=True, deadline=None)
settings.register_profile("explore", deadline=None, max_examples=2000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "gate"))


def pytest_report_header():
    return f"front ends in C: {native.simd()}, audio kernel revision {native.AUDIO_KERNEL_REVISION}"


@pytest.fixture
def opened():
    """Whatever is appended is closed at the end, last first."""
    things = []
    yield things
    for thing in reversed(things):
        thing.close()
