"""Training the audio network: float by the clock, then quantization-aware.

The learning rate follows the wall clock (a short warm-up, then a cosine to zero), so a run ends well whatever
the machine. A moving average of the weights is validated and kept.
"""

import logging
import queue
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import keras
import numpy as np
from keras import ops

from ivories_training.audio.dataset import Batches
from ivories_training.audio.network import AudioNetwork
from ivories_training.audio.objective import Objective
from ivories_training.audio.picking import best_f1
from ivories_training.audio.settings import Settings
from ivories_training.audio.warm_start import adopt
from ivories_training.quantize import observe, standardize

log = logging.getLogger(__name__)

FLOAT_WEIGHTS = "float.weights.h5"
QUANTIZED_WEIGHTS = "quantized.weights.h5"
WARM_UP = 0.04
"""Share of the run in which the learning rate rises"""
LOG_EVERY_S = 30.0
VALIDATE_EVERY_S = 480.0
CLIP_NORM = 5.0


class WeightAverage:
    """Exponential moving average of a model's trainable weights."""

    def __init__(self, model: keras.Model, decay: float) -> None:
        self.variables = list(model.trainable_variables)
        self.decay = decay
        self.values = [ops.convert_to_tensor(ops.convert_to_numpy(v)) for v in self.variables]
        self.steps = 0

    def update(self) -> None:
        """Take in the present weights (faster at the start, when the average is young)."""
        self.steps += 1
        keep = min(self.decay, (1 + self.steps) / (10 + self.steps))
        fresh = [ops.stop_gradient(v.value) for v in self.variables]
        self.values = [keep * old + (1 - keep) * new for old, new in zip(self.values, fresh, strict=True)]

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Put the average into the model for the time of a ``with`` block."""
        kept = [ops.convert_to_numpy(v) for v in self.variables]
        self.copy()
        try:
            yield
        finally:
            for variable, value in zip(self.variables, kept, strict=True):
                variable.assign(value)

    def copy(self) -> None:
        """Put the average into the model for good."""
        for variable, value in zip(self.variables, self.values, strict=True):
            variable.assign(ops.convert_to_numpy(value))


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


class _Feeder:
    """Draws batches in a thread, two ahead."""

    def __init__(self, draw: Callable[[], Any]) -> None:
        self.queue: queue.Queue[Any] = queue.Queue(2)
        self.stopped = threading.Event()
        self.thread = threading.Thread(target=self._run, args=(draw,), daemon=True)
        self.thread.start()

    def _run(self, draw: Callable[[], Any]) -> None:
        while not self.stopped.is_set():
            batch = draw()
            while not self.stopped.is_set():
                try:
                    self.queue.put(batch, timeout=1.0)
                    break
                except queue.Full:
                    continue

    def __next__(self) -> Any:
        return self.queue.get(timeout=120)

    def stop(self) -> None:
        self.stopped.set()
        self.thread.join()


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

    Weights are saved at every validation, so an interrupted run leaves its latest ones. A file ``stop``
    beside them ends the run at the next log line.
    """
    c = settings.train
    rng = np.random.default_rng([seed, 3])
    batches = Batches(material / "train", settings.network.horizons, settings.network.context)
    validation = Batches(material / "validation", settings.network.horizons, settings.network.context)
    objective = Objective(len(settings.network.horizons), c.cold_hops)
    optimizer = keras.optimizers.AdamW(
        highest_rate, weight_decay=0.01, beta_2=0.99, global_clipnorm=CLIP_NORM
    )
    model.compile(optimizer, loss={"keys": objective.keys, "pedal": objective.pedal}, jit_compile=False)
    average = WeightAverage(model, c.average_decay)
    feeder = _Feeder(lambda: batches.draw(rng, c.batch, c.hops))
    start = logged = validated = time.monotonic()
    losses: list[float] = []
    steps, scores = 0, dict[str, float]()
    try:
        while (progress := (time.monotonic() - start) / (60 * minutes)) < 1:
            optimizer.learning_rate.assign(learning_rate(progress, highest_rate))
            objective.set_progress(1.0 if settled else progress)
            spectrum, keys, pedal = next(feeder)
            result = model.train_on_batch(spectrum, {"keys": keys, "pedal": pedal})
            loss = float(result[0] if isinstance(result, list | tuple) else result)
            if not np.isfinite(loss):
                log.warning("step %d: the loss is not finite; the averaged weights take over", steps)
                average.copy()
                continue
            losses.append(loss)
            average.update()
            steps += 1
            now = time.monotonic()
            if now - logged > LOG_EVERY_S:
                heard = steps * c.batch * c.hops / 100 / 3600
                log.info(
                    "%5.1f min, step %d, loss %.4f, %.2f h heard (%.1fx real time), %.1f h of material",
                    (now - start) / 60,
                    steps,
                    float(np.mean(losses[-60:])),
                    heard,
                    heard * 3600 / (now - start),
                    batches.hours,
                )
                logged = now
                batches.refresh()
                if (save_to.parent / "stop").exists():
                    break
            if now - validated > VALIDATE_EVERY_S:
                with average.applied():
                    scores = score(model, validation, settings)
                    model.save_weights(save_to)
                log.info("validation %s", {k: round(v, 4) for k, v in scores.items()})
                validated = time.monotonic()
    finally:
        feeder.stop()
    average.copy()
    model.save_weights(save_to)
    scores = score(model, validation, settings, excerpts=24)
    log.info("end of run, step %d: validation %s", steps, {k: round(v, 4) for k, v in scores.items()})
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
            adopt(start, Path(settings.train.start_from))
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
