"""The scores of the ear as tables."""

from collections.abc import Iterable, Sequence
from typing import Final

from rich.table import Table

from ivories_training import columns
from ivories_training.audio import conditions
from ivories_training.audio.evaluate import IN_PARTS, RENDERED, FalseNotes, Report
from ivories_training.audio.frontier import FrontierPoint
from ivories_training.audio.measures import Row
from ivories_training.audio.parts import Part
from ivories_training.thresholds import NEVER

_ROBUST: Final = tuple(RENDERED + name for name in conditions.CONDITIONS if name != conditions.CLEAN)


def tables(report: Report) -> Iterable[Table]:
    """Yield every table that there is something for."""
    shown = [r for r in report.rows if r.name not in _ROBUST]
    if shown:
        beside = [*shown, *report.peers]
        # Each material's own policies and its peers stand together.
        order = list(dict.fromkeys(r.name for r in shown))
        beside.sort(key=lambda r: order.index(r.name) if r.name in order else len(order))
        yield notes_table(beside)
        yield time_table(beside)
        yield errors_table(beside)
    if report.parts:
        yield parts_table(report.parts)
    if any(r.name in _ROBUST for r in report.rows):
        yield robustness_table(report.rows)
    if report.frontier:
        yield frontier_table(report.frontier)
    if report.false_notes:
        yield false_table(report.false_notes)


def notes_table(rows: Sequence[Row]) -> Table:
    """Which notes are right."""
    table = columns.table(
        "Right notes: precision and recall at 50 ms, F1; + end, + velocity as mir_eval has them",
        ("material", "policy"),
        ("notes", "P", "R", "F1 50 ms", "25 ms", "+ end", "+ velocity", "frame F1", "vel. r"),
    )
    for r in rows:
        scores = (r.precision, r.recall, r.f1, r.f1_25ms, r.f1_offset, r.f1_velocity, r.frame_f1)
        table.add_row(
            r.name, r.policy, str(r.notes), *map(columns.score, scores), columns.score(r.velocity_r, 2)
        )
    return table


def time_table(rows: Sequence[Row]) -> Table:
    """How exact and how late."""
    table = columns.table(
        "Time of the right notes: error of the told onset; from the acoustic onset to the decision",
        ("material", "policy"),
        ("error median", "p95", "delay mean", "median", "p95", "p99"),
    )
    for r in rows:
        errors = (r.error_median_ms, r.error_p95_ms)
        delays = (r.delay_mean_ms, r.delay_median_ms, r.delay_p95_ms, r.delay_p99_ms)
        table.add_row(r.name, r.policy, *(columns.ms(v, 1) for v in errors), *map(columns.ms, delays))
    return table


def errors_table(rows: Sequence[Row]) -> Table:
    """Where it errs."""
    table = columns.table(
        "Octaves among the false notes; recall of repeats within 0.4 s and of chords of five and more;\n"
        "velocity r with each take's own means taken off; pedal",
        ("material", "policy"),
        ("octave share", "repeats", "chords", "vel. r in takes", "pedal down F1", "pedal up F1"),
    )
    for r in rows:
        shares = (r.octave_share, r.repeat_recall, r.chord_recall, r.velocity_r_within)
        shares += (r.pedal_on_f1, r.pedal_off_f1)
        table.add_row(r.name, r.policy, *(columns.score(v, 2) for v in shares))
    return table


def parts_table(parts: Sequence[Part]) -> Table:
    """By register and by chord size."""
    table = columns.table(
        f"By register, and by how many notes are struck together ({IN_PARTS})",
        ("material", "part"),
        ("notes", "P", "R", "F1 50 ms", "25 ms", "vel. r", "error median", "delay mean", "p95"),
    )
    for number, p in enumerate(parts):
        if number and p.name != parts[number - 1].name:
            table.add_section()
        scores = (p.precision, p.recall, p.f1, p.f1_25ms)
        times = (columns.ms(p.error_median_ms, 1), columns.ms(p.delay_mean_ms), columns.ms(p.delay_p95_ms))
        table.add_row(
            p.name, p.part, str(p.notes), *map(columns.score, scores), columns.score(p.velocity_r, 2), *times
        )
    return table


def robustness_table(rows: Sequence[Row]) -> Table:
    """What each condition costs against clean."""
    table = columns.table(
        "The same rendered playing under other conditions",
        ("condition", "policy"),
        ("P", "R", "F1 50 ms", "against clean", "delay mean", "p95"),
    )
    clean = {r.policy: r.f1 for r in rows if r.name == RENDERED + conditions.CLEAN}
    for r in rows:
        if r.name.startswith(RENDERED):
            scores = map(columns.score, (r.precision, r.recall, r.f1))
            change = f"{r.f1 - clean[r.policy]:+.3f}" if r.name in _ROBUST else ""
            name = r.name.removeprefix(RENDERED)
            table.add_row(
                name, r.policy, *scores, change, columns.ms(r.delay_mean_ms), columns.ms(r.delay_p95_ms)
            )
    return table


def frontier_table(points: Sequence[FrontierPoint]) -> Table:
    """The policies, and those of the sweep that no other setting beats."""
    table = columns.table(
        "Onset F1 against delay: the policies, and what no other setting beats (*)",
        ("material", "setting"),
        ("thresholds", "F1 50 ms", "delay mean", "p95", ""),
    )
    for p in sorted((p for p in points if p.policy or p.best), key=lambda p: (p.material, p.delay_mean_ms)):
        thresholds = " ".join("-" if t >= NEVER else f"{t:g}" for t in p.thresholds)
        times = (columns.ms(p.delay_mean_ms), columns.ms(p.delay_p95_ms))
        table.add_row(
            p.material, p.policy or "sweep", thresholds, columns.score(p.f1), *times, "*" if p.best else ""
        )
    return table


def false_table(found: Sequence[FalseNotes]) -> Table:
    """Notes where no piano plays."""
    policies = list(dict.fromkeys(one.policy for one in found))
    table = columns.table("False notes per 10 s where no piano plays", ("sound",), policies)
    for sound in dict.fromkeys(one.sound for one in found):
        by_policy = {one.policy: one.per_10_s for one in found if one.sound == sound}
        table.add_row(sound, *(f"{by_policy[policy]:.2f}" for policy in policies))
    return table
