"""The reference networks that hear: what they are shown, what they learn, what is exported."""

import os
from dataclasses import replace
from pathlib import Path

os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import msgspec
import numpy as np
import pytest

from ivories.audio.frontend import AudioFrontEnd
from ivories.audio.spec import FrontEndSpec, Window
from ivories.errors import ConfigError, SourceError
from ivories.keyboard import KEYS, key_of_pitch
from ivories_training.audio import instruments
from ivories_training.audio.sample_bank import RATE, Layer, SampleBank
from ivories_training.export import Int8Model
from ivories_training.performances import performance
from ivories_training.reference import buffers, sounds
from ivories_training.reference import train as training
from ivories_training.reference.networks import network_of, step_model
from ivories_training.reference.scores import amplitude_scores, frame_scores, weighted_cross_entropy
from ivories_training.reference.settings import load
from ivories_training.schedule import PhaseConfig

CONFIGS = Path(__file__).parents[2] / "training" / "configs"
SHORT = PhaseConfig(
    steps=12, minutes=1e9, learning_rate=0.02, batch=4, precision="float32", schedule="plateau"
)


def tone_bank():
    """A piano of pure tones that does not fade."""
    t = np.arange(3 * RATE) / RATE
    samples = tuple(
        (8000 * np.sin(2 * np.pi * 440 * 2 ** ((key + 21 - 69) / 12) * t)).astype(np.int16)
        for key in range(KEYS)
    )
    return SampleBank("tones", (Layer(127, samples),))


@pytest.fixture
def pianos(monkeypatch):
    """One piano of tones to train with, another one held out."""
    monkeypatch.setattr(instruments, "load", lambda _: ({"one": tone_bank()}, {"other": tone_bank()}))


def shrunk(name, **network):
    """The shipped experiment in small."""
    experiment = load(CONFIGS / f"reference-{name}.toml")
    if name != "fft-slice":
        quick = replace(experiment.excerpts, seconds=4.0, background=0.0, strength=0.0)
        experiment = msgspec.structs.replace(experiment, excerpts=quick)
    return msgspec.structs.replace(
        experiment,
        network=msgspec.structs.replace(experiment.network, **network),
        data=msgspec.structs.replace(experiment.data, excerpts=3, validation_excerpts=2, hops=20),
        float_phase=SHORT,
        quantized_phase=SHORT,
        check_every=6,
    )


def test_the_experiments_are_those_that_were_published():
    mel, slice_, names = (load(CONFIGS / f"reference-{n}.toml") for n in ("mel", "fft-slice", "note-names"))
    assert (mel.frontend.rate, mel.frontend.hop, mel.frontend.bands, mel.frontend.scale) == (
        16000,
        160,
        128,
        "mel",
    )
    assert (mel.network.hops, mel.network.hidden, mel.network.dropout) == (5, (512, 512), 0.1)
    assert (mel.float_phase.learning_rate, mel.float_phase.batch) == (1e-4, 8)
    assert (slice_.frontend.bands, slice_.frontend.windows[0].length) == (512, 1024)
    assert slice_.frontend.centres()[[0, -1]].tolist() == [0, 511 * 16000 / 1024]
    assert (names.outputs, slice_.outputs, mel.outputs) == (12, KEYS, KEYS)
    assert names.frontend.per_octave == 36
    wide = msgspec.structs.replace(names.network, channels=2)
    assert network_of(msgspec.structs.replace(names, network=wide)).layers[0].filters == 32


@pytest.mark.parametrize(
    ("line", "said"),
    [("hop = 0", "hop"), ("bands = 512\nbins = 3", "bins"), ("rate = 16000\nhop = 2.5", "hop")],
)
def test_a_wrong_experiment_is_told_in_a_sentence(tmp_path, line, said):
    path = tmp_path / "mine.toml"
    path.write_text(f'name = "x"\ninput = "buffer"\n[frontend]\n{line}\n')
    with pytest.raises(ConfigError, match=f"mine.toml is not a reference experiment: .*{said}"):
        load(path)
    with pytest.raises(ConfigError, match=r"absent.toml.* cannot be read"):
        load(tmp_path / "absent.toml")


def test_a_roll_holds_a_note_from_the_frame_of_its_onset_to_that_of_its_end():
    played = performance("p", [(0.0199, 0.0501, 3, 60), (0.03, 0.0301, 5, 60), (-0.5, 0.01, 7, 60)], [])
    roll = sounds.roll_of(played, 8, 0.01)
    assert np.flatnonzero(roll[:, 3]).tolist() == [1, 2, 3, 4]
    assert np.flatnonzero(roll[:, 5]).tolist() == [3], "a note shorter than a frame is not lost"
    assert np.flatnonzero(roll[:, 7]).tolist() == [0]
    coarse = sounds.roll_of(played, 4, 0.02)
    assert np.flatnonzero(coarse[:, 3]).tolist() == [0, 1]


def test_note_names_are_keys_modulo_twelve():
    roll = np.zeros((2, KEYS), bool)
    roll[0, [key_of_pitch(60), key_of_pitch(24)]] = True
    roll[1, [key_of_pitch(21), key_of_pitch(107)]] = True
    names = sounds.note_names(roll)
    assert np.flatnonzero(names[0]).tolist() == [0], "both are a C"
    assert np.flatnonzero(names[1]).tolist() == [9, 11], "A and B"


def test_a_rising_scale_rises_by_the_same_number_of_bands():
    spec = load(CONFIGS / "reference-note-names.toml").frontend
    t = np.arange(spec.rate) / spec.rate
    found = []
    for pitch in range(69, 94, 3):
        bins, _ = AudioFrontEnd(spec).process(
            np.sin(2 * np.pi * 440 * 2 ** ((pitch - 69) / 12) * t).astype(np.float32)
        )
        found.append(int(bins[-1, :, 0].argmax()))
    assert np.diff(found).tolist() == [9] * 8


def test_a_buffer_holds_what_its_events_sum_up_to():
    bank = tone_bank()
    played = performance(
        "p", [(0.5, 2.0, 20, 127), (0.99, 2.0, 44, 64), (1.05, 2.0, 50, 100), (0.1, 0.4, 3, 90)], []
    )
    events = buffers.events_at(played, 1.0, 1024)
    assert [(e.key, e.age) for e in events] == [(20, 8000), (44, 160), (50, -800)]
    parts = buffers.parts_of(events, bank, 1024)
    assert not parts[2, :800].any()
    assert parts[2, 801:].any()
    energy = buffers.energies(events, parts)
    assert np.flatnonzero(energy).tolist() == [20, 44, 50]
    assert energy[20] == pytest.approx(float((parts[0].astype(float) ** 2).sum()))
    assert energy[20] == pytest.approx(1024 / 2 * (8000 / 32767) ** 2, rel=0.02)
    assert energy[44] / energy[20] == pytest.approx(10 ** (-34 * (1 - 64 / 127) / 10), rel=0.05)


@pytest.mark.usefixtures("pianos")
def test_buffers_are_the_same_for_the_same_seed_and_louder_keys_are_stronger():
    experiment = shrunk("fft-slice")
    one, other = (buffers.BufferMaterial(experiment) for _ in range(2))
    for a, b in zip(one.batch(5), other.batch(5), strict=True):
        np.testing.assert_array_equal(a, b)
    inputs, strength = one.batch(50)
    assert inputs.shape == (50, 1, 512, 1)
    assert strength.shape == (50, 1, 1, KEYS)
    assert 0.3 < strength.max() < 3
    assert not np.array_equal(one.batch(50)[1], strength)
    one.reseed(0)
    np.testing.assert_array_equal(one.batch(5)[0], other.reseed(0) or other.batch(5)[0])
    spec = FrontEndSpec(hop=512, windows=(Window(1024, 512),), scale="linear", bands=512, lowest=0.0)
    with pytest.raises(ConfigError, match="one window as long as hop"):
        buffers.BufferMaterial(msgspec.structs.replace(experiment, frontend=spec))


@pytest.mark.usefixtures("pianos")
@pytest.mark.parametrize(
    ("name", "sizes"),
    [("mel", {"hidden": (16, 16)}), ("note-names", {"hidden": (16,)}), ("fft-slice", {"hidden": (16,)})],
)
def test_a_few_steps_train_and_export(tmp_path, name, sizes):
    experiment, said = shrunk(name, **sizes), []
    network = training.train(experiment, tmp_path, said.append)
    losses = [float(line.split(" loss ")[1].split()[0]) for line in said if line.startswith("step")]
    assert losses[1] < losses[0], said
    report = training.export_int8(experiment, network, tmp_path)
    assert report.mappable, report
    file = Int8Model(tmp_path / f"{name}.tflite")
    context = experiment.network.context
    assert tuple(file.inputs["input"]["shape"]) == (1, context, experiment.frontend.bands, 1)
    assert tuple(file.outputs["keys"]["shape"]) == (1, 1, 1, experiment.outputs)
    again = step_model(training.trained(experiment, tmp_path))
    material = training.material_of(experiment, tmp_path / "material")
    step = material.validation[0][:1, :context]
    fed = np.round(step * 255 - 128).astype(np.int8)
    detail = file.outputs["keys"]
    told = file.real(detail, file.run({"input": fed})["keys"])
    wanted = np.asarray(again(step)["keys"])
    assert np.abs(told - wanted).max() < 4 * detail["quantization"][0]


@pytest.mark.usefixtures("pianos")
def test_what_is_said_speaks_of_the_middle_hop(tmp_path):
    experiment = shrunk("note-names")
    sounds.write_excerpts(experiment, "train", tmp_path)
    sounds.write_excerpts(experiment, "validation", tmp_path)
    material = sounds.SpectrogramMaterial(experiment, tmp_path)
    assert material.context == 5
    roll = material.roll[:1]
    np.testing.assert_array_equal(material._middle(roll)[0, :, 0], roll[0, 2:-2])
    inputs, truth = material.batch(3)
    assert inputs.shape == (3, 24, 255, 1)
    assert truth.shape == (3, 20, 1, 12)
    long = msgspec.structs.replace(experiment, data=msgspec.structs.replace(experiment.data, hops=5000))
    with pytest.raises(SourceError, match="too short for sequences of 5000 hops"):
        sounds.SpectrogramMaterial(long, tmp_path)


def test_a_pressed_key_weighs_nine_times():
    loss = weighted_cross_entropy(9.0)
    truth, logits = np.array([[1.0, 0.0]], np.float32), np.array([[-1.0, 2.0]], np.float32)
    by_hand = (9 * np.log1p(np.exp(1)) + np.log1p(np.exp(2))) / 2
    assert float(loss(truth, logits)) == pytest.approx(by_hand, rel=1e-6)


def test_frame_scores_by_hand():
    truth = np.array([1, 1, 0, 0, 0], np.float32)
    scores = frame_scores(truth, np.array([2.0, -1, 3, -2, -2], np.float32))
    assert scores == pytest.approx({"accuracy": 0.6, "precision": 0.5, "recall": 0.5, "f1": 0.5})
    strict = frame_scores(truth, np.array([2.0, -1, 1, -2, -2], np.float32), threshold=0.8)
    assert strict["precision"] == 1.0
    assert amplitude_scores(truth, 2 * truth)["r"] == pytest.approx(1.0)
    assert amplitude_scores(truth, np.zeros(5, np.float32))["r"] == 0.0
