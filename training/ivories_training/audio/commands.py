"""The words after ``ivories-train audio``, and ``ivories-train evaluate audio``."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from ivories.errors import ConfigError
from ivories.inference.manifest import load_manifest

commands = typer.Typer(help="The audio network: train it.", no_args_is_help=True)
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
def loudness(
    config: Annotated[Path, typer.Option(help="Names pianos and performances.")] = CONFIGS / "audio.toml",
    pianos: Annotated[Path | None, typer.Option(help="Folder of sampled pianos (SFZ folders).")] = None,
    performances: Annotated[Path | None, typer.Option(help="Folder of MIDI performances.")] = None,
    excerpts: Annotated[int, typer.Option(min=4, help="Training excerpts.")] = 400,
) -> None:
    """Fit how loudness becomes velocity: prints the constants of ivories.audio.loudness."""
    from ivories_training.audio import loudness as loud
    from ivories_training.audio import settings as experiment

    chosen = experiment.adjusted(experiment.load(config), pianos, performances, None)
    found = loud.fit(loud.material(chosen, "train", excerpts))
    for line in found.lines():
        typer.echo(line)
    for name, strength in (("clean", 0.0), ("rooms and noise", 1.0)):
        unseen = loud.material(chosen, "validation", max(2, excerpts // 8), (strength,))
        told = found.velocity(unseen)
        for column, age in enumerate(loud.AGES):
            pooled, within = loud.correlations(told[:, column], unseen)
            typer.echo(f"{name}, {age} hops after the onset: r {pooled:.3f}, within takes {within:.3f}")


@commands.command()
def talk(
    model: Annotated[Path, typer.Option(help="The manifest.")] = Path("models/audio.toml"),
    config: Annotated[Path, typer.Option(help="Names pianos and performances.")] = CONFIGS / "audio.toml",
    pianos: Annotated[Path | None, typer.Option(help="Folder of sampled pianos (SFZ folders).")] = None,
    performances: Annotated[Path | None, typer.Option(help="Folder of MIDI performances.")] = None,
    scenes: Annotated[int, typer.Option(min=10, help="Training scenes.")] = 190,
) -> None:
    """Fit how talk is told from a piano: prints the constants of ivories.audio.voice_guard."""
    from ivories_training.audio import settings as experiment
    from ivories_training.audio import talk as voices
    from ivories_training.audio.listener import Listener

    chosen = experiment.adjusted(experiment.load(config), pianos, performances, None)
    listener = Listener(load_manifest(model), model.parent)
    found = voices.fit_guard(voices.gather(listener, voices.material(chosen, "train"), range(scenes)))
    for line in found.lines():
        typer.echo(line)
    unseen = voices.gather(listener, voices.material(chosen, "validation"), range(max(10, scenes // 8)))
    right, talked = voices.passed(found, voices.cases(unseen, found.begin))
    typer.echo(f"validation scenes: {right:.1%} of the right onsets pass, {talked:.1%} of those in talk")


@commands.command()
def octaves(
    model: Annotated[Path, typer.Option(help="The manifest.")] = Path("models/audio.toml"),
    config: Annotated[Path, typer.Option(help="Names pianos and performances.")] = CONFIGS / "audio.toml",
    pianos: Annotated[Path | None, typer.Option(help="Folder of sampled pianos (SFZ folders).")] = None,
    performances: Annotated[Path | None, typer.Option(help="Folder of MIDI performances.")] = None,
    excerpts: Annotated[int, typer.Option(min=2, help="Validation excerpts.")] = 48,
) -> None:
    """Find how sure a key must be beside its octave: prints the constants of ivories.audio.octaves."""
    from ivories_training.audio import octaves as doubts
    from ivories_training.audio import settings as experiment
    from ivories_training.audio.listener import Listener

    chosen = experiment.adjusted(experiment.load(config), pianos, performances, None)
    manifest = load_manifest(model)
    if doubts.POLICY not in manifest.thresholds:
        raise ConfigError(f"{model} has no commit thresholds: export the model again")
    listener, takes = Listener(manifest, model.parent), []
    for drawn in doubts.material(chosen):
        takes += doubts.hear(listener, drawn, excerpts // 2)
    outcomes = []
    for share, margin in doubts.TRIED:
        outcomes.append(doubts.measure(takes, manifest.thresholds[doubts.POLICY], share, margin))
        typer.echo(outcomes[-1].line())
    found = doubts.sternest(outcomes)
    typer.echo(f"SHARE: Final = {found.share}\nMARGIN: Final = {found.margin}")


def evaluate(
    folder: Annotated[
        Path | None, typer.Argument(help="Recordings with MIDI files of the same names.")
    ] = None,
    model: Annotated[Path, typer.Option(help="The manifest.")] = Path("models/audio.toml"),
    config: Annotated[Path, typer.Option(help="Names pianos and performances of the test split.")] = CONFIGS
    / "audio.toml",
    performances: Annotated[Path | None, typer.Option(help="Folder of MIDI performances.")] = None,
    excerpts: Annotated[int, typer.Option(min=0, help="Rendered test excerpts; 0: none.")] = 20,
    frontier: Annotated[
        Path | None, typer.Option(metavar="F.svg", help="Sweep thresholds; draw onset F1 against delay here.")
    ] = None,
    peers: Annotated[bool, typer.Option("--peers", help="Score basic-pitch and Transkun beside.")] = False,
    peers_from: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Python environment that has them; default PATH.")
    ] = None,
    json: Annotated[Path | None, typer.Option("--json", metavar="F", help="Write everything here.")] = None,
    write: Annotated[
        bool, typer.Option("--write", help="Put the scores into the manifest and the model card.")
    ] = False,
) -> None:
    """Score the int8 file of the audio network on recordings, rendered pieces, and where no piano plays."""
    from ivories_training.audio import evaluate as judge
    from ivories_training.audio import frontier as curve
    from ivories_training.audio import settings as experiment
    from ivories_training.audio.listener import Listener
    from ivories_training.audio.tables import tables
    from ivories_training.columns import WIDTH

    manifest = load_manifest(model)
    if not manifest.thresholds:
        raise ConfigError(f"{model} has no commit thresholds: export the model again")
    settings = experiment.adjusted(experiment.load(config), None, performances, None)
    wanted = judge.Wanted(folder, excerpts, frontier is not None, peers or peers_from is not None, peers_from)
    with Console(stderr=True).status("") as status:
        report = judge.run(
            Listener(manifest, model.parent), settings, wanted, lambda words: status.update(f"{words} ...")
        )
    console = Console(width=WIDTH)
    for table in tables(report):
        console.print(table)
    for sentence in report.missing:
        typer.echo(sentence)
    if frontier is not None:
        curve.picture(report.frontier, frontier)
        typer.echo(f"wrote {frontier}")
    if json is not None:
        json.parent.mkdir(parents=True, exist_ok=True)
        json.write_bytes(judge.to_json(report, manifest))
        typer.echo(f"wrote {json}")
    if write:
        judge.write_scores(model, report)
        typer.echo(f"wrote the scores into {model} and {model.parent / 'README.md'}")
