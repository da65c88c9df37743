"""What the grid remembers of eye and ear, and that the quick look at it never promises too little."""

from dataclasses import replace

import numpy as np
import pytest

from ivories.datatypes import Origin
from ivories.fusion.evidence_grid import BIN_NS, BINS, EvidenceGrid, believed
from ivories.fusion.tracker import Tracker, TrackerSettings
from ivories.keyboard import KEYS
from support import FRAME_NS, HOP_NS, audio_evidence, video_evidence

WELL = dict.fromkeys(Origin, 1.0)
EVERY = np.arange(KEYS)


def senses(rng, hops, away=range(0)):
    """Yield random evidence of both sensors in the order of its times; nothing in the hops ``away``."""
    frame = 0
    for hop in range(hops):
        made = []
        while frame * FRAME_NS <= hop * HOP_NS:
            made.append(video_evidence(frame, []))
            frame += 1
        made.append(audio_evidence(hop, []))
        for one in made:
            if hop not in away:
                yield replace(one, onset=rng.normal(-3, 5, one.onset.shape).astype(np.float32))


def best_informed(kept, evidence):
    """Enter ``evidence`` into ``kept``, bin -> (stage, row): the last horizon counts, of two the surer."""
    video = evidence.origin is Origin.VIDEO
    for stage, (horizon, row) in enumerate(zip(evidence.horizon_ns, evidence.onset, strict=True), 1):
        end = evidence.t_ns - horizon
        first, last = end - evidence.step_ns // 2, end - evidence.step_ns // 2
        if video:
            first, last = end - evidence.step_ns - BIN_NS, end + BIN_NS
        for time_bin in range(first // BIN_NS, last // BIN_NS + 1):
            known, before = kept.get(time_bin, (0, None))
            if stage >= known:
                kept[time_bin] = stage, np.maximum(row, before) if stage == known else row


@pytest.mark.parametrize("away", [range(0), range(300, 330), range(300, 900)])
def test_what_is_remembered_is_the_best_informed_judgement_however_long_it_plays(away):
    grid, kept = EvidenceGrid(), {origin: {} for origin in Origin}
    for n, one in enumerate(senses(np.random.default_rng(1), 1200, away)):
        changed = grid.put(one)
        best_informed(kept[one.origin], one)
        assert changed == grid.clip(changed)
        if n % 37:
            continue
        for origin in Origin:
            bins = grid.clip(range(changed.stop - BINS - 5, changed.stop + 50))
            assert BINS - 5 <= len(bins) <= BINS
            stages = [kept[origin].get(time_bin, (0, None))[0] for time_bin in bins]
            assert grid.stage(origin, bins).tolist() == stages
            assert grid.least_stage(origin, bins) == min(stages)
            rows = [kept[origin].get(time_bin, (0, np.zeros(KEYS)))[1] for time_bin in bins]
            np.testing.assert_array_equal(grid.of(origin, bins), rows)


@pytest.mark.parametrize("beside", [False, True])
@pytest.mark.parametrize(
    "weights", [WELL, {Origin.AUDIO: 0.4, Origin.VIDEO: 1.0}, WELL | {Origin.VIDEO: 0.0}]
)
def test_nothing_is_believed_beyond_the_quick_look(beside, weights):
    rng, grid = np.random.default_rng(2), EvidenceGrid()
    for one in senses(rng, 100):
        bins = grid.put(one)
        most = grid.most(bins, weights, beside=beside)
        told = grid.told(bins, EVERY, weights, beside=beside)
        blind = rng.uniform(0.05, 0.7, KEYS).astype(np.float32) if beside else None
        total = believed(told, blind).sum(axis=0)
        by_bin = np.maximum(told, 0).sum(axis=0)
        assert (total <= by_bin + 1e-3).all()
        assert (by_bin <= most + 1e-3).all()
        assert (most > total.max(axis=0) - 10).any(), "no better than to promise everything"


def test_of_one_sensor_alone_the_other_adds_nothing():
    grid = EvidenceGrid()
    bins = grid.put(audio_evidence(50, [(39, 48, 60)], strength=(7.0, 7.0, 7.0)))
    eye, ear = believed(grid.told(bins, EVERY, WELL, beside=False))
    assert eye == pytest.approx(np.zeros_like(eye), abs=1e-6)
    assert ear.max() == pytest.approx(np.log(0.97 * np.exp(7) + 0.03), rel=1e-6)
    assert ear.min() == pytest.approx(np.log(0.97 * np.exp(-3) + 0.03), rel=1e-5), "blind with 3 %"


def test_what_comes_too_late_is_left_out():
    grid = EvidenceGrid()
    newest = grid.put(audio_evidence(1000, [])).stop - 1
    late = grid.put(audio_evidence(1000 - 2 * BINS, [(39, 900 - 2 * BINS, 1000)]))
    assert len(late) == 0
    for bins in (
        range(newest - 3 * BINS, newest - 2 * BINS),
        range(newest + 5, newest + 9),
        range(newest - BINS),
    ):
        kept = grid.clip(bins)
        assert len(kept) == 0
        assert grid.of(Origin.AUDIO, kept).shape == (0, KEYS)
        assert grid.stage(Origin.AUDIO, kept).shape == (0,)
        assert not grid.most(kept, WELL, beside=True).any()


def test_a_sensor_that_is_seconds_late_tells_nothing_and_harms_nothing():
    thresholds = TrackerSettings(audio_thresholds=(2.0, 1.0, 0.0), video_thresholds=(3.0, 2.0, 1.0, 0.0))
    tracker, stroke = Tracker(thresholds), (39, 1_000_000_000, 1_300_000_000)
    events = [e for hop in range(400) for e in tracker.push(audio_evidence(hop, []))]
    events += [e for frame in range(60) for e in tracker.push(video_evidence(frame, [stroke], strength=14.0))]
    events += [e for hop in range(400, 420) for e in tracker.push(audio_evidence(hop, []))]
    assert events == []
