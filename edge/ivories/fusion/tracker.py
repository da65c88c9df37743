"""From fused evidence to note events, as soon as they are sure.

A note is committed at the first moment at which the posterior log-odds of its onset pass the threshold of the
horizon that has judged it: high while little is known, lower as more of the sound has been heard. The time it
reports is the time of the onset in the room, not of the decision.
"""

from typing import Final

import msgspec
import numpy as np

from ivories.clock import MILLISECOND, SECOND
from ivories.datatypes import (
    Bool,
    Float32,
    KeyEvidence,
    KeyPosterior,
    KeyState,
    NoteEvent,
    NoteKind,
    Origin,
    read_only,
)  # fmt: skip
from ivories.fusion.evidence_grid import BIN_NS
from ivories.fusion.health import SensorHealth, weighed
from ivories.fusion.key_filter import KeyFilter
from ivories.fusion.key_prior import KeyPrior, KeyPriorConfig
from ivories.fusion.onset_judge import Candidate, OnsetJudge
from ivories.fusion.onset_peaks import OnsetPeaks
from ivories.fusion.pedal import Pedal
from ivories.fusion.skew import CONFIDENT, SkewEstimator
from ivories.fusion.touch import Touch, TouchScale
from ivories.keyboard import KEYS

_QUICK_NS: Final = 25 * MILLISECOND  # a camera with shorter frames sees a stroke in several
_STRUCK_AGAIN: Final = 0.5  # log-odds asked for on top by ear where the key is down: strings beat and wobble
_REPEAT_NS: Final = 400 * MILLISECOND  # not sooner: of strokes heard so soon after the last, most were struck
_STILL_DOWN: Final = 2.0  # and again where the eye sees that the key stayed down
_JUST_UP: Final = 2.5  # where it saw it come up so short a time ago that it can hardly be down again
_JUST_UP_NS: Final = 100 * MILLISECOND
_DOUBT: Final = 2.0  # a note is taken back when the last horizon stays this far below its threshold
_RELEASE: Final = 1.5  # posterior log-odds of ``pressed`` below which a key counts as up
_HOLD_NS: Final = 80 * MILLISECOND  # the frame evidence needs this long to follow an onset
_WATCHED_HOLD_NS: Final = 20 * MILLISECOND  # that of an eye
_LATE_SIGHT_NS: Final = 25 * MILLISECOND  # so long after a release an eye is sure of it
_SILENT_NS: Final = 200 * MILLISECOND  # a sensor that says nothing for so long is gone, or stands still
FAITHFUL_MS: Final = 26.0
"""For so much of its sound a note waits, where notes do: hardly anything is known of its velocity before"""


class TrackerSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How sure is sure enough, and what a note may look like."""

    audio_thresholds: tuple[float, ...]
    """Posterior log-odds to commit at, per audio horizon (ascending)."""
    video_thresholds: tuple[float, ...]
    """The same per video horizon, for moments that no sound has judged yet."""
    refractory_ms: float = 60.0
    """Two onsets of one key are at least this far apart."""
    minimum_duration_ms: float = 30.0
    retract: bool = True
    """Take a note back when the last horizon finds that it never was."""
    pedal: bool = True
    """Send the sustain pedal."""
    wait_ms: float = FAITHFUL_MS
    """Where eye and ear both judge a key, its notes wait for so much of their sound, however sure they are
    before: for their velocity, and because one plays with equally late notes more easily than with early ones
    and late ones."""
    quick_wait_ms: float = 0.0
    """The same with a camera of 40 frames per second or more."""
    key_prior: KeyPriorConfig | None = None
    """Favour the notes of the musical key; None = treat all alike."""


class Tracker:
    """Stage from KeyEvidence of any sensor to NoteEvents. One sensor alone works, two work better.

    Args:
        settings: when to commit.
        audio_video_skew_ns: added to video times; where both sensors notice enough, it follows them.
        touch: the scale of velocities that was learned before; None for an unknown instrument.
    """

    def __init__(
        self, settings: TrackerSettings, audio_video_skew_ns: int = 0, touch: TouchScale | None = None
    ) -> None:
        self._peaks = {origin: OnsetPeaks() for origin in Origin}
        self._skew = SkewEstimator(audio_video_skew_ns)
        self._health = SensorHealth()
        self._key_prior = None if settings.key_prior is None else KeyPrior(settings.key_prior)
        self._judge = OnsetJudge(self._health, self._key_prior)
        self.decide_by(settings)
        self._refractory = max(1, round(settings.refractory_ms * MILLISECOND / BIN_NS))
        self._filter = KeyFilter()
        self._pressed = np.zeros(KEYS, bool)
        self._since_ns = np.zeros(KEYS, np.int64)
        self._onset_ns = np.full(KEYS, -SECOND, np.int64)
        self._last_bin = np.full(KEYS, -(1 << 40), np.int64)
        self._velocity = np.zeros(KEYS, np.uint8)
        self._touch = Touch(touch)
        # key -> bin of an onset not yet judged by the last horizon, and whether the eye sent it first
        self._on_probation: dict[int, tuple[int, bool]] = {}
        self._pedal = Pedal()
        self._hearing_lag_ns = 0
        self._spoke_ns = dict.fromkeys(Origin, -SECOND)

    @property
    def delay_ns(self) -> int:
        """The tracker adds none of its own: it decides on the evidence that is there."""
        return 0

    @property
    def state(self) -> KeyState:
        """Keys as they are now."""
        return KeyState(
            read_only(self._pressed.copy()),
            read_only(self._since_ns.copy()),
            read_only(self._velocity.copy()),
        )

    @property
    def measured_skew_ns(self) -> int | None:
        """The audio-video skew in use, once it was measured with confidence; None before."""
        return self._skew.skew_ns if self._skew.confidence >= CONFIDENT else None

    @property
    def touch(self) -> TouchScale | None:
        """The scale of velocities as learned by now; None before the first note was heard."""
        return self._touch.scale

    @property
    def weights(self) -> dict[Origin, float]:
        """Health of each sensor as it counts now, 0..1; an absent sensor has 0."""
        return dict(self._health.weights)

    def posterior(self, t_ns: int) -> KeyPosterior:
        """Probabilities after the evidence so far."""
        pressed, sounding = (
            read_only((1 / (1 + np.exp(-x))).astype(np.float32))
            for x in (self._filter.pressed, self._filter.sounding)
        )
        return KeyPosterior(pressed, sounding, t_ns)

    def reset(self) -> None:
        """Forget everything but skew and scale of velocities; keys count as up without an event."""
        self.__init__(self._settings, self._skew.skew_ns, self.touch)  # type: ignore[misc]

    def decide_by(self, settings: TrackerSettings) -> None:
        """Use ``settings``' thresholds and options from now on; what is known of the keys stays."""
        self._settings = settings
        self._judge.decide_by(settings.audio_thresholds, settings.video_thresholds)

    def push(self, evidence: KeyEvidence) -> list[NoteEvent]:
        """Take one sensor's evidence; return the events that it decides, offsets before onsets."""
        noticed = self._peaks[evidence.origin].push(evidence)
        self._skew.push(evidence, noticed)
        self._health.push(evidence, noticed)
        shift = self._skew.skew_ns if evidence.origin is Origin.VIDEO else 0
        t_ns = evidence.t_ns + shift
        self._spoke_ns[evidence.origin] = t_ns
        judge = self._judge
        bins = judge.grid.put(evidence, shift)
        were_both, judge.both = judge.both, self._both_speak(t_ns)
        if were_both and not judge.both:  # what was left to two has to be judged again by one
            bins = range(bins.start - 2 * _SILENT_NS // BIN_NS, bins.stop)
        trusted = weighed(evidence, self._health.weights[evidence.origin])
        watched = self._filter.push(trusted, t_ns)
        self._touch.push(trusted)
        if evidence.origin is Origin.VIDEO:
            judge.quick = evidence.step_ns <= _QUICK_NS
        else:
            self._hearing_lag_ns = evidence.offset_horizon_ns
            if noticed and judge.both:
                judge.eye.hear(noticed, judge.grid, np.where(self._pressed, self._onset_ns, t_ns))
        events: list[NoteEvent] = []
        if trusted.pedal is not None and self._settings.pedal:
            events += self._pedal.push(trusted.pedal, t_ns)
        events += self._retractions(t_ns)
        events += self._releases(watched, t_ns)
        events += self._onsets(bins, watched, t_ns)
        return events

    def release_all(self, t_ns: int) -> list[NoteEvent]:
        """End every note and lift the pedal, as at the end of a take."""
        events = [self._offset(int(key), t_ns, t_ns, 1.0) for key in np.flatnonzero(self._pressed)]
        return events + self._pedal.lift(t_ns)

    def _both_speak(self, t_ns: int) -> bool:
        """Whether both sensors are well and have spoken of late; one that was unplugged just now has not."""
        return min(self._health.weights.values()) > 0 and t_ns - min(self._spoke_ns.values()) < _SILENT_NS

    def _held_back(self, watched: Bool, t_ns: int) -> Float32:
        """(K,) log-odds against another onset of keys that are down: what stayed down cannot strike."""
        by_ear = self._pressed & (t_ns - self._onset_ns >= _REPEAT_NS)
        held = by_ear * np.float32(_STRUCK_AGAIN if self._health.weights[Origin.AUDIO] > 0 else 0)
        held += _STILL_DOWN * (self._pressed & watched & (self._filter.pressed > 0))
        if self._judge.both:
            held += _JUST_UP * (~self._pressed & watched & (t_ns - self._since_ns < _JUST_UP_NS))
        return np.asarray(held, np.float32)

    def _onsets(self, bins: range, watched: Bool, t_ns: int) -> list[NoteEvent]:
        # Nothing before a key's last onset either: evidence of the one before it is still on the grid.
        free_from = self._last_bin + self._refractory + 1
        found = self._judge.candidates(bins, t_ns, free_from, lambda: self._held_back(watched, t_ns))
        events: list[NoteEvent] = []
        for onset in found:
            if not onset.seen or not self._waits(onset.onset_ns):
                events += self._start(onset, t_ns)
        return events

    def _waits(self, onset_ns: int) -> bool:
        """Whether a note of both senses has still to wait for its sound."""
        wait_ms = self._settings.quick_wait_ms if self._judge.quick else self._settings.wait_ms
        return wait_ms > 0 and self._spoke_ns[Origin.AUDIO] < onset_ns + round(wait_ms * MILLISECOND)

    def _start(self, onset: Candidate, t_ns: int) -> list[NoteEvent]:
        key, events = onset.key, list[NoteEvent]()
        # Back-dating stops short of the key's last event, so that its events stay in order.
        onset_ns = max(onset.onset_ns, int(self._since_ns[key]) + MILLISECOND)
        if self._pressed[key]:
            events.append(self._offset(key, onset_ns - MILLISECOND // 2, t_ns, 1.0))
        velocity = self._touch.strike(key, onset_ns)
        self._pressed[key] = True
        self._since_ns[key] = self._onset_ns[key] = onset_ns
        self._velocity[key] = velocity
        self._last_bin[key] = onset_ns // BIN_NS
        self._on_probation[key] = onset_ns // BIN_NS, onset.eye_first
        self._filter.start(key)
        if self._key_prior is not None:
            self._key_prior.played(key, onset_ns)
        confidence = float(1 / (1 + np.exp(-onset.log_odds)))
        events.append(NoteEvent(NoteKind.ONSET, key, velocity, onset_ns, t_ns, confidence))
        return events

    def _retractions(self, t_ns: int) -> list[NoteEvent]:
        events: list[NoteEvent] = []
        for key, (time_bin, eye_first) in list(self._on_probation.items()):
            log_odds = self._judge.doubts(key, time_bin, t_ns)
            if log_odds is None:
                if t_ns - time_bin * BIN_NS > SECOND // 2:
                    del self._on_probation[key]  # no ear has judged it: the eye's word stands
                continue
            del self._on_probation[key]
            doubtful = log_odds < self._settings.audio_thresholds[-1] - _DOUBT
            if eye_first:
                self._judge.eye.judge_early(taken_back=doubtful)
            if self._settings.retract and doubtful and self._pressed[key]:
                events.append(self._offset(key, t_ns, t_ns, 1.0, retracts=True))
        return events

    def _releases(self, watched: Bool, t_ns: int) -> list[NoteEvent]:
        down = self._pressed.nonzero()[0]
        if not len(down):
            return []
        log_odds = self._filter.pressed[down]
        if log_odds.min() >= _RELEASE:
            return []
        early = t_ns - self._onset_ns[down] <= np.where(watched[down], _WATCHED_HOLD_NS, _HOLD_NS)
        if early.any():
            self._filter.pressed[down[early]] = np.maximum(log_odds[early], 1.0)
        keys = down[~early & (log_odds < _RELEASE)]
        if not len(keys):
            return []
        shortest = round(self._settings.minimum_duration_ms * MILLISECOND)
        # The ear knows of a release only some time after it; the eye sees it happen.
        released_ns = t_ns - np.where(watched, _LATE_SIGHT_NS, self._hearing_lag_ns)
        ends_ns = np.maximum(released_ns, self._onset_ns + shortest)
        confidence = 1 / (1 + np.exp(self._filter.pressed))
        return [self._offset(int(key), int(ends_ns[key]), t_ns, float(confidence[key])) for key in keys]

    def _offset(
        self, key: int, at_ns: int, t_ns: int, confidence: float, *, retracts: bool = False
    ) -> NoteEvent:
        self._pressed[key] = False
        self._since_ns[key] = at_ns
        self._filter.stop(key)
        self._on_probation.pop(key, None)
        if retracts:
            self._touch.take_back(key)
        return NoteEvent(NoteKind.OFFSET, key, 64, at_ns, t_ns, confidence, retracts)
