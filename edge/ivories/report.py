"""What a take came to: notes out of events, delays against the truth, tables for people."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from rich.table import Table

from ivories.clock import seconds
from ivories.datatypes import NoteEvent, NoteKind
from ivories.histogram import shape
from ivories.keyboard import pitch_of_key
from ivories.notes import NOTE_DTYPE, matched_pairs
from ivories.runtime.timing import Spread, StageTimes
from ivories.scoring import NoteScores

DECIDED_DTYPE = np.dtype([*NOTE_DTYPE.descr, ("decided_s", "f8")])
"""NOTE_DTYPE and the sensor time at which the tracker was sure of the onset."""


@dataclass(frozen=True, slots=True)
class Delays:
    """From the acoustic onset to the decision, over the right notes, in milliseconds; negative = before."""

    notes: int
    mean: float
    median: float
    p95: float
    p99: float
    maximum: float


def notes_of_events(events: Iterable[NoteEvent]) -> NDArray[np.void]:
    """Return the notes (DECIDED_DTYPE, by onset); retracted ghosts are left out, as a listener would."""
    started: dict[int, NoteEvent] = {}
    notes: list[tuple[float, float, int, int, float]] = []
    for event in events:
        if event.kind is NoteKind.ONSET:
            started[event.key] = event
        elif event.kind is NoteKind.OFFSET and event.key in started:
            onset = started.pop(event.key)
            if not event.retracts:
                notes.append(
                    (seconds(onset.t_ns), seconds(event.t_ns), pitch_of_key(event.key), onset.velocity,
                     seconds(onset.decided_ns))
                )  # fmt: skip
    return np.array(sorted(notes), DECIDED_DTYPE)


def decision_delays(truth: NDArray[np.void], notes: NDArray[np.void]) -> Delays | None:
    """Compare ``notes`` (DECIDED_DTYPE) with ``truth`` (NOTE_DTYPE); None when no note is right."""
    pairs = matched_pairs(truth, notes)
    if len(pairs) == 0:
        return None
    late = (notes["decided_s"][pairs[:, 1]] - truth["onset_s"][pairs[:, 0]]) * 1e3
    p50, p95, p99 = np.percentile(late, [50, 95, 99])
    return Delays(len(late), float(late.mean()), float(p50), float(p95), float(p99), float(late.max()))


def score_table(scores: NoteScores, delays: Delays | None) -> Table:
    """Return the scores as a table for the terminal."""
    table = Table(title="Score against the take's own truth", title_justify="left")
    table.add_column("measure")
    table.add_column("value", justify="right")
    rows = [
        ("notes in truth / found", f"{scores.reference_notes} / {scores.estimated_notes}"),
        ("onset precision / recall (50 ms)", f"{scores.precision:.3f} / {scores.recall:.3f}"),
        ("onset F1 (50 ms)", f"{scores.f1:.3f}"),
        ("onset F1 (25 ms)", f"{scores.f1_25ms:.3f}"),
        ("onset + offset F1", f"{scores.f1_offset:.3f}"),
        ("onset + velocity F1", f"{scores.f1_velocity:.3f}"),
        ("onset time error, median", f"{scores.onset_error_ms:.1f} ms"),
    ]
    if delays is not None:
        rows += [
            ("decision after the sound, median", f"{delays.median:.0f} ms"),
            ("  mean / p95 / max", f"{delays.mean:.0f} / {delays.p95:.0f} / {delays.maximum:.0f} ms"),
        ]
    for row in rows:
        table.add_row(*row)
    return table


def stage_table(times: StageTimes, media_s: float, wall_s: float, clock: str = "Time") -> Table:
    """Return time per stage for ``media_s`` seconds of sound and pictures.

    Load is the share of real time. ``clock`` names what was measured.
    """
    table = Table(title=f"{clock} per stage in ms, for {media_s:.1f} s of material", title_justify="left")
    for name in ("stage", "calls", "median", "p95", "p99", "max", "load"):
        table.add_column(name, justify="left" if name == "stage" else "right", no_wrap=True)
    total = 0.0
    for row in times.summary():
        total += row.total_s
        figures = (f"{x / 1e3:.3f}" for x in (row.median_us, row.p95_us, row.p99_us, row.max_us))
        table.add_row(row.name, str(row.calls), *figures, f"{100 * row.total_s / max(media_s, 1e-9):.2f} %")
    table.add_section()
    table.add_row("all stages", "", "", "", "", "", f"{100 * total / max(media_s, 1e-9):.2f} %")
    table.add_row("run with files", "", "", "", "", f"{wall_s:.2f} s",
                  f"{100 * wall_s / max(media_s, 1e-9):.1f} %")  # fmt: skip
    return table


def latency_table(title: str, rows: Mapping[tuple[str, str], ArrayLike], *, mean: bool = False) -> Table:
    """Return how milliseconds lie, one row per (path, step) that has any; ``mean``: tell that too.

    The last column draws them, from the smallest to p99.
    """
    table = Table(title=title, title_justify="left")
    columns = ["path", "step", "count", *(["mean"] if mean else []), "median", "p95", "p99", "max", "jitter"]
    for name in columns:
        left = name in {"path", "step"}
        table.add_column(name, justify="left" if left else "right", no_wrap=name != "step")
    table.add_column("min .. p99", no_wrap=True)
    for (path, step), values in rows.items():
        if not np.size(values):
            continue
        x = Spread.of(values)
        told = [x.mean] if mean else []
        told += [x.median, x.p95, x.p99, x.maximum, x.jitter]
        table.add_row(path, step, str(x.count), *(f"{ms:.2f}" for ms in told), shape(values))
    return table
