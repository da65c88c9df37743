"""The clock of a sound card: noise out, drift in."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ivories.clock import SECOND
from ivories.sources.sample_clock import SampleClock

RATE = 16_000
PERIOD = 80


def run(clock, true_rate, jitter_ns, seconds, seed=0):
    """Observe a card; return the clock's errors in ns after each observation."""
    rng = np.random.default_rng(seed)
    errors = []
    for sample in range(PERIOD, round(seconds * RATE), PERIOD):
        true_ns = sample * SECOND / true_rate
        clock.observe(sample, round(true_ns + abs(rng.normal(0, jitter_ns))))
        errors.append(clock.time_of(sample) - true_ns)
    return np.array(errors)


@given(drift_ppm=st.floats(-200, 200), seed=st.integers(0, 99))
def test_it_learns_the_cards_rate_and_irons_out_the_noise(drift_ppm, seed):
    jitter_ns = 1_000_000
    errors = run(SampleClock(RATE), RATE * (1 + drift_ppm * 1e-6), jitter_ns, 12.0, seed)
    late = errors[-800:]
    assert np.abs(np.diff(late)).max() < 150_000  # observations jump by milliseconds
    assert late.std() < 0.4 * jitter_ns
    assert abs(late.mean() - 0.8 * jitter_ns) < 0.5 * jitter_ns  # late observations make it late, no more


def test_without_noise_it_is_exact():
    errors = run(SampleClock(RATE), RATE, 0, 2.0)
    assert np.abs(errors).max() < 1000


def test_it_looks_ahead_and_back():
    clock = SampleClock(RATE)
    assert not clock.running
    clock.observe(1000, SECOND)
    assert clock.running
    assert clock.time_of(1000 + RATE) == 2 * SECOND
    assert clock.time_of(1000 - RATE) == 0


def test_a_jump_starts_it_anew():
    clock = SampleClock(RATE)
    run(clock, RATE, 1000, 1.0)
    clock.observe(RATE, 5 * SECOND)
    assert clock.time_of(RATE) == 5 * SECOND
    assert clock.time_of(2 * RATE) == pytest.approx(6 * SECOND, abs=1)
