"""Numbers that people look at: spreads, histograms in text and as a picture."""

import xml.etree.ElementTree as ET

import numpy as np
import pytest

from ivories.errors import ConfigError, SinkError
from ivories.histogram import edges_ms, lines, picture, shape, write_picture
from ivories.report import latency_table
from ivories.runtime.timing import Spread

SVG = "{http://www.w3.org/2000/svg}"


def test_spread_and_jitter():
    spread = Spread.of(np.arange(101.0))
    assert (spread.count, spread.mean, spread.median) == (101, 50.0, 50.0)
    assert (spread.p95, spread.p99, spread.maximum, spread.jitter) == (95.0, 99.0, 100.0, 45.0)
    with pytest.raises(ValueError, match="no values"):
        Spread.of([])


@pytest.mark.parametrize("values", [[0.0], [5.0] * 9, [-31.5, 44.2], [0.01, 0.013], [1e-9, 5000.0], [-0.4]])
def test_every_value_lies_in_a_bin(values):
    edges = edges_ms(values)
    assert edges[0] <= min(values)
    assert max(values) < edges[-1]
    assert 2 <= len(edges) <= 27
    assert np.histogram(values, bins=edges)[0].sum() == len(values)


def test_lines_tell_edge_and_count():
    drawn = lines([-1.0, 0.5, 0.6, 22.0])
    assert drawn[0].split() == ["-1", "ms", "#" * 25, "1"]
    assert drawn[1].split() == ["0", "ms", "#" * 50, "2"]
    assert drawn[-1].split() == ["22", "ms", "#" * 25, "1"]
    assert sum(int(line.split()[-1]) for line in drawn) == 4


def test_the_picture_draws_each_group_in_scale(tmp_path):
    path = tmp_path / "out.svg"
    write_picture(path, "times < 3 & more", {"audio": [-10.0, 10, 10, 20], "video": [5.0], "none": []})
    root = ET.parse(path).getroot()
    texts = [text.text for text in root.iter(f"{SVG}text")]
    assert texts[0] == "times < 3 & more"
    assert any(text.startswith("audio: 4 notes, median 10.0, p95") for text in texts)
    assert any(text.startswith("video: 1 notes, median 5.00, p95") for text in texts)
    assert not any(text.startswith("none") for text in texts)
    bars = [float(bar.get("height")) for bar in root.iter(f"{SVG}rect") if bar.get("fill") == "#0072b2"]
    assert sorted(height for height in bars if height > 0) == [50.0, 50.0, 100.0]
    assert any(line.get("stroke-dasharray") for line in root.iter(f"{SVG}line"))  # where it sounds


def test_steps_stand_below_the_notes_each_on_its_own_axis():
    steps = {"capture": np.arange(200.0), "sinks": [*[0.01, 0.02] * 100, 50.0], "none": []}
    root = ET.fromstring(picture("times", {"audio": [1.0, 2.0]}, steps))
    texts = [text.text for text in root.iter(f"{SVG}text")]
    assert "capture: 200 times" in texts
    assert "sinks: 201 times" in texts
    assert any(text.startswith("median 0.02, p95 0.02, p99 0.02, max 50.0") for text in texts)
    assert not any(text.startswith("none") for text in texts)
    grey = [bar for bar in root.iter(f"{SVG}rect") if bar.get("fill") == "#555555"]
    full = [bar for bar in grey if float(bar.get("height")) == 80.0]
    assert min(float(bar.get("width")) for bar in full) > 5, "one late one does not squeeze the others"
    assert max(float(bar.get("x")) + float(bar.get("width")) for bar in grey) < 760
    assert max(float(bar.get("y")) + float(bar.get("height")) for bar in grey) < float(root.get("height"))


def test_a_shape_is_a_histogram_up_to_p99():
    assert shape([0.0, 1.0, 1.0, 1.0, 2.0], 2) == "▂█"
    assert shape([5.0] * 9, 3) == "█  "
    assert shape([5.0, 5.0 + 1e-15, np.nextafter(5.0, 6)], 3) == "█  "
    assert shape([*np.linspace(0, 1, 200), 1e6], 4) == "████"


def test_a_picture_without_notes_is_still_a_picture():
    assert ET.fromstring(picture("nothing", {})).tag == f"{SVG}svg"


def test_a_picture_that_cannot_be_written_is_told_in_a_sentence(tmp_path):
    with pytest.raises(ConfigError, match=r"ends in \.svg"):
        write_picture(tmp_path / "out.png", "x", {"a": [1.0]})
    with pytest.raises(SinkError, match="does not exist"):
        write_picture(tmp_path / "absent" / "out.svg", "x", {"a": [1.0]})


def test_a_table_leaves_out_what_has_no_values():
    table = latency_table("x", {("audio", "capture"): [1.0, 2.0, 3.0], ("video", "capture"): []})
    cells = [list(column.cells) for column in table.columns]
    assert [column[0] for column in cells] == [
        "audio",
        "capture",
        "3",
        "2.00",
        "2.90",
        "2.98",
        "3.00",
        "0.90",
        "█       █      █",
    ]
    assert len(cells[0]) == 1
