"""Scores of the exported int8 file, through the device's own stages, judged by mir_eval.

Three kinds of material: recordings with MIDI files beside them; rendered pieces of the test split on a piano
never trained on, under several conditions; and sounds without a piano, where every note is false.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

import msgspec

from ivories.datatypes import Origin
from ivories.inference.manifest import Manifest, load_manifest
from ivories.report import notes_of_events
from ivories_training.audio import conditions, peers
from ivories_training.audio.card import FALSE_NOTES, audio_card
from ivories_training.audio.frontier import FrontierPoint
from ivories_training.audio.frontier import measure as measure_frontier
from ivories_training.audio.judged import decide, decide_in_turn
from ivories_training.audio.listener import Listener
from ivories_training.audio.measures import Row, row
from ivories_training.audio.parts import Part, by_chord, by_register
from ivories_training.audio.settings import Settings
from ivories_training.audio.takes import Take, excerpts, recordings, rendered
from ivories_training.thresholds import track

RECORDINGS: Final = "all recordings"
RENDERED: Final = "rendered, "
"""and a condition"""
ONE_INSTRUMENT: Final = RENDERED + "one instrument"
"""One piano and one distance for all pieces, heard in turn: what the scale of velocities is learned for"""
IN_PARTS: Final = "balanced"
"""Policy whose notes are split by register and chord size"""
SILENT_SECONDS: Final = 20.0
"""Of each sound without a piano, at each level"""

Policies = Mapping[str, Sequence[float]]
Say = Callable[[str], None]


@dataclass(frozen=True)
class FalseNotes:
    """Notes told where no piano plays."""

    sound: str
    policy: str
    per_10_s: float


@dataclass(frozen=True)
class Wanted:
    """What to judge by."""

    folder: Path | None = None
    """Recordings with MIDI files of the same names"""
    excerpts: int = 20
    """Rendered test excerpts; 0: none"""
    frontier: bool = False
    peers: bool = False
    """Run other programs over the recordings, or where there are none over the rendered pieces"""
    peers_from: Path | None = None
    """Python environment with the other programs; PATH is looked through after it"""


@dataclass
class Report:
    """Everything that was measured."""

    rows: list[Row] = field(default_factory=list)
    """Own scores per material and policy"""
    parts: list[Part] = field(default_factory=list)
    """At ``IN_PARTS``: by register, then by chord size"""
    false_notes: list[FalseNotes] = field(default_factory=list)
    frontier: list[FrontierPoint] = field(default_factory=list)
    peers: list[Row] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    """Peers that are not installed, and how they would be"""


def run(listener: Listener, settings: Settings, wanted: Wanted, say: Say = lambda _: None) -> Report:
    """Measure what is wanted; ``say`` is told what is going on.

    Raises:
        SourceError: a folder holds no recordings, or pianos or performances are missing.
        ConfigError: a peer does not work.
    """
    report, policies = Report(), listener.manifest.thresholds
    # Missing programs are told of before minutes of work, not after.
    found, report.missing = peers.find(wanted.peers_from) if wanted.peers else ({}, [])
    if wanted.folder is not None:
        say(f"hearing the recordings in {wanted.folder}")
        takes = recordings(listener, wanted.folder)
        for take in takes:
            _add_rows(report, take.name, [take], policies)
        if len(takes) > 1:
            _add_rows(report, RECORDINGS, takes, policies)
        _add_rest(report, RECORDINGS, takes, policies, wanted, say)
        _add_peers(report, RECORDINGS, takes, found, say)
    say("rendering")
    drawn = excerpts(settings, wanted.excerpts)
    for condition in conditions.CONDITIONS if drawn else ():
        name = RENDERED + condition
        say(f"hearing: {name}")
        takes = rendered(listener, drawn, condition)
        _add_rows(report, name, takes, policies)
        if condition == conditions.CLEAN:
            _add_rest(report, name, takes, policies, wanted, say)
            if wanted.folder is None:  # large networks take minutes per minute: recordings say more
                _add_peers(report, name, takes, found, say)
    if drawn:
        say(f"hearing: {ONE_INSTRUMENT}")
        takes = rendered(listener, excerpts(settings, wanted.excerpts, installed=True), conditions.CLEAN)
        report.rows += [
            row(ONE_INSTRUMENT, policy, decide_in_turn(takes, thresholds))
            for policy, thresholds in policies.items()
        ]
    say("hearing what is no piano")
    report.false_notes = false_notes(listener, policies, SILENT_SECONDS)
    return report


def _add_rows(report: Report, name: str, takes: Sequence[Take], policies: Policies) -> None:
    report.rows += [
        row(name, policy, [decide(take, thresholds) for take in takes])
        for policy, thresholds in policies.items()
    ]


def _add_rest(
    report: Report,
    name: str,
    takes: Sequence[Take],
    policies: Policies,
    wanted: Wanted,
    say: Say,
) -> None:
    """Add parts and frontier."""
    if IN_PARTS in policies:
        judged = [decide(take, policies[IN_PARTS]) for take in takes]
        report.parts += [*by_register(name, judged), *by_chord(name, judged)]
    if wanted.frontier:
        say(f"sweeping thresholds: {name}")
        report.frontier += measure_frontier(name, takes, policies)


def _add_peers(report: Report, name: str, takes: Sequence[Take], found: Mapping[str, Path], say: Say) -> None:
    for peer, command in found.items():
        say(f"running {peer}: {name}")
        told = peers.transcribe(peer, command, takes)
        if name == RECORDINGS:
            report.peers += [row(one.take.name, peer, [one]) for one in told]
        if name != RECORDINGS or len(told) > 1:
            report.peers.append(row(name, peer, told))


def false_notes(listener: Listener, policies: Policies, seconds: float) -> list[FalseNotes]:
    """Return the notes told per 10 s of each sound of ``conditions.SOUNDS``."""
    result = []
    for sound in conditions.SOUNDS:
        heard = [listener.hear(samples) for samples in conditions.without_piano(sound, seconds)]
        for policy, thresholds in policies.items():
            told = sum(len(notes_of_events(track(e, Origin.AUDIO, thresholds))) for e in heard)
            result.append(FalseNotes(sound, policy, told / (len(heard) * seconds / 10)))
    return result


_KEPT: Final = (
    "f1",
    "f1_25ms",
    "f1_offset",
    "f1_velocity",
    "frame_f1",
    "velocity_r",
    "velocity_r_within",
    "delay_mean_ms",
    "delay_p95_ms",
)


def manifest_scores(rows: Sequence[Row], false: Sequence[FalseNotes] = ()) -> dict[str, float]:
    """Return ``material/policy/measure`` -> value for a manifest; measures that say nothing are left out."""
    scores = {f"{r.name}/{r.policy}/{name}": getattr(r, name) for r in rows for name in _KEPT}
    scores |= {f"{one.sound}/{one.policy}/{FALSE_NOTES}": one.per_10_s for one in false}
    return {name: round(float(value), 4) for name, value in scores.items() if math.isfinite(value)}


def write_scores(path: Path, report: Report) -> Manifest:
    """Put the scores into the manifest at ``path``, beside those of other material, and into its card."""
    from ivories_training import export

    manifest, new = load_manifest(path), manifest_scores(report.rows, report.false_notes)
    manifest = msgspec.structs.replace(manifest, scores=manifest.scores | new)
    export.finish(manifest, path.parent / manifest.file, audio_card(manifest))
    return manifest


def to_json(report: Report, manifest: Manifest) -> bytes:
    """Return everything measured, and of which file; what says nothing is null."""
    content: dict[str, Any] = {"model": manifest.name, "sha256": manifest.sha256, **asdict(report)}
    return msgspec.json.format(msgspec.json.encode(_finite(content)), indent=1)


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _finite(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(v) for v in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
