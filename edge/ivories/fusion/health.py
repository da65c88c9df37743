"""How far each sensor can be trusted: 1 = sound, 0 = dead. A dead one must not overrule the other.

Two kinds of reason. A sensor's own data may show that it is unwell: `MicrophoneHealth`, `CameraHealth`; its
evidence carries their weight. Or the other sensor shows it: what the one plainly notices, the other never
does, `Agreement`. `SensorHealth` brings both together. An ear may be well and yet hear something else than a
piano: beside a camera that is well it then counts nothing, alone it goes on with what it is sure of.
"""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from ivories.clock import SECOND
from ivories.datatypes import AudioBlock, Bool, KeyEvidence, Origin, RectifiedStrip, read_only
from ivories.fusion.onset_peaks import Onset
from ivories.keyboard import KEYS

_SILENT_NS: Final = SECOND  # of samples that are exactly 0: a muted or unplugged microphone
_FULL_SCALE: Final = 0.99
_FLAT_TOPS: Final = 3  # samples at full scale that make a block clipped
_CLIPPED_SHARE: Final = (0.6, 0.1)  # of the last second's blocks: least weight, full weight
_CLIPPED_WEIGHT: Final = 0.4  # clipped sound still tells of onsets
_LOOK_NS: Final = SECOND // 5
_CONTRAST: Final = (6.0, 20.0)  # luma levels between white and black keys: nothing to see, all to see
_SEEN_SHARE: Final = (0.05, 0.2)  # of the keys in the picture that hands and covers leave
_DRIFT: Final = (0.15, 0.08)  # white-key widths: off its place, in its place
_A_PIANO: Final = (0.02, 0.2)  # probability that it is one: what is heard tells nothing, tells all


def _ramp(value: float, zero_at: float, one_at: float) -> float:
    return min(max((value - zero_at) / (one_at - zero_at), 0.0), 1.0)


def weighted(evidence: Sequence[KeyEvidence], weight: float) -> list[KeyEvidence]:
    """Return ``evidence`` of a sensor that can be trusted so far."""
    return [item if weight >= 1 else replace(item, weight=weight) for item in evidence]


def piano_weight(evidence: KeyEvidence) -> float:
    """Return how much the sound counts as that of a piano, 0..1."""
    return _ramp(evidence.piano, *_A_PIANO)


class MicrophoneHealth:
    """Weight of the ears by their samples: digital silence, clipping."""

    def __init__(self) -> None:
        self._silent_ns = 0
        self._clipped = 0.0

    def push(self, block: AudioBlock) -> float:
        """Return the weight 0..1 of what is heard from now on."""
        if len(block.samples) == 0:
            return self.weight
        length_ns = len(block.samples) * SECOND // block.rate
        size = np.abs(block.samples)
        self._silent_ns = 0 if size.any() else self._silent_ns + length_ns
        clipped = np.count_nonzero(size >= _FULL_SCALE) >= _FLAT_TOPS
        self._clipped += (clipped - self._clipped) * min(1.0, length_ns / SECOND)
        return self.weight

    @property
    def weight(self) -> float:
        """The newest weight."""
        if self._silent_ns >= _SILENT_NS:
            return 0.0
        return _CLIPPED_WEIGHT + (1 - _CLIPPED_WEIGHT) * _ramp(self._clipped, *_CLIPPED_SHARE)


class CameraHealth:
    """Weight of the eyes by the strip: too dark or covered to tell white keys from black, or out of place."""

    def __init__(self) -> None:
        self._due_ns: int | None = None
        self._light = 1.0

    def push(self, strip: RectifiedStrip, seen: Bool, drift: float) -> float:
        """Return the weight 0..1 of what is seen now.

        Args:
            strip: newest picture; looked at five times a second.
            seen: (K,) keys that the network judges.
            drift: how far the keyboard has moved, white-key widths.
        """
        if self._due_ns is None or strip.t_ns >= self._due_ns:
            self._due_ns = strip.t_ns + _LOOK_NS
            self._light = _ramp(_contrast(strip), *_CONTRAST)
        share = int(seen.sum()) / max(int(strip.visible.sum()), 1)
        return min(self._light, _ramp(share, *_SEEN_SHARE), _ramp(drift, *_DRIFT))


def _contrast(strip: RectifiedStrip) -> float:
    """Luma levels between the brighter and the darker tenth of the keys in the picture."""
    luma = strip.pixels[::4, :, -1]
    columns = np.repeat(strip.visible, luma.shape[1] // KEYS)[::3]
    darkest, brightest = np.percentile(luma[:, ::3][:, columns], [10, 90])
    return float(brightest - darkest)


_WITHIN_NS: Final = SECOND // 5  # confirmation comes this near, whatever the skew
_CONFIRMS: Final = 2.0  # log-likelihood ratio that counts as noticing too
_ALIVE: Final = 6.0  # log-odds; the bound lets a sensor recover within a few notes
_BY_CHANCE: Final = 0.08  # a dead sensor seems to confirm this often
_RECORD: Final = 40  # notes that the rate of confirmation is learnt from
_RATES: Final = (0.2, 0.8)  # bounds of that rate; a burst of errors is likelier than independence says
_ABSENT_NS: Final = SECOND


@dataclass(slots=True)
class Agreement:
    """Is a sensor alive, judged by how often it confirms what the other plainly notices?

    Two hypotheses, Bayes' rule per note: alive, it confirms as often as it has so far; dead, only by chance.
    The rate is learnt, so that a sensor that often misses notes, or a partner that often imagines them, takes
    more notes to be called dead.
    """

    alive: float = _ALIVE
    """Log-odds"""
    rate: float = 0.6
    """Of confirmation while alive"""

    def push(self, *, confirmed: bool) -> None:
        """Enter one note of the other sensor."""
        if confirmed:
            self.alive += float(np.log(self.rate / _BY_CHANCE))
        else:
            self.alive += float(np.log((1 - self.rate) / (1 - _BY_CHANCE)))
        self.alive = min(max(self.alive, -_ALIVE / 2), _ALIVE)
        learning = self.weight / _RECORD
        self.rate = float(np.clip(self.rate + learning * (confirmed - self.rate), *_RATES))

    @property
    def weight(self) -> float:
        """0..1; exactly 0 and 1 at the ends, so that a dead sensor is as good as absent."""
        return _ramp(self.alive, -1.0, 1.0)


class SensorHealth:
    """Weights of both sensors, relative to the better one: a sensor that is alone is never weighed down."""

    def __init__(self) -> None:
        self._noticed_ns = {origin: np.full(KEYS, -SECOND, np.int64) for origin in Origin}
        self._agreement = {origin: Agreement() for origin in Origin}
        self._own = dict.fromkeys(Origin, 1.0)
        self._piano = 1.0
        self._newest_ns: dict[Origin, int] = {}
        self._judged_ns: dict[Origin, int] = {}
        self._visible: NDArray[np.bool_] = np.zeros(KEYS, bool)
        self._open: deque[tuple[Origin, int, int]] = deque(maxlen=4 * KEYS)
        self._reasons: tuple[object, ...] = ()  # of the weights
        self.weights = dict.fromkeys(Origin, 1.0)
        """0..1 per sensor, after the newest evidence"""

    def push(self, evidence: KeyEvidence, onsets: Sequence[Onset]) -> None:
        """Take one sensor's evidence, and the ``onsets`` it completes; judge both sensors anew."""
        origin = evidence.origin
        self._own[origin] = evidence.weight
        if origin is Origin.AUDIO:
            self._piano = piano_weight(evidence)
        self._newest_ns[origin] = evidence.t_ns
        self._judged_ns[origin] = evidence.t_ns - evidence.horizon_ns[-1]
        if evidence.onset.max() > _CONFIRMS:
            for horizon_ns, row in zip(reversed(evidence.horizon_ns), evidence.onset[::-1], strict=True):
                self._noticed_ns[origin][row > _CONFIRMS] = evidence.t_ns - horizon_ns
        if origin is Origin.VIDEO:
            self._visible = evidence.visible
        for key, t_ns in onsets:
            trusted = evidence.weight * piano_weight(evidence) > 0
            if trusted and (origin is Origin.VIDEO or self._visible[key]):
                self._open.append((origin, key, t_ns))
        self._settle()
        self._weigh()

    def _settle(self) -> None:
        """Ask, for every onset of one sensor, whether the other noticed it, once the other can know."""
        for _ in range(len(self._open)):
            origin, key, t_ns = self._open.popleft()
            other = Origin.VIDEO if origin is Origin.AUDIO else Origin.AUDIO
            if self._newest_ns[origin] - self._newest_ns.get(other, -SECOND) > _ABSENT_NS:
                continue
            near = abs(int(self._noticed_ns[other][key]) - t_ns) <= _WITHIN_NS
            if not near and self._judged_ns[other] < t_ns + _WITHIN_NS:
                self._open.append((origin, key, t_ns))
            elif self._own[other] > 0:
                self._agreement[other].push(confirmed=near)

    def _weigh(self) -> None:
        now_ns = max(self._newest_ns.values())
        present = {o for o, t_ns in self._newest_ns.items() if now_ns - t_ns <= _ABSENT_NS}
        alive = tuple(agreement.alive for agreement in self._agreement.values())
        reasons = (present, alive, *self._own.values(), self._piano)
        if reasons == self._reasons:
            return
        self._reasons = reasons
        agreement = {o: self._agreement[o].weight for o in Origin}
        if not any(agreement[o] * self._own[o] for o in present):
            agreement = dict.fromkeys(Origin, 1.0)  # nobody is left to say who is wrong
        weights = {o: self._own[o] * agreement[o] if o in present else 0.0 for o in Origin}
        weights[Origin.AUDIO] *= 1 - weights[Origin.VIDEO] * (1 - self._piano)
        best = max(weights.values())
        self.weights = {o: weight / best if best > 0 else 0.0 for o, weight in weights.items()}


def weighed(evidence: KeyEvidence, weight: float) -> KeyEvidence:
    """Return ``evidence`` with every log-likelihood ratio times ``weight``; at 0 it knows nothing."""
    if weight >= 1:
        return evidence
    if weight <= 0:
        nothing = np.zeros(KEYS, np.float32)
        return replace(
            evidence,
            onset=read_only(np.zeros_like(evidence.onset)),
            frame=read_only(nothing),
            offset=None,
            velocity=read_only(np.full(KEYS, np.nan, np.float32)),
            visible=read_only(np.zeros(KEYS, bool)),
            pedal=None,
            loudness=None,
        )
    return replace(
        evidence,
        onset=read_only(np.float32(weight) * evidence.onset),
        frame=read_only(np.float32(weight) * evidence.frame),
        offset=None if evidence.offset is None else read_only(np.float32(weight) * evidence.offset),
    )
