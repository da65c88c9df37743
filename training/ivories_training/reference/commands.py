"""``ivories-train reference``."""

from pathlib import Path
from typing import Annotated

import typer

CONFIGS = Path(__file__).parents[2] / "configs"


def reference(
    experiment: Annotated[
        Path, typer.Argument(help="raw-frames, mel, fft-slice, note-names, or an experiment's file.")
    ],
    run: Annotated[Path, typer.Option(help="Folder for material, checkpoints, curves and the int8 file.")],
) -> None:
    """Train a plain network of a published kind, for comparison: float, quantized, exported to int8."""
    from ivories_training.reference.stages import build

    shipped = CONFIGS / f"reference-{experiment}.toml"
    typer.echo(f"wrote {build(shipped if shipped.is_file() else experiment, run)}")
