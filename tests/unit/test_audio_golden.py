"""The bits that the models were trained on: they change only together with the kernel revision."""

from pathlib import Path

import numpy as np
import pytest

from ivories import native
from ivories.audio.frontend import AudioFrontEnd
from signals import RATE, SPECS, melody

GOLDEN = Path(__file__).parents[1] / "data" / "audio_golden.npz"
ADVICE = (
    "the audio front end gives other bits than its golden vectors. If that is meant, raise "
    "AUDIO_KERNEL_REVISION in audio_frontend.h (models behind the old one are refused), then run "
    "tests/data/make_audio_golden.py"
)


@pytest.fixture(scope="module")
def golden():
    with np.load(GOLDEN) as file:
        return dict(file)


def test_revision_is_the_one_of_the_golden_vectors(golden):
    assert int(golden["revision"]) == native.AUDIO_KERNEL_REVISION, ADVICE


@pytest.mark.parametrize("name", SPECS)
def test_bits_are_the_golden_ones(golden, name):
    bins, level = AudioFrontEnd(SPECS[name]).process(melody(RATE))
    kept = bins[:: max(1, len(bins) // 40)]
    assert np.array_equal(kept, golden[f"{name}.bins"]), ADVICE
    assert level.tobytes() == golden[f"{name}.level"].tobytes(), ADVICE


@pytest.mark.parametrize("name", SPECS)
def test_tables_are_the_same_on_every_machine(golden, name):
    assert AudioFrontEnd(SPECS[name]).fingerprint == str(golden[f"{name}.fingerprint"]), ADVICE


def test_golden_sound_reaches_all_of_the_scale(golden):
    bins = golden["ivories.bins"]
    assert bins.min() == -128
    assert bins.max() == 127
    assert len(np.unique(bins)) > 200
