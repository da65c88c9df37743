"""How a training runs, whatever it trains: rates, states to go on from, curves, whose folder it is."""

import dataclasses
import io
import os

os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras
import numpy as np
import pytest
from rich.console import Console

from ivories.errors import ConfigError
from ivories_training import checkpoint, progress
from ivories_training.checkpoint import Checkpoint, claim, finished
from ivories_training.loop import Lesson, Run, run_phase
from ivories_training.schedule import PhaseConfig, Plateau, PlateauConfig, cosine


class Power(BaseException):
    """Cuts a training off in the middle."""


class Draws:
    """Batches that depend on nothing but their number, as after a new seed."""

    def __init__(self, cut_at=None):
        self.step, self.cut_at = 0, cut_at

    def seed(self, steps):
        self.step = steps

    def draw(self, size):
        if self.step == self.cut_at:
            raise Power
        rng = np.random.default_rng(self.step)
        self.step += 1
        inputs = rng.normal(size=(size, 4)).astype(np.float32)
        return inputs, inputs[:, :1] - 2 * inputs[:, 1:2]


def small_model():
    keras.mixed_precision.set_global_policy("float32")
    keras.utils.set_random_seed(1)
    return keras.Sequential([keras.Input((4,)), keras.layers.Dense(3, "relu"), keras.layers.Dense(1)])


def lesson(draws, report=lambda: {"loss": 1.0}, check_every=5):
    return Lesson("mse", draws.draw, report, average=0.9, check_every=check_every, seed=draws.seed)


PHASE = PhaseConfig(steps=20, minutes=1e9, learning_rate=0.01, batch=8)


def trained(weights, phase, cut_at=None, **kwargs):
    model, said = small_model(), []
    run_phase(model, phase, lesson(Draws(cut_at), **kwargs), weights, said.append)
    return [np.asarray(w) for w in model.get_weights()], said


@pytest.mark.parametrize("schedule", ["cosine", "plateau"])
def test_an_interrupted_phase_ends_as_if_it_had_not_been(tmp_path, monkeypatch, schedule):
    monkeypatch.setattr(checkpoint, "KEEP_EVERY_S", 0.0)
    phase = dataclasses.replace(PHASE, schedule=schedule)
    losses = iter([3.0, 2.0, 1.0, 0.5])
    whole, _ = trained(tmp_path / "whole.weights.h5", phase, report=lambda: {"loss": next(losses, 0.1)})
    losses = iter([3.0, 2.0, 1.0, 0.5])
    with pytest.raises(Power):
        trained(tmp_path / "cut.weights.h5", phase, 13, report=lambda: {"loss": next(losses, 0.1)})
    assert (tmp_path / "cut.state.npz").is_file()
    rest, said = trained(tmp_path / "cut.weights.h5", phase, report=lambda: {"loss": next(losses, 0.1)})
    assert said[0].startswith("goes on after 13 steps")
    for one, other in zip(whole, rest, strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_plateau_ends_early_with_the_best_weights(tmp_path):
    seen = []
    model = small_model()
    losses = iter([5.0, 1.0, 2.0, 2.0, 2.0, 2.0, 2.0])

    def report():
        seen.append([np.asarray(w).copy() for w in model.get_weights()])
        return {"loss": next(losses)}

    phase = PhaseConfig(
        steps=1000, minutes=1e6, schedule="plateau", plateau=PlateauConfig(patience=2, stop_after=4)
    )
    run = Run(model, phase, lesson(Draws(), report, check_every=1), tmp_path / "x.weights.h5", print)
    run.train()
    assert run.step == 6
    assert run.plateau.rate == pytest.approx(1e-3 / 4)
    for one, best in zip(model.get_weights(), seen[1], strict=True):
        np.testing.assert_array_equal(one, best)


def test_a_plateau_shorter_than_a_check_keeps_what_was_learnt(tmp_path):
    phase = dataclasses.replace(PHASE, steps=3, schedule="plateau")
    before = [np.asarray(w).copy() for w in small_model().get_weights()]
    after, said = trained(tmp_path / "x.weights.h5", phase)
    assert said == ["phase ends after 3 steps: {'loss': 1.0}"]
    assert not np.array_equal(before[0], after[0])


def test_the_rate_halves_after_ten_looks_and_training_stops_after_twenty():
    plateau = Plateau(PlateauConfig(), 1e-3)
    assert plateau.look(1.0)
    rates = []
    while not plateau.over:
        assert not plateau.look(1.0)
        rates.append(plateau.rate)
    assert len(rates) == 20
    assert rates[:9] == [1e-3] * 9
    assert rates[9:19] == [5e-4] * 10
    assert not plateau.look(float("nan"))
    low = Plateau(PlateauConfig(patience=1, stop_after=1000), 1e-3)
    for _ in range(50):
        low.look(float("inf"))
    assert low.rate == 1e-6


def test_the_cosine_warms_up_and_falls_to_a_fiftieth():
    assert cosine(0, 0.0, 1.0) == pytest.approx(0.01)
    assert cosine(500, 0.0, 1.0) == pytest.approx(1.0)
    assert cosine(500, 0.5, 1.0) == pytest.approx(0.51)
    assert cosine(500, 1.0, 1.0) == pytest.approx(0.02)


def test_a_state_of_another_network_or_a_damaged_one_is_refused(tmp_path):
    state = Checkpoint(tmp_path / "float.weights.h5")
    assert state.restore([np.zeros(3)]) is None
    state.keep([np.arange(3.0)], {"step": 7})
    arrays, numbers = state.restore([np.zeros(3)])
    assert arrays[0].tolist() == [0, 1, 2]
    assert numbers == {"step": 7}
    with pytest.raises(ConfigError, match="another network"):
        state.restore([np.zeros(4)])
    state.path.write_bytes(b"half a file")
    with pytest.raises(ConfigError, match=r"float\.state\.npz is damaged"):
        state.restore([np.zeros(3)])


def test_a_phase_is_over_when_its_weights_are_there_and_no_state(tmp_path):
    first, second = tmp_path / "float.weights.h5", tmp_path / "quantized.weights.h5"
    assert not finished(first)
    first.write_bytes(b"")
    second.write_bytes(b"")
    assert finished(first)
    assert finished(second, after=first)
    os.utime(first, (2e9, 2e9))
    assert not finished(second, after=first), "the phase before was trained again"
    Checkpoint(first).keep([], {})
    assert not finished(first)
    Checkpoint(first).remove()
    assert finished(first)


def test_a_folder_belongs_to_one_experiment(tmp_path):
    claim(tmp_path, same=False)
    (tmp_path / "float.weights.h5").write_bytes(b"")
    claim(tmp_path, same=True)
    with pytest.raises(ConfigError, match=r"another experiment \(float\.weights\.h5\)"):
        claim(tmp_path, same=False)


def test_curves_can_be_read_by_tensorboard(tmp_path):
    loader = pytest.importorskip("tensorboard.backend.event_processing.event_file_loader")
    phase = dataclasses.replace(PHASE, steps=200, learning_rate=0.2)
    trained(tmp_path / "float.weights.h5", phase, check_every=50)
    (file,) = (tmp_path / progress.CURVES / "float").iterdir()
    points = {}
    for event in loader.LegacyEventFileLoader(str(file)).Load():
        for value in event.summary.value:
            points.setdefault(value.tag, []).append((event.step, value.simple_value))
    assert [step for step, _ in points["validation/loss"]] == [50, 100, 150, 200]
    assert points["loss"][-1][1] < points["loss"][0][1], "the line was not learnt"
    assert "learning rate" in points


def test_a_terminal_shows_a_bar_and_a_log_does_not(tmp_path, monkeypatch, capfd):
    trained(tmp_path / "quiet.weights.h5", PHASE)
    assert capfd.readouterr().err == ""
    screen = Console(file=io.StringIO(), force_terminal=True, width=100)
    monkeypatch.setattr(progress, "_CONSOLE", screen)
    trained(tmp_path / "float.weights.h5", PHASE)
    shown = screen.file.getvalue()
    assert "float step 20" in shown
    assert "100%" in shown
