"""``python -m ivories_training.reference.stages STAGE EXPERIMENT RUN`` does one step in its own process."""

import logging
import shutil
import sys
from pathlib import Path

from ivories_training.backends import EXPORT_BACKEND, as_stage, run_module, training_backend
from ivories_training.checkpoint import claim, finished
from ivories_training.reference.settings import Experiment, load

log = logging.getLogger(__name__)


def build(path: Path, run: Path) -> Path:
    """Train the experiment in ``path`` and export it; return the int8 file, RUN/NAME.tflite.

    Raises:
        ConfigError: the experiment is wrong, ``run`` holds another one's training, or a step failed.
    """
    experiment, used = load(path), run / "experiment.toml"
    run.mkdir(parents=True, exist_ok=True)
    claim(run, same=not used.is_file() or load(used) == experiment)
    if used.resolve() != path.resolve():
        shutil.copyfile(path, used)
    for stage, backend in (("train", training_backend()), ("export", EXPORT_BACKEND)):
        run_module("ivories_training.reference.stages", stage, used, run, backend=backend)
    return run / f"{experiment.name}.tflite"


def run_stage(stage: str, experiment: Experiment, run: Path) -> None:
    """Do one step in this process."""
    from ivories_training.reference import train as training

    if stage == "export":
        network = training.trained(experiment, run)
        log.info("%s", training.export_int8(experiment, network, run))
    elif finished(run / training.QUANTIZED_WEIGHTS, after=run / training.FLOAT_WEIGHTS):
        log.info("%s is trained already; remove its weights to train again", run)
    else:
        training.train(experiment, run, log.info)


def main() -> None:
    """Entry point of one stage's process."""
    stage, path, run = sys.argv[1:]
    run_stage(stage, load(Path(path)), Path(run))


if __name__ == "__main__":
    as_stage(main)
