"""``ivories-train``: everything that happens on the workstation, one word per part."""

import sys
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from ivories.cli import run_cli
from ivories_training.audio.commands import commands as audio_commands
from ivories_training.audio.commands import evaluate as evaluate_audio
from ivories_training.reference.commands import reference
from ivories_training.video.commands import commands as video_commands
from ivories_training.video.commands import evaluate as evaluate_video

cli = typer.Typer(
    help="Train, quantize, export and evaluate the two networks of Ivories.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
cli.add_typer(audio_commands, name="audio")
cli.add_typer(video_commands, name="video")
cli.command("reference")(reference)
evaluation = typer.Typer(help="Score an int8 file through the device's own stages.", no_args_is_help=True)
evaluation.command("audio")(evaluate_audio)
evaluation.command("video")(evaluate_video)
cli.add_typer(evaluation, name="evaluate")


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


@cli.command("both")
def both(
    models: Annotated[Path, typer.Option(help="Folder with audio.toml and video.toml.")] = Path("models"),
    performances: Annotated[Path | None, typer.Option(help="Folder of MIDI performances.")] = None,
    sounds: Annotated[
        list[str] | None, typer.Option("--sound", help="clean, room, '5 dB' or 'one instrument'.")
    ] = None,
    scenes: Annotated[int, typer.Option(help="Scenes per kind of sound.")] = 12,
    seconds: Annotated[float, typer.Option(help="Length of each.")] = 12.0,
    policy: Annotated[str, typer.Option(help="earliest, balanced or surest.")] = "balanced",
) -> None:
    """Film and play unseen pieces: do both senses err together, and what is fusion worth?"""
    from rich.console import Console

    from ivories.errors import ConfigError
    from ivories.fusion.tracker import TrackerSettings
    from ivories.inference.manifest import load_manifest
    from ivories_training import columns
    from ivories_training.both_scores import notes_table, velocity_table
    from ivories_training.both_senses import dependence
    from ivories_training.scenes import ONE_INSTRUMENT, SOUNDS
    from ivories_training.scenes import scenes as drawn

    for sound in sounds or ():
        if sound not in SOUNDS:
            raise ConfigError(f"--sound {sound!r}: must be one of {', '.join(SOUNDS)}")
    wanted = sounds or list(SOUNDS)
    audio, video = (
        tuple(load_manifest(models / f"{name}.toml").thresholds[policy]) for name in ("audio", "video")
    )
    settings = TrackerSettings(audio_thresholds=audio, video_thresholds=video)
    found = list(drawn(models, performances, wanted, scenes, seconds))
    console = Console(width=columns.WIDTH)
    for sound in wanted:
        part = [scene[sound] for scene in found]
        if sound == ONE_INSTRUMENT:
            console.print(velocity_table(part, sound, settings))
        else:
            console.print(dependence(part, sound), notes_table(part, sound, settings))


@cli.command("registration-qa")
def registration_qa(
    mounts: Annotated[int, typer.Option(help="Rendered random cameras that see all keys.")] = 100,
    seed: Annotated[int, typer.Option(help="The first of them.")] = 0,
    video: Annotated[
        list[Path] | None, typer.Option(help="Filmed clips too; NAME_registration.json may hold the truth.")
    ] = None,
    frames: Annotated[int, typer.Option(help="Pictures looked at per camera position.")] = 15,
    cache: Annotated[Path, typer.Option(help="Results are kept here and not measured twice.")] = Path(
        "reg_refined.json"
    ),
    inspect: Annotated[
        Path | None, typer.Option(help="Folder for pictures of the positions that went wrong.")
    ] = None,
) -> None:
    """Find the keyboard under many cameras: errors before and after refinement, octaves, refusals."""
    from ivories_training.video import registration_qa as qa

    results = []
    for result in qa.check(range(seed, seed + mounts), video or [], max(1, frames), cache, inspect):
        typer.echo(qa.line(result))
        results.append(result)
    typer.echo(qa.summary(results))
