"""What the doctor says after a moment with each sensor."""

import subprocess
import sys
import threading
import time

import numpy as np
import pytest

from ivories import doctor, sensor_check
from ivories.clock import MILLISECOND, SECOND
from ivories.config import AudioSection, Config, VideoSection
from ivories.datatypes import AudioBlock, VideoFrame
from ivories.doctor import Verdict
from ivories.errors import SourceError
from ivories.sensor_check import hear, holder, look
from ivories.vision import calibration as calibrations

RATE = 16_000


class Sensor:
    """Delivers ``items`` until it is closed, then, or with none at all, waits to be closed."""

    rate, width, height = RATE, 64, 48

    def __init__(self, items):
        self.items, self.closed = items, threading.Event()

    def __repr__(self):
        return "sensor"

    def __iter__(self):
        yield from self.items
        self.closed.wait(10)

    def close(self):
        self.closed.set()


def sound(amplitude, *, gap=0, seconds=2):
    wave = amplitude * np.sign(np.sin(np.arange(160) * 0.2)).astype(np.float32)
    count = int(100 * seconds)
    return Sensor([
        AudioBlock(wave, RATE, i * 160, i * 10 * MILLISECOND, gap if i == 5 else 0) for i in range(count)
    ])  # fmt: skip


def pictures(luma, *, fps=30, lost_every=0):
    numbers = [i for i in range(3 * fps) if not lost_every or i % lost_every]
    return Sensor([
        VideoFrame(np.full((48, 64), luma, np.uint8), i * SECOND // fps, 0, i) for i in numbers
    ])  # fmt: skip


@pytest.fixture
def given(monkeypatch):
    """Return a function that puts sensors in the place of the real ones."""
    monkeypatch.setattr(sensor_check, "PATIENCE_S", 0.3)

    def give(sensor):
        def opened(_):
            if isinstance(sensor, Exception):
                raise sensor
            return sensor

        monkeypatch.setattr(sensor_check, "open_microphone", opened)
        monkeypatch.setattr(sensor_check, "open_camera", opened)
        return sensor

    return give


def test_a_microphone_tells_level_and_peak_and_is_given_back(given):
    sensor = given(sound(0.1))
    assert hear(Config()) == "sensor: level -20 dB, peak -20 dB full scale"
    assert sensor.closed.is_set()


def test_a_microphone_that_clips_or_loses_sound_is_told_so(given):
    given(sound(1.0, gap=800))
    told = hear(Config())
    assert "it clips: turn it down" in told
    assert "50 ms of it lost" in told


@pytest.mark.parametrize(
    ("sensor", "words"), [(sound(0.0), "digital silence"), (Sensor([]), "gave no sound")]
)
def test_a_microphone_that_tells_nothing_is_a_fault(given, sensor, words):
    given(sensor)
    with pytest.raises(SourceError, match=words):
        hear(Config())
    assert sensor.closed.is_set()


def test_a_camera_tells_rate_brightness_and_losses(given):
    given(pictures(112))
    assert look(Config()) == "sensor: 30.0 frames per second (wanted 60), brightness 112 of 255"
    given(pictures(112, lost_every=10))
    assert ", 3 frames lost" in look(Config())


@pytest.mark.parametrize(
    ("sensor", "words"),
    [
        (pictures(2), "black pictures: check the lens cap"),
        (pictures(255), "white pictures"),
        (Sensor([]), "gave no pictures within 0.3 s"),
    ],
)
def test_a_camera_that_shows_nothing_is_a_fault(given, sensor, words):
    given(sensor)
    began = time.monotonic()
    with pytest.raises(SourceError, match=words):
        look(Config())
    assert time.monotonic() - began < 2
    assert sensor.closed.is_set()


def test_a_camera_tells_how_plain_the_white_keys_are_and_what_it_can_do_about_it(given, tmp_path):
    place = tmp_path / "calibration.json"
    calibrations.save(calibrations.from_corners([(2, 2), (62, 2), (62, 46), (2, 46)], 64, 48), place)
    config = Config(video=VideoSection(calibration=str(place)))
    sensor = pictures(240)
    sensor.exposure_means = "bias"
    sensor.correct_exposure = lambda stops: True
    given(sensor)
    told = look(config)
    assert ", 100% of the white keys plain white" in told
    assert "it is asked for less light where white keys are plain white (bias)" in told
    sensor.closed.clear()
    sensor.exposure_means = ""
    assert "cannot be corrected from here" in look(config)
    sensor.closed.clear()
    left = Config(video=VideoSection(calibration=str(place), exposure="camera"))
    assert "left to it (video.exposure)" in look(left)


def test_the_sensors_of_the_desk_are_opened_as_any(monkeypatch):
    config = Config(audio=AudioSection(source="synthetic"), video=VideoSection(source="synthetic"))
    assert "dB full scale" in hear(config)
    assert "frames per second" in look(config)


def test_a_device_that_another_program_has_open_is_told_with_its_name(tmp_path):
    device = tmp_path / "pcmC0D0c"
    device.touch()
    assert holder(str(tmp_path / "pcm*c")) == ""
    wait = "import sys, time; f = open(sys.argv[1]); print(flush=True); time.sleep(60)"
    command = [sys.executable, "-c", wait, str(device)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as program:
        program.stdout.readline()
        assert holder(str(tmp_path / "pcm*c")).startswith(sys.executable)
        program.kill()


def finding(subject, config):
    return next(found for found in doctor.examine(config) if found.subject == subject)


@pytest.mark.parametrize(
    ("who", "verdict", "words"),
    [
        ("/opt/ivories/current/venv/bin/python /opt/ivories/venv/bin/ivories run", Verdict.OK, "itself"),
        ("/usr/bin/arecord -D hw:1", Verdict.ABSENT, "another program (/usr/bin/arecord -D hw:1)"),
        ("", Verdict.ABSENT, "systemctl stop ivories"),
    ],
)  # fmt: skip
def test_a_sensor_in_use_is_no_fault(given, monkeypatch, who, verdict, words):
    given(SourceError("microphone 'hw:1' cannot be opened: Device or resource busy [hw:1]"))
    monkeypatch.setattr(sensor_check, "holder", lambda _: who)
    monkeypatch.setattr(doctor, "list_microphones", lambda: ["hw:1"])
    for setting in ("auto", "alsa"):
        found = finding("microphone", Config(audio=AudioSection(source=setting)))
        assert found.verdict is verdict
        assert words in found.detail


def test_a_fault_is_wrong_only_where_the_sensor_is_named(given, monkeypatch):
    given(SourceError("microphone 'hw:1' cannot be opened: No such device"))
    monkeypatch.setattr(doctor, "list_microphones", lambda: ["hw:1"])
    with pytest.raises(SourceError):
        hear(Config())
    for setting, verdict in (("auto", Verdict.ABSENT), ("alsa", Verdict.WRONG)):
        found = finding("microphone", Config(audio=AudioSection(source=setting)))
        assert found.verdict is verdict
        assert "No such device" in found.detail
