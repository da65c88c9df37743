"""Training the audio network: float by the clock, then quantization-aware.

The learning rate follows the wall clock (a short warm-up, then a cosine to zero), so a run ends well whatever
the machine. A moving average of the weights is validated and kept.
"""

import logging
import time
from pathlib import Path
from typing import Any

import keras
import numpy as np

from ivories_training.audio.dataset import Batches
from ivories_training.audio.feeder import Feeder
from ivories_training.audio.network import AudioNetwork
from ivories_training.audio.objective import Objective
from ivories_training.audio.picking import best_f1
from ivories_training.audio.settings import Settings
from ivories_training.audio.warm_start import adopt
from ivories_training.audio.weight_average import WeightAverage
from ivories_training.checkpoint import Checkpoint, assign
from ivories_training.progress import Journal
from ivories_training.quantize import observe, standardize

log = logging.getLogger(__name__)

FLOAT_WEIGHTS = "float.weights.h5"
QUANTIZED_WEIGHTS = "quantized.weights.h5"
WARM_UP = 0.04
"""Share of the run in which the learning rate rises"""
LOG_EVERY_S = 30.0
VALIDATE_EVERY_S = 480.0
CLIP_NORM = 5.0


def learning_rate(progress: float, highest: float) -> float:
    """Return the rate at ``progress`` 0..1 of a run: linear warm-up, cosine descent to 1 % of ``highest``."""
    if progress < WARM_UP:
        return highest * (0.05 + 0.95 * progress / WARM_UP)
    fall = 0.5 * (1 + np.cos(np.pi * min(1.0, (progress - WARM_UP) / (1 - WARM_UP))))
    return float(highest * (0.01 + 0.99 * fall))


def score(model: keras.Model, material: Batches, settings: Settings, excerpts: int = 16) -> dict[str, float]:
    """Return the best onset F1 per horizon (``f1@h``) on the first excerpts of ``material``."""
    logits: list[Any] = []
    played: list[Any] = []
    for spectrum, _, _, performances in material.whole(4):
        found = np.asarray(model.predict_on_batch(spectrum)["keys"], np.float32)
        logits += list(found)
        played += performances
        if len(logits) >= excerpts:
            break
    horizons = settings.network.horizons
    return {
        f"f1@{h}": best_f1([x[..., i] for x in logits], played, h, settings.train.cold_hops)[0]
        for i, h in enumerate(horizons)
    }


class _Run:
    """One stretch of training under way; see ``run``."""

    def __init__(
        self, model: keras.Model, settings: Settings, material: Path, highest_rate: float, save_to: Path
    ) -> None:
        c = settings.train
        self.model, self.settings, self.save_to, self.highest_rate = model, settings, save_to, highest_rate
        horizons, context = settings.network.horizons, settings.network.context
        self.batches = Batches(material / "train", horizons, context)
        self.validation = Batches(material / "validation", horizons, context)
        self.objective = Objective(len(horizons), c.cold_hops)
        self.optimizer = keras.optimizers.AdamW(
            highest_rate, weight_decay=0.01, beta_2=0.99, global_clipnorm=CLIP_NORM
        )
        losses = {"keys": self.objective.keys, "pedal": self.objective.pedal}
        model.compile(self.optimizer, loss=losses, jit_compile=False)
        self.optimizer.build(model.trainable_variables)
        self.average = WeightAverage(model, c.average_decay)
        self.checkpoint = Checkpoint(save_to)
        self.steps, self.spent_s = 0, 0.0
        self.losses: list[float] = []
        self._restore()
        self.journal = Journal(save_to.parent, save_to.name.split(".", 1)[0])

    def train(self, minutes: float, seed: int, settled: bool) -> None:
        """Until the minutes are over, or somebody wants it to stop."""
        c = self.settings.train
        rng = np.random.default_rng([seed, 3, self.steps] if self.steps else [seed, 3])
        feeder = Feeder(lambda: self.batches.draw(rng, c.batch, c.hops))
        logged = validated = time.monotonic()
        start = logged - self.spent_s
        try:
            while (progress := (time.monotonic() - start) / (60 * minutes)) < 1:
                rate = learning_rate(progress, self.highest_rate)
                self.optimizer.learning_rate.assign(rate)
                self.objective.set_progress(1.0 if settled else progress)
                if not self._step(*next(feeder)):
                    continue
                now = time.monotonic()
                self.spent_s = now - start
                self.journal.at(progress, f"step {self.steps} loss {self.losses[-1]:.3f}")
                if now - logged > LOG_EVERY_S:
                    self._tell(rate)
                    logged = now
                    self.batches.refresh()
                    if (self.save_to.parent / "stop").exists():
                        break
                if now - validated > VALIDATE_EVERY_S:
                    self._validate()
                    validated = time.monotonic()
                if self.checkpoint.due:
                    self._keep()
            self.journal.at(1.0, f"step {self.steps}")
        finally:
            self.journal.close()
            feeder.stop()

    def _step(self, spectrum: Any, keys: Any, pedal: Any) -> bool:
        """Learn from one batch; return whether the loss was a number."""
        result = self.model.train_on_batch(spectrum, {"keys": keys, "pedal": pedal})
        loss = float(result[0] if isinstance(result, list | tuple) else result)
        if not np.isfinite(loss):
            log.warning("step %d: the loss is not finite; the averaged weights take over", self.steps)
            self.average.copy()
            return False
        self.losses = [*self.losses[-59:], loss]
        self.average.update()
        self.steps += 1
        return True

    def _tell(self, rate: float) -> None:
        c = self.settings.train
        heard = self.steps * c.batch * c.hops / 100 / 3600
        loss = float(np.mean(self.losses))
        log.info(
            "%5.1f min, step %d, loss %.4f, %.2f h heard (%.1fx real time), %.1f h of material",
            self.spent_s / 60,
            self.steps,
            loss,
            heard,
            heard * 3600 / self.spent_s,
            self.batches.hours,
        )
        self.journal.curve(self.steps, {"loss": loss, "learning rate": rate})

    def _validate(self) -> None:
        with self.average.applied():
            scores = score(self.model, self.validation, self.settings)
            self.model.save_weights(self.save_to)
        log.info("validation %s", {k: round(v, 4) for k, v in scores.items()})
        self.journal.curve(self.steps, {f"validation/{k}": v for k, v in scores.items()})

    def _keep(self) -> None:
        numbers = {"steps": self.steps, "spent_s": self.spent_s, "averaged": self.average.steps}
        variables = [*self.model.variables, *self.optimizer.variables]
        self.checkpoint.keep([*variables, *self.average.values], numbers)

    def _restore(self) -> None:
        live = [*self.model.variables, *self.optimizer.variables]
        kept = self.checkpoint.restore([*live, *self.average.values])
        if kept is None:
            return
        arrays, numbers = kept
        assign(live, arrays[: len(live)])
        self.average.restore(arrays[len(live) :], int(numbers["averaged"]))
        self.steps, self.spent_s = int(numbers["steps"]), numbers["spent_s"]
        log.info("goes on after %d steps, %.1f minutes", self.steps, self.spent_s / 60)


def run(
    model: keras.Model,
    settings: Settings,
    material: Path,
    *,
    minutes: float,
    highest_rate: float,
    seed: int,
    save_to: Path,
    settled: bool = False,
) -> dict[str, float]:
    """Train ``model`` for ``minutes`` of wall-clock time; its averaged weights end in ``save_to``.

    A ``settled`` model weighs its horizons equally from the start.

    Weights are saved at every validation, and the state of the run every other minute: an interrupted run
    goes on where it was. A file ``stop`` beside them ends the run at the next log line.
    """
    course = _Run(model, settings, material, highest_rate, save_to)
    course.train(minutes, seed, settled)
    course.average.copy()
    model.save_weights(save_to)
    course.checkpoint.remove()
    scores = score(model, course.validation, settings, excerpts=24)
    log.info("end of run, step %d: validation %s", course.steps, {k: round(v, 4) for k, v in scores.items()})
    return scores


def train_float(settings: Settings, material: Path, folder: Path, resume: bool = False) -> dict[str, float]:
    """Train in floating point: from the start, from an int8 file, or on from the weights in ``folder``."""
    keras.utils.set_random_seed(settings.train.seed)
    keras.config.set_dtype_policy("float32")
    start = AudioNetwork(settings.network).sequence_model()
    if resume:
        start.load_weights(folder / FLOAT_WEIGHTS)
    else:
        batches = Batches(material / "train", settings.network.horizons, settings.network.context)
        first, _, _ = batches.draw(np.random.default_rng(settings.train.seed), 4, 300)
        standardize(start, first)
        if settings.train.start_from:
            adopt(start, Path(settings.train.start_from), settings.network)
    keras.config.set_dtype_policy("mixed_bfloat16" if settings.train.bfloat16 else "float32")
    model = AudioNetwork(settings.network).sequence_model()
    model.set_weights(start.get_weights())
    log.info("%d parameters", model.count_params())
    return run(
        model,
        settings,
        material,
        minutes=settings.train.minutes,
        highest_rate=settings.train.learning_rate,
        seed=settings.train.seed + (1000 if resume else 0),
        save_to=folder / FLOAT_WEIGHTS,
        settled=resume or bool(settings.train.start_from),
    )


def train_quantized(settings: Settings, material: Path, folder: Path) -> dict[str, float]:
    """Fine-tune the float weights in ``folder`` through fake quantization, in float32."""
    keras.config.set_dtype_policy("float32")
    model = AudioNetwork(settings.network).sequence_model()
    model.load_weights(folder / FLOAT_WEIGHTS)
    batches = Batches(material / "train", settings.network.horizons, settings.network.context)
    rng = np.random.default_rng([settings.train.seed, 4])
    observe(model, [batches.draw(rng, 4, 300)[0] for _ in range(12)])
    validation = Batches(material / "validation", settings.network.horizons, settings.network.context)
    log.info("quantized without fine-tuning: %s", score(model, validation, settings))
    return run(
        model,
        settings,
        material,
        minutes=settings.train.quantized_minutes,
        highest_rate=settings.train.quantized_learning_rate,
        seed=settings.train.seed + 2000,
        save_to=folder / QUANTIZED_WEIGHTS,
        settled=True,
    )
