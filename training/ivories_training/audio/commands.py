"""The words after ``ivories-train audio``."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from ivories.errors import ConfigError
from ivories.inference.manifest import load_manifest

commands = typer.Typer(help="The audio network: train it, and see how well it hears.", no_args_is_help=True)
CONFIGS = Path(__file__).parents[2] / "configs"


@commands.command()
def train(
    run: Annotated[Path, typer.Option(help="Folder for material, checkpoints and logs.")],
    config: Annotated[Path, typer.Option(help="The experiment.")] = CONFIGS / "audio.toml",
    models: Annotated[Path, typer.Option(help="Folder that gets the int8 file and its manifest.")] = Path(
        "models"
    ),
    pianos: Annotated[Path | None, typer.Option(help="Folder of sampled pianos (SFZ folders).")] = None,
    performances: Annotated[Path | None, typer.Option(help="Folder of MIDI performances.")] = None,
    minutes: Annotated[float | None, typer.Option(help="Minutes of float training.")] = None,
) -> None:
    """From nothing to a calibrated int8 file: material, training, quantization, export."""
    from ivories_training.audio import settings as experiment
    from ivories_training.audio.stages import build

    chosen = experiment.adjusted(experiment.load(config), pianos, performances, minutes)
    typer.echo(f"wrote {build(chosen, run, models)}")


@commands.command()
def evaluate(
    folder: Annotated[
        Path | None, typer.Argument(help="Recordings with MIDI files of the same names.")
    ] = None,
    model: Annotated[Path, typer.Option(help="The manifest.")] = Path("models/audio.toml"),
    config: Annotated[Path, typer.Option(help="Names pianos and performances of the test split.")] = CONFIGS
    / "audio.toml",
    performances: Annotated[Path | None, typer.Option(help="Folder of MIDI performances.")] = None,
    excerpts: Annotated[int, typer.Option(help="Rendered test excerpts; 0: none.")] = 20,
) -> None:
    """Score the int8 file on recordings, on rendered test pieces, and where no piano plays."""
    from ivories_training.audio import evaluate as judge
    from ivories_training.audio import settings as experiment
    from ivories_training.audio.listener import Listener

    manifest = load_manifest(model)
    if not manifest.thresholds:
        raise ConfigError(f"{model} has no commit thresholds: export the model again")
    listener = Listener(manifest, model.parent)
    settings = experiment.adjusted(experiment.load(config), None, performances, None)
    material = {}
    if folder is not None:
        takes = judge.pairs(listener, folder)
        material |= {take.name: [take] for take in takes}
    if excerpts:
        material["rendered, clean"] = judge.rendered(listener, settings, excerpts, 0.0)
        material["rendered, rooms and noise"] = judge.rendered(listener, settings, excerpts, 1.0)
    rows = [
        judge.score(name, policy, takes, thresholds)
        for name, takes in material.items()
        for policy, thresholds in manifest.thresholds.items()
    ]
    console = Console(width=170)
    console.print(judge.table(rows))
    for policy, thresholds in manifest.thresholds.items():
        console.print(
            f"false notes per 10 s without a piano, {policy}: {judge.false_notes(listener, thresholds):.2f}"
        )
