"""The words after ``ivories-train video``, and ``ivories-train evaluate video``."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from ivories_training.video.clips import Clip, Idle
    from ivories_training.video.evaluate import Judge

commands = typer.Typer(help="The video network: render, train, look.", no_args_is_help=True)

Run = Annotated[Path, typer.Option(help="Folder of this run: shards, checkpoints, the experiment's file.")]
Performances = Annotated[Path | None, typer.Option(help="Folder of MIDI performances; none: invented ones.")]
Model = Annotated[Path, typer.Option(help="Manifest of the int8 file.")]


@commands.command()
def train(
    config: Annotated[Path, typer.Option(help="Experiment, see training/configs/video.toml.")],
    run: Run,
    performances: Performances = None,
    models: Annotated[Path, typer.Option(help="Where the int8 file and its manifest go.")] = Path("models"),
) -> None:
    """Render what is missing, train, quantize, calibrate and export."""
    from ivories_training.video.recipe import make_model

    typer.echo(f"wrote {make_model(config, run, performances, models)}")


def evaluate(
    model: Model = Path("models/video.toml"),
    performances: Performances = None,
    clips: Annotated[int, typer.Option(help="Rendered clips of unseen pieces, rooms and cameras.")] = 12,
    clip_seconds: Annotated[float, typer.Option(help="Length of each.")] = 12.0,
    video: Annotated[
        list[Path] | None, typer.Option(help="Filmed clips instead: NAME.mp4 with NAME.mid beside it.")
    ] = None,
    silent: Annotated[
        int,
        typer.Option(
            min=0, help="Clips besides in which hands rest or pass, and as many in which they only act."
        ),
    ] = 4,
    policy: Annotated[str, typer.Option(help="earliest, balanced or surest.")] = "balanced",
    overlay: Annotated[
        Path | None, typer.Option(metavar="F.mp4", help="Film of the clips with what was told in them.")
    ] = None,
    json: Annotated[Path | None, typer.Option("--json", metavar="F", help="Write everything here.")] = None,
    write: Annotated[
        bool, typer.Option("--write", help="Put the scores into the manifest and the model card.")
    ] = False,
) -> None:
    """Score the int8 file of the video network on rendered or filmed clips.

    The cameras of rendered clips are in the device's care: where it would correct their exposure, it does.
    The scores with the cameras left alone are told besides.
    """
    from contextlib import closing, nullcontext
    from itertools import chain

    from ivories.errors import ConfigError
    from ivories_training.video import evaluate as judge
    from ivories_training.video.clips import filmed_clip
    from ivories_training.video.overlay import OverlayVideo
    from ivories_training.video.recipe import idle_clips, left_alone, unseen_clips

    watcher = judge.Watcher(model)
    policies = watcher.manifest.thresholds
    if policy not in policies:
        raise ConfigError(f"--policy {policy!r}: {model} knows {', '.join(policies) or 'none'}")
    if not video and clips < 1:
        raise ConfigError("nothing to score: name filmed clips with --video, or ask for --clips")
    films: Iterator[tuple[Idle | None, Clip]]
    if video:
        films = ((None, filmed_clip(path)) for path in video)
    else:
        played = ((None, c) for c in unseen_clips(performances, "test", clips, clip_seconds, held=True))
        films = chain(played, idle_clips(performances, "test", silent, clip_seconds, held=True))
    bench = judge.Judge(
        watcher, policies[policy], lambda clip, idle: left_alone(performances, clip, clip_seconds, idle)
    )
    with nullcontext() if overlay is None else closing(OverlayVideo(overlay)) as film:
        for idle, clip in films:
            reached, told = bench.watch(clip, idle)
            if film is not None:
                film.add(clip, told.notes, f"{clip.name}  {idle or f'F1 {reached.f1_100ms:.2f}'}  {policy}")
    _report(bench, rendered=not video)
    if overlay is not None:
        typer.echo(f"wrote {overlay}")
    if json is not None:
        judge.save(bench, json)
        typer.echo(f"wrote {json}")
    if write:
        if not video:
            judge.write_scores(model, "rendered, cameras left alone", policy, bench.alone[None])
        judge.write_scores(
            model, "filmed" if video else "rendered", policy, bench.scores[None], bench.idle_scores
        )
        typer.echo(f"wrote the scores into {model} and {model.parent / 'README.md'}")


def _report(bench: "Judge", *, rendered: bool) -> None:
    """Print what came of all clips."""
    from rich.console import Console

    from ivories_training.columns import WIDTH
    from ivories_training.video import evaluate as judge
    from ivories_training.video.cells import pooled

    console = Console(width=WIDTH)
    console.print(judge.clip_table(bench.scores[None]))
    console.print(judge.cell_table(pooled(bench.counts)))
    if rendered:
        typer.echo(judge.exposure_line(bench.scores[None], bench.alone[None]))
    for kind, of_kind in bench.idle_scores.items():
        rates = [judge.false_rate(of) for of in (of_kind, bench.alone[kind])]
        typer.echo(
            f"false notes per 10 s where nobody presses, {kind}, and a lamp is switched: {rates[0]:.2f} "
            f"(cameras left alone: {rates[1]:.2f})"
        )


@commands.command("contact-sheet")
def contact_sheet(
    out: Annotated[Path, typer.Argument(help="PNG to write.")],
    shards: Annotated[Path | None, typer.Option(help="Folder of shards to show strips of.")] = None,
    seed: Annotated[int, typer.Option(help="First scene to show whole, where no shards are named.")] = 0,
    unusual: Annotated[
        bool, typer.Option("--unusual", help="On instruments and in light that few rooms have.")
    ] = False,
    video: Annotated[list[Path] | None, typer.Option(help="Filmed clips to stand beside them.")] = None,
) -> None:
    """Make one picture of what the network is shown."""
    from ivories_training.video import contact_sheet as sheet

    if shards is not None:
        sheet.strips(shards, out)
    else:
        sheet.scenes(seed, out, video or [], unusual=unusual)


@commands.command("render-take")
def render_take(
    out: Annotated[Path, typer.Argument(help="Folder for take.mp4, take.mid, take.json.")],
    soundfont: Annotated[Path, typer.Option(help="SF2 file that plays the sound.")],
) -> None:
    """Render the demo take: a small piece, its sound, its exact truth."""
    from ivories_training.video.take import render_demo_take

    for path in render_demo_take(out, soundfont):
        typer.echo(path)
