"""``ivories bench``: time per stage, decision delays and share of real time, on one core."""

import os
import time
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from ivories import native
from ivories.app import Application
from ivories.clock import SECOND, now_ns
from ivories.config import Config
from ivories.datatypes import KeyState, NoteEvent, NoteKind
from ivories.live import Live
from ivories.media import Media, probe
from ivories.report import decision_delays, notes_of_events, stage_table
from ivories.resources import bundled_take
from ivories.scoring import read_notes
from ivories.sinks.memory import MemorySink
from ivories.sources.sound_file import SoundFileSource
from ivories.sources.video_file import VideoFileSource
from ivories.transcribe import Recording, prepare, transcribe


def run(config: Config, source: Path | None, *, latency: bool, console: Console) -> None:
    """Measure with ``source`` (default: the bundled take) and print tables."""
    media = probe(source or bundled_take())
    recording = prepare(Recording(audio=media if media.audio else None, video=media if media.video else None))
    if latency:
        _paced(config, recording, media, console)
    else:
        _fast(config, recording, media, console)


def _fast(config: Config, recording: Recording, media: Media, console: Console) -> None:
    core = min(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {core})
    app = Application(config, audio=recording.audio is not None, video=recording.video is not None)
    start, cpu = time.perf_counter(), time.process_time()
    transcript = transcribe(app, recording, [MemorySink()])
    wall_s, cpu_s = time.perf_counter() - start, time.process_time() - cpu
    console.print(stage_table(app.times, transcript.media_s, wall_s))
    console.print(
        f"One core ({native.simd()}): {cpu_s:.2f} s of CPU for {transcript.media_s:.1f} s of material = "
        f"{100 * cpu_s / transcript.media_s:.1f} % of the core, decoding the file included."
    )
    truth = media.path.with_suffix(".mid")
    if truth.exists():
        delays = decision_delays(read_notes(truth), notes_of_events(transcript.events))
        if delays is not None:
            console.print(
                f"Decision after the acoustic onset, {delays.notes} right notes: "
                f"median {delays.median:.0f} ms, mean {delays.mean:.0f} ms, "
                f"p95 {delays.p95:.0f} ms, p99 {delays.p99:.0f} ms."
            )


class _Stamps(MemorySink):
    """Remembers when each event left."""

    def __init__(self) -> None:
        super().__init__()
        self.left: list[tuple[NoteEvent, int]] = []

    def send(self, event: NoteEvent, state: KeyState) -> None:
        super().send(event, state)
        self.left.append((event, now_ns()))


def _paced(config: Config, recording: Recording, media: Media, console: Console) -> None:
    """Play the recording through the real threads at its own speed."""
    app = Application(config, audio=recording.audio is not None, video=recording.video is not None)
    stamps = _Stamps()
    epoch_ns = now_ns() + SECOND  # one zero for sound and pictures, once both are open
    live = Live(
        app,
        app.instrument([stamps], recording.calibration),
        (lambda: SoundFileSource(media.path, realtime=True, epoch_ns=epoch_ns)) if recording.audio else None,
        (lambda: VideoFileSource(media.path, realtime=True, epoch_ns=epoch_ns)) if recording.video else None,
        recording.calibration,
    )
    console.print(f"Playing {media.path.name} at its own speed, {media.duration_s:.0f} s ...")
    live.run()
    onsets = [(e, left) for e, left in stamps.left if e.kind is NoteKind.ONSET]
    table = Table(title=f"Latency of {len(onsets)} onsets, ms", title_justify="left")
    for name in ("path", "median", "p95", "p99", "max", "jitter (p95 - median)"):
        table.add_column(name, justify="left" if name == "path" else "right")
    decided = np.array([left - e.decided_ns for e, left in onsets]) / 1e6
    total = np.array([left - e.t_ns for e, left in onsets]) / 1e6
    for name, values in (
        ("newest sensor data -> note sent", decided),
        ("estimated onset -> note sent", total),
    ):
        if len(values):
            p50, p95, p99 = np.percentile(values, [50, 95, 99])
            row = (p50, p95, p99, values.max(), p95 - p50)
            table.add_row(name, *(f"{x:.1f}" for x in row))
    console.print(table)
    if len(total):
        _histogram(total, console)
    app.close()


def _histogram(values_ms: "np.ndarray[tuple[int], np.dtype[np.float64]]", console: Console) -> None:
    counts, edges = np.histogram(values_ms, bins=np.arange(-120, 181, 20))
    for count, low in zip(counts, edges, strict=False):
        console.print(f"{low:6.0f} ms {'#' * round(50 * count / max(counts.max(), 1))} {count}", markup=False)
