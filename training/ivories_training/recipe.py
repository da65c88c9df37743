"""What ``make train-qat`` does: both networks, one after the other, from nothing to int8 files."""

from pathlib import Path
from typing import Final

import typer

_CONFIGS: Final = Path(__file__).parents[1] / "configs"
_MODELS: Final = Path("models")


def train_both(run: Path, *, smoke: bool, pianos: Path | None, performances: Path | None) -> None:
    """Train, quantize, calibrate and export both networks.

    A full run writes into ``models/``; a smoke run, whose networks only show that every step works, into
    ``RUN/models``.

    Raises:
        ConfigError: a folder or a configuration does not fit, or a stage failed.
    """
    from ivories_training.audio import settings as experiment
    from ivories_training.audio.stages import build
    from ivories_training.video.recipe import make_model

    suffix = "-smoke" if smoke else ""
    models = run / "models" if smoke else _MODELS
    models.mkdir(parents=True, exist_ok=True)
    audio = experiment.adjusted(
        experiment.load(_CONFIGS / f"audio{suffix}.toml"), pianos, performances, minutes=None
    )
    typer.echo(f"wrote {build(audio, run / 'audio', models)}")
    made = make_model(_CONFIGS / f"video{suffix}.toml", run / "video", performances, models)
    typer.echo(f"wrote {made}")
