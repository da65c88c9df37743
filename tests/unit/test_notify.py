"""What systemd is told: ready with the first block or frame, alive only while every part moves."""

import socket
import threading
from types import SimpleNamespace

import pytest

from ivories.errors import SourceError
from ivories.live import Live
from ivories.runtime.notify import NOTES, Supervision
from ivories.sinks.memory import MemorySink
from pipeline.test_live import ScriptedApp, Sound, instrument


class Systemd:
    """The other end of the socket."""

    def __init__(self, path):
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(path)
        self.socket.setblocking(False)

    def heard(self):
        messages = []
        while True:
            try:
                messages.append(self.socket.recv(4096).decode())
            except BlockingIOError:
                return messages


@pytest.fixture(params=["file", "abstract"])
def notified(request, tmp_path):
    path = str(tmp_path / "n") if request.param == "file" else f"@ivories-{tmp_path.name}"
    systemd = Systemd(path.replace("@", "\0"))
    now = [100.0]
    yield Supervision(["microphone", "camera"], {"NOTIFY_SOCKET": path}, lambda: now[0]), systemd, now
    systemd.socket.close()


def test_ready_comes_with_the_first_block_and_once(notified):
    supervision, systemd, _ = notified
    supervision.progress(NOTES)
    supervision.waiting("camera", "no camera")
    assert "READY=1" not in systemd.heard()
    for _ in range(3):
        supervision.progress("microphone")
    heard = systemd.heard()
    assert heard.count("READY=1") == 1
    assert "STATUS=playing; camera: no camera" in heard


def test_the_watchdog_is_fed_only_when_every_part_moves(notified):
    supervision, systemd, now = notified
    for part in ("microphone", "camera", NOTES):
        supervision.progress(part)
    assert systemd.heard().count("WATCHDOG=1") == 1
    for hanging in ("microphone", "camera", NOTES):
        for _ in range(20):
            now[0] += 1
            for part in {"microphone", "camera", NOTES} - {hanging}:
                supervision.progress(part)
        assert "WATCHDOG=1" not in systemd.heard()
        supervision.progress(hanging)
        assert systemd.heard() == ["WATCHDOG=1"]


def test_looking_for_lost_sensors_is_progress_and_extends_the_start(notified):
    supervision, systemd, now = notified
    for _ in range(5):
        now[0] += 1
        supervision.progress(NOTES)
        supervision.waiting("microphone", "none\nthere")
        supervision.waiting("camera", "none")
    heard = systemd.heard()
    assert "STATUS=waiting for a sensor; camera: none; microphone: none there" in heard
    assert len([m for m in heard if m.startswith("EXTEND_TIMEOUT_USEC=")]) >= 4
    assert not {"READY=1", "WATCHDOG=1"} & set(heard)


def test_a_source_that_looks_for_its_device_itself_moves_with_every_attempt(notified):
    supervision, systemd, now = notified
    supervision.progress("microphone")
    camera = SimpleNamespace(attempts=0)
    for attempts, fed in ((0, 0), (1, 1), (1, 0), (2, 1)):
        systemd.heard()
        now[0] += 5
        camera.attempts = attempts
        supervision.look_at("camera", camera)
        supervision.progress("microphone")
        supervision.progress(NOTES)
        assert systemd.heard().count("WATCHDOG=1") == fed


def test_a_file_that_has_ended_is_not_waited_for(notified):
    supervision, systemd, now = notified
    assert list(supervision.watched("camera", [1, 2])) == [1, 2]
    systemd.heard()
    now[0] += 5
    supervision.progress(NOTES)
    supervision.progress("microphone")
    assert "WATCHDOG=1" in systemd.heard()


def test_an_item_counts_when_it_has_been_dealt_with(notified):
    supervision, systemd, _ = notified
    items = supervision.watched("microphone", [1, 2])
    next(items)
    assert systemd.heard() == []
    next(items)
    assert "READY=1" in systemd.heard()


def test_nothing_is_sent_without_systemd_and_a_dead_socket_does_no_harm(tmp_path):
    Supervision(["camera"], {}).progress("camera")
    supervision = Supervision(["camera"], {"NOTIFY_SOCKET": str(tmp_path / "gone")})
    supervision.progress("camera")
    supervision.stopping()


def test_the_instrument_tells_of_sound_of_a_missing_camera_and_of_its_end(tmp_path, monkeypatch):
    systemd = Systemd(str(tmp_path / "n"))
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "n"))

    def no_camera():
        raise SourceError("no camera")

    live = Live(ScriptedApp(), instrument(MemorySink()), lambda: Sound(forever=True), no_camera)
    threading.Timer(1.6, live.stop).start()
    live.run()
    heard = systemd.heard()
    systemd.socket.close()
    assert heard.count("READY=1") == 1
    assert 1 <= heard.count("WATCHDOG=1") <= 3
    assert "STATUS=playing; camera: no camera" in heard
    assert heard[-1] == "STOPPING=1"
