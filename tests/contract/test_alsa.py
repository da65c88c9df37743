"""The microphone source on a true ALSA device: a plugin whose samples tell when they were captured."""

import shutil
import subprocess
import sys
import threading
import time
import types
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from ivories.backends import load
from ivories.clock import SECOND
from ivories.config import AudioSection, Config
from ivories.errors import BackendError, SourceError
from ivories.sensor_check import hear

pytest.importorskip("alsaaudio", reason="pyalsaaudio is not installed")
from ivories.sources.alsa import AlsaSource, microphones, to_mono

PLUGIN = Path(__file__).parents[1] / "data" / "alsa" / "counting_pcm.c"
WRAP = 1 << 23


@pytest.fixture(scope="module")
def plugin(tmp_path_factory):
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None or not Path("/usr/include/alsa/asoundlib.h").exists():
        pytest.skip("needs a C compiler and libasound2-dev to build its ALSA device")
    library = tmp_path_factory.mktemp("alsa") / "libasound_module_pcm_counting.so"
    flags = ["-shared", "-fPIC", "-DPIC", "-Wall", "-Wextra", "-Werror"]
    subprocess.run([compiler, *flags, "-o", str(library), str(PLUGIN), "-lasound"], check=True)
    return library


@pytest.fixture
def control(plugin, tmp_path, monkeypatch):
    """Define the devices ``counter`` and ``converted``; return the file that makes trouble."""
    control = tmp_path / "control"
    config = tmp_path / "asound.conf"
    config.write_text(
        "</usr/share/alsa/alsa.conf>\n"
        f'pcm_type.counting {{ lib "{plugin}" }}\n'
        f'pcm.counter {{ type counting control "{control}" }}\n'
        "pcm.converted { type plug slave { pcm counter rate 48000 } }\n"
    )
    monkeypatch.setenv("ALSA_CONFIG_PATH", str(config))
    return control


def error_samples(block):
    """Return by how many samples the stamp of ``block`` is off what its first sample says."""
    told = round(float(block.samples[0]) * WRAP)
    stamped = block.t_ns * block.rate / SECOND
    return (stamped - told + WRAP / 2) % WRAP - WRAP / 2


def listen(source, seconds, also=lambda _: None):
    blocks = []
    for block in source:
        blocks.append(block)
        also(len(blocks))
        if block.t_ns - blocks[0].t_ns > seconds * SECOND:
            source.close()
    return blocks


def check_count(blocks):
    """Check that the count of samples, lost ones included, follows the sound itself."""
    for before, after in pairwise(blocks):
        assert after.first_sample == before.first_sample + len(before.samples) + after.gap
        told = round(float(after.samples[0]) * WRAP) - round(float(before.samples[0]) * WRAP)
        counted = after.first_sample - before.first_sample
        assert abs((told - counted + WRAP // 2) % WRAP - WRAP // 2) <= (0 if after.gap == 0 else 40)


def test_every_sample_has_its_time(control):
    source = AlsaSource("counter")
    assert source.rate == 16_000
    blocks = listen(source, 0.6)
    assert blocks[0].first_sample == 0
    check_count(blocks)
    errors_ms = np.array([error_samples(block) for block in blocks]) / 16
    assert np.abs(errors_ms).max() < 3
    assert np.median(np.abs(errors_ms)) < 1
    assert not blocks[5].samples.flags.writeable
    assert source.gaps == 0
    assert max(len(block.samples) for block in blocks[3:]) <= 4 * 80


def test_the_doctor_hears_it_for_a_moment(control):
    told = hear(Config(audio=AudioSection(source="alsa", device="counter")))
    assert told.startswith("ALSA counter, 16000 Hz: level -"), told
    control.write_text("gone")
    with pytest.raises(SourceError, match="cannot be opened"):
        hear(Config(audio=AudioSection(source="alsa", device="counter")))


def test_an_overrun_is_a_gap_of_the_right_length(control):
    def dawdle(count):
        if count == 20:
            time.sleep(0.5)

    blocks = listen(AlsaSource("counter"), 1.0, dawdle)
    gaps = [block.gap for block in blocks if block.gap]
    assert len(gaps) == 1
    assert 0.25 < gaps[0] / 16_000 < 0.7
    check_count(blocks)
    assert abs(error_samples(blocks[-1])) < 48


@pytest.mark.parametrize("trouble", ["gone", "mute"])
def test_a_device_that_is_lost_is_heard_again_within_two_seconds_of_its_return(control, trouble):
    back = []

    def disturb(count):
        if count == 20:
            control.write_text(trouble)
            threading.Timer(0.8, mend).start()

    def mend():
        back.append(time.monotonic_ns())
        control.unlink()

    blocks = listen(AlsaSource("counter"), 2.5, disturb)
    (first,) = (block for block in blocks if block.gap)
    assert first.t_ns - back[0] < 2 * SECOND
    assert first.gap / 16_000 == pytest.approx(0.8, abs=0.75)
    check_count(blocks)
    assert blocks[-1].first_sample > first.first_sample + 4000


def test_close_ends_it_even_while_the_device_is_gone(control):
    source = AlsaSource("counter")
    thread = threading.Thread(target=lambda: list(source))
    thread.start()
    control.write_text("gone")
    time.sleep(0.3)
    source.close()
    thread.join(timeout=1.0)
    assert not thread.is_alive()


def test_a_device_of_another_rate_is_converted_and_still_has_its_time(control):
    source = AlsaSource("converted")
    assert source.rate == 16_000
    told = []
    for block in listen(source, 0.6):
        assert block.gap == 0
        told.append(float(block.samples[0]) * WRAP / 48_000 - block.t_ns / SECOND)
    assert len(told) == pytest.approx(120, abs=4)
    behind_s = (np.array(told) + WRAP / 96_000) % (WRAP / 48_000) - WRAP / 96_000
    assert np.abs(behind_s).max() < 0.015  # ALSA's converter does not tell of its own delay


def test_other_rates_and_periods(control):
    source = AlsaSource("counter", period_ms=10.0, rate=44_100)
    assert source.rate == 44_100
    blocks = listen(source, 0.3)
    check_count(blocks)
    assert np.median([len(block.samples) for block in blocks]) == pytest.approx(441, abs=10)


def test_a_microphone_that_is_not_there_is_named(control):
    with pytest.raises(SourceError, match="'hw:77' cannot be opened"):
        AlsaSource("hw:77")
    control.write_text("gone")
    with pytest.raises(SourceError, match="No such device"):
        AlsaSource("counter")


def test_it_stays_quiet_on_the_terminal(control, capfd):
    with pytest.raises(SourceError):
        AlsaSource("plughw:77")
    captured = capfd.readouterr()
    assert captured.err == captured.out == ""


def test_devices_are_listed(control):
    assert "counter" in microphones()
    assert "null" not in microphones()


@pytest.mark.parametrize(
    ("layout", "data"),
    [
        ("S16_LE", np.array([16384, -32768, 0, 8192], "<i2").tobytes()),
        ("S32_LE", np.array([2**30, -(2**31), 0, 2**29], "<i4").tobytes()),
        ("S24_LE", np.array([0x7F400000, 0xFF800000, 0x55000000, 0x00200000], "<u4").tobytes()),
        ("S24_3LE", bytes([0, 0, 0x40, 0, 0, 0x80, 0, 0, 0, 0, 0, 0x20])),
        ("FLOAT_LE", np.array([0.5, -1, np.nan, 0.25], "<f4").tobytes()),
    ],
)
def test_every_format_becomes_the_same_sound(layout, data):
    assert to_mono(data, layout, 1).tolist() == [0.5, -1.0, 0.0, 0.25]
    assert to_mono(data, layout, 2).tolist() == [-0.25, 0.125]


def test_a_library_too_old_is_told_like_a_missing_one(monkeypatch):
    monkeypatch.setitem(sys.modules, "alsaaudio", types.ModuleType("alsaaudio"))
    monkeypatch.delitem(sys.modules, "ivories.sources.alsa")
    with pytest.raises(BackendError, match=r"older than 0\.11.*pip install"):
        load("audio", "alsa")
