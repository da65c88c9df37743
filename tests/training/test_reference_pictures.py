"""The reference network that sees raw pictures: its form, its material, what it learns and exports."""

import os
from pathlib import Path

os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras
import msgspec
import numpy as np
import pytest

from ivories.errors import SourceError
from ivories.keyboard import KEYS
from ivories_training.export import Int8Model
from ivories_training.reference import train as training
from ivories_training.reference.networks import PictureNetwork, network_of
from ivories_training.reference.pictures import PictureMaterial, augmented, write_clips
from ivories_training.reference.settings import Augment, PictureNetworkConfig, load
from ivories_training.schedule import PhaseConfig
from ivories_training.video.balance import BACKGROUND, NEAR_MISS, ONSET, Balance, kinds_of, members

CONFIG = Path(__file__).parents[2] / "training" / "configs" / "reference-raw-frames.toml"
SHORT = PhaseConfig(steps=4, minutes=1e6, learning_rate=1e-3, batch=4, precision="float32")


def shrunk():
    """The shipped experiment in small."""
    experiment = load(CONFIG)
    return msgspec.structs.replace(
        experiment,
        network=PictureNetworkConfig(rows=48, columns=64, stem=4, widths=(4, 8), hidden=8),
        data=msgspec.structs.replace(experiment.data, clips=2, validation_clips=1, validation_windows=6),
        float_phase=SHORT,
        quantized_phase=SHORT,
        check_every=2,
    )


def write_recordings(folder, count):
    """Noise with a bright column where a key is down: 40 pictures, a key struck in every tenth."""
    rng = np.random.default_rng(len(folder.name))
    folder.mkdir(parents=True)
    for number in range(count):
        pressed, struck = np.zeros((40, KEYS), bool), np.zeros(40, bool)
        pictures = rng.integers(90, 110, (40, 48, 64)).astype(np.uint8)
        for at in range(5, 40, 10):
            key = int(rng.integers(KEYS))
            struck[at] = True
            pressed[at : at + 4, key] = True
            pictures[at : at + 4, :, key * 64 // KEYS] = 250
        np.save(folder / f"{number:04d}.npy", pictures)
        np.savez(folder / f"{number:04d}.npz", pressed=pressed, struck=struck)


@pytest.fixture
def run(tmp_path):
    for split, count in (("train", 2), ("validation", 1)):
        write_recordings(tmp_path / "material" / split, count)
    return tmp_path


def test_the_first_layer_is_a_convolution_over_five_moments():
    config = PictureNetworkConfig(rows=24, columns=32, stem=3, widths=(4,), hidden=4)
    network = PictureNetwork(config, KEYS)
    model = network.model()
    window = np.random.default_rng(0).random((2, 24, 32, 5), np.float32)
    flat = np.asarray(keras.ops.conv(window, network.stem.kernel, strides=(2, 2), padding="same"))
    solid = keras.layers.Conv3D(3, (5, 5, 5), strides=(1, 2, 2), padding="valid", use_bias=False)
    padded = np.pad(window.transpose(0, 3, 1, 2), ((0, 0), (0, 0), (1, 2), (1, 2)))[..., np.newaxis]
    solid.build(padded.shape)
    kernel = np.asarray(network.stem.kernel)  # (5, 5, moments, filters)
    solid.set_weights([kernel.transpose(2, 0, 1, 3)[:, :, :, np.newaxis]])
    np.testing.assert_allclose(np.asarray(solid(padded))[:, 0], flat, atol=1e-5)
    assert model(window)["keys"].shape == (2, 1, 1, KEYS)


def test_the_shipped_experiment_is_the_one_that_was_published():
    experiment = load(CONFIG)
    size = experiment.network
    assert (size.rows, size.columns, len(size.widths), size.widths[-1]) == (480, 640, 5, 256)
    assert experiment.positive == 9.0
    phase = experiment.float_phase
    assert (phase.learning_rate, phase.schedule) == (1e-3, "plateau")
    assert (phase.plateau.factor, phase.plateau.patience, phase.plateau.stop_after) == (0.5, 10, 20)
    model = network_of(experiment).model()
    assert model.input_shape == (None, 480, 640, 5)
    assert 4.5e6 < model.count_params() < 6e6


def test_light_is_one_draw_for_five_pictures_and_noise_is_not():
    window = np.tile(np.linspace(0.3, 0.6, 64, dtype=np.float32), (5, 8, 1))
    changed = augmented(window, Augment(noise=0.0), np.random.default_rng(3))
    assert not np.allclose(changed, window, atol=0.01)
    for picture in changed[1:]:
        np.testing.assert_array_equal(picture, changed[0])
    noisy = augmented(window, Augment(), np.random.default_rng(3))
    left = noisy - changed
    assert np.abs(left).max() > 0
    assert not np.array_equal(left[0], left[1])


def test_augmentation_keeps_to_its_ranges():
    rng = np.random.default_rng(0)
    window = np.tile(np.linspace(0.4, 0.5, 64, dtype=np.float32), (5, 8, 1))
    gains, shifts, noise = [], [], []
    for _ in range(300):
        plain = augmented(window, Augment(noise=0.0), rng)[0, 0]
        gains.append((plain[-1] - plain[0]) / 0.1)
        shifts.append(plain.mean() - 0.45)
        loud = augmented(window, Augment(brightness=0.0, contrast=(1.0, 1.0)), rng)
        noise.append((loud - window).std())
    assert 0.69 < min(gains) < 0.75
    assert 1.25 < max(gains) < 1.31
    assert -0.201 < min(shifts) < -0.17
    assert 0.17 < max(shifts) < 0.201
    assert np.mean(noise) == pytest.approx(0.05, rel=0.03)
    dark = augmented(np.zeros((5, 4, 4), np.float32), Augment(), rng)
    assert dark.min() >= 0
    assert dark.max() <= 1


def test_kinds_of_frames():
    struck = np.zeros(30, bool)
    struck[[10, 12]] = True
    kinds = kinds_of(struck, 6)
    assert np.flatnonzero(kinds == ONSET).tolist() == [10, 12]
    assert np.flatnonzero(kinds == NEAR_MISS).tolist() == [*range(4, 10), 11, *range(13, 19)]
    assert (kinds[[0, 3, 19, 29]] == BACKGROUND).all()
    assert (kinds_of(np.zeros(4, bool), 6) == BACKGROUND).all()


def test_draws_come_in_the_shares_asked_for_and_fall_back_to_all():
    rng = np.random.default_rng(0)
    drawn = np.bincount([Balance().draw(rng) for _ in range(4000)], minlength=3) / 4000
    assert drawn == pytest.approx([0.5, 0.25, 0.25], abs=0.02)
    kinds = [kinds_of(np.zeros(3, bool), 6), kinds_of(np.array([False, True]), 6)]
    assert members(kinds, ONSET).tolist() == [[1, 1]]
    assert members(kinds, NEAR_MISS).tolist() == [[1, 0]]
    assert members(kinds[:1], ONSET).tolist() == [[0, 0], [0, 1], [0, 2]], "no onset: everything"


def test_windows_end_with_the_picture_they_speak_of(run):
    experiment = shrunk()
    material = PictureMaterial(experiment, run / "material")
    inputs, truth = material.batch(200)
    assert inputs.shape == (200, 48, 64, 5)
    bright = inputs[..., -1].mean(axis=1).max(axis=1) > 0.75
    assert (truth[:, 0, 0].any(axis=1) >= bright).all()
    assert 0.45 < truth[:, 0, 0].any(axis=1).mean() < 0.8, "half are onsets, a few more are held"
    material.reseed(0)
    np.testing.assert_array_equal(material.batch(200)[1], truth)
    with pytest.raises(SourceError, match="no clips"):
        PictureMaterial(experiment, run)


def test_clips_are_rendered_once_in_the_size_asked_for(tmp_path):
    experiment = shrunk()
    data = msgspec.structs.replace(experiment.data, clips=1, seconds=4.0, rate=10.0)
    experiment = msgspec.structs.replace(experiment, data=data)
    write_clips(experiment, "train", tmp_path)
    pictures = np.load(tmp_path / "0000.npy")
    assert pictures.shape == (40, 48, 64)
    assert pictures.std() > 5, "there is a keyboard"
    with np.load(tmp_path / "0000.npz") as kept:
        assert kept["pressed"].shape == (40, KEYS)
    before = (tmp_path / "0000.npy").stat().st_mtime_ns
    write_clips(experiment, "train", tmp_path)
    assert (tmp_path / "0000.npy").stat().st_mtime_ns == before


def test_a_few_steps_train_and_export(run):
    experiment, said = shrunk(), []
    network = training.train(experiment, run, said.append)
    assert sum(line.startswith("step") for line in said) == 4
    assert all("precision=" in line for line in said if line.startswith("step"))
    report = training.export_int8(experiment, network, run)
    assert report.mappable, report
    assert not any("3D" in name for name in report.operators), report
    file = Int8Model(run / "raw-frames.tflite")
    window = np.random.default_rng(1).integers(0, 256, (1, 48, 64, 5))
    told = file.real(file.outputs["keys"], file.run({"input": (window - 128).astype(np.int8)})["keys"])
    model = training.trained(experiment, run).model()
    wanted = np.asarray(model((window / 255).astype(np.float32))["keys"])
    assert np.abs(told - wanted).max() < 4 * 24 / 255
