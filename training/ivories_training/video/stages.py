"""The steps from rendered sequences to an int8 file, each in a process of its own.

``python -m ivories_training.video.stages STAGE CONFIG RUN MODELS PERFORMANCES`` runs one; PERFORMANCES is
empty where pieces are invented.
"""

import logging
import sys
from pathlib import Path

from ivories_training.backends import as_stage
from ivories_training.checkpoint import finished
from ivories_training.mappability import Report
from ivories_training.performances import provenance
from ivories_training.video.calibrate import finish
from ivories_training.video.recipe import CARD, idle_clips, unseen_clips
from ivories_training.video.train import (
    FLOAT_WEIGHTS,
    QUANTIZED_WEIGHTS,
    VideoConfig,
    read_config,
    train,
    trained,
)

log = logging.getLogger(__name__)


def export_video(config: VideoConfig, run: Path, models: Path, performances: Path | None) -> Report:
    """Write the network trained in ``run`` as models/NAME.tflite, with manifest and card."""
    network = trained(config, run)
    wanted = config.render
    clips = list(unseen_clips(performances, "validation", wanted.clips, wanted.clip_s))
    few = -(-wanted.clips // 4)
    clips += unseen_clips(performances, "validation", few, wanted.clip_s, unusual=True)
    idle = idle_clips(performances, "validation", few, wanted.clip_s)
    clips += [clip for _, clip in idle]
    sources = ["rendered keyboards", "invented pieces"]
    if performances is not None:
        sources += [f"key motion of {text}" for text in provenance(performances, "train")]
    return finish(
        network, run / "data" / "validation", clips, models / f"{config.name}.tflite", sources, CARD
    )


def main() -> None:
    """Entry point of one stage's process."""
    stage, config_path, run, models, played = sys.argv[1:]
    config, folder = read_config(Path(config_path)), Path(run)
    if stage == "train":
        if finished(folder / QUANTIZED_WEIGHTS, after=folder / FLOAT_WEIGHTS):
            log.info("%s is trained already; remove its weights to train again", folder)
        else:
            train(config, folder / "data", folder, log.info)
    else:
        report = export_video(config, folder, Path(models), Path(played) if played else None)
        log.info("%s", report)


if __name__ == "__main__":
    as_stage(main)
