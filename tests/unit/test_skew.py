"""The time between eyes and ears is found from what both notice, and from nothing else."""

import numpy as np
import pytest

from ivories.clock import MILLISECOND, SECOND
from ivories.datatypes import KeyEvidence, NoteKind, Origin
from ivories.fusion.onset_peaks import OnsetPeaks
from ivories.fusion.skew import CONFIDENT, SkewEstimator
from ivories.fusion.tracker import Tracker, TrackerSettings
from ivories.keyboard import KEYS
from support import (
    AUDIO_HORIZONS,
    FRAME_NS,
    HOP_NS,
    VIDEO_HORIZONS,
    Noticing,
    audio_evidence,
    video_evidence,
)


def performance(seed, seconds, per_second=4.0):
    """Random notes (key, onset_ns), repeated keys and chords among them."""
    rng = np.random.default_rng(seed)
    count = round(seconds * per_second)
    times = np.sort(rng.uniform(0.3, seconds, count))
    return [(int(key), round(t * SECOND)) for key, t in zip(rng.integers(20, 60, count), times, strict=True)]


def stream(heard, seen, seconds, frame_ns=FRAME_NS, jitter_ns=0, seed=0):
    """Evidence of both sensors in the order of its times; ``heard`` and ``seen``: (key, onset_ns) lists."""
    rng = np.random.default_rng(seed)
    audio, video = ({}, {})
    for notes, step, grid in ((heard, HOP_NS, audio), (seen, frame_ns, video)):
        for key, t_ns in notes:
            grid.setdefault((t_ns + round(rng.normal(0, jitter_ns))) // step, []).append(key)
    items = []
    for origin, step, horizons, grid in (
        (Origin.AUDIO, HOP_NS, AUDIO_HORIZONS, audio),
        (Origin.VIDEO, frame_ns, VIDEO_HORIZONS, video),
    ):
        for n in range(round(seconds * SECOND / step)):
            onset = np.full((len(horizons), KEYS), -3, np.float32)
            for row, horizon in enumerate(horizons):
                onset[row, grid.get(n - horizon, [])] = 8
            items.append(
                KeyEvidence(
                    origin=origin,
                    t_ns=(n + 1) * step,
                    step_ns=step,
                    horizon_ns=tuple(h * step for h in horizons),
                    onset=onset,
                    frame=np.zeros(KEYS, np.float32),
                    offset=None,
                    velocity=np.full(KEYS, np.nan, np.float32),
                    visible=np.ones(KEYS, bool),
                )
            )
    return sorted(items, key=lambda e: e.t_ns)


def estimate(items, start_ns=0):
    estimator = SkewEstimator(start_ns)
    both = Noticing(estimator)
    for item in items:
        both.push(item)
    return estimator


@pytest.mark.parametrize("skew_ms", [-80, -33, -5, 0, 12, 47, 80])
@pytest.mark.parametrize("fps", [30, 60])
def test_skew_is_recovered_within_5_ms(skew_ms, fps):
    notes = performance(skew_ms + 1000, 14)
    seen = [(key, t - skew_ms * MILLISECOND) for key, t in notes]
    found = estimate(stream(notes, seen, 14, SECOND // fps, jitter_ns=5 * MILLISECOND))
    assert abs(found.skew_ns - skew_ms * MILLISECOND) <= 5 * MILLISECOND
    assert found.confidence >= CONFIDENT


def test_missed_and_imagined_notes_do_no_harm():
    rng = np.random.default_rng(5)
    notes = performance(5, 30)
    heard = [n for n in notes if rng.random() < 0.7] + performance(6, 30, 1.0)
    seen = [(key, t - 40 * MILLISECOND) for key, t in notes if rng.random() < 0.7] + performance(7, 30, 1.0)
    found = estimate(stream(heard, seen, 30, jitter_ns=10 * MILLISECOND))
    assert abs(found.skew_ns - 40 * MILLISECOND) <= 5 * MILLISECOND


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("start_ms", [0, 25])
def test_random_coincidences_move_nothing(seed, start_ms):
    heard, seen = performance(seed, 60, 10.0), performance(seed + 100, 60, 10.0)
    # the keys of few octaves, so that coincidences within the range are many
    heard, seen = ([(30 + key % 12, t) for key, t in notes] for notes in (heard, seen))
    estimator = SkewEstimator(start_ms * MILLISECOND)
    both = Noticing(estimator)
    for item in stream(heard, seen, 60):
        both.push(item)
        assert estimator.skew_ns == start_ms * MILLISECOND
        assert estimator.confidence < CONFIDENT


@pytest.mark.parametrize("origin", list(Origin))
def test_one_sensor_alone_claims_nothing(origin):
    notes = performance(1, 20)
    found = estimate([e for e in stream(notes, notes, 20) if e.origin is origin], 7 * MILLISECOND)
    assert (found.skew_ns, found.confidence) == (7 * MILLISECOND, 0.0)


def test_a_few_notes_are_not_enough():
    notes = performance(2, 3.0)[:8]
    seen = [(key, t - 60 * MILLISECOND) for key, t in notes]
    assert estimate(stream(notes, seen, 4)).skew_ns == 0


@pytest.mark.parametrize(("agreeing", "confident"), [(11, False), (15, True)])
def test_few_pairs_must_agree_more_than_many(agreeing, confident):
    notes = [(20 + n, round((0.5 + 0.31 * n) * SECOND)) for n in range(16)]
    away_ms = [20] * agreeing + [-140, 140, -80, 100, -110][: 16 - agreeing]
    seen = [(key, t - ms * MILLISECOND) for (key, t), ms in zip(notes, away_ms, strict=True)]
    assert (estimate(stream(notes, seen, 6)).confidence >= CONFIDENT) is confident


def test_a_regular_trill_is_ambiguous_and_claims_nothing():
    notes = [(40, round(0.5 * SECOND) + n * 120 * MILLISECOND) for n in range(150)]
    seen = [(key, t - 50 * MILLISECOND) for key, t in notes]
    assert estimate(stream(notes, seen, 19)).confidence < CONFIDENT


def test_it_moves_slowly_and_follows_a_change():
    first = performance(3, 20)
    second = [(key, t) for key, t in performance(4, 60) if t > 20 * SECOND]
    seen = first + [(key, t - 70 * MILLISECOND) for key, t in second]
    estimator = SkewEstimator()
    both = Noticing(estimator)
    before_ns, before_t = 0, None
    for item in stream(sorted(first + second, key=lambda n: n[1]), seen, 60):
        both.push(item)
        if before_t is not None:
            assert abs(estimator.skew_ns - before_ns) <= 0.04 * max(0, item.t_ns - before_t) + 2
        before_ns, before_t = estimator.skew_ns, item.t_ns
    assert abs(estimator.skew_ns - 70 * MILLISECOND) <= 5 * MILLISECOND


def test_a_peak_between_two_steps_lies_between_them():
    peaks = OnsetPeaks()
    found = []
    for hop, llr in enumerate([-3, -3, -3, 8, 8, -3, -3, -3]):
        evidence = audio_evidence(hop, [], silence=-3.0)
        evidence.onset[-1, 40] = llr
        found += peaks.push(evidence)
    centre = (3 + 4 + 1) / 2 * HOP_NS - AUDIO_HORIZONS[-1] * HOP_NS
    assert [key for key, _ in found] == [40]
    assert abs(found[0][1] - centre) <= 100_000


def fused_times(skew_ns, start_ns=0):
    """Reported onset minus true (audio) onset of notes of the last 5 of 20 s, and the tracker."""
    notes = performance(9, 20, 3.0)
    seen = [(key, t - skew_ns) for key, t in notes]
    tracker = Tracker(TrackerSettings(audio_thresholds=(0.0,) * 3, video_thresholds=(0.0,) * 4), start_ns)
    events = [e for item in stream(notes, seen, 20) for e in tracker.push(item)]
    late = [e for e in events if e.kind is NoteKind.ONSET and e.t_ns > 15 * SECOND]
    return [min((e.t_ns - t for key, t in notes if key == e.key), key=abs) for e in late], tracker


def test_the_tracker_applies_what_was_found():
    errors, tracker = fused_times(80 * MILLISECOND)
    assert tracker.measured_skew_ns == pytest.approx(80 * MILLISECOND, abs=5 * MILLISECOND)
    assert len(errors) >= 8
    assert np.median(np.abs(errors)) <= 20 * MILLISECOND
    assert Tracker(TrackerSettings(audio_thresholds=(0.0,), video_thresholds=(0.0,))).measured_skew_ns is None


def test_scripted_senses_have_no_skew():
    notes = [(30 + n, 0.3 + 0.413 * n) for n in range(24)]  # at every phase of a frame
    estimator = SkewEstimator()
    both = Noticing(estimator)
    frame = 0
    for hop in range(1100):
        while frame * FRAME_NS <= hop * HOP_NS:
            ns = [(key, round(t * SECOND), round(t * SECOND) + SECOND // 4) for key, t in notes]
            both.push(video_evidence(frame, ns))
            frame += 1
        both.push(audio_evidence(hop, [(key, int(t * 100), int(t * 100) + 25) for key, t in notes]))
    assert estimator.confidence >= CONFIDENT
    assert abs(estimator.skew_ns) <= 5 * MILLISECOND
