"""The part behind the networks: evidence in, notes out of every sink."""

import contextlib
import logging
from collections.abc import Mapping, Sequence
from typing import Final

from ivories.clock import SECOND
from ivories.controls import Controls, Request
from ivories.datatypes import KeyEvidence, KeyState, NoteEvent, Origin
from ivories.errors import CommandError, SinkError
from ivories.fusion.touch import TouchScale
from ivories.fusion.tracker import Tracker, TrackerSettings
from ivories.runtime.timing import StageTimes
from ivories.sinks.base import Discardable, Guarded, Sink, Steering

_log = logging.getLogger(__name__)

_SENSORS: Final = {Origin.AUDIO: "microphone", Origin.VIDEO: "camera"}
_UNWELL, _WELL = 0.3, 0.7  # weights, apart so that the log does not chatter
_VOICE, _PIANO = 0.02, 0.5  # probabilities of a piano, as far apart for the same reason
_TOLD_NS: Final = 60 * SECOND  # a room where people talk and play in turn need not tell of every turn


class Instrument:
    """Fusion, tracking and sinks in one place, owned by one thread.

    A sink that fails is reported once and then left out; the others go on. ``finish`` ends all notes.

    Args:
        tracker: with the settings of ``policy``.
        sinks: where the notes go.
        times: where the durations are entered.
        choices: settings by policy and dynamics, to choose from while it plays.
        policy: the one in force.
        dynamics: those in force.
    """

    def __init__(
        self,
        tracker: Tracker,
        sinks: Sequence[Sink],
        times: StageTimes,
        choices: Mapping[tuple[str, str], TrackerSettings] | None = None,
        policy: str = "",
        dynamics: str = "",
    ) -> None:
        self._tracker = tracker
        self._sinks = list(sinks)
        self._guarded = [sink for sink in sinks if isinstance(sink, Guarded)]
        self._times = times
        self._now_ns = 0
        self._unwell: set[Origin] = set()
        self._piano = 1.0  # probability that it is one that the microphone hears
        self._voice = False
        self._voice_told_ns = -_TOLD_NS
        self.failed: list[str] = []
        """One sentence per sink that was given up."""
        self._choices = dict(choices or {})
        policies, all_dynamics = ({names[place]: None for names in self._choices} for place in (0, 1))
        self.controls = Controls(
            policy, tuple(policies), self._health,
            dynamics=dynamics, all_dynamics=tuple(all_dynamics) if len(all_dynamics) > 1 else (),
        )  # fmt: skip
        """Through which others ask for something while it plays."""
        for sink in sinks:
            if isinstance(sink, Steering):
                sink.attach(self.controls)

    @property
    def state(self) -> KeyState:
        """Keys as they are now."""
        return self._tracker.state

    @property
    def measured_skew_ns(self) -> int | None:
        """What to add to video times to get audio times; None while there is no sure measurement."""
        return self._tracker.measured_skew_ns

    @property
    def touch(self) -> TouchScale | None:
        """The scale of velocities as learned by now; None before the first note was heard."""
        return self._tracker.touch

    def push(self, evidence: KeyEvidence) -> list[NoteEvent]:
        """Take one sensor's evidence, send what it decides, return it."""
        self._obey()
        self._now_ns = max(self._now_ns, evidence.t_ns)
        if evidence.origin is Origin.AUDIO:
            self._piano = evidence.piano
        with self._times.measure("fusion and tracker"):
            events = self._tracker.push(evidence)
        self._tell_health(evidence.origin)
        self._send(events)
        return events

    def beat(self) -> None:
        """Tell the sinks that want to know that the main loop turns, and do what was asked for."""
        self._obey()
        for sink in self._guarded:
            sink.beat()

    def panic(self) -> None:
        """Let every key and the pedal go on every sink, whatever they hold."""
        self._send(self._tracker.release_all(self._now_ns))
        for sink in tuple(self._sinks):
            try:
                sink.release_all()
            except SinkError as error:
                self._give_up(sink, error)

    def decide_by(self, *, policy: str | None = None, dynamics: str | None = None) -> None:
        """Decide by ``policy`` and ``dynamics`` from now on; None: as before.

        Raises:
            CommandError: there is no such policy, or no dynamics to choose.
        """
        controls = self.controls
        if policy is not None and policy not in controls.policies:
            known = ", ".join(controls.policies) or "none"
            raise CommandError(f"no policy {policy!r} for the networks that are loaded (known: {known})")
        if dynamics is not None and dynamics not in controls.all_dynamics:
            known = ", ".join(controls.all_dynamics) or "none, as they take both senses"
            raise CommandError(f"no dynamics {dynamics!r} to choose here (known: {known})")
        chosen = (policy or controls.policy, dynamics or controls.dynamics)
        self._tracker.decide_by(self._choices[chosen])
        controls.policy, controls.dynamics = chosen
        _log.info("deciding by the policy %s, dynamics %s", *chosen)

    def finish(self) -> list[NoteEvent]:
        """End every note, as at the end of a take, and close the sinks.

        Raises:
            SinkError: a sink could not complete its work; the message lists all.
        """
        events = self._tracker.release_all(self._now_ns)
        self._send(events)
        for sink in self._sinks:
            try:
                sink.close()
            except SinkError as error:
                self.failed.append(str(error))
        self._sinks = []
        if self.failed:
            raise SinkError("; ".join(self.failed))
        return events

    def abandon(self) -> None:
        """Release every key on every sink after a failure and leave no half-written file."""
        for sink in self._sinks:
            try:
                sink.release_all()
                _leave(sink)
            except Exception:  # the next sink must still be released
                _log.exception("%s could not be released", sink.name)
        self._sinks = []

    def _obey(self) -> None:
        for request in self.controls.due():
            try:
                self._do(request)
            except CommandError as error:
                request.done(str(error))
            else:
                request.done("")

    def _do(self, request: Request) -> None:
        if request.name == "panic":
            self.panic()
        elif request.name == "take":
            raise CommandError("nothing is recorded here: set recorder.minutes above 0 and restart Ivories")
        elif request.name == "policy":
            self.decide_by(policy=request.value)
        else:
            self.decide_by(dynamics=request.value)

    def _health(self) -> dict[str, float]:
        weights = self._tracker.weights
        weights[Origin.AUDIO] = min(weights[Origin.AUDIO], self._piano)
        return {_SENSORS[origin]: weight for origin, weight in weights.items()}

    def _tell_voice(self) -> None:
        """Log that the ear hears no piano, seldom, and that it does again."""
        if self._piano < _VOICE and not self._voice and self._now_ns - self._voice_told_ns >= _TOLD_NS:
            self._voice, self._voice_told_ns = True, self._now_ns
            _log.info(
                "the microphone hears a voice or the like, not a piano: until it does, only notes that it is "
                "surest of count"
            )
        elif self._piano > _PIANO and self._voice:
            self._voice = False
            _log.info("the microphone hears a piano again")

    def _tell_health(self, origin: Origin) -> None:
        self._tell_voice()
        if origin is Origin.AUDIO and self._piano < _PIANO:
            return  # nothing is wrong with it, though beside a camera it counts little meanwhile
        weight = self._tracker.weights[origin]
        if weight < _UNWELL and origin not in self._unwell:
            self._unwell.add(origin)
            _log.warning("the %s tells nothing to go by and counts no more", _SENSORS[origin])
        elif weight > _WELL and origin in self._unwell:
            self._unwell.discard(origin)
            _log.info("the %s counts again", _SENSORS[origin])

    def _send(self, events: Sequence[NoteEvent]) -> None:
        if not events:
            return
        state = self._tracker.state
        with self._times.measure("sinks"):
            for sink in tuple(self._sinks):
                try:
                    for event in events:
                        sink.send(event, state)
                except SinkError as error:
                    self._give_up(sink, error)

    def _give_up(self, sink: Sink, error: SinkError) -> None:
        _log.error("%s is given up: %s", sink.name, error)
        self.failed.append(str(error))
        self._sinks.remove(sink)
        with contextlib.suppress(SinkError):
            _leave(sink)


def _leave(sink: Sink) -> None:
    """Close a sink whose work is not complete: no file appears under a final name."""
    if isinstance(sink, Discardable):
        sink.discard()
    else:
        sink.close()
