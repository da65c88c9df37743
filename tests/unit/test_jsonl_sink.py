"""JSON lines: every field, atomic offline, at once when live."""

import json
import os
import time

import pytest

from ivories.errors import SinkError
from ivories.sinks.jsonl import JsonLinesSink
from played import Player, offset, onset, pedal


def lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_all_fields_of_a_note(tmp_path):
    sink = JsonLinesSink(path=tmp_path / "take.jsonl", origin_ns=1_000_000_000)
    Player(sink).play(
        onset(48, 2.2345678, 77), offset(48, 3.0, retracts=True), pedal(100, 3.5), pedal(0, 4.0)
    )
    sink.close()
    first, second, third, _ = lines(tmp_path / "take.jsonl")
    assert first == {
        "kind": "onset", "key": 48, "pitch": 69, "name": "A4", "velocity": 77, "t_s": 1.234568,
        "decided_s": 1.274568, "delay_ms": 40.0, "confidence": 0.9, "retracts": False,
    }  # fmt: skip
    assert (second["kind"], second["retracts"], second["delay_ms"]) == ("offset", True, 30.0)
    assert (third["key"], third["pitch"], third["name"], third["velocity"]) == (None, None, "pedal", 100)


def test_offline_the_file_appears_complete_or_not_at_all(tmp_path):
    path = tmp_path / "take.jsonl"
    sink = JsonLinesSink(path=path)
    Player(sink).play(onset(39))
    assert not path.exists()
    sink.close()
    assert [line["kind"] for line in lines(path)] == ["onset", "offset"]
    assert list(tmp_path.iterdir()) == [path]
    mask = os.umask(0)
    os.umask(mask)
    assert path.stat().st_mode & 0o777 == 0o666 & ~mask


def test_a_discarded_file_leaves_nothing(tmp_path):
    sink = JsonLinesSink(path=tmp_path / "take.jsonl")
    Player(sink).play(onset(39))
    sink.discard()
    sink.close()
    assert list(tmp_path.iterdir()) == []


def test_live_lines_can_be_read_at_once_and_are_appended(tmp_path):
    path = tmp_path / "log.jsonl"
    for _ in range(2):
        sink = JsonLinesSink(path=path, live=True)
        before = len(lines(path))
        Player(sink).play(onset(39))
        assert len(lines(path)) == before + 1
        sink.close()
    assert len(lines(path)) == 4


def test_a_live_line_tells_when_it_left(tmp_path):
    path = tmp_path / "log.jsonl"
    origin_ns = time.monotonic_ns() - 10**9
    sink = JsonLinesSink(path=path, live=True, origin_ns=origin_ns, one_clock=True)
    event = onset(39)
    event.left_ns["usb_midi"] = origin_ns + 1_500_000_000
    Player(sink).play(event)
    (line,) = lines(path)
    assert line["left_s"] == {
        "usb_midi": 1.5, "jsonl": pytest.approx((event.left_ns["jsonl"] - origin_ns) / 1e9, abs=1e-6)
    }  # fmt: skip
    assert origin_ns + 10**9 <= event.left_ns["jsonl"] <= time.monotonic_ns()
    sink.close()


def test_a_dash_is_standard_output(capfdbinary):
    sink = JsonLinesSink(path="-")
    Player(sink).play(onset(39))
    assert json.loads(capfdbinary.readouterr().out)["name"] == "C4"
    sink.close()


def test_a_wrong_path_is_told_at_the_start(tmp_path):
    with pytest.raises(SinkError, match="does not exist"):
        JsonLinesSink(path=tmp_path / "nowhere" / "x.jsonl")
    with pytest.raises(SinkError, match="cannot write"):
        JsonLinesSink(path=tmp_path, live=True)


def test_a_full_disk_is_told():
    sink = JsonLinesSink(path="/dev/full", live=True)
    with pytest.raises(SinkError, match="No space left"):
        Player(sink).play(onset(39))
    with pytest.raises(SinkError, match="No space left"):
        sink.close()
    sink.close()
