"""From fused evidence to note events, as soon as they are sure.

A note is committed at the first moment at which the posterior log-odds of its onset pass the threshold of the
horizon that has judged it: high while little is known, lower as more of the sound has been heard. The time it
reports is the time of the onset in the room, not of the decision.
"""

from typing import Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from ivories.clock import MILLISECOND, SECOND
from ivories.datatypes import (
    ONSET_PRIOR,
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
from ivories.fusion.evidence_grid import BIN_NS, EvidenceGrid, believed
from ivories.fusion.eye_record import EyeRecord
from ivories.fusion.health import SensorHealth, weighed
from ivories.fusion.key_filter import KeyFilter
from ivories.fusion.key_prior import KeyPrior, KeyPriorConfig
from ivories.fusion.onset_peaks import OnsetPeaks
from ivories.fusion.pedal import Pedal
from ivories.fusion.skew import CONFIDENT, SkewEstimator
from ivories.fusion.touch import Touch, TouchScale
from ivories.keyboard import KEYS

# Where both sensors are for an onset, the weaker one's first log-odds count for nothing, since they err
# together more often than independence says. What an eye needs on top to go first is less with a quick
# camera, which sees a stroke in several frames. All were found on validation scenes.
_SHARED_ERRORS: Final = np.array([1.5, 1.0, 0.5, 1.5], np.float32)  # by the ear's horizons so far
_EYE_FIRST: Final = 0.5
_QUICK_EYE_FIRST: Final = 0.0
_QUICK_NS: Final = 25 * MILLISECOND
_EVEN_PRIOR: Final = np.full(KEYS, ONSET_PRIOR, np.float32)
_STRUCK_AGAIN: Final = 0.5  # log-odds asked for on top by ear where the key is down: strings beat and wobble
_REPEAT_NS: Final = 400 * MILLISECOND  # not sooner: of strokes heard so soon after the last, most were struck
_STILL_DOWN: Final = 2.0  # and again where the eye sees that the key stayed down
_JUST_UP: Final = 2.5  # where it saw it come up so short a time ago that it can hardly be down again
_JUST_UP_NS: Final = 100 * MILLISECOND
_PEAK_BINS: Final = 3  # an onset's evidence spreads this many bins to both sides of its peak
_DOUBT: Final = 2.0  # a note is taken back when the last horizon stays this far below its threshold
_ROUNDED: Final = 0.01  # log-odds; more than rounding can make of a sum
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
        self.decide_by(settings)
        self._peaks = {origin: OnsetPeaks() for origin in Origin}
        self._skew = SkewEstimator(audio_video_skew_ns)
        self._health = SensorHealth()
        self._key_prior = None if settings.key_prior is None else KeyPrior(settings.key_prior)
        self._refractory = max(1, round(settings.refractory_ms * MILLISECOND / BIN_NS))
        self._grid = EvidenceGrid()
        self._filter = KeyFilter()
        self._pressed = np.zeros(KEYS, bool)
        self._since_ns = np.zeros(KEYS, np.int64)
        self._onset_ns = np.full(KEYS, -SECOND, np.int64)
        self._last_bin = np.full(KEYS, -(1 << 40), np.int64)
        self._velocity = np.zeros(KEYS, np.uint8)
        self._touch = Touch(touch)
        # key -> bin of an onset not yet judged by the last horizon, and whether the eye sent it first
        self._on_probation: dict[int, tuple[int, bool]] = {}
        self._eye = EyeRecord()
        self._pedal = Pedal()
        self._hearing_lag_ns = 0
        self._frame_ns = 0
        self._spoke_ns = dict.fromkeys(Origin, -SECOND)
        self._both = False  # sensors well and speaking, at the newest evidence

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
        asked = (settings.audio_thresholds, settings.video_thresholds)
        # By the horizons that have judged: where none has, no evidence is enough.
        self._by_ear, self._by_eye = (np.array((np.inf, *thresholds), np.float32) for thresholds in asked)
        self._least = min(map(min, asked))

    def push(self, evidence: KeyEvidence) -> list[NoteEvent]:
        """Take one sensor's evidence; return the events that it decides, offsets before onsets."""
        noticed = self._peaks[evidence.origin].push(evidence)
        self._skew.push(evidence, noticed)
        self._health.push(evidence, noticed)
        shift = self._skew.skew_ns if evidence.origin is Origin.VIDEO else 0
        t_ns = evidence.t_ns + shift
        self._spoke_ns[evidence.origin] = t_ns
        bins = self._grid.put(evidence, shift)
        were_both, self._both = self._both, self._both_speak(t_ns)
        if were_both and not self._both:  # what was left to two has to be judged again by one
            bins = range(bins.start - 2 * _SILENT_NS // BIN_NS, bins.stop)
        trusted = weighed(evidence, self._health.weights[evidence.origin])
        watched = self._filter.push(trusted, t_ns)
        self._touch.push(trusted)
        if evidence.origin is Origin.VIDEO:
            self._frame_ns = evidence.step_ns
        else:
            self._hearing_lag_ns = evidence.offset_horizon_ns
            if noticed and self._both:
                self._eye.hear(noticed, self._grid, np.where(self._pressed, self._onset_ns, t_ns))
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

    @property
    def _quick(self) -> bool:
        """Whether the camera is so quick that it sees a stroke in several frames."""
        return self._frame_ns <= _QUICK_NS

    def _thresholds(self, audio: NDArray[np.int8], video: NDArray[np.int8]) -> NDArray[np.float32]:
        """(n,) log-odds to pass, by the (n,) stages of both sensors; infinite where neither has judged."""
        by_eye = self._by_eye[video]
        if self._both:
            by_eye += np.float32((_QUICK_EYE_FIRST if self._quick else _EYE_FIRST) + self._eye.caution)
        return np.where(audio > 0, self._by_ear[audio], by_eye)

    def _stage(self, origin: Origin, bins: range) -> NDArray[np.int8]:
        """(n,) horizons of ``origin`` that have judged each bin; a dead sensor's word is none."""
        if self._health.weights[origin] > 0:
            return self._grid.stage(origin, bins)
        return np.zeros(len(bins), np.int8)

    def _told(self, bins: range, keys: NDArray[np.intp]) -> Float32:
        """(2, n, keys) log-likelihood ratios of eye and ear."""
        return self._grid.told(bins, keys, self._health.weights, beside=self._both)

    def _prior(self, t_ns: int) -> Float32:
        """(K,) log-odds of an onset before any evidence."""
        return _EVEN_PRIOR if self._key_prior is None else _EVEN_PRIOR + self._key_prior.bias(t_ns)

    def _log_odds(self, told: Float32, keys: NDArray[np.intp], audio: NDArray[np.int8], t_ns: int) -> Float32:
        """(n, keys) posterior log-odds of an onset; ``audio``: the (n,) stages of the ear."""
        eye, ear = believed(told, self._eye.blind[keys] if self._both else None)
        log_odds = ear + eye + np.float32(ONSET_PRIOR)
        if self._both:
            stage = np.minimum(audio, len(_SHARED_ERRORS) - 1)
            log_odds -= np.clip(np.minimum(ear, eye), 0, _SHARED_ERRORS[stage][:, None])
        if self._key_prior is not None:
            log_odds += self._key_prior.bias(t_ns)[keys]
        return np.asarray(log_odds, np.float32)

    def _held_back(self, watched: Bool, t_ns: int) -> Float32:
        """(K,) log-odds against another onset of keys that are down: what stayed down cannot strike."""
        by_ear = self._pressed & (t_ns - self._onset_ns >= _REPEAT_NS)
        held = by_ear * np.float32(_STRUCK_AGAIN if self._health.weights[Origin.AUDIO] > 0 else 0)
        held += _STILL_DOWN * (self._pressed & watched & (self._filter.pressed > 0))
        if self._both:
            held += _JUST_UP * (~self._pressed & watched & (t_ns - self._since_ns < _JUST_UP_NS))
        return np.asarray(held, np.float32)

    def _onsets(self, bins: range, watched: Bool, t_ns: int) -> list[NoteEvent]:
        bins = self._grid.clip(range(bins.start - _PEAK_BINS, bins.stop + _PEAK_BINS))
        if not bins:
            return []
        # Two quick looks at what the log-odds are at most, so that they are worked out for few keys only.
        most = self._grid.most(bins, self._health.weights, beside=self._both)
        keys = (most + self._prior(t_ns) > self._least - _ROUNDED).nonzero()[0]
        if not len(keys):
            return []
        audio, video = self._stage(Origin.AUDIO, bins), self._stage(Origin.VIDEO, bins)
        needed = self._thresholds(audio, video)[:, None]
        # Nothing before a key's last onset either: evidence of the one before it is still on the grid.
        free = np.arange(bins.start, bins.stop)[:, None] - self._last_bin[keys] > self._refractory
        told = self._told(bins, keys)
        most_by_bin = np.maximum(told, 0).sum(axis=0) + self._prior(t_ns)[keys]
        possible = (free & (most_by_bin > needed - _ROUNDED)).any(axis=0)
        keys, free, told = keys[possible], free[:, possible], told[:, :, possible]
        if not len(keys):
            return []
        log_odds = self._log_odds(told, keys, audio, t_ns) - self._held_back(watched, t_ns)[keys]
        margin = np.where(free, log_odds - needed, np.float32(-np.inf))
        heard = audio > 0
        events: list[NoteEvent] = []
        for column in np.flatnonzero((margin >= 0).any(axis=0)):
            key = int(keys[column])
            sure = margin[:, column] >= 0
            eye_first = self._both and not sure[heard].any()
            by_bin = log_odds[:, column]
            if self._both and not eye_first:
                sure &= heard  # the ear knows the moment better
                by_bin = np.where(heard, by_bin, -np.inf)
            row = int(np.where(sure, by_bin, -np.inf).argmax())
            onset_ns = _middle_ns(by_bin, row, bins.start)
            seen = self._both and self._grid.of(Origin.VIDEO, bins)[:, key].any()
            if not seen or not self._waits(onset_ns):
                events += self._start(key, onset_ns, float(log_odds[row, column]), t_ns, eye_first)
        return events

    def _waits(self, onset_ns: int) -> bool:
        """Whether a note of both senses has still to wait for its sound."""
        wait_ms = self._settings.quick_wait_ms if self._quick else self._settings.wait_ms
        return wait_ms > 0 and self._spoke_ns[Origin.AUDIO] < onset_ns + round(wait_ms * MILLISECOND)

    def _start(self, key: int, onset_ns: int, log_odds: float, t_ns: int, eye_first: bool) -> list[NoteEvent]:
        events: list[NoteEvent] = []
        # Back-dating stops short of the key's last event, so that its events stay in order.
        onset_ns = max(onset_ns, int(self._since_ns[key]) + MILLISECOND)
        if self._pressed[key]:
            events.append(self._offset(key, onset_ns - MILLISECOND // 2, t_ns, 1.0))
        velocity = self._touch.strike(key, onset_ns)
        self._pressed[key] = True
        self._since_ns[key] = self._onset_ns[key] = onset_ns
        self._velocity[key] = velocity
        self._last_bin[key] = onset_ns // BIN_NS
        self._on_probation[key] = onset_ns // BIN_NS, eye_first
        self._filter.start(key)
        if self._key_prior is not None:
            self._key_prior.played(key, onset_ns)
        confidence = float(1 / (1 + np.exp(-log_odds)))
        events.append(NoteEvent(NoteKind.ONSET, key, velocity, onset_ns, t_ns, confidence))
        return events

    def _retractions(self, t_ns: int) -> list[NoteEvent]:
        events: list[NoteEvent] = []
        if not self._on_probation:
            return events
        last_stage = len(self._settings.audio_thresholds)
        hears = self._health.weights[Origin.AUDIO] > 0
        for key, (time_bin, eye_first) in list(self._on_probation.items()):
            bins = self._grid.clip(range(time_bin - _PEAK_BINS, time_bin + _PEAK_BINS + 1))
            heard = hears and self._grid.least_stage(Origin.AUDIO, bins) >= last_stage
            if len(bins) <= 2 * _PEAK_BINS or not heard:
                if t_ns - time_bin * BIN_NS > SECOND // 2:
                    del self._on_probation[key]  # no ear has judged it: the eye's word stands
                continue
            del self._on_probation[key]
            one = np.array((key,))
            audio = self._stage(Origin.AUDIO, bins)
            best = float(self._log_odds(self._told(bins, one), one, audio, t_ns).max())
            doubtful = best < self._settings.audio_thresholds[-1] - _DOUBT
            if eye_first:
                self._eye.judge_early(taken_back=doubtful)
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


def _middle_ns(log_odds: NDArray[np.float32], row: int, first_bin: int) -> int:
    """Return the centroid of the posterior around ``row``: finer than a bin, and the middle of a plateau."""
    first = max(0, row - _PEAK_BINS)
    near = log_odds[first : row + _PEAK_BINS + 1]
    weight = np.exp(np.minimum(near - log_odds[row], 0))
    centre = float((weight * (np.arange(len(near)) + first_bin + first + 0.5)).sum() / weight.sum())
    return round(centre * BIN_NS)
