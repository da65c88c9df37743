"""The musical key as a prior: known keys are found, the effect is bounded, only the past counts."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ivories.app import Application
from ivories.clock import SECOND
from ivories.config import parse_config
from ivories.datatypes import NoteKind
from ivories.fusion.key_prior import KEY_NAMES, KeyPrior, KeyPriorConfig
from ivories.fusion.tracker import Tracker, TrackerSettings
from ivories.keyboard import KEYS, NOTE_NAMES, key_of_pitch
from support import audio_evidence

MAJOR = (0, 2, 4, 5, 7, 9, 11)
HARMONIC_MINOR = (0, 2, 3, 5, 7, 8, 11)


def play(prior, pitches, step_s=0.1):
    """Play ``pitches`` one after the other; return the time of the last."""
    for n, pitch in enumerate(pitches):
        prior.played(key_of_pitch(pitch), round(n * step_s * SECOND))
    return round((len(pitches) - 1) * step_s * SECOND)


def scale(tonic, steps):
    """A scale up, its tonic triad after it."""
    return [60 + tonic + s for s in steps] + [60 + tonic + s for s in (0, steps[2], steps[4], 12)]


@pytest.mark.parametrize("tonic", range(12))
@pytest.mark.parametrize(("mode", "steps"), [("major", MAJOR), ("minor", HARMONIC_MINOR)])
def test_scales_are_found_in_every_key(tonic, mode, steps):
    prior = KeyPrior(KeyPriorConfig())
    posterior = prior.posterior(play(prior, scale(tonic, steps)))
    assert KEY_NAMES[posterior.argmax()] == f"{NOTE_NAMES[tonic]} {mode}"
    assert posterior.shape == (24,)
    assert posterior.sum() == pytest.approx(1)


def test_notes_of_the_key_gain_and_others_lose_in_every_octave():
    prior = KeyPrior(KeyPriorConfig())
    bias = prior.bias(play(prior, scale(0, MAJOR)))
    assert bias.shape == (KEYS,)
    assert bias[key_of_pitch(67)] > 0 > bias[key_of_pitch(66)]
    assert bias[key_of_pitch(31)] == bias[key_of_pitch(67)] == bias[key_of_pitch(103)]
    with pytest.raises(ValueError, match="read-only"):
        bias[0] = 1


def test_without_notes_there_is_no_bias():
    assert not KeyPrior(KeyPriorConfig()).bias(0).any()


def test_defaults_are_gentle_and_the_strength_is_a_factor():
    biases = []
    for strength in (0.5, 1.0):
        prior = KeyPrior(KeyPriorConfig(lambda_key=strength))
        biases.append(prior.bias(play(prior, scale(5, MAJOR))))
    assert 0.02 < np.abs(biases[0]).max() < 0.2
    np.testing.assert_allclose(biases[1], 2 * biases[0], rtol=1e-5)


@pytest.mark.parametrize("off", [{"rho_uniform": 1.0}, {"lambda_key": 0.0}, {"beta": 0.0}])
def test_each_parameter_can_switch_it_off(off):
    prior = KeyPrior(KeyPriorConfig(**off))
    np.testing.assert_allclose(prior.bias(play(prior, scale(0, MAJOR))), 0, atol=1e-6)


def test_mixing_with_the_uniform_is_exact():
    sharp = KeyPrior(KeyPriorConfig(rho_uniform=0.0, lambda_key=1.0))
    mixed = KeyPrior(KeyPriorConfig(rho_uniform=0.8, lambda_key=1.0))
    t_ns = play(sharp, scale(2, MAJOR))
    play(mixed, scale(2, MAJOR))
    np.testing.assert_allclose(np.exp(mixed.bias(t_ns)), 0.2 * np.exp(sharp.bias(t_ns)) + 0.8, rtol=1e-5)


def test_a_steeper_softmax_is_surer():
    sure = []
    for beta in (2.0, 4.0, 8.0):
        prior = KeyPrior(KeyPriorConfig(beta=beta))
        sure.append(prior.posterior(play(prior, scale(0, MAJOR))).max())
    assert sure == sorted(sure)


def test_the_window_slides():
    prior = KeyPrior(KeyPriorConfig(window_sec=3.0))
    t_ns = play(prior, scale(0, MAJOR))
    assert prior.bias(t_ns).any()
    assert prior.bias(3 * SECOND - 1)[key_of_pitch(60)] != 0
    assert not prior.bias(t_ns + 3 * SECOND).any()


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(st.integers(0, KEYS - 1), st.integers(0, 500)), min_size=1, max_size=60))
def test_streaming_equals_counting_the_window_afresh(steps):
    config = KeyPriorConfig(window_sec=1.5)
    prior = KeyPrior(config)
    played, t_ns = [], 0
    for key, gap_ms in steps:
        t_ns += gap_ms * SECOND // 1000
        prior.played(key, t_ns)
        played.append((key, t_ns))
        fresh = KeyPrior(config)
        for old, at_ns in played:
            if at_ns > t_ns - 1.5 * SECOND:
                fresh.played(old, at_ns)
        np.testing.assert_allclose(prior.bias(t_ns), fresh.bias(t_ns), atol=1e-6)


def decide(key_prior):
    """Play C major well heard, then C and C# with evidence just at the threshold."""
    tracker = Tracker(
        TrackerSettings(audio_thresholds=(9.0, 9.0, 0.0), video_thresholds=(0.0,), key_prior=key_prior)
    )
    doubtful = [(key_of_pitch(72), 330, 340), (key_of_pitch(73), 330, 340)]
    sure = [(key_of_pitch(p), 100 + 20 * n, 110 + 20 * n) for n, p in enumerate(scale(0, MAJOR))]
    heard = []
    for hop in range(360):
        for notes, strength in ((sure, 9.0), (doubtful, 6.0)):
            near = [note for note in notes if 0 <= hop - note[1] <= 12]
            if near or (notes is sure and hop < 330):
                evidence = audio_evidence(hop, near, strength=(0.0, 0.0, strength))
                heard += [e.key for e in tracker.push(evidence) if e.kind is NoteKind.ONSET]
    return {key for key, *_ in doubtful} & set(heard)


def test_it_decides_what_the_ear_leaves_open():
    assert key_of_pitch(72) in decide(KeyPriorConfig(lambda_key=2.0))
    assert key_of_pitch(73) not in decide(KeyPriorConfig(lambda_key=2.0))
    assert decide(None) == decide(KeyPriorConfig(lambda_key=0.0))


def test_the_configuration_reaches_the_tracker():
    off = Application(parse_config({}), audio=False, video=False)
    assert off.tracker_settings().key_prior is None
    on = Application(
        parse_config({"decoding": {"key_prior": True, "key_prior_beta": 6.0}}), audio=False, video=False
    )
    assert on.tracker_settings().key_prior == KeyPriorConfig(beta=6.0)
    default = Application(parse_config({"decoding": {"key_prior": True}}), audio=False, video=False)
    assert default.tracker_settings().key_prior == KeyPriorConfig()
