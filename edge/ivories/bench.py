"""``ivories bench``: time per stage and share of real time on one core, or latencies through the threads."""

import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from rich.console import Console

from ivories import native
from ivories.app import Application, Network
from ivories.clock import MILLISECOND
from ivories.config import Config
from ivories.errors import ConfigError, IvoriesError, SourceError
from ivories.histogram import check_name, lines, write_picture
from ivories.inference.manifest import Channel
from ivories.latency import Played, play
from ivories.media import probe
from ivories.notes import read_notes
from ivories.report import decision_delays, latency_table, notes_of_events, stage_table
from ivories.resources import bundled_take
from ivories.runtime.priority import raise_priority
from ivories.runtime.timing import StageTimes
from ivories.sinks.memory import MemorySink
from ivories.sources.sound_file import SoundFileSource
from ivories.transcribe import Recording, prepare, transcribe


@dataclass(frozen=True, slots=True)
class Request:
    """What the command line asks for."""

    sources: tuple[Path, ...] = ()
    """Recordings; none = the bundled take"""
    latency: bool = False
    picture: Path | None = None
    audio_only: bool = False
    video_only: bool = False


def run(config: Config, request: Request, console: Console) -> None:
    """Measure and print tables.

    Raises:
        ConfigError: options that exclude each other.
        IvoriesError: nothing is left to measure: a recording cannot be read, no network can be loaded.
    """
    if request.audio_only and request.video_only:
        raise ConfigError("--audio-only and --video-only exclude each other")
    if request.picture is not None and not request.latency:
        raise ConfigError("--picture draws latencies: add --latency")
    if request.picture is not None:
        check_name(request.picture)
    if request.latency:
        _raise_priority(config, console)
    played = []
    for source in request.sources or (bundled_take(),):
        recording, app = measurable(config, source, request, console)
        try:
            if request.latency:
                console.print(f"Playing {source.name} at its own speed, {recording.duration_s:.0f} s ...")
                played.append(play(app, recording, source.with_suffix(".mid")))
            else:
                _fast(app, recording, source, console)
            _delays(app, recording, console)
        finally:
            app.close()
    if played:
        _tell(played, request.picture, console)


def _raise_priority(config: Config, console: Console) -> None:
    """Schedule as ``ivories run`` would, and say how that is."""
    wanted = config.runtime.realtime_priority
    refused = raise_priority(realtime_priority=wanted, lock_memory=config.runtime.lock_memory)
    for sentence in refused:
        console.print(sentence, style="yellow", markup=False)
    if not wanted:
        console.print(
            "Ordinary scheduling; runtime.realtime_priority in the configuration makes it real-time."
        )
    elif not refused:
        console.print(f"Scheduling: SCHED_FIFO {wanted}.")


def measurable(
    config: Config, source: Path, request: Request, console: Console
) -> tuple[Recording, Application]:
    """Return the part of ``source`` that can be measured, and the networks for it; say what is missing.

    Raises:
        IvoriesError: nothing is left.
    """
    media = probe(source)
    senses = {}
    missing: dict[str, IvoriesError] = {}
    for sense, here, unwanted in (
        ("audio", media.audio, request.video_only),
        ("video", media.video, request.audio_only),
    ):
        if unwanted:
            continue
        try:
            if not here:
                what = "sound" if sense == "audio" else "pictures"
                raise SourceError(f"{source.name} has no {what}")
            Application(config, audio=sense == "audio", video=sense == "video").close()
            senses[sense] = media
        except IvoriesError as error:
            missing[sense] = error
    if not senses:
        raise next(iter(missing.values()))
    recording = prepare(Recording(senses.get("audio"), senses.get("video")))
    if "video" in senses and recording.video is None:
        missing["video"] = SourceError(f"no keyboard found in the pictures of {source.name}")
    for sense, reason in missing.items():
        console.print(f"Without {sense}: {reason}", style="yellow", markup=False)
    return recording, Application(
        config, audio=recording.audio is not None, video=recording.video is not None
    )


def _fast(app: Application, recording: Recording, source: Path, console: Console) -> None:
    app.times = StageTimes(time.thread_time_ns)  # so that other programs on this computer do not count
    with _one_core():
        start, cpu = time.perf_counter(), time.process_time()
        transcript = transcribe(app, recording, [MemorySink()])
        wall_s, cpu_s = time.perf_counter() - start, time.process_time() - cpu
    media_s = transcript.media_s
    stages_s = sum(row.total_s for row in app.times.summary())
    console.print(stage_table(app.times, media_s, wall_s, "CPU time"))
    console.print(
        f"One core ({native.simd()}), {_senses(recording)}: all stages take {stages_s:.2f} s for "
        f"{media_s:.1f} s of material = {100 * stages_s / media_s:.1f} % of the core, "
        f"{media_s / stages_s:.0f} x real time; with reading the file {100 * cpu_s / media_s:.1f} % "
        f"({cpu_s:.2f} s of CPU)."
    )
    truth = source.with_suffix(".mid")
    if not truth.exists():
        console.print(f"Without {truth.name}: no delays against the truth.", style="yellow", markup=False)
        return
    delays = decision_delays(read_notes(truth), notes_of_events(transcript.events))
    if delays is not None:
        console.print(
            f"Decision after the acoustic onset, policy {app.config.decoding.policy}, "
            f"{delays.notes} right notes: median {delays.median:.0f} ms, mean {delays.mean:.0f} ms, "
            f"p95 {delays.p95:.0f} ms, p99 {delays.p99:.0f} ms, max {delays.maximum:.0f} ms."
        )


@contextmanager
def _one_core() -> Iterator[None]:
    """Keep this thread, and what it starts, on one core meanwhile."""
    allowed = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(allowed)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, allowed)


def _delays(app: Application, recording: Recording, console: Console) -> None:
    """Print what the stages say of their own delays."""
    if app.audio is not None and recording.audio is not None:
        spec = app.audio_spec
        source = SoundFileSource(recording.audio.path)
        source.close()
        path = app.audio_path(source.rate)
        horizons = [round(1e3 * channel.horizon * spec.hop / spec.rate) for channel in _onsets(app.audio)]
        console.print(
            f"Stated delays, sound: blocks of {app.config.audio.period_ms:.0f} ms from the sound card, front "
            f"end {path.delay_ns / MILLISECOND:.1f} ms (from {source.rate} Hz), hop "
            f"{1e3 * spec.hop / spec.rate:.0f} ms, horizons {_list(horizons)} ms."
        )
    if app.video is not None:
        frames = [channel.horizon for channel in _onsets(app.video)]
        console.print(
            f"Stated delays, pictures: horizons {_list(frames)} frames; negative = before it sounds."
        )


def _tell(played: Sequence[Played], picture: Path | None, console: Console) -> None:
    """Print what all takes together taught."""
    for sentence in dict.fromkeys(sentence for take in played for sentence in take.missing):
        console.print(sentence, style="yellow", markup=False)
    steps = _joined([take.steps for take in played])
    console.print(latency_table("Every step through the real threads, ms", steps))
    onsets = _joined([take.onsets for take in played])
    for where in dict.fromkeys(where for _, where in onsets):
        of_both = [onsets[path, where] for path in ("audio", "video")]
        if all(map(len, of_both)):
            onsets["both", where] = np.concatenate(of_both)
    title = "From the sound of a right note, ms, by the sensor that decided"
    console.print(latency_table(title, onsets, mean=True))
    right, others = sum(take.right for take in played), sum(take.others for take in played)
    lost = {name: sum(take.dropped[name] for take in played) for name in played[0].dropped}
    console.print(
        f"{right} right notes, {others} others; not looked at in time: "
        + ", ".join(f"{count} {name}" for name, count in lost.items())
        + "."
    )
    groups = {path: values for (path, where), values in onsets.items() if "MIDI" in where and len(values)}
    for path, values in groups.items():
        console.print(f"{path}: from the sound to the bytes at the MIDI port")
        for line in lines(values):
            console.print(line, markup=False, highlight=False)
    if picture is not None:
        title = "From the sound of a note to its bytes at the MIDI port, and every step"
        write_picture(picture, title, groups, {f"{path}: {step}": steps[path, step] for path, step in steps})
        console.print(f"Drew it into {picture}")


def _onsets(network: Network) -> list[Channel]:
    return [channel for channel in network.manifest.channels if channel.kind == "onset"]


def _list(numbers: Sequence[int]) -> str:
    return "/".join(map(str, numbers))


def _senses(recording: Recording) -> str:
    return " and ".join(
        name for name, part in (("sound", recording.audio), ("pictures", recording.video)) if part is not None
    )


def _joined(takes: Sequence[dict[tuple[str, str], np.ndarray]]) -> dict[tuple[str, str], np.ndarray]:
    keys = dict.fromkeys(key for take in takes for key in take)
    return {key: np.concatenate([take[key] for take in takes if key in take]) for key in keys}
