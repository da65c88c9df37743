"""One phase of training, the same for every network: batches, learning rate, checks, state, curves."""

import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
from keras import ops

from ivories_training.checkpoint import Checkpoint, assign
from ivories_training.progress import Journal
from ivories_training.schedule import PhaseConfig, Plateau, cosine

Log = Callable[[str], None]
_CLIP_NORM = 5.0


@dataclass(frozen=True)
class Lesson:
    """What a phase teaches.

    Args:
        loss: as ``keras.Model.compile`` takes it.
        draw: size -> inputs and targets of a batch.
        report: scores on validation material; ``loss`` among them is what a plateau is judged by.
        average: momentum of the running mean of the weights.
        check_every: batches between two reports.
        seed: called with the number of steps done when a phase goes on, so that its draws are new ones.
    """

    loss: Any
    draw: Callable[[int], tuple[Any, Any]]
    report: Callable[[], dict[str, float]]
    average: float = 0.998
    check_every: int = 400
    seed: Callable[[int], None] = lambda _: None


def run_phase(model: keras.Model, phase: PhaseConfig, lesson: Lesson, weights: Path, log: Log) -> None:
    """Train ``model``; afterwards it holds the running mean of its weights, or the best ones of a plateau.

    The state is kept beside ``weights`` (PHASE.weights.h5, which the caller writes). A phase that was
    interrupted goes on where that state is.

    Raises:
        ConfigError: the state is that of another network.
    """
    Run(model, phase, lesson, weights, log).train()


class Run:
    """A phase under way."""

    def __init__(
        self, model: keras.Model, phase: PhaseConfig, lesson: Lesson, weights: Path, log: Log
    ) -> None:
        self.model, self.phase, self.lesson, self.log = model, phase, lesson, log
        self.optimizer = keras.optimizers.Adam(
            phase.learning_rate, use_ema=True, ema_momentum=lesson.average, global_clipnorm=_CLIP_NORM
        )
        model.compile(optimizer=self.optimizer, loss=lesson.loss)
        self.optimizer.build(model.trainable_variables)
        self.plateau = Plateau(phase.plateau, phase.learning_rate) if phase.schedule == "plateau" else None
        self.best = [ops.convert_to_numpy(v).copy() for v in model.variables] if self.plateau else []
        self.step, self.spent_s = 0, 0.0
        self.checkpoint = Checkpoint(weights)
        self._restore()
        self.journal = Journal(weights.parent, self.checkpoint.path.name.split(".", 1)[0])

    def train(self) -> None:
        """Until steps, minutes or patience are used up."""
        began, losses = time.monotonic() - self.spent_s, list[float]()
        with closing(self.journal):
            while not (self.plateau and self.plateau.over):
                self.spent_s = time.monotonic() - began
                progress = max(self.step / self.phase.steps, self.spent_s / 60 / self.phase.minutes)
                if progress >= 1:
                    break
                rate = (
                    self.plateau.rate
                    if self.plateau
                    else cosine(self.step, progress, self.phase.learning_rate)
                )
                self.optimizer.learning_rate.assign(rate)
                inputs, targets = self.lesson.draw(self.phase.batch)
                losses.append(float(self.model.train_on_batch(inputs, targets)))
                self.step += 1
                self.journal.at(progress, f"step {self.step} loss {losses[-1]:.4f}")
                if self.step % self.lesson.check_every == 0:
                    self._check(progress, rate, float(np.mean(losses)))
                    losses.clear()
                if self.checkpoint.due:
                    self._keep()
            self.journal.at(1.0, f"step {self.step}")
            self._end()

    def _check(self, progress: float, rate: float, loss: float) -> None:
        scores = self.lesson.report()
        speed = self.step * self.phase.batch / max(self.spent_s, 1e-3)
        text = [f"step {self.step}", f"{100 * progress:.0f} %", f"loss {loss:.5f}", f"{speed:.0f} windows/s"]
        self.log(" ".join([*text, *(f"{k}={v:.4f}" for k, v in scores.items())]))
        checked = {f"validation/{name}": value for name, value in scores.items()}
        self.journal.curve(self.step, {"loss": loss, "learning rate": rate, **checked})
        self._look(scores)

    def _look(self, scores: dict[str, float]) -> None:
        if self.plateau and self.plateau.look(scores["loss"]):
            self.best = [ops.convert_to_numpy(v).copy() for v in self.model.variables]

    def _end(self) -> None:
        if self.plateau:
            if self.step % self.lesson.check_every:
                self._look(self.lesson.report())  # what came after the last check counts too
            assign(self.model.variables, self.best)
        else:
            self.optimizer.finalize_variable_values(self.model.trainable_variables)
        self.log(f"phase ends after {self.step} steps: {self.lesson.report()}")

    def _all(self) -> list[Any]:
        return [*self.model.variables, *self.optimizer.variables, *self.best]

    def _keep(self) -> None:
        numbers = {"step": self.step, "spent_s": self.spent_s}
        self.checkpoint.keep(self._all(), numbers | (self.plateau.numbers() if self.plateau else {}))

    def _restore(self) -> None:
        kept = self.checkpoint.restore(self._all())
        if kept is None:
            return
        arrays, numbers = kept
        live = len(arrays) - len(self.best)
        assign([*self.model.variables, *self.optimizer.variables], arrays[:live])
        self.best = arrays[live:]
        self.step, self.spent_s = int(numbers["step"]), numbers["spent_s"]
        if self.plateau:
            self.plateau.restore(numbers)
        self.lesson.seed(self.step)
        self.log(f"goes on after {self.step} steps, {self.spent_s / 60:.1f} minutes")
