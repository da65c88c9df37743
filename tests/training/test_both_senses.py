"""The measurement of common errors itself: what is put in comes out."""

from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("scipy")
pytest.importorskip("cv2")

from ivories.clock import SECOND
from ivories.fusion.tracker import TrackerSettings
from ivories.keyboard import KEYS, LOWEST_PITCH
from ivories.notes import NOTE_DTYPE
from ivories_training.both_scores import WAYS, in_turn, notes_table, play, velocity_table
from ivories_training.both_senses import IMAGINED, MISSED, Pairs, dependence, last_judgement, pairs
from ivories_training.scenes import Scene
from support import AUDIO_HORIZONS, FRAME_NS, HOP_NS, audio_evidence, video_evidence

SECONDS = 24.0
NOTES = [(30 + 3 * n % 20, 0.6 + 0.217 * n) for n in range(100)]


def scene(missed_by_ear, missed_by_eye):
    """NOTES, as scripted senses judge it that miss the notes of these numbers."""
    truth = np.array([(t, t + 0.15, k + LOWEST_PITCH, 64) for k, t in NOTES], NOTE_DTYPE)
    frames = round(SECONDS * SECOND / FRAME_NS)
    heard = [(k, int(t * 100), int(t * 100) + 15) for n, (k, t) in enumerate(NOTES) if n not in missed_by_ear]
    seen = [
        (k, round(t * SECOND), round((t + 0.15) * SECOND))
        for n, (k, t) in enumerate(NOTES)
        if n not in missed_by_eye
    ]
    return Scene(
        truth,
        SECONDS,
        [audio_evidence(hop, heard, strength=(12, 12, 12)) for hop in range(round(SECONDS * 100))],
        [video_evidence(f, seen, strength=12.0) for f in range(frames)],
    )


def test_common_misses_are_told_from_chance():
    together, _ = pairs([scene({1, 5, 9, 13}, {1, 5, 9, 13})])
    apart, _ = pairs([scene({1, 5, 9, 13}, {2, 6, 10, 14})])
    assert len(together.audio) == len(NOTES)
    ear, eye, both, lift = together.errors(MISSED, above=False)
    assert (ear, eye, both) == pytest.approx((0.04, 0.04, 0.04))
    assert lift == pytest.approx(25)
    assert apart.errors(MISSED, above=False)[2:] == (0, 0)
    assert together.correlation()[0] == pytest.approx(1)
    assert apart.correlation()[0] < 0


def test_false_candidates_are_other_keys_at_busy_times():
    _, candidates = pairs([scene(set(), set())])
    assert len(candidates.audio) > 50 * KEYS
    assert not (candidates.audio > IMAGINED).any()
    assert not (candidates.video > IMAGINED).any()


def test_the_grid_puts_a_judgement_where_it_belongs():
    grid = last_judgement([audio_evidence(50 + AUDIO_HORIZONS[-1], [(39, 50, 60)])], 100)
    assert np.flatnonzero(grid[:, 39] > 0).tolist() == [50]
    assert np.isnan(grid[49]).all()
    assert HOP_NS == 10_000_000


def test_scene_means_do_not_pass_for_dependence():
    rng = np.random.default_rng(0)
    scenes = np.repeat(np.arange(10), 500)
    difficulty = rng.normal(0, 3, 10)[scenes]
    made = Pairs(*(rng.normal(0, 1, 5000) + difficulty for _ in range(2)), scenes)
    pooled, within = made.correlation()
    assert pooled > 0.7
    assert abs(within) < 0.06


SETTINGS = TrackerSettings(audio_thresholds=(2.0, 1.0, 0.0), video_thresholds=(3.0, 2.0, 1.0, 0.0))


def test_both_senses_find_what_each_misses():
    made = scene({1, 5, 9, 13}, {2, 6, 10, 14})
    found = {way: len(play(made, way, SETTINGS).notes) for way in WAYS}
    assert found == {"audio": 96, "video": 96, "both": 100}


def cells(table, column):
    return list(next(c for c in table.columns if c.header == column).cells)


def test_tables_tell_each_sense_and_both():
    made = [scene({1, 5, 9, 13}, {2, 6, 10, 14})]
    told = notes_table(made, "made", SETTINGS)
    assert cells(told, "sense") == ["audio", "video", "both"]
    assert cells(told, "R") == ["0.960", "0.960", "1.000"]
    assert all(float(x.removesuffix(" ms")) < 20 for x in cells(told, "onset off"))
    with np.errstate(invalid="ignore"):  # these senses say the same of every false candidate
        assert len(cells(dependence(made, "made"), "times chance")) == 2


def louder(made, db):
    """The scene ``made``, as loud as that; its velocities with it."""
    truth = made.truth.copy()
    truth["velocity"] += round(2.5 * db)
    heard = [replace(e, loudness=np.full_like(e.onset, db - 30)) for e in made.heard]
    return replace(made, truth=truth, heard=heard)


def test_of_one_instrument_the_scale_of_velocities_is_handed_on():
    made = [louder(scene(set(), set()), db) for db in (0.0, -10.0, 8.0)]
    scales = [one.touch.mean_db for one in in_turn(made, "audio", SETTINGS)]
    assert scales[0] == pytest.approx(-30)
    assert -34 < scales[1] < -30.5  # moved by the second piece, but not torn away
    assert scales[1] < scales[2] < -29.5
    velocity = velocity_table(made, "made", SETTINGS)
    ear, eye, both = cells(velocity, "velocity r over all")
    assert min(float(ear), float(both)) > 0.9
    assert eye == "-"  # it has one velocity for all
