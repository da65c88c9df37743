"""Fixtures that several tests of the training share."""

import numpy as np
import pytest

from ivories.keyboard import KEYS


@pytest.fixture(scope="module")
def sines():
    """A piano of decaying sines: what sounds is known exactly."""
    from ivories_training.audio.sample_bank import RATE, Layer, SampleBank  # wants what training installs

    time = np.arange(RATE * 2) / RATE
    notes = tuple(
        (8000 * np.sin(2 * np.pi * 440 * 2 ** ((key - 48) / 12) * time) * np.exp(-time)).astype(np.int16)
        for key in range(KEYS)
    )
    return SampleBank("sines", (Layer(127, notes),))
