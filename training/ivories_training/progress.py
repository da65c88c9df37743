"""What a training shows while it runs: a bar in a terminal, lines in a log, curves for TensorBoard."""

import logging
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from rich.console import Console
from rich.logging import RichHandler
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

CURVES: Final = "tensorboard"
"""Sub-folder of a run: tensorboard --logdir RUN/tensorboard"""
_CONSOLE: Final = Console(stderr=True)
_STEPS: Final = 1000
"""Of a whole bar"""


def log_to_terminal() -> None:
    """Send this process's log lines to stderr: above the bar in a terminal, plain elsewhere."""
    if _CONSOLE.is_terminal:
        rich = RichHandler(console=_CONSOLE, show_path=False, show_level=False, log_time_format="%H:%M:%S")
        logging.basicConfig(level=logging.INFO, format="%(message)s", handlers=[rich])
    else:
        logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")


class Journal:
    """Shows how far one phase is, and keeps its curves.

    Args:
        run: folder of the run.
        phase: its name.
    """

    def __init__(self, run: Path, phase: str) -> None:
        words = TextColumn("{task.description}")
        self._bar = Progress(
            words,
            BarColumn(),
            TaskProgressColumn(),
            TimeElapsedColumn(),
            console=_CONSOLE,
            disable=not _CONSOLE.is_terminal,
        )
        self._phase = phase
        self._task = self._bar.add_task(phase, total=_STEPS)
        self._curves = _open_curves(run / CURVES / phase)
        self._bar.start()

    def at(self, progress: float, words: str) -> None:
        """Move the bar to ``progress`` 0..1."""
        self._bar.update(
            self._task, completed=min(1.0, progress) * _STEPS, description=f"{self._phase} {words}"
        )

    def curve(self, step: int, values: Mapping[str, float]) -> None:
        """Add one point to each named curve."""
        if self._curves is not None:
            self._curves.add(step, values)

    def close(self) -> None:
        """Leave the bar as it stands."""
        self._bar.stop()
        if self._curves is not None:
            self._curves.close()


def _open_curves(folder: Path) -> "_Curves | None":
    """Return a file of curves, or None where TensorBoard is not installed."""
    try:
        return _Curves(folder)
    except ImportError:
        return None


class _Curves:
    """One TensorBoard event file, written without TensorFlow (``tensorboard.summary.Writer`` loads it)."""

    def __init__(self, folder: Path) -> None:
        from tensorboard.compat.proto.event_pb2 import Event
        from tensorboard.compat.proto.summary_pb2 import Summary
        from tensorboard.summary.writer.record_writer import RecordWriter

        folder.mkdir(parents=True, exist_ok=True)
        self._event: Any = Event
        self._summary: Any = Summary
        name = f"events.out.tfevents.{time.time():.0f}.{os.getpid()}"
        self._records = RecordWriter((folder / name).open("wb"))
        self._write(file_version="brain.Event:2")

    def add(self, step: int, values: Mapping[str, float]) -> None:
        points = [self._summary.Value(tag=name, simple_value=value) for name, value in values.items()]
        self._write(step=step, summary=self._summary(value=points))

    def _write(self, **fields: Any) -> None:
        self._records.write(self._event(wall_time=time.time(), **fields).SerializeToString())
        self._records.flush()

    def close(self) -> None:
        self._records.close()
