"""The audio network: both graphs, quantization, export, objective and decoding."""

import dataclasses
import os
from pathlib import Path

import numpy as np
import pytest

os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

keras = pytest.importorskip("keras")
pytest.importorskip("tensorflow")

from ivories.errors import ModelError  # noqa: E402
from ivories.inference.manifest import save_manifest  # noqa: E402
from ivories_training import export, mappability, quantize  # noqa: E402
from ivories_training.audio.calibrate import plain_manifest  # noqa: E402
from ivories_training.audio.network import AudioNetwork  # noqa: E402
from ivories_training.audio.objective import Objective  # noqa: E402
from ivories_training.audio.picking import best_f1, matches, pick, truth  # noqa: E402
from ivories_training.audio.settings import NetworkConfig, Settings, load, save  # noqa: E402
from ivories_training.audio.warm_start import adopt  # noqa: E402
from ivories_training.performances import performance  # noqa: E402

CONFIG = NetworkConfig(stem=4, width=8, dilations=(1, 2), cross_before=(1,), bottleneck=4)
HOPS = 24


@pytest.fixture(scope="module")
def network() -> AudioNetwork:
    keras.utils.set_random_seed(0)
    return AudioNetwork(CONFIG)


@pytest.fixture(scope="module")
def bins() -> np.ndarray:
    return np.random.default_rng(0).integers(-128, 128, (2, HOPS + 2, 291, 3)).astype(np.int8)


def real(bins: np.ndarray) -> np.ndarray:
    return (bins.astype(np.float32) + 128) / 255


@pytest.fixture(scope="module")
def quantized(network: AudioNetwork, bins: np.ndarray, tmp_path_factory: pytest.TempPathFactory) -> tuple:
    """Return (sequence model, step model, delays, path), after observation."""
    whole = network.sequence_model()
    quantize.standardize(whole, real(bins))
    rng = np.random.default_rng(1)
    network.key_constant.constant.assign(rng.normal(0, 0.3, network.key_constant.constant.shape))
    step, delays = network.step_model()
    quantize.observe(whole, [real(bins)])
    path = tmp_path_factory.mktemp("model") / "audio.tflite"
    export.write_int8(step, path)
    manifest = plain_manifest(Settings(network=CONFIG), path.name, "", "", whole.count_params())
    save_manifest(manifest, path.with_suffix(".toml"))
    return whole, step, delays, path


def stream(path: Path, delays: dict[str, list[int]], bins: np.ndarray) -> tuple[np.ndarray, list]:
    """Run the file hop by hop, carrying its state; return logits (T, 88, C) and what it was fed."""
    file = export.Int8Model(path)
    past: dict[str, list] = {name: [] for name in delays}
    logits, fed = [], []
    for t in range(len(bins) - 2):
        feeds = {"spectrum": bins[None, t : t + 3]}
        for name, steps in delays.items():
            rest = np.full((1, 1, 88, CONFIG.width), file.inputs[f"past_{name}"]["quantization"][1], np.int8)
            feeds[f"past_{name}"] = np.concatenate(
                [past[name][t - d] if t >= d else rest for d in steps], axis=-1
            )
        out = file.run(feeds)
        for name in delays:
            past[name].append(out[f"state_{name}"].copy())
        fed.append(feeds)
        logits.append(file.real(file.outputs["keys"], out["keys"])[0, 0])
    return np.stack(logits), fed


def test_standardized_layers_start_with_unit_outputs(bins: np.ndarray) -> None:
    network = AudioNetwork(CONFIG)
    whole = network.sequence_model()
    quantize.standardize(whole, real(bins))
    probe = keras.Model(whole.input, whole.get_layer("gather").output)
    values = np.asarray(probe(real(bins)))
    assert values.mean(axis=(0, 1, 2)) == pytest.approx(np.zeros(CONFIG.width), abs=0.05)
    assert values.std(axis=(0, 1, 2)) == pytest.approx(np.ones(CONFIG.width), abs=0.05)


def test_the_file_streams_what_the_sequence_graph_computes(quantized: tuple, bins: np.ndarray) -> None:
    whole, step, delays, path = quantized
    logits, fed = stream(path, delays, bins[0])
    wanted = np.asarray(whole(real(bins))["keys"])[0]
    scale = 24 / 255
    assert np.abs(logits - wanted).mean() < scale
    assert np.abs(logits - wanted).max() < 6 * scale
    found = export.compare(path, step, fed[:8])
    assert found["keys.mean"] < 0.5
    assert found["pedal.max"] < 4


def test_the_network_is_causal(quantized: tuple, bins: np.ndarray) -> None:
    whole = quantized[0]
    changed = bins.copy()
    changed[:, 15:] = 0
    before, after = (np.asarray(whole(real(x))["keys"]) for x in (bins, changed))
    np.testing.assert_array_equal(before[:, :13], after[:, :13])  # output t sees input hops t .. t + 2
    assert not np.array_equal(before[:, 13], after[:, 13])


def test_the_file_maps_to_an_edge_tpu(quantized: tuple) -> None:
    report = mappability.check(quantized[3])
    assert report.mappable, report
    assert set(report.operators) <= mappability.SUPPORTED
    assert report.operators["CONV_2D"] == 2 + len(CONFIG.dilations) + 2 * len(CONFIG.cross_before) + 4
    assert 0 < report.parameter_bytes < 100_000
    assert "maps to an Edge TPU" in str(report)


def test_a_float_graph_does_not_map(tmp_path: Path) -> None:
    import tensorflow as tf

    layers = [keras.Input((8, 8, 3), batch_size=1), keras.layers.Conv2D(4, 3, activation="elu")]
    model = keras.Sequential(layers)
    path = tmp_path / "float.tflite"
    path.write_bytes(tf.lite.TFLiteConverter.from_keras_model(model).convert())
    report = mappability.check(path)
    assert not report.mappable
    assert any("not int8" in error for error in report.errors)
    assert any("ELU" in error for error in report.errors)


def test_state_has_the_scale_it_came_from(quantized: tuple) -> None:
    file = export.Int8Model(quantized[3])
    for name, delays in quantized[2].items():
        assert delays == [2 * int(name), int(name)]
        state, past = file.outputs[f"state_{name}"], file.inputs[f"past_{name}"]
        assert state["quantization"] == past["quantization"]
        assert tuple(past["shape"]) == (1, 1, 88, 2 * CONFIG.width)


def test_fold_keeps_what_batch_normalization_computed() -> None:
    inputs = keras.Input((6, 6, 3))
    layer = quantize.QuantConv2D(5, (3, 3), padding="same")
    model = keras.Model(inputs, layer(inputs))
    rng = np.random.default_rng(0)
    layer.norm.moving_mean.assign(rng.normal(size=5))
    layer.norm.moving_variance.assign(rng.uniform(0.5, 2, 5))
    layer.norm.gamma.assign(rng.normal(size=5))
    layer.norm.beta.assign(rng.normal(size=5))
    images = rng.normal(size=(2, 6, 6, 3)).astype(np.float32)
    before = np.asarray(model(images))
    quantize.fold(model)
    quantize.fold(model)
    np.testing.assert_allclose(np.asarray(model(images)), before, atol=1e-5)


def test_velocity_counts_only_at_onsets() -> None:
    objective = Objective(3, cold_hops=2)
    target, logits = np.zeros((1, 6, 88, 10), np.float32), np.zeros((1, 6, 88, 6), np.float32)
    other = logits.copy()
    other[..., -1] = 5.0
    assert float(objective.keys(target, logits)) == pytest.approx(float(objective.keys(target, other)))
    target[0, 4, 10, -1] = 1
    assert float(objective.keys(target, other)) > float(objective.keys(target, logits))
    cold = logits.copy()
    cold[:, :2] = 9.0
    assert float(objective.keys(target, cold)) == pytest.approx(float(objective.keys(target, logits)))


def test_picked_notes_are_back_dated_below_the_hop() -> None:
    logits = np.full((50, 88), -8.0, np.float32)
    logits[20:23, 40] = (0.0, 4.0, 0.0)
    logits[30, 41] = -2.0
    notes = pick(logits, 0.0, horizon=5)
    assert notes["pitch"].tolist() == [61]
    assert notes["onset_s"].tolist() == pytest.approx([(21 - 5 + 0.5) * 0.01])
    played = performance("one", [(0.165, 0.4, 40, 80)], [])
    assert matches(truth(played, 0.0, 0.5), notes) == 1
    assert best_f1([logits], [played], 5, 0)[0] == 1.0


def test_shipped_configurations_load_and_round_trip(tmp_path: Path) -> None:
    for path in sorted((Path(__file__).parents[2] / "training/configs").glob("audio*.toml")):
        settings = load(path)
        save(settings, tmp_path / "copy.toml")
        assert load(tmp_path / "copy.toml") == settings


def test_a_network_begins_with_what_an_int8_file_has_learnt(quantized: tuple) -> None:
    whole, _, _, path = quantized
    fresh = AudioNetwork(CONFIG).sequence_model()
    assert adopt(fresh, path, CONFIG) == []
    taught = {w.path: keras.ops.convert_to_numpy(w) for w in whole.trainable_variables}
    for weight in fresh.trainable_variables:
        truth = taught[weight.path]
        step = np.abs(truth).max() / 127 + 1e-6
        np.testing.assert_allclose(keras.ops.convert_to_numpy(weight), truth, atol=step)


def test_a_grown_network_keeps_new_layers_quiet(quantized: tuple) -> None:
    *_, path = quantized
    config = dataclasses.replace(CONFIG, dilations=(1, 2, 3))
    grown = AudioNetwork(config).sequence_model()
    before = np.abs(keras.ops.convert_to_numpy(grown.get_layer("temporal_3").kernel)).max()
    assert adopt(grown, path, config) == ["temporal_3"]
    after = np.abs(keras.ops.convert_to_numpy(grown.get_layer("temporal_3").kernel)).max()
    assert after == pytest.approx(0.1 * before, rel=1e-3)


def test_new_horizons_begin_between_their_neighbours(quantized: tuple) -> None:
    whole, _, _, path = quantized
    config = dataclasses.replace(CONFIG, horizons=(2, 4, 5, 12))
    more = AudioNetwork(config).sequence_model()
    assert adopt(more, path, config) == []
    taught = keras.ops.convert_to_numpy(whole.get_layer("head").kernel)
    begun = keras.ops.convert_to_numpy(more.get_layer("head").kernel)
    step = np.abs(taught).max() / 127 + 1e-6
    at_20, at_30, at_50, at_90, *others = np.moveaxis(taught, -1, 0)
    wanted = [at_20, (at_30 + at_50) / 2, at_50, at_90, *others]
    np.testing.assert_allclose(np.moveaxis(begun, -1, 0), wanted, atol=step)


def test_a_network_of_other_sizes_is_refused(quantized: tuple) -> None:
    *_, path = quantized
    config = dataclasses.replace(CONFIG, stem=5)
    with pytest.raises(ModelError, match="layer stem has weights"):
        adopt(AudioNetwork(config).sequence_model(), path, config)
    with pytest.raises(ModelError, match="cannot start from"):
        adopt(AudioNetwork(CONFIG).sequence_model(), path.with_name("absent.tflite"), CONFIG)
