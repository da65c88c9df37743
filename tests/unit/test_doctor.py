"""What the doctor says of time: the skew that was kept, real-time rights, locked memory."""

import resource

import msgspec
import pytest

from ivories import doctor
from ivories.calibration_store import CalibrationStore
from ivories.clock import MILLISECOND
from ivories.config import (
    AudioSection,
    Config,
    DeviceSection,
    MqttSection,
    RuntimeSection,
    UsbMidiSection,
    VideoSection,
)
from ivories.doctor import Verdict
from ivories.sensor_check import NothingSensedError
from ivories.vision import calibration as calibrations

HERE = calibrations.from_corners([[10, 10], [630, 12], [628, 90], [9, 88]], 640, 480)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "calibration.json"


def finding(subject, **sections):
    return {found.subject: found for found in doctor.examine(Config(**sections))}.get(subject)


def skew_at(path, **sections):
    return finding("eye-ear skew", video=VideoSection(calibration=str(path)), **sections)


@pytest.mark.parametrize(("ms", "words"), [(-31.25, ["-31.2 ms", "camera"]), (12.0, ["+12.0", "microphone"])])
def test_the_skew_that_a_run_kept_is_shown(path, ms, words):
    calibrations.save(HERE, path)
    CalibrationStore(path).keep_skew(round(ms * MILLISECOND))
    found = skew_at(path)
    assert found.verdict is Verdict.OK
    assert all(word in found.detail for word in words)


def test_without_a_measurement_it_says_how_to_get_one(path):
    assert "not measured yet" in skew_at(path).detail
    calibrations.save(HERE, path)
    assert skew_at(path).verdict is Verdict.ABSENT


def test_a_damaged_calibration_is_one_wrong_finding(path):
    path.write_text("{}")
    assert skew_at(path).verdict is Verdict.ABSENT
    position = finding("keyboard position", video=VideoSection(calibration=str(path)))
    assert position.verdict is Verdict.WRONG
    assert "ivories setup" in position.detail


def test_one_sense_alone_has_no_skew(path):
    calibrations.save(msgspec.structs.replace(HERE, audio_video_skew_ns=MILLISECOND), path)
    assert skew_at(path, audio=AudioSection(source="off")) is None


@pytest.mark.parametrize(
    ("user", "limit", "verdict"), [(0, 0, Verdict.OK), (1000, 10, Verdict.OK), (1000, 5, Verdict.WRONG)]
)
def test_real_time_rights(monkeypatch, user, limit, verdict):
    monkeypatch.setattr("os.geteuid", lambda: user)
    monkeypatch.setattr(resource, "getrlimit", lambda _: (limit, limit))
    found = finding("real-time priority", runtime=RuntimeSection(realtime_priority=10))
    assert found.verdict is verdict
    assert verdict is Verdict.OK or "LimitRTPRIO=10" in found.detail


@pytest.mark.parametrize(
    ("user", "limit", "verdict"),
    [(0, 8 << 20, Verdict.OK), (1000, resource.RLIM_INFINITY, Verdict.OK), (1000, 8 << 20, Verdict.WRONG)],
)
def test_locked_memory(monkeypatch, user, limit, verdict):
    monkeypatch.setattr("os.geteuid", lambda: user)
    monkeypatch.setattr(resource, "getrlimit", lambda _: (limit, limit))
    found = finding("locked memory", runtime=RuntimeSection(lock_memory=True))
    assert found.verdict is verdict
    assert verdict is Verdict.OK or "8192 KiB" in found.detail


def test_a_broker_that_can_never_be_spoken_to_is_wrong(tmp_path):
    host = MqttSection(host="127.0.0.1", port=1)
    wrong = finding("MQTT broker", mqtt=host, device=DeviceSection(name="a/b"))
    assert (wrong.verdict, "a/b" in wrong.detail) == (Verdict.WRONG, True)
    (tmp_path / "password").write_bytes(b"\xff")
    (tmp_path / "password").chmod(0o600)
    secret = msgspec.structs.replace(host, password_file=str(tmp_path / "password"))
    assert "UTF-8" in finding("MQTT broker", mqtt=secret).detail


def test_the_midi_device_that_is_named_is_looked_at(tmp_path):
    named = UsbMidiSection(enabled="on", device=str(tmp_path / "midi"))
    assert finding("USB-MIDI gadget", usb_midi=named).verdict is Verdict.WRONG
    (tmp_path / "midi").touch()
    assert finding("USB-MIDI gadget", usb_midi=named).verdict is Verdict.OK


def test_a_lens_cap_or_a_muted_microphone_is_no_reason_to_refuse_a_release(monkeypatch):
    def nothing(_config):
        raise NothingSensedError("the microphone gives nothing but digital silence")

    monkeypatch.setattr(doctor, "hear", nothing)
    found = finding("microphone", audio=AudioSection(source="synthetic"))
    assert found.verdict is Verdict.ABSENT
    assert "digital silence" in found.detail
