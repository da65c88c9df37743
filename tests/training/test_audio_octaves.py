"""The search for how sure a key must be beside its octave: scripted ears in, known outcomes out."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("scipy")
pytest.importorskip("soxr")

from ivories.audio.frontend import AudioFrontEnd
from ivories.inference.manifest import load_manifest
from ivories_training.audio import octaves
from ivories_training.audio.excerpts import ExcerptConfig, ExcerptMaker
from ivories_training.audio.listener import Listener
from ivories_training.audio.measures import octave_share_by_chance
from scripted_takes import EARLY, take, told

MODELS = Path(__file__).parents[2] / "models"
GHOST = (51, 100, 130)  # an octave above the second note


def haunted(sure=(7.0, 7.0, 7.0)):
    """A take whose ear is half sure of an octave that nobody struck."""
    made = take(strength=(12.0, 12.0, 12.0))
    for evidence, with_ghost in zip(made.evidence, take(heard=[GHOST], strength=sure).evidence, strict=True):
        evidence.onset[:, GHOST[0]] = with_ghost.onset[:, GHOST[0]]
    return made


def test_doubt_takes_the_ghost_and_leaves_the_notes() -> None:
    plain = octaves.measure([haunted()], EARLY, 0.0, 0.0)
    assert plain.octaves == 1.0
    assert plain.f1 == pytest.approx(2 * 5 / 11)
    doubted = octaves.measure([haunted()], EARLY, 0.5, 0.0)
    assert doubted.f1 == 1.0
    assert doubted.repeat_recall == plain.repeat_recall == 1.0
    assert doubted.delay_ms == plain.delay_ms
    assert "F1 1.0000" in doubted.line()


def test_the_sternest_setting_that_costs_hardly_anything_is_taken() -> None:
    one = octaves.measure([haunted()], EARLY, 0.0, 0.0)
    tried = [replace(one, f1=one.f1 + more, margin=-i) for i, more in enumerate((0.0, 0.01, -0.002, -0.02))]
    assert octaves.sternest(tried).margin == -2
    assert octaves.sternest(tried[::3]).margin == 0


def test_what_chance_alone_makes_of_octaves() -> None:
    truth = [(1.0, 1.5, 60, 64), (2.0, 2.5, 67, 64)]
    judged = told(truth, [*truth, (1.0, 1.5, 65, 64), (5.0, 5.5, 72, 64)])
    # One of the four pitches told, 72, is an octave from what was struck beside the first false note.
    assert octave_share_by_chance([judged]) == pytest.approx((1 / 4 + 0) / 2)


def test_excerpts_are_heard_with_the_truth_in_its_place(sines) -> None:
    config = ExcerptConfig(seconds=3.0, background=0.0, strength=0.0)
    drawn = ExcerptMaker([], [sines], AudioFrontEnd(), config, seed=4)
    listener = Listener(load_manifest(MODELS / "audio.toml"), MODELS)
    [heard] = octaves.hear(listener, drawn, 1)
    _, played = drawn.sound(0)
    np.testing.assert_allclose(heard.truth["onset_s"], played.notes["onset_s"] + 1.0)
    assert len(heard.evidence) == 400
    assert all(one.loudness is None and one.piano == 1 for one in heard.evidence), "the network's own"
    assert heard.end_s - heard.begin_s == pytest.approx(2.91)
    thresholds = listener.manifest.thresholds["balanced"]
    assert octaves.measure([heard], thresholds, 0.0, 0.0).f1 > 0.3
