"""``ivories bench --latency``: takes through the real threads at their own speed, and what each step took.

The recording is played from memory with the clock of real sensors; its notes go to a MIDI node and an MQTT
broker on this computer, and programs at the far ends note when they arrive.
"""

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from ivories.app import Application
from ivories.clock import MILLISECOND, SECOND, now_ns
from ivories.datatypes import KeyState, NoteEvent, NoteKind, Origin
from ivories.errors import BackendError
from ivories.far_ends import MidiFarEnd, MqttFarEnd, latencies_ms
from ivories.keyboard import pitch_of_key
from ivories.live import Live
from ivories.notes import NOTE_DTYPE, matched_pairs, read_notes
from ivories.replay import Material, ReplayedPictures, ReplayedSound, decode
from ivories.sinks.base import Sink
from ivories.transcribe import Recording

_LEAD_NS: Final = SECOND  # from here to the first sample: threads start meanwhile
_NOMINAL_S: Final = 0.1  # length of a note where only onsets are compared
_MIDI, _MQTT = "MIDI bytes", "MQTT subscriber"


@dataclass
class Mark:
    """A sink that notes when it is reached, which as the first of all is the moment of decision."""

    name: str
    live: Live | None = None
    sent: list[tuple[int, NoteEvent]] = field(default_factory=list)
    """(CLOCK_MONOTONIC nanoseconds, event)"""
    origins: list[Origin | None] = field(default_factory=list)
    """Whose evidence decided each event"""

    def send(self, event: NoteEvent, state: KeyState) -> None:  # noqa: ARG002  the contract's argument
        """Note the time."""
        self.sent.append((now_ns(), event))
        self.origins.append(None if self.live is None else self.live.passing)

    def release_all(self) -> None:
        """Nothing sounds here."""

    def close(self) -> None:
        """Nothing to free."""


@dataclass(frozen=True)
class Played:
    """What one take taught: milliseconds by path and step."""

    steps: dict[tuple[str, str], NDArray[np.float64]]
    """(path, step) -> (n,): of every block, frame or event"""
    onsets: dict[tuple[str, str], NDArray[np.float64]]
    """(path, where) -> (n,): from the sound of a right note to there; negative = before it sounded"""
    right: int
    """Notes that the take's truth knows; without a truth, all"""
    others: int
    """Notes that it does not know"""
    dropped: dict[str, int]
    """What a thread could not keep up with, by mailbox"""
    missing: list[str]
    """One sentence for each thing that could not be measured"""


def play(app: Application, recording: Recording, truth: Path | None) -> Played:
    """Play ``recording`` once; it takes as long as it lasts.

    Args:
        app: with the networks of the senses that the recording has.
        recording: prepared, see ``transcribe.prepare``.
        truth: MIDI file with the notes that sound in it.

    Raises:
        SourceError: a file cannot be read.
        SinkError: the MIDI port of the measurement cannot be made.
    """
    material = decode(
        recording.audio.path if recording.audio else None,
        recording.video.path if recording.video else None,
        block_ms=app.config.audio.period_ms,
    )
    notes = read_notes(truth) if truth is not None and truth.exists() else None
    missing = (
        [] if notes is not None else ["no MIDI file beside the take: onsets are those that Ivories estimated"]
    )
    decided = Mark("decided")
    with contextlib.ExitStack() as stack:
        ends: dict[str, Any] = {_MIDI: MidiFarEnd()}
        stack.callback(ends[_MIDI].sink.close)
        try:
            ends[_MQTT] = MqttFarEnd()
            stack.callback(ends[_MQTT].sink.close)
        except BackendError as error:
            missing.append(f"MQTT is not measured: {error}")
        sinks: list[Sink] = [decided]
        sinks += [end.sink for end in ends.values()]
        epoch_ns = now_ns() + _LEAD_NS
        live = _live(app, recording, material, sinks, epoch_ns)
        decided.live = live
        live.run()
        arrived = {where: end.finish() for where, end in ends.items()}
    late = {where: np.array(latencies_ms(decided.sent, words)) for where, words in arrived.items()}
    steps = _steps(app, live, sinks, decided, late)
    chosen, from_ns = _right_onsets(decided, notes, epoch_ns)
    onsets = {}
    for path in ("audio", "video"):
        of_path = [(i, t) for i, t in zip(chosen, from_ns, strict=True) if decided.origins[i] == path]
        for where, values in {"decided": np.zeros(len(decided.sent)), **late}.items():
            total = np.array([(decided.sent[i][0] - t) / MILLISECOND + values[i] for i, t in of_path])
            onsets[path, where] = total[~np.isnan(total)]
    count = sum(event.kind is NoteKind.ONSET for _, event in decided.sent)
    return Played(steps, onsets, len(chosen), count - len(chosen), live.dropped, missing)


def _live(
    app: Application, recording: Recording, material: Material, sinks: list[Sink], epoch_ns: int
) -> Live:
    return Live(
        app,
        app.instrument(sinks, recording.calibration),
        (lambda: ReplayedSound(material, realtime=True, epoch_ns=epoch_ns)) if material.blocks else None,
        (lambda: ReplayedPictures(material, realtime=True, epoch_ns=epoch_ns)) if material.frames else None,
        recording.calibration,
    )


_ORDER: Final = ("capture", "waits for the network", "front end and network", "waits for fusion")


def _steps(
    app: Application,
    live: Live,
    sinks: Sequence[Sink],
    decided: Mark,
    late: dict[str, NDArray[np.float64]],
) -> dict[tuple[str, str], NDArray[np.float64]]:
    passage, times = live.passage.newest_ms(), app.times.newest_ms()
    steps = {
        (path, step): passage[f"{path}: {step}"]
        for path in ("audio", "video")
        for step in _ORDER
        if f"{path}: {step}" in passage
    }
    for stage in ("fusion and tracker", "sinks"):
        if stage in times:
            steps["both", stage] = times[stage]
    for name in (sink.name for sink in sinks if sink is not decided):
        gone = [
            (event.left_ns[name] - t_ns) / MILLISECOND
            for t_ns, event in decided.sent
            if name in event.left_ns
        ]
        steps["both", f"decided -> left {name}"] = np.array(gone)
    for where, values in late.items():
        steps["both", f"decided -> {where}"] = values[~np.isnan(values)]
    return {key: values for key, values in steps.items() if len(values)}


def _right_onsets(
    decided: Mark, truth: "NDArray[np.void] | None", epoch_ns: int
) -> tuple[list[int], list[int]]:
    """Return the indices of the right onsets among ``decided.sent``, and when each sounded."""
    onsets = [i for i in _standing(decided) if decided.sent[i][1].kind is NoteKind.ONSET]
    if truth is None:
        return onsets, [decided.sent[i][1].t_ns for i in onsets]
    found = np.array(
        [
            ((event.t_ns - epoch_ns) / SECOND, (event.t_ns - epoch_ns) / SECOND + _NOMINAL_S,
             pitch_of_key(event.key), event.velocity)
            for event in (decided.sent[i][1] for i in onsets)
        ],
        NOTE_DTYPE,
    )  # fmt: skip
    pairs = matched_pairs(truth, found)
    return (
        [onsets[j] for j in pairs[:, 1]],
        [epoch_ns + round(float(truth["onset_s"][i]) * SECOND) for i in pairs[:, 0]],
    )


def _standing(decided: Mark) -> Iterator[int]:
    """Yield the indices of all events but the onsets that were taken back."""
    started: dict[int, int] = {}
    taken_back = set()
    for i, (_, event) in enumerate(decided.sent):
        if event.kind is NoteKind.ONSET:
            started[event.key] = i
        elif event.retracts and event.key in started:
            taken_back.add(started[event.key])
    return (i for i in range(len(decided.sent)) if i not in taken_back)
