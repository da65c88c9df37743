"""The command line. Exit status: 0 done, 1 failed while running, 2 wrong use or configuration."""

import importlib.metadata
import logging
import sys
from pathlib import Path
from typing import Annotated, NoReturn

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from ivories.config import Config, load_config, to_toml
from ivories.errors import ConfigError, IvoriesError

cli = typer.Typer(
    help="Turn a piano into a MIDI instrument with a camera and a microphone.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
config_cli = typer.Typer(help="Check and show the configuration.", no_args_is_help=True)
cli.add_typer(config_cli, name="config")

_err = Console(stderr=True)

ConfigOption = Annotated[
    Path | None,
    typer.Option("--config", "-c", metavar="FILE", help="Configuration; default /etc/ivories/ivories.toml."),
]
CornersOption = Annotated[
    str | None,
    typer.Option(
        help="The keyboard's corners in pixels, as 'x,y x,y x,y x,y': back left (A0), back right (C8), "
        "front right, front left."
    ),
]
CalibrationOption = Annotated[
    Path | None, typer.Option(metavar="FILE", help="Keyboard position found earlier by `ivories setup`.")
]
VerboseOption = Annotated[
    bool, typer.Option("--verbose", "-v", help="Log what happens inside, to standard error.")
]


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"ivories {importlib.metadata.version('ivories')}")
        raise typer.Exit


@cli.callback()
def _options(
    version: Annotated[
        bool,
        typer.Option("--version", help="Print the version and exit.", callback=_print_version, is_eager=True),
    ] = False,
) -> None:
    pass


def main() -> NoReturn:
    """Entry point of the ``ivories`` command."""
    sys.exit(run_cli(cli))


def run_cli(commands: typer.Typer) -> int:
    """Run ``commands`` on sys.argv; return the exit status, a user's mistake told in one sentence.

    Raises:
        SystemExit: with 0, or with 2 after typer has told of an unknown option.
    """
    try:
        commands()
    except IvoriesError as error:
        print(f"ivories: {error}", file=sys.stderr)
        return 2 if isinstance(error, ConfigError) else 1
    return 0


def _begin(config: Path | None, verbose: bool = False, *, service: bool = False) -> Config:
    """Load the configuration and start logging; a command that ends by itself tells of trouble only."""
    settings = load_config(config)
    level = settings.log.level.upper() if service else "WARNING"
    logging.basicConfig(
        level="DEBUG" if verbose else level,
        format="%(levelname)s %(name)s: %(message)s" if verbose else "ivories: %(message)s",
        stream=sys.stderr,
        force=True,
    )
    # Libraries speak up only when something is wrong.
    for name in ("amqtt", "transitions", "libav", "asyncio"):
        logging.getLogger(name).setLevel(logging.ERROR)
    return settings


@cli.command()
def transcribe(
    inputs: Annotated[
        list[Path] | None, typer.Argument(help="A sound file, a video file, or one of each.")
    ] = None,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="MIDI file to write; default: INPUT with .mid.")
    ] = None,
    audio: Annotated[Path | None, typer.Option(help="Take the sound from this file.")] = None,
    video: Annotated[Path | None, typer.Option(help="Take the pictures from this file.")] = None,
    audio_only: Annotated[bool, typer.Option("--audio-only", help="Ignore pictures.")] = False,
    video_only: Annotated[bool, typer.Option("--video-only", help="Ignore sound.")] = False,
    corners: CornersOption = None,
    calibration: CalibrationOption = None,
    events: Annotated[Path | None, typer.Option(help="Also write every event as a JSON line.")] = None,
    truth: Annotated[Path | None, typer.Option(help="Score against this MIDI file.")] = None,
    realtime: Annotated[bool, typer.Option("--realtime", help="Pace by the clock, as if live.")] = False,
    config: ConfigOption = None,
    verbose: VerboseOption = False,
) -> None:
    """Transcribe recordings through the appliance's own stages and write MIDI."""
    from ivories import offline

    settings = _begin(config, verbose)
    request = offline.Request(
        inputs=tuple(inputs or ()), audio=audio, video=video, audio_only=audio_only, video_only=video_only,
        corners=corners, calibration=calibration, output=output, events=events, truth=truth,
        realtime=realtime,
    )  # fmt: skip
    bar = Progress(
        TextColumn("{task.description}"), BarColumn(), TextColumn("{task.completed:.0f}/{task.total:.0f} s"),
        TimeRemainingColumn(), console=_err, transient=True, disable=not _err.is_terminal,
    )  # fmt: skip
    task: TaskID | None = None

    def show(done_s: float, total_s: float) -> None:
        nonlocal task
        if task is None:
            task = bar.add_task("transcribing", total=max(total_s, 0.01))
        bar.update(task, completed=done_s)

    with bar:
        result = offline.run(settings, request, show)
    result.print(Console())


@cli.command()
def demo(
    fast: Annotated[
        bool, typer.Option("--fast", help="As fast as the machine goes, without the live view.")
    ] = False,
    repeat: Annotated[
        bool, typer.Option("--repeat", help="Over and over until stopped: live keyboard and MQTT only.")
    ] = False,
    folder: Annotated[Path, typer.Option(help="Where demo.mid and demo.jsonl go.")] = Path(),
    config: ConfigOption = None,
    verbose: VerboseOption = False,
) -> None:
    """Play the bundled take through everything: live keyboard, MQTT, MIDI file, score, latency."""
    from ivories import demo as demonstration

    settings = _begin(config, verbose)
    if repeat and fast:
        raise ConfigError("--repeat plays at its own speed: leave --fast away")
    if repeat:
        demonstration.repeat(settings, Console())
    else:
        demonstration.run(settings, folder, fast=fast, console=Console())


@cli.command()
def run(
    config: ConfigOption = None,
    view: Annotated[bool, typer.Option("--view", help="Show the live keyboard in the terminal.")] = False,
    verbose: VerboseOption = False,
) -> None:
    """Be the instrument: camera and microphone in, notes out, until stopped."""
    from ivories import service

    service.run(_begin(config, verbose, service=True), view=view)


@cli.command()
def setup(
    source: Annotated[Path | None, typer.Argument(help="Picture or video instead of the camera.")] = None,
    corners: CornersOption = None,
    output: Annotated[Path | None, typer.Option("-o", "--output", help="Calibration file to write.")] = None,
    picture: Annotated[Path | None, typer.Option(help="Also draw what was found into this PNG.")] = None,
    config: ConfigOption = None,
    verbose: VerboseOption = False,
) -> None:
    """Find the keyboard in the picture and remember where it is."""
    from ivories import setup_camera

    setup_camera.run(_begin(config, verbose), source, corners, output, picture, Console())


@cli.command()
def doctor(config: ConfigOption = None) -> None:
    """Check this machine: what works, what does not, and what to do about it."""
    from ivories import doctor as examination

    raise typer.Exit(examination.run(_begin(config), Console()))


@cli.command()
def devices() -> None:
    """List microphones, cameras and MIDI ports of this machine."""
    from ivories import devices as inventory

    inventory.run(Console())


@cli.command()
def bench(
    sources: Annotated[
        list[Path] | None, typer.Argument(help="Recordings to measure with; default: the bundled take.")
    ] = None,
    latency: Annotated[
        bool, typer.Option("--latency", help="Play them paced through the real threads.")
    ] = False,
    picture: Annotated[
        Path | None, typer.Option(metavar="SVG", help="With --latency: draw the histograms into this file.")
    ] = None,
    audio_only: Annotated[bool, typer.Option("--audio-only", help="Ignore pictures.")] = False,
    video_only: Annotated[bool, typer.Option("--video-only", help="Ignore sound.")] = False,
    config: ConfigOption = None,
) -> None:
    """Measure time per stage, delays, and the share of real time on one core."""
    from ivories import bench as measurement

    request = measurement.Request(
        sources=tuple(sources or ()), latency=latency, picture=picture, audio_only=audio_only,
        video_only=video_only,
    )  # fmt: skip
    measurement.run(_begin(config), request, Console())


@config_cli.command("check")
def config_check(file: Annotated[Path, typer.Argument(help="Configuration to check.")]) -> None:
    """Tell every mistake in FILE, or nothing."""
    load_config(file)
    print(f"{file} is correct")


@config_cli.command("show")
def config_show(config: ConfigOption = None) -> None:
    """Print the configuration in force, defaults included."""
    print(to_toml(load_config(config)), end="")
