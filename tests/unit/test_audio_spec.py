import msgspec
import numpy as np
import pytest

from ivories.audio.spec import FrontEndSpec, Window, fingerprint, tables
from ivories.keyboard import KEYS, pitch_of_key
from signals import SPECS


def test_three_bands_surround_each_key():
    centres = FrontEndSpec().centres()
    pitch = 69 + 12 * np.log2(centres / 440)
    for key in range(KEYS):
        around = pitch[3 * key : 3 * key + 3] - pitch_of_key(key)
        np.testing.assert_allclose(around, [-1 / 3, 0, 1 / 3], atol=1e-9)


def test_window_rises_slowly_and_falls_over_the_newest_samples():
    window = Window(4096, 512)
    taper = window.taper()
    assert taper.shape == (4096,)
    assert np.all(np.diff(taper[:3584]) >= 0)
    assert np.all(np.diff(taper[3584:]) <= 0)
    assert taper[3583] == pytest.approx(1, abs=1e-5)
    assert taper[[0, -1]].max() < 1e-5


def test_even_fall_gives_the_hann_window():
    n = np.arange(1024)
    np.testing.assert_allclose(Window(1024, 512).taper(), np.sin(np.pi * (n + 0.5) / 1024) ** 2, atol=2**-20)


@pytest.mark.parametrize(("length", "size"), [(8, 32), (768, 1024), (1024, 1024), (1032, 2048), (8192, 8192)])
def test_fft_size_is_the_next_power_of_two(length, size):
    assert Window(length, 4).size == size


def test_tables_lie_on_a_coarse_grid():
    made = tables(FrontEndSpec())
    for values, bits in [(made.circle, 23), *((taper, 20) for taper in made.tapers)]:
        scaled = values.astype(np.float64) * 2**bits
        assert np.array_equal(scaled, np.round(scaled))
    for bands in made.bands:
        mantissa = np.frexp(bands.weights.astype(np.float64))[0] * 2**14
        assert np.array_equal(mantissa, np.round(mantissa))


def test_no_band_sees_the_offset_of_the_microphone():
    assert all(bands.start.min() >= 1 for bands in tables(FrontEndSpec()).bands)


def test_fingerprint_tells_specs_and_kernels_apart():
    spec = FrontEndSpec()
    seen = {fingerprint(one, 1) for one in SPECS.values()}
    seen.add(fingerprint(spec, 2))
    seen.add(fingerprint(msgspec.structs.replace(spec, floor_db=-56.0), 1))
    seen.add(fingerprint(msgspec.structs.replace(spec, windows=spec.windows[:2]), 1))
    assert len(seen) == len(SPECS) + 3
    assert fingerprint(FrontEndSpec(), 1) == fingerprint(spec, 1)


def test_spec_survives_a_configuration_file():
    spec = SPECS["odd"]
    assert msgspec.toml.decode(msgspec.toml.encode(spec), type=FrontEndSpec) == spec


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"hop": 0}, "hop"),
        ({"windows": ()}, "window"),
        ({"windows": (Window(1001, 10),)}, "multiple of 8"),
        ({"windows": (Window(16384, 10),)}, "8192"),
        ({"windows": (Window(1024, 1024),)}, "fall"),
        ({"bands": 400}, "Hz"),
        ({"scale": "mel", "lowest": 100.0}, "Hz"),
        ({"scale": "linear", "lowest": 1}, "single window"),
        ({"step_db": float("nan")}, "step_db"),
    ],
)
def test_numbers_that_do_not_fit_are_named(change, word):
    with pytest.raises(ValueError, match=word):
        msgspec.structs.replace(FrontEndSpec(), **change)
