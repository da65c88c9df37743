"""The measurement of the ear itself: scripted evidence in, known scores out."""

import dataclasses
import io
import shutil
import xml.etree.ElementTree as ET
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

pytest.importorskip("scipy")
pytest.importorskip("soxr")

from ivories.datatypes import KeyEvidence
from ivories.inference.manifest import load_manifest
from ivories_training.audio import conditions, frontier
from ivories_training.audio import evaluate as judge
from ivories_training.audio.card import score_tables
from ivories_training.audio.judged import Judged, decide, decide_in_turn, struck_with
from ivories_training.audio.measures import row
from ivories_training.audio.parts import by_chord, by_register
from ivories_training.audio.tables import tables
from ivories_training.columns import WIDTH
from ivories_training.thresholds import NEVER
from scripted_takes import EARLY, PIECE, SURE, notes, take, told

MODELS = Path(__file__).parents[2] / "models"


def test_a_good_ear_scores_one_and_the_last_horizon_is_late() -> None:
    late = row("piece", "surest", [decide(take(), SURE)])
    assert (late.notes, late.found, late.f1, late.f1_25ms) == (5, 5, 1.0, 1.0)
    assert late.repeat_recall == 1.0
    assert late.error_median_ms < 6
    assert late.delay_median_ms == pytest.approx(95, abs=6)  # horizon 9, counted to the end of its hop
    early = row("piece", "earliest", [decide(take(strength=(9.0, 9.0, 9.0)), EARLY)])
    assert early.f1 == 1.0
    assert early.delay_median_ms == pytest.approx(25, abs=6)
    assert early.delay_p99_ms >= early.delay_p95_ms >= early.delay_median_ms


def test_missed_and_false_notes_are_counted_where_they_belong() -> None:
    heard = [*PIECE[:4], (82, 200, 240)]  # an octave above the last note, which is missed
    judged = decide(take(heard=heard), SURE)
    whole = row("piece", "surest", [judged])
    assert whole.precision == whole.recall == pytest.approx(0.8)
    assert whole.octave_share == 1.0
    registers = {p.part: p for p in by_register("piece", [judged])}
    assert [p.notes for p in registers.values()] == [1, 3, 1]
    assert registers["A0-B2"].f1 == registers["C3-B4"].f1 == 1.0
    assert registers["C5-C8"].f1 == 0
    chords = {p.part: p for p in by_chord("piece", [judged])}
    assert (chords["1"].notes, chords["1"].found, chords["1"].recall) == (3, 3, pytest.approx(2 / 3))
    assert (chords["2-4"].notes, chords["2-4"].f1) == (2, 1.0)
    assert np.isnan(chords["5+"].f1)


def test_chords_are_notes_struck_together() -> None:
    truth = notes([(1.0, 2, 40, 9), (1.02, 2, 44, 9), (1.06, 2, 47, 9), (3, 4, 50, 9)])
    assert struck_with(truth).tolist() == [2, 2, 1, 1]
    five = [(1.0, 2.0, 40 + 2 * i, 60) for i in range(5)]
    assert row("x", "", [told(five, five[:3])]).chord_recall == pytest.approx(0.6)


def test_tolerances_ends_velocities_and_sounding_keys() -> None:
    truth = [(1.0, 2.0, 60, 40), (3.0, 4.0, 62, 80), (5.0, 6.0, 64, 120)]
    found = [(1.03, 2.0, 60, 40), (3.0, 5.0, 62, 80), (5.0, 6.0, 64, 120)]  # one late, one held too long
    scored = row("x", "", [told(truth, found)])
    assert (scored.f1, scored.f1_25ms, scored.f1_offset) == (1.0, pytest.approx(2 / 3), pytest.approx(2 / 3))
    assert (scored.f1_velocity, scored.velocity_r) == (1.0, pytest.approx(1.0))
    assert scored.frame_f1 == pytest.approx(2 * 297 / (300 + 397))
    assert scored.error_p95_ms == pytest.approx(27, abs=1)
    assert np.isnan(scored.delay_mean_ms)  # nothing says when they were decided
    assert np.isnan(scored.pedal_on_f1)


def test_the_pedal_is_judged_hop_by_hop() -> None:
    down = (np.array([[2.0, 4.0]]), np.array([[2.0, 3.0]]))
    scored = row("x", "", [told([(1, 2, 60, 60)], [(1, 2, 60, 60)], pedal=down)])
    assert scored.pedal_on_f1 == pytest.approx(2 * 100 / 300)
    assert scored.pedal_off_f1 == pytest.approx(2 * 800 / 1700)


def test_only_notes_struck_in_the_span_count() -> None:
    played = [(0.5, 1.5, 60, 60), (2.0, 3.0, 62, 60), (9.0, 9.5, 64, 60)]
    judged = told(played, played, span=(1.0, 8.0))
    scored = row("x", "", [judged, told([(2, 3, 50, 60)], [])])
    assert (scored.notes, scored.found) == (2, 1)
    assert scored.f1 == pytest.approx(2 / 3)  # pooled: one right of two, one told
    assert scored.frame_f1 == pytest.approx(2 * 150 / (250 + 150))  # a note from before still sounds


def test_conditions_do_what_their_names_say() -> None:
    time = np.arange(32000) / 16000
    tone = (0.3 * np.sin(2 * np.pi * 60 * time)).astype(np.float32)
    assert conditions.changed(tone, "clean", 1) is tone
    added = conditions.changed(tone, "20 dB noise", 1) - tone
    assert 10 * np.log10(np.mean(tone**2) / np.mean(added**2)) == pytest.approx(20, abs=0.1)
    assert np.std(conditions.changed(tone, "laptop microphone", 1)[8000:]) < 0.2 * np.std(tone)
    click = np.zeros(16000, np.float32)
    click[4000] = 1
    room = conditions.changed(click, "small room", 1)
    assert np.flatnonzero(np.abs(room) > 0.01 * np.abs(room).max())[0] == 4000  # the direct sound is in time
    assert np.abs(room[12000:]).max() < 0.01
    for name in conditions.CONDITIONS:
        first, again = (conditions.changed(click, name, 3) for _ in range(2))
        np.testing.assert_array_equal(first, again)
        assert np.abs(first).max() <= 1


def test_sounds_without_a_piano_have_their_levels_and_colour() -> None:
    for name in conditions.SOUNDS:
        peaks = [20 * np.log10(np.abs(x).max()) for x in conditions.without_piano(name, 1.0)]
        quieter = 70 if name == "silence" else 0
        assert peaks == pytest.approx([level - quieter for level in conditions.LEVELS_DB], abs=0.1)
    power = np.abs(np.fft.rfft(conditions.pink_noise(1 << 16, np.random.default_rng(0)))) ** 2
    low, high = power[400:800].sum(), power[8000:16000].sum()
    assert low / high == pytest.approx(1, abs=0.2)  # the same in every octave


def test_the_frontier_keeps_what_nothing_beats(tmp_path: Path) -> None:
    policies = {"surest": [NEVER, NEVER, 0.0], "earliest": [0.0, 0.0, 0.0]}
    points = frontier.measure("piece", [take(strength=(9.0, 9.0, 9.0))], policies)
    assert len(points) == 2 + 2 * len(frontier.EARLY)
    named = {p.policy: p for p in points if p.policy}
    assert named["earliest"].best
    assert not named["surest"].best  # as good, and later
    assert named["surest"].f1 == named["earliest"].f1 == 1.0
    frontier.picture(points, tmp_path / "new" / "f.svg")
    drawn = ET.parse(tmp_path / "new" / "f.svg").getroot()
    circles = drawn.findall("{http://www.w3.org/2000/svg}circle")
    assert len(circles) == 2 * len(points) + 1  # two panels and the legend
    words = [t.text for t in drawn.findall("{http://www.w3.org/2000/svg}text")]
    assert {"surest", "earliest", "piece", "onset F1 (50 ms)"} <= set(words)


def report() -> judge.Report:
    judged = [decide(take(), SURE)]
    rows = [
        row(name, "balanced", judged) for name in ("a recording", "rendered, clean", "rendered, all at once")
    ]
    return judge.Report(
        rows=rows,
        parts=[*by_register("a recording", judged), *by_chord("a recording", judged)],
        false_notes=[judge.FalseNotes("claps", "balanced", 0.25)],
        frontier=frontier.measure("a recording", [take()], {"balanced": [0.0, 0.0, 0.0]}),
        peers=[row("a recording", "Transkun", [told([(1, 2, 60, 60)], [])])],
    )


def test_every_table_fits_the_page() -> None:
    console = Console(width=WIDTH, file=io.StringIO(), record=True)
    shown = list(tables(report()))
    assert len(shown) == 7
    for table in shown:
        console.print(table)
    text = console.export_text()
    assert "…" not in text
    assert max(map(len, text.splitlines())) <= WIDTH
    assert text.index("Transkun") < text.index("rendered, clean")  # beside its material


def test_scores_go_into_manifest_card_and_json(tmp_path: Path) -> None:
    pytest.importorskip("keras")
    for name in ("audio.toml", "audio.tflite"):
        shutil.copy(MODELS / name, tmp_path)
    made = report()
    made.rows[0] = dataclasses.replace(made.rows[0], velocity_r=np.nan)
    judge.write_scores(tmp_path / "audio.toml", made)
    judge.write_scores(tmp_path / "audio.toml", made)
    manifest = load_manifest(tmp_path / "audio.toml")
    assert manifest.scores["rendered, clean/balanced/f1"] == 1.0
    assert manifest.scores["claps/balanced/false_per_10_s"] == 0.25
    assert "a recording/balanced/velocity_r" not in manifest.scores
    before = load_manifest(MODELS / "audio.toml")
    assert manifest.scores == before.scores | judge.manifest_scores(made.rows, made.false_notes)
    assert (manifest.sha256, manifest.thresholds) == (before.sha256, before.thresholds)
    card = (tmp_path / "README.md").read_text()
    assert card.count("<!-- begin audio -->") == card.count("| rendered, clean | balanced | 1.000 |") == 1
    assert "| claps | balanced | 0.25 |" in card
    assert b'"velocity_r": null' in judge.to_json(made, manifest)
    assert score_tables({}) == score_tables({"an old score": 1.0}) == ""


def loud(level_db: float) -> list[KeyEvidence]:
    """Evidence of the piece, every note 3 dB louder than the one before, at a microphone of its own level."""
    heard = []
    for hop, one in enumerate(take(strength=(9.0, 9.0, 9.0)).evidence):
        told = np.full(one.onset.shape, level_db - 60, np.float32)
        for number, (key, start, _) in enumerate(PIECE):
            if start <= hop < start + 12:
                told[:, key] = level_db + 3 * number
        heard.append(dataclasses.replace(one, loudness=told))
    return heard


def test_takes_of_one_instrument_teach_each_other_its_scale() -> None:
    soft, strong = (dataclasses.replace(take(), evidence=loud(level)) for level in (-60.0, -40.0))
    turns = [soft, strong] * 6
    apart = [decide(one, EARLY).found["velocity"].mean() for one in turns]
    assert apart[-1] == pytest.approx(apart[-2], abs=1), "nobody knows how loud an unknown instrument is"
    in_turn = [judged.found["velocity"].mean() for judged in decide_in_turn(turns, EARLY)]
    assert in_turn[-1] > in_turn[-2] + 30


def test_correlation_within_takes_does_not_mind_their_levels() -> None:
    def one(below: int) -> Judged:
        truth = [(1.0 + i, 1.5 + i, 60, 40 + 10 * i) for i in range(5)]
        return told(truth, [(on, off, pitch, velocity - below) for on, off, pitch, velocity in truth])

    scored = row("x", "", [one(0), one(35)])
    assert scored.velocity_r_within == pytest.approx(1.0)
    assert scored.velocity_r < 0.7
