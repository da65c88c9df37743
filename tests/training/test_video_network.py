"""The video network: shapes, keys apart until they may mix, int8 export that maps."""

import os

os.environ.setdefault("KERAS_BACKEND", "tensorflow")

import keras
import numpy as np
import pytest

from ivories.keyboard import KEYS
from ivories.vision.strip import StripSpec
from ivories_training import export, mappability
from ivories_training.quantize import observe
from ivories_training.video.calibrate import fit_line
from ivories_training.video.network import NetworkConfig, VideoNetwork
from ivories_training.video.train import LossConfig, best_f1, make_loss, read_config

TINY = NetworkConfig(stem=8, shape=8, parts=8, width=16)


@pytest.fixture(scope="module")
def network():
    keras.mixed_precision.set_global_policy("float32")
    keras.utils.set_random_seed(1)
    return VideoNetwork(TINY)


def strips(count, keys, seed=0):
    spec = StripSpec()
    rng = np.random.default_rng(seed)
    return rng.integers(-128, 128, (count, spec.rows, spec.columns * keys, 6)).astype(np.float32) / 64


def test_one_column_per_key_comes_out(network):
    assert network.model()(strips(1, KEYS))["keys"].shape == (1, 1, KEYS, len(TINY.channels))


def test_a_crop_sees_the_same_inside(network):
    """Training on 40 keys from an A on gives the values of the whole keyboard, but near the cut."""
    whole_in = strips(1, KEYS)
    whole = np.asarray(network.model()(whole_in)["keys"])
    crop = np.asarray(network.model(40)(whole_in[:, :, 12 * 24 : 12 * 64])["keys"])
    assert np.allclose(crop[:, :, 8:-8], whole[:, :, 32:56], atol=1e-4)


def test_a_key_hears_of_neighbours_but_not_of_the_far_end(network):
    model = network.model()
    one, other = strips(1, KEYS), strips(1, KEYS)
    other[:, :, : 12 * 20] = 0
    difference = np.abs(np.asarray(model(one)["keys"]) - np.asarray(model(other)["keys"]))[0, 0].max(axis=1)
    assert difference[19] > 0
    assert (difference[40:] == 0).all()


def test_the_shipped_size_is_within_the_budget():
    network = VideoNetwork(NetworkConfig())
    assert 1e5 < network.model().count_params() < 3.5e5


def test_loss_ignores_what_has_no_weight():
    count = len(TINY.channels)
    loss = make_loss(TINY.channels, LossConfig())
    targets = np.zeros((1, 1, KEYS, 2 * count), np.float32)
    logits = np.full((1, 1, KEYS, count), 5.0, np.float32)
    assert float(loss(targets, logits)) == 0
    targets[..., count] = 1
    assert float(loss(targets, logits)) > 5


def test_quantized_export_maps_and_agrees(network, tmp_path):
    batch = strips(4, KEYS)
    observe(network.model(), [batch])
    network.constant.freeze()
    step = network.model(batch=1)
    path = tmp_path / "video.tflite"
    export.write_int8(step, path)
    report = mappability.check(path)
    assert report.mappable, report
    steps = [{"strip": np.round(b[None] * 64).astype(np.int8)} for b in batch]
    assert export.compare(path, step, steps)["keys.mean"] < 1.0


def test_calibration_finds_the_line():
    rng = np.random.default_rng(0)
    logits = rng.normal(-2, 3, 40_000).astype(np.float32)
    truth = rng.random(40_000) < 1 / (1 + np.exp(-(logits + 1.0) / 2.0))
    temperature, bias = fit_line(logits, truth.astype(np.float32), np.ones(40_000, np.float32))
    assert temperature == pytest.approx(2.0, abs=0.15)
    assert bias == pytest.approx(1.0, abs=0.2)


def test_best_f1_of_a_perfect_ranking_is_one():
    assert best_f1(np.array([True, False, True]), np.array([3.0, -1.0, 2.0])) == 1.0


@pytest.mark.parametrize("name", ["video", "video-smoke"])
def test_experiments_are_readable(name, request):
    config = read_config(request.config.rootpath / "training" / "configs" / f"{name}.toml")
    assert config.name == "video", "the device looks for this name"
