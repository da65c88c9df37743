"""``ivories-train``: everything that happens on the workstation, one word per part."""

import sys
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from ivories.cli import run_cli
from ivories_training.audio.commands import commands as audio_commands
from ivories_training.video.commands import commands as video_commands

cli = typer.Typer(
    help="Train, quantize, export and evaluate the two networks of Ivories.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
cli.add_typer(audio_commands, name="audio")
cli.add_typer(video_commands, name="video")


def main() -> NoReturn:
    """Entry point of the ``ivories-train`` command."""
    sys.exit(run_cli(cli))


@cli.command("all")
def train_all(
    run: Annotated[Path, typer.Option(help="Folder for checkpoints, logs and reports.")],
    smoke: Annotated[
        bool, typer.Option("--smoke", help="Minutes instead of hours, to see every step work.")
    ] = False,
    pianos: Annotated[Path | None, typer.Option(help="Folder of sampled pianos (SFZ folders).")] = None,
    performances: Annotated[Path | None, typer.Option(help="Folder of MIDI performances.")] = None,
) -> None:
    """Train both networks from nothing to int8 files: what `make train-qat` runs."""
    from ivories_training.recipe import train_both

    train_both(run, smoke=smoke, pianos=pianos, performances=performances)
