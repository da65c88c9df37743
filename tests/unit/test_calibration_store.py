"""The keyboard's place and the eyes' lateness outlive a run, set-up and the plug."""

import logging
import threading
import time

import msgspec
import pytest

from ivories.calibration_store import OFFER_S, CalibrationStore
from ivories.clock import MILLISECOND
from ivories.errors import CalibrationError
from ivories.vision import calibration as calibrations

HERE = calibrations.from_corners([[10, 10], [630, 12], [628, 90], [9, 88]], 640, 480)
ELSEWHERE = calibrations.from_corners([[20, 30], [630, 12], [628, 90], [9, 88]], 640, 480)


def skewed(calibration, ms):
    return msgspec.structs.replace(calibration, audio_video_skew_ns=round(ms * MILLISECOND))


@pytest.fixture
def path(tmp_path):
    return tmp_path / "calibration.json"


def test_no_file_is_no_calibration_and_a_skew_alone_makes_none(path):
    store = CalibrationStore(path)
    assert store.load() is None
    store.keep_skew(5 * MILLISECOND)
    assert not path.exists()


def test_a_changed_skew_is_kept_with_the_position(path):
    calibrations.save(HERE, path)
    store = CalibrationStore(path)
    store.keep_skew(2 * MILLISECOND)  # too little to be worth a write
    assert store.load() == HERE
    store.keep_skew(-31 * MILLISECOND)
    assert calibrations.load(path) == skewed(HERE, -31)
    assert calibrations.load(path).id == HERE.id


def test_another_position_keeps_the_skew_unless_it_brings_its_own(path):
    calibrations.save(skewed(HERE, 40), path)
    store = CalibrationStore(path)
    assert store.save(ELSEWHERE) == skewed(ELSEWHERE, 40)
    assert calibrations.load(path) == skewed(ELSEWHERE, 40)
    store.keep_position(skewed(HERE, -12))
    assert calibrations.load(path) == skewed(HERE, -12)


def test_a_damaged_file_is_told_of_and_only_a_new_position_replaces_it(path, caplog):
    path.write_text("not a calibration")
    store = CalibrationStore(path)
    with pytest.raises(CalibrationError, match="not a calibration"):
        store.load()
    with caplog.at_level(logging.WARNING):
        store.keep_skew(40 * MILLISECOND)
    assert "not a calibration" in caplog.text
    assert path.read_text() == "not a calibration"
    store.keep_position(HERE)
    assert calibrations.load(path) == HERE


def test_a_place_that_cannot_be_written_is_an_error_at_set_up_and_a_warning_while_playing(tmp_path, caplog):
    (tmp_path / "file").write_text("")
    store = CalibrationStore(tmp_path / "file" / "calibration.json")
    with pytest.raises(CalibrationError, match="cannot be written"):
        store.save(HERE)
    with caplog.at_level(logging.WARNING):
        store.keep_position(HERE)
    assert "cannot be written" in caplog.text


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


def test_while_playing_the_skew_is_written_seldom_and_by_another_thread(path, monkeypatch):
    calibrations.save(HERE, path)
    writers = []
    save = calibrations.save
    monkeypatch.setattr(
        calibrations, "save", lambda *a: (writers.append(threading.current_thread().name), save(*a))
    )
    clock = Clock()
    store = CalibrationStore(path, clock)
    store.load()
    for n in range(3000):  # five minutes of evidence, ten a second; the skew creeps
        clock.now = n / 10
        store.offer_skew(None if n < 100 else (20 + n // 20) * MILLISECOND)
        if clock.now % OFFER_S == 0:
            wait_until(lambda: not store._writer.offered)
    store.close()
    assert 2 <= len(writers) <= 5
    assert set(writers) == {"skew"}
    kept_ms = calibrations.load(path).audio_video_skew_ns / MILLISECOND
    assert 20 + 2400 // 20 <= kept_ms <= 20 + 3000 // 20


def test_an_unchanged_skew_is_not_written_again(path):
    calibrations.save(skewed(HERE, 30), path)
    clock = Clock()
    store = CalibrationStore(path, clock)
    store.load()
    written = path.stat().st_mtime_ns
    for minute in range(1, 10):
        clock.now = minute * (OFFER_S + 1)
        store.offer_skew(31 * MILLISECOND)
    assert not store._writer.started
    store.close()
    assert path.stat().st_mtime_ns == written


def wait_until(true, seconds=5.0):
    deadline = time.monotonic() + seconds
    while not true() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert true()
