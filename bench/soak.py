"""Hours of music through the whole device path, faster than it sounds: does memory grow, does time drift?

    python -m bench.soak --minutes 240     # of material; --paced: at its own speed, through the threads

One recording is repeated without a seam in its clock. Its notes leave through the MIDI port's owner and over
MQTT to the far ends of ``ivories bench``. After each repetition the memory of the process is looked at, and
the notes are compared with those of the second repetition. Exit status 1: something grew or drifted.
Ctrl-C ends it early, with the report on what was played until then.
"""

import heapq
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Final

import numpy as np
import typer
from bench.memory_use import Look, growth, look
from rich.console import Console
from rich.table import Table

from ivories.app import Application
from ivories.bench import Request, measurable
from ivories.cli import ConfigOption, run_cli
from ivories.clock import MILLISECOND, SECOND, now_ns
from ivories.config import load_config
from ivories.datatypes import AudioBlock, KeyState, NoteEvent, NoteKind, VideoFrame
from ivories.errors import BackendError
from ivories.far_ends import MidiFarEnd, MqttFarEnd
from ivories.live import Live
from ivories.replay import Material, ReplayedPictures, ReplayedSound, decode
from ivories.resources import bundled_take
from ivories.runtime.priority import raise_priority
from ivories.sinks.base import Sink
from ivories.transcribe import Recording

# What may be grown by after that, at most: so much, and so much more per hour of material.
RESIDENT_MIB: Final = (2.0, 1.0)
HEAP_MIB: Final = (0.5, 0.25)
BLOCKS: Final = (1000.0, 500.0)
DRIFT_MS: Final = 1.0
ROWS: Final = 12
FEWEST: Final = 4
"""Repetitions"""


@dataclass
class Onsets:
    """A sink that keeps the onsets of the newest repetitions, in time from the beginning of each."""

    period_ns: int
    epoch_ns: int = 0
    name: str = "onsets"
    passes: dict[int, list[tuple[int, int]]] = field(default_factory=dict)
    """Repetition -> (key, nanoseconds)"""

    def send(self, event: NoteEvent, state: KeyState) -> None:  # noqa: ARG002  the contract's argument
        """Remember an onset."""
        if event.kind is NoteKind.ONSET:
            number, t_ns = divmod(event.t_ns - self.epoch_ns, self.period_ns)
            self.passes.setdefault(number, []).append((event.key, t_ns))
            if number != 4:  # the second one, number 1, stays to compare with
                self.passes.pop(number - 3, None)

    def release_all(self) -> None:
        """Nothing sounds here."""

    def close(self) -> None:
        """Nothing to free."""


def fast(app: Application, recording: Recording, material: Material, times: int, sinks: list[Sink],
         begun: Callable[[int], None], enough: threading.Event) -> None:  # fmt: skip
    """Push everything in the order of its time, as fast as it goes, until its end or ``enough`` is set."""
    instrument = app.instrument(sinks, recording.calibration)
    streams: list[Iterator[AudioBlock | VideoFrame]] = []
    if material.blocks:
        streams.append(iter(ReplayedSound(material, times, begun=begun)))
    if material.frames:
        streams.append(iter(ReplayedPictures(material, times, begun=None if material.blocks else begun)))
    audio = app.audio_path(material.rate) if material.blocks else None
    video = app.video_path(recording.calibration) if material.frames else None
    for item in heapq.merge(*streams, key=lambda item: item.t_ns):
        if isinstance(item, AudioBlock):
            evidence = audio.push(item) if audio else []
        else:
            evidence = video.push(item) if video else []
        for each in evidence:
            instrument.push(each)
        if enough.is_set():
            break
    instrument.finish()


def paced(app: Application, recording: Recording, material: Material, times: int, sinks: list[Sink],
          begun: Callable[[int], None], enough: threading.Event,
          epoch_ns: int) -> dict[str, int]:  # fmt: skip
    """Play it at its own speed through the appliance's threads; return what they could not keep up with."""

    def begun_or_enough(number: int) -> None:
        begun(number)
        if enough.is_set():
            live.stop()

    def sound() -> ReplayedSound:
        return ReplayedSound(material, times, realtime=True, epoch_ns=epoch_ns, begun=begun_or_enough)

    def pictures() -> ReplayedPictures:
        first = None if material.blocks else begun_or_enough
        return ReplayedPictures(material, times, realtime=True, epoch_ns=epoch_ns, begun=first)

    live = Live(
        app,
        app.instrument(sinks, recording.calibration),
        sound if material.blocks else None,
        pictures if material.frames else None,
        recording.calibration,
    )
    live.run()
    return live.dropped


def drift_ms(onsets: Onsets) -> tuple[float, float, int, int]:
    """Compare the last whole repetition with the second: median, largest shift in ms, numbers of onsets."""
    numbers = sorted(onsets.passes)
    reference, last = onsets.passes[1], onsets.passes[numbers[-2] if len(numbers) > 2 else numbers[-1]]
    shifts = []
    for key, t_ns in last:
        near = [t_ns - other for other_key, other in reference if other_key == key]
        if near:
            shifts.append(min(near, key=abs) / MILLISECOND)
    close = [shift for shift in shifts if abs(shift) < 50] or [float("nan")]
    return float(np.median(close)), float(np.abs(close).max()), len(reference), len(last)


def verdict(looks: list[Look], onsets: Onsets, console: Console) -> bool:
    """Print what grew and drifted; return whether all is well."""
    well = True
    for title, name, (base, hourly) in (
        ("resident memory, MiB", "resident_mib", RESIDENT_MIB),
        ("C heap, MiB", "heap_mib", HEAP_MIB),
        ("Python memory blocks", "blocks", BLOCKS),
        ("threads", "threads", (0, 0)),
        ("open files", "files", (0, 0)),
    ):
        grown, hours = growth(looks, name)
        allowed = base + hourly * hours
        well &= grown <= allowed
        console.print(
            f"{title}: {grown:+.2f} in {60 * hours:.0f} minutes of material after the warm-up "
            f"({'at most' if grown <= allowed else 'MORE THAN'} {allowed:.2f})"
        )
    median, worst, before, after = drift_ms(onsets)
    steady = abs(median) <= DRIFT_MS and abs(after - before) <= 0.05 * before
    console.print(
        f"drift of the onsets, last against second repetition: median {median:+.3f} ms, "
        f"largest {worst:.3f} ms; "
        f"{after} onsets instead of {before}" + ("" if steady else ": TOO MUCH")
    )
    return well and steady


def report(looks: list[Look], console: Console) -> None:
    """Print some of the looks."""
    table = Table(title="After so much material", title_justify="left")
    for name in ("minutes", "resident MiB", "C heap MiB", "Python blocks", "threads", "files"):
        table.add_column(name, justify="right")
    for index in sorted({round(i) for i in np.linspace(0, len(looks) - 1, ROWS)}):
        x = looks[index]
        table.add_row(f"{x.material_s / 60:.1f}", f"{x.resident_mib:.2f}", f"{x.heap_mib:.2f}", str(x.blocks),
                      str(x.threads), str(x.files))  # fmt: skip
    console.print(table)


def soak(
    source: Annotated[Path | None, typer.Argument(help="Recording; default: the bundled take.")] = None,
    minutes: Annotated[float, typer.Option(min=0.1, help="Of material.")] = 60.0,
    paced_: Annotated[
        bool, typer.Option("--paced", help="At its own speed, through the real threads.")
    ] = False,
    audio_only: Annotated[bool, typer.Option("--audio-only", help="Ignore pictures.")] = False,
    config: ConfigOption = None,
) -> None:
    """Repeat a recording for MINUTES and tell whether memory grows or time drifts."""
    console = Console()
    source = source or bundled_take()
    settings = load_config(config)
    if paced_:
        runtime = settings.runtime
        raise_priority(realtime_priority=runtime.realtime_priority, lock_memory=runtime.lock_memory)
    recording, app = measurable(settings, source, Request(audio_only=audio_only), console)
    material = decode(
        source if recording.audio else None, source if recording.video else None,
        block_ms=app.config.audio.period_ms,
    )  # fmt: skip
    times = max(FEWEST, round(60 * minutes * SECOND / material.period_ns))
    looks: list[Look] = []
    onsets = Onsets(material.period_ns)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # as the far ends do, whose processes inherit it
    ends: list[MidiFarEnd | MqttFarEnd] = [MidiFarEnd()]
    try:
        ends.append(MqttFarEnd())
    except BackendError as error:
        console.print(f"Without MQTT: {error}", style="yellow", markup=False)
    sinks: list[Sink] = [onsets, *(end.sink for end in ends)]

    def begun(number: int) -> None:
        looks.append(look(number * material.period_ns / SECOND))

    console.print(f"{source.name}, {times} times {material.period_ns / SECOND:.1f} s ...")
    enough = threading.Event()
    signal.signal(signal.SIGINT, lambda *_: enough.set())
    start = time.perf_counter()
    try:
        if paced_:
            onsets.epoch_ns = now_ns() + SECOND
            lost = paced(app, recording, material, times, sinks, begun, enough, onsets.epoch_ns)
        else:
            fast(app, recording, material, times, sinks, begun, enough)
            lost = {}
    finally:
        heard = [len(end.finish()) for end in ends]
        app.close()
    wall_s = time.perf_counter() - start
    if len(looks) < FEWEST:
        raise BackendError(f"ended after {len(looks)} repetitions: {FEWEST} are needed to tell anything")
    played_s = len(looks) * material.period_ns / SECOND
    report(looks, console)
    late = "".join(f"; {count} {name} not looked at in time" for name, count in lost.items())
    console.print(
        f"{played_s / 60:.1f} minutes of material in {wall_s / 60:.1f} minutes, "
        f"{played_s / wall_s:.1f} x real time; {' and '.join(map(str, heard))} messages arrived{late}"
    )
    if not verdict(looks, onsets, console):
        raise typer.Exit(1)


if __name__ == "__main__":
    command = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    command.command()(soak)
    sys.exit(run_cli(command))
