"""Which microphone and which camera ``auto`` takes: the default, or the first that opens."""

import pytest

from ivories import sensors
from ivories.config import AudioSection, Config, VideoSection
from ivories.errors import BackendError, SourceError

busy = ""
"""A device that another program holds"""
LISTED = ["default", "hw:CARD=Mic,DEV=0", "plughw:CARD=HDMI,DEV=0", "plughw:CARD=Mic,DEV=0"]


@pytest.fixture
def machine(monkeypatch):
    """A machine whose working devices a test names."""
    asked, works = [], set()

    def source(device, period_ms):
        asked.append(device)
        if device not in works:
            reason = "Device or resource busy" if device == busy else "No such file or directory"
            raise SourceError(f"microphone {device!r} cannot be opened: {reason}")
        return device, period_ms

    monkeypatch.setattr(sensors, "load", lambda kind, name: source)
    monkeypatch.setattr(sensors, "list_microphones", lambda: LISTED)
    return asked, works


def test_the_default_is_taken_where_it_works(machine):
    asked, works = machine
    works |= {"default", "plughw:CARD=Mic,DEV=0"}
    assert sensors.open_microphone(Config()) == ("default", 5.0)
    assert asked == ["default"]


def test_else_the_first_card_that_opens(machine):
    _, works = machine
    works.add("plughw:CARD=Mic,DEV=0")
    assert sensors.open_microphone(Config())[0] == "plughw:CARD=Mic,DEV=0"


def test_a_default_that_somebody_holds_is_not_passed_over(machine, monkeypatch):
    _, works = machine
    monkeypatch.setitem(globals(), "busy", "default")
    works.add("plughw:CARD=Mic,DEV=0")
    with pytest.raises(SourceError, match="busy"):
        sensors.open_microphone(Config())


def test_where_none_opens_every_refusal_is_told(machine):
    with pytest.raises(SourceError, match=r"'default'.*HDMI.*Mic"):
        sensors.open_microphone(Config())


@pytest.mark.parametrize("source", ["auto", "alsa"])
def test_a_device_that_is_named_is_the_only_one_tried(machine, source):
    asked, works = machine
    works.add("default")
    with pytest.raises(SourceError, match="hw:7"):
        sensors.open_microphone(Config(audio=AudioSection(source=source, device="hw:7")))
    assert asked == ["hw:7"]


@pytest.mark.parametrize(
    ("device", "works", "tried"),
    [
        ("auto", "/dev/video4", ["/dev/video2", "/dev/video4"]),
        ("auto", "/dev/video0", ["/dev/video2", "/dev/video4", "/dev/video0"]),
        ("/dev/video0", "/dev/video0", ["/dev/video0"]),
    ],
)
def test_usb_cameras_are_tried_before_the_first_node(monkeypatch, device, works, tried):
    asked = []

    def source(device, **_):
        asked.append(device)
        if device != works:
            raise SourceError(f"camera {device} cannot be opened")
        return device

    monkeypatch.setattr(sensors, "usb_cameras", lambda: ["/dev/video2", "/dev/video4"])
    monkeypatch.setattr(sensors, "load", lambda kind, name: source)
    config = Config(video=VideoSection(source="v4l2", device=device))
    assert sensors.open_camera(config) == works
    assert asked == tried


@pytest.mark.parametrize(("board", "told"), [("Raspberry Pi 5 Model B", True), ("A PC", False)])
def test_only_a_pi_is_told_how_to_get_its_camera_library(monkeypatch, tmp_path, board, told):
    def source(kind, name):
        if name == "picamera2":
            raise BackendError("install python3-picamera2")
        raise SourceError("there is no /dev/video0")

    (tmp_path / "model").write_text(board)
    monkeypatch.setattr(sensors, "_BOARD", tmp_path / "model")
    monkeypatch.setattr(sensors, "load", source)
    with pytest.raises(SourceError, match="/dev/video0") as raised:
        sensors.open_camera(Config())
    assert ("python3-picamera2" in str(raised.value)) is told
