"""The rest image over time: start with hands, light, held keys, lamps, noise, frame rate."""

import numpy as np
import pytest

from ivories.keyboard import IS_BLACK
from ivories.vision.rest_image import RestSpec
from ivories.vision.strip import FRAMES, StripFrontEnd, StripSpec
from keyboard_pictures import SECOND, VGA, block, picture, play

SPEC = StripSpec()
QUIET = picture()
QUIET_STRIP = StripFrontEnd(SPEC, VGA).rectify(QUIET)
KEY = int(np.flatnonzero(~IS_BLACK)[25])


def ready(seconds=3.0, **options):
    """A front end that has watched the resting keyboard."""
    front_end = StripFrontEnd(SPEC, VGA)
    _, t_ns = play(front_end, [QUIET] * round(30 * seconds), **options)
    return front_end, t_ns


def newest(strip):
    return strip.pixels[..., FRAMES - 1].astype(int)


def error(front_end, truth=QUIET_STRIP):
    return np.abs(front_end.rest.astype(int) - truth)


@pytest.mark.parametrize("rate", [15, 30, 120])
def test_ready_two_seconds_and_five_frames_after_the_start(rate):
    front_end = StripFrontEnd(SPEC, VGA)
    strips, _ = play(front_end, [QUIET] * (3 * rate), rate=rate)
    first = strips[0].t_ns / SECOND
    assert 2.0 <= first <= 2.0 + 0.1 + (FRAMES + 1) / rate
    assert error(front_end).max() <= 1
    assert front_end.rest.shape == (SPEC.rows, SPEC.width)


def test_no_rest_image_before():
    front_end = StripFrontEnd(SPEC, VGA)
    strips, _ = play(front_end, [QUIET] * 30)
    assert strips == []
    assert front_end.rest is None


def test_start_with_a_hand_passing():
    pictures = []
    for i in range(66):
        left = 10 + 0.35 * i
        pictures.append(picture(hand=(left, left + 7, 0.3, 1.3)))
    front_end = StripFrontEnd(SPEC, VGA)
    play(front_end, pictures)
    assert np.mean(error(front_end) > 6) < 0.002


def test_start_with_a_parked_hand_recovers_when_it_leaves():
    front_end = StripFrontEnd(SPEC, VGA)
    _, t_ns = play(front_end, [picture(hand=(20, 27, 0.3, 1.3))] * 75)
    assert np.mean(error(front_end) > 12) > 0.03  # learnt with the keys
    _, t_ns = play(front_end, [QUIET] * 45, start_ns=t_ns)
    assert np.mean(error(front_end) > 12) < 0.005  # 1.5 s after it left


def test_a_hand_that_lies_still_does_not_become_the_rest():
    front_end, t_ns = ready(3)
    play(front_end, [picture(hand=(20, 27, 0.3, 1.3))] * (15 * 30), start_ns=t_ns)
    assert np.mean(error(front_end)[:40] > 12) < 0.003


@pytest.mark.parametrize("key", [KEY, KEY + 1])
def test_held_key_is_not_absorbed_in_fifteen_seconds(key):
    front_end, t_ns = ready(10)
    held = picture(pressed=[key])
    strips, t_ns = play(front_end, [held] * (15 * 30), start_ns=t_ns)
    early, late = (block(newest(s), key) for s in (strips[5], strips[-1]))
    assert (early < -20).sum() > 60
    assert (late < -20).sum() > 0.95 * (early < -20).sum()
    strips, _ = play(front_end, [QUIET] * 10, start_ns=t_ns)
    assert np.abs(newest(strips[-1])).max() <= 5


def test_static_change_becomes_the_rest_after_long():
    front_end, t_ns = ready(3)
    moved = picture(hand=(30, 33, 0.7, 1.3))  # say, a note card left on the keys
    play(front_end, [moved] * (22 * 30), start_ns=t_ns)
    truth = StripFrontEnd(SPEC, VGA).rectify(moved)
    assert np.mean(error(front_end, truth) > 6) < 0.001


@pytest.mark.parametrize(("light", "offset"), [(0.6, 0), (1.25, 0), (0.9, 15)])
def test_exposure_step_is_followed_at_once(light, offset):
    front_end, t_ns = ready()
    strips, _ = play(front_end, [picture(light=light, offset=offset)] * 6, start_ns=t_ns)
    for strip in strips:
        assert np.percentile(np.abs(newest(strip)), 99) <= 3


def test_exposure_step_under_a_held_key_keeps_it_visible():
    front_end, t_ns = ready()
    _, t_ns = play(front_end, [picture(pressed=[KEY])] * 15, start_ns=t_ns)
    strips, _ = play(front_end, [picture(pressed=[KEY], light=0.7)] * 15, start_ns=t_ns)
    assert (block(newest(strips[-1]), KEY) < -14).sum() > 60
    assert np.abs(block(newest(strips[-1]), 5)).max() <= 3


def test_lamp_is_recovered_from_within_two_seconds():
    front_end, t_ns = ready(10)
    lamp = picture(light=lambda x: 0.55 + 0.7 * np.exp(-(((x - 45) / 14) ** 2)))
    strips, _ = play(front_end, [lamp] * 75, start_ns=t_ns)
    assert np.mean(np.abs(newest(strips[0])) > 12) > 0.2  # no single gain explains it
    assert np.mean(np.abs(newest(strips[60])) > 6) < 0.002


def test_slow_daylight_is_followed():
    front_end, t_ns = ready()
    pictures = [picture(light=lambda x, i=i: 1 - 0.0004 * i * (x / 52)) for i in range(0, 300, 10)]
    strips, _ = play(front_end, [p for p in pictures for _ in range(10)], start_ns=t_ns)
    assert np.percentile(np.abs(newest(strips[-1])), 99) <= 8


def test_noise_does_not_keep_a_lamp_from_being_followed():
    front_end = StripFrontEnd(SPEC, VGA)
    noisy = [picture(light=0.5, noise=6, seed=i) for i in range(12)]
    strips, t_ns = play(front_end, noisy * 8)
    assert np.abs(newest(strips[-1])).mean() < 6
    lit = [picture(light=lambda x: 0.4 + 0.012 * x, noise=6, seed=i) for i in range(12)]
    strips, _ = play(front_end, lit * 7, start_ns=t_ns)
    truth = StripFrontEnd(SPEC, VGA).rectify(picture(light=lambda x: 0.4 + 0.012 * x))
    assert np.mean(error(front_end, truth) > 12) < 0.01


def test_frame_rate_hardly_matters():
    rests = []
    for rate in (25, 100):
        front_end = StripFrontEnd(SPEC, VGA)
        _, t_ns = play(front_end, [QUIET] * (3 * rate), rate=rate)
        play(front_end, [picture(light=lambda x: 1 - 0.002 * x)] * (3 * rate), start_ns=t_ns, rate=rate)
        rests.append(front_end.rest.astype(int))
    assert np.abs(rests[0] - rests[1]).max() <= 3


def test_given_rest_image_makes_the_fifth_frame_count_and_survives_a_reset():
    front_end = StripFrontEnd(SPEC, VGA.with_rest(QUIET_STRIP))
    for _ in range(2):
        strips, _ = play(front_end, [picture(light=0.8)] * FRAMES)
        assert len(strips) == 1
        assert np.abs(newest(strips[0])).max() <= 3
        front_end.reset()


def test_ticks_are_bounded():
    spec = RestSpec()
    assert spec.ticks(0) == 1
    assert spec.ticks(1e6) == 250
    assert len(spec.native()) == 15
