"""The terminal: lines in a pipe, a picture of the keyboard where there is room and colour."""

import io
import re
import threading
import time

import pytest
from rich.console import Console

from ivories.keyboard import IS_BLACK, KEYS
from ivories.sinks.keyboard_picture import BLACK, GAP, NARROWEST, WHITE, KeyboardPicture, velocity_colour
from ivories.sinks.live_view import LiveView
from ivories.sinks.terminal import TerminalSink
from played import Player, offset, onset, pedal

LIT = (1, 2, 3)
AIR = (0, 0, 0)


def test_a_pipe_gets_one_line_per_event():
    text = io.StringIO()
    sink = TerminalSink(console=Console(file=text, force_terminal=False))
    assert sink.plain
    Player(sink).play(
        onset(48, 1.234, 64),
        pedal(127, 1.5),
        offset(48, 2.0),
        onset(50, 3.0),
        offset(50, 3.02, retracts=True),
    )
    sink.close()
    assert text.getvalue().splitlines() == [
        "onset A4 vel 64 at 1.234 s (+40 ms)",
        "pedal 127 at 1.500 s (+0 ms)",
        "offset A4 vel 50 at 2.000 s (+30 ms)",
        "onset B4 vel 64 at 3.000 s (+40 ms)",
        "taken back B4 at 3.020 s (+30 ms)",
        "pedal 0 at 3.050 s (+0 ms)",
    ]


@pytest.mark.parametrize(
    ("options", "plain"),
    [
        ({"force_terminal": True, "color_system": "truecolor", "width": 80}, False),
        ({"force_terminal": True, "color_system": "truecolor", "width": NARROWEST - 1}, True),
        ({"force_terminal": True, "color_system": None, "width": 80}, True),
        ({"force_terminal": False, "width": 200}, True),
    ],
)
def test_the_live_view_needs_room_and_colour(options, plain, monkeypatch):
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.delenv("NO_COLOR", raising=False)
    text = io.TextIOWrapper(io.BytesIO(), encoding="utf-8")
    sink = TerminalSink(console=Console(file=text, **options))
    sink.close()
    assert sink.plain == plain


@pytest.mark.parametrize("cells", [78, 80, 104, 120, 156, 200, 312])
def test_every_key_has_its_own_place_and_black_keys_lie_between(cells):
    picture = KeyboardPicture(cells)
    assert picture.cells <= cells
    unlit = picture.keys({}, far=True)
    assert set(unlit) == {WHITE, BLACK, GAP} or picture.unit == 3
    groups = re.findall("b+", "".join("b" if c == BLACK else "." for c in unlit))
    assert len(groups) == IS_BLACK.sum()  # black keys never touch each other
    for key in range(KEYS):
        row = picture.keys({key: LIT}, far=True)
        assert LIT in row
        assert (LIT in picture.keys({key: LIT}, far=False)) == (not IS_BLACK[key])
        assert LIT in picture.lane({key: LIT}, AIR)
    middles = [picture.lane({key: LIT}, AIR).index(LIT) for key in range(KEYS)]
    assert middles == sorted(middles)


def test_too_narrow_a_picture_is_refused():
    with pytest.raises(ValueError, match="78"):
        KeyboardPicture(77)


def test_names_stand_below_their_keys():
    picture = KeyboardPicture(156)
    names = picture.octave_names()
    assert len(names) == picture.cells
    for octave in range(1, 9):
        key = 12 * octave - 9
        column = picture.keys({key: LIT}, far=False).index(LIT)
        assert abs(names.index(f"C{octave}") - column // 2) <= 1


def test_louder_is_redder():
    reds = [velocity_colour(v)[0] for v in (60, 90, 127)]
    assert reds == sorted(reds)
    assert velocity_colour(0) != velocity_colour(127)


def drawn(view, width, height):
    console = Console(
        file=io.StringIO(),
        force_terminal=True,
        color_system="truecolor",
        width=width,
        height=height,
        legacy_windows=False,
    )
    console.print(view)
    lines = console.file.getvalue().splitlines()
    return [re.sub(r"\x1b\[[0-9;]*m", "", line) for line in lines]


@pytest.mark.parametrize(("width", "height"), [(60, 20), (80, 24), (80, 12), (120, 32), (200, 50)])
def test_the_view_fits_its_terminal(width, height):
    view = LiveView(title="Ivories", origin_ns=0)
    player = Player(type("Viewer", (), {"send": lambda self, event, state: view.take(event)})())
    player.play(pedal(127, 0.1), *[onset(key, 0.2 + key / 100, 20 + key) for key in range(10, 70, 3)])
    view.show(player.state(), 1_000_000_000)
    lines = drawn(view, width, height)
    assert max(map(len, lines)) <= width
    if height >= 20:
        assert len(lines) < height
    text = "\n".join(lines)
    assert "● pedal" in text
    assert "20 notes" in text
    assert "40 ms" in text
    assert re.search(r"and \d+ more", text)


def test_the_view_lights_what_is_down_and_forgets_what_was_taken_back():
    view = LiveView(title="Ivories", origin_ns=0)
    player = Player(type("Viewer", (), {"send": lambda self, event, state: view.take(event)})())
    player.play(onset(48, 0.5, 100), onset(60, 0.6), offset(60, 0.62, retracts=True))
    view.show(player.state(), 700_000_000)
    text = "\n".join(drawn(view, 80, 24))
    assert re.search(r"A4 +━+─+ 100", text)
    assert "taken back" in text
    lanes = view._lanes(8)
    assert any(48 in lane for lane in lanes)
    assert not any(60 in lane for lane in lanes)
    view.show(None, 10_000_000_000)
    assert "━" not in "\n".join(drawn(view, 80, 24))


class StuckFile(io.StringIO):
    """A terminal whose user pressed Ctrl-S."""

    def __init__(self):
        super().__init__()
        self.go = threading.Event()

    def write(self, text):
        self.go.wait(10)
        return super().write(text)


def test_a_terminal_that_takes_no_text_does_not_hold_up_the_music():
    stuck = StuckFile()
    sink = TerminalSink(console=Console(file=stuck), plain=True)
    player = Player(sink)
    start = time.monotonic()
    for count in range(3000):
        player.play(onset(count % 88), offset(count % 88))
    assert time.monotonic() - start < 2
    stuck.go.set()
    sink.close()
    assert "onset" in stuck.getvalue()
