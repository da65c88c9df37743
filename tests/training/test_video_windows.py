"""Windows: the same bits as on the device, truth at the right horizon."""

from dataclasses import replace

import numpy as np
import pytest

from ivories.datatypes import VideoFrame
from ivories.vision.calibration import from_corners
from ivories.vision.strip import FRAMES, StripFrontEnd, StripSpec
from ivories_training.video.balance import NEAR_MISS, ONSET, Balance
from ivories_training.video.dataset import Music, load_shard, render_shard
from ivories_training.video.network import NetworkConfig
from ivories_training.video.sequences import AHEAD, BEFORE, rectified
from ivories_training.video.windows import Assembler, Windows, WindowsConfig, sequence_targets, window_kinds

NETWORK = NetworkConfig()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("shards")
    render_shard(path, 0, Music(None, "train"), sequences=3)
    return path


@pytest.mark.parametrize("left", [20.0, -90.0])
def test_assembled_strips_are_the_devices_own(left):
    """Six channels from stored luma equal those from pictures, bit for bit, also where keys are cut off."""
    rng = np.random.default_rng(5)
    spec = StripSpec()
    calibration = from_corners([[left, 40], [600, 30], [610, 120], [left - 10, 125]], 640, 160)
    base = rng.integers(30, 220, (160, 640)).astype(np.int16)
    pictures = [
        np.clip(base + rng.integers(-12, 12, base.shape) + 3 * i, 0, 255).astype(np.uint8) for i in range(9)
    ]
    device = StripFrontEnd(spec, calibration)
    stored = rectified(StripFrontEnd(spec, calibration), pictures)
    times = np.arange(8, dtype=np.int64) * 33_333_333
    device.set_rest(stored[0] * (stored != 128).any(axis=0))
    direct = []
    for i, picture in enumerate(pictures[1:]):
        direct += [s.pixels for s in device.push(VideoFrame(picture, int(times[i]), 0, i))]
    assembled = Assembler(spec).strips(stored, times)
    assert assembled.shape == (4, *spec.shape)
    assert np.array_equal(assembled, np.stack(direct))


def test_targets_speak_of_the_interval_that_ended_h_frames_ago(folder):
    shard = load_shard(folder / "00000.npz")
    frames = shard.t_ns.shape[1]
    assert shard.onset.shape[1] == BEFORE + frames + AHEAD
    targets = sequence_targets(shard, 0, NETWORK, 0.1)
    assert targets.shape == (frames - FRAMES + 1, 88, 2 * len(NETWORK.channels))
    for w in range(len(targets)):
        for c, h in enumerate(NETWORK.horizons):
            newest = w + FRAMES - 1
            assert np.array_equal(targets[w, :, c] > 0, shard.onset[0, newest - h + BEFORE] > 0)


def test_an_onset_is_pressed_in_the_frame_that_ends_its_interval(folder):
    shard = load_shard(folder / "00000.npz")
    for i in range(len(shard.luma)):
        struck = shard.onset[i, BEFORE + 1 : -AHEAD] > 0
        assert shard.pressed[i, 1:][struck].mean() > 0.95 if struck.any() else True


def test_batches_are_drawn_where_keys_move(folder):
    windows = Windows(folder, WindowsConfig(background_share=0.0), NETWORK, seed=1)
    inputs, targets = windows.batch(96)
    assert inputs.shape == (96, 48, 480, 6)
    assert targets.shape == (96, 1, 40, 2 * len(NETWORK.channels))
    assert np.abs(inputs).max() <= 2
    everywhere = np.mean(
        [sequence_targets(load_shard(folder / "00000.npz"), i, NETWORK, 0)[..., :4].mean() for i in range(3)]
    )
    assert targets[..., :4].mean() > everywhere


def test_balanced_draws_come_in_the_shares_asked_for(folder):
    kinds = np.concatenate(window_kinds(load_shard(folder / "00000.npz"), radius=1))
    assert {ONSET, NEAR_MISS} <= set(kinds.tolist()), "the sequences have both"
    config = WindowsConfig(keys=88, per_sequence=1, balance=Balance(1.0, 0.0, 0.0, radius=1))
    now = NETWORK.horizons.index(0)
    _, onsets = Windows(folder, config, NETWORK, seed=1).batch(10)
    assert (onsets[..., now].max(axis=(1, 2)) == 1).all()
    config = replace(config, balance=Balance(0.0, 1.0, 0.0, radius=1))
    _, near = Windows(folder, config, NETWORK, seed=1).batch(10)
    assert (near[..., now] == 0).all()
    assert (near[..., [now - 1, now + 1]].max(axis=(1, 2, 3)) == 1).all()


def test_draws_follow_from_the_seed(folder):
    first, second = (Windows(folder, WindowsConfig(), NETWORK, seed=3).batch(6) for _ in range(2))
    assert np.array_equal(first[0], second[0])
    assert np.array_equal(first[1], second[1])


def test_a_switched_lamp_changes_the_light_once_and_not_that_of_the_rest_picture(folder):
    config = WindowsConfig(
        lamp_share=1.0, noise_share=0.0, rest_mismatch=0.0, brightness=0.0, contrast=(1, 1)
    )
    windows = Windows(folder, config, NETWORK, 3)
    grey = np.full((13, 48, 1056), 100, np.uint8)
    for _ in range(8):
        changed = windows._changed(grey.copy())
        assert (changed[0] == 100).all()
        steps = np.abs(np.diff(changed[1:].astype(float).mean(axis=(1, 2)))) > 0
        assert steps.sum() == 1
