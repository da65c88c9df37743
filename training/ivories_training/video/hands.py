"""Hands that play: fingers on the keys that move, others hovering or resting, as capsules over time."""

from dataclasses import dataclass

import numpy as np

from ivories.keyboard import IS_BLACK
from ivories_training.video.camera import Float32, Float64
from ivories_training.video.motion import Strokes
from ivories_training.video.room import Room

FINGERS = 5
_SPAN = 9  # white keys that one hand reaches comfortably


@dataclass(frozen=True, slots=True)
class Look:
    """One pair of hands: skin, build, sleeves."""

    skin: float
    sleeve: float
    finger_radius: float
    spacing: float
    """mm between neighbouring fingertips at ease"""
    knuckle_height: float
    knuckle_behind: float
    """mm from fingertips back to the knuckles"""
    curl: float
    sleeve_behind: float
    palm: bool
    """False: a robot's open frame"""
    nail: float
    """albedo factor of the fingertips"""
    joint: float
    """albedo factor of every other limb: a robot's joints, rings, plasters"""


def random_look(rng: np.random.Generator) -> Look:
    """Draw skin from dark to pale, robots and cartoons included."""
    odd = rng.random() < 0.2
    return Look(
        skin=float(rng.uniform(0.02, 1.0) if odd else rng.uniform(0.1, 0.75)),
        sleeve=float(rng.uniform(0.01, 0.9)),
        finger_radius=float(rng.uniform(4.5, 11) if odd else rng.uniform(6, 8.5)),
        spacing=float(rng.uniform(19, 27)),
        knuckle_height=float(rng.uniform(32, 65)),
        knuckle_behind=float(rng.uniform(55, 85)),
        curl=float(rng.uniform(2, 24)),
        sleeve_behind=float(rng.uniform(0, 160)),
        palm=bool(rng.random() > (0.4 if odd else 0.04)),
        nail=float(rng.choice([1.0, rng.uniform(0.8, 1.3)])),
        joint=float(rng.uniform(0.2, 1.6)) if odd else 1.0,
    )


@dataclass(slots=True)
class _Press:
    finger: int
    begin_s: float
    onset_s: float
    end_s: float
    x: float
    y: float


class Hand:
    """One hand over one stretch of time.

    Args:
        room: whose keys it plays.
        look: how it looks.
        strokes: what it plays, may be empty.
        left: thumb on the right side.
        idle_x: where it is when it plays nothing, mm.
        span_s: (begin, end) of the time it will be asked for.
        rng: draws its habits.
        arrives_s: before that it is away from the keyboard.
    """

    def __init__(
        self,
        room: Room,
        look: Look,
        strokes: Strokes,
        left: bool,
        idle_x: float,
        span_s: tuple[float, float],
        rng: np.random.Generator,
        arrives_s: float = -1e9,
    ) -> None:
        self._arrives_s = arrives_s
        self.room, self.look, self.left = room, look, left
        self._rest_y = float(rng.uniform(92, 132))
        self._sway = rng.uniform(0, 5, 3), rng.uniform(0.2, 1.2, 3), rng.uniform(0, 6.28, 3)
        hover = rng.random(FINGERS) < rng.choice([0.2, 0.6, 0.95])
        self._lift = np.where(hover, rng.uniform(2, 24, FINGERS), 0.0)
        self._wiggle = (
            rng.uniform(0, 6, FINGERS) * hover,
            rng.uniform(0.5, 4, FINGERS),
            rng.uniform(0, 6.28, FINGERS),
        )
        self._approach = float(rng.uniform(0.05, 0.16))
        self._wrist = rng.normal((0.0, 0.0, rng.uniform(-12, 14)), (14, 12, 8))
        self._elbow = (float(rng.normal(-35 if left else 35, 45)), float(rng.uniform(260, 360)))
        self._velocity = (0.0, 0.0)
        if not len(strokes) and rng.random() < 0.4:  # passes over the keys
            self._velocity = (float(rng.normal(0, 350)), float(rng.normal(0, 60)))
            self._lift = self._lift + rng.uniform(10, 60)
        self._middle_s = sum(span_s) / 2
        self._anchors(strokes, idle_x)
        self._presses = self._fingering(strokes, rng)

    def _anchors(self, strokes: Strokes, idle_x: float) -> None:
        """Find where the hand has to be when: at the mean of the keys of each chord."""
        x = self.room.keys[strokes.key, 0].astype(float)
        times, places, ends = [], [], []
        for i in np.argsort(strokes.onset_s):
            if times and strokes.onset_s[i] - times[-1][-1] < 0.06:
                times[-1].append(strokes.onset_s[i])
                places[-1].append(x[i])
                ends[-1] = max(ends[-1], strokes.offset_s[i])
            else:
                times.append([strokes.onset_s[i]])
                places.append([x[i]])
                ends.append(strokes.offset_s[i])
        self._at_s = np.array([min(t) for t in times])
        centre = np.array([(max(p) + min(p)) / 2 for p in places])
        if len(centre) > 2:  # within its reach a hand need not follow every note
            smooth = np.convolve(np.pad(centre, 1, mode="edge"), [0.25, 0.5, 0.25], "valid")
            limit = 0.5 * self.room.body["white_width"] * _SPAN * 0.5
            centre = np.clip(smooth, centre - limit, centre + limit)
        self._at_x = centre
        self._idle_x = idle_x

    def _centre(self, t: Float64) -> Float64:
        """Return (T,) x of the hand's middle, moving just before it is needed."""
        drift = self._idle_x + self._velocity[0] * (t - self._middle_s)
        if not len(self._at_s):
            return drift
        place = np.full(len(t), self._at_x[0])
        for i in range(1, len(self._at_s)):
            gap = self._at_s[i] - self._at_s[i - 1]
            duration = min(0.35, 0.8 * gap)
            u = np.clip((t - (self._at_s[i] - 0.1 * gap - duration)) / duration, 0, 1)
            place += (self._at_x[i] - self._at_x[i - 1]) * u * u * (3 - 2 * u)
        return place

    def _slot(self, finger: int) -> float:
        """Return the finger's place across the hand at ease; 0 is the leftmost finger."""
        return (finger - 2) * self.look.spacing

    def _fingering(self, strokes: Strokes, rng: np.random.Generator) -> list[_Press]:
        presses: list[_Press] = []
        busy = np.full(FINGERS, -1e9)
        order = np.lexsort((strokes.key, np.round(strokes.onset_s, 2)))
        centre = self._centre(strokes.onset_s)
        body = self.room.body
        for i in order:
            x = float(self.room.keys[strokes.key[i], 0])
            cost = np.array([abs(centre[i] + self._slot(f) - x) for f in range(FINGERS)])
            cost += np.where(busy > strokes.start_s[i], 200.0, 0.0)
            for other in presses:  # fingers do not cross while down
                if other.end_s > strokes.onset_s[i] and other.x < x:
                    cost[: other.finger + 1] += 100
                elif other.end_s > strokes.onset_s[i]:
                    cost[other.finger :] += 100
            finger = int(cost.argmin())
            if cost[finger] > 190:
                continue  # more notes than fingers: the key moves alone
            black = bool(IS_BLACK[strokes.key[i]])
            thumb = finger == (FINGERS - 1 if self.left else 0)
            if black:
                y = rng.uniform(45, body["black_length"] - 7)
            elif rng.random() < 0.75 or thumb:
                y = rng.uniform(body["black_length"] + 8, body["white_length"] - 8)
            else:
                y = rng.uniform(60, body["black_length"] + 8)
            presses.append(
                _Press(
                    finger,
                    float(strokes.start_s[i]),
                    float(strokes.onset_s[i]),
                    float(strokes.offset_s[i]),
                    x + float(rng.normal(0, 1.5 if black else 3)),
                    float(y),
                )
            )
            busy[finger] = strokes.offset_s[i]
        return presses

    def capsules(self, times_s: Float64, dip: Float32) -> Float32:
        """Return (T, n, 8) capsules at ``times_s`` (T,) while the keys stand at ``dip`` (T, 88) mm."""
        look, t = self.look, times_s
        amplitude, rate, phase = self._sway
        sway = amplitude * np.sin(6.28 * rate * t[:, None] + phase)  # (T, 3)
        centre = self._centre(t) + sway[:, 0]
        thumb = FINGERS - 1 if self.left else 0
        into = np.array([28.0, 4, 0, 3, 14])
        into = into[::-1] if self.left else into
        tip = np.zeros((len(t), FINGERS, 3))
        tip[..., 0] = centre[:, None] + np.array([self._slot(f) for f in range(FINGERS)])
        tip[..., 1] = self._rest_y + into + (sway[:, 1] + self._velocity[1] * (t - self._middle_s))[:, None]
        away = np.clip((self._arrives_s - t) / 0.5, 0, 1)
        tip[..., 1] += (900.0 * away * away)[:, None]
        weight = np.zeros((len(t), FINGERS))
        for press in self._presses:
            rise = np.clip((t - press.begin_s + self._approach) / self._approach, 0, 1)
            fall = np.clip(1 - (t - press.end_s - 0.02) / 0.12, 0, 1)
            w = np.minimum(rise, fall)
            w = np.where(away > 0, 0.0, w * w * (3 - 2 * w))
            f = press.finger
            tip[:, f, 0] += w * (press.x - tip[:, f, 0])
            tip[:, f, 1] += w * (press.y - tip[:, f, 1])
            weight[:, f] = np.maximum(weight[:, f], w)
        size, speed, start = self._wiggle
        lift = self._lift + size * np.sin(6.28 * speed * t[:, None] + start)
        radius = look.finger_radius
        surface = self.room.height(tip[..., 0].astype(np.float32), tip[..., 1].astype(np.float32), dip)
        tip[..., 2] = np.maximum(surface, -12.0) + 0.85 * radius + np.maximum(lift, 0) * (1 - weight)
        return self._assemble(tip, centre, thumb, sway[:, 2])

    def _assemble(self, tip: Float64, centre: Float64, thumb: int, bob: Float64) -> Float32:
        look, count = self.look, len(tip)
        radius, skin = look.finger_radius, look.skin
        knuckle = np.zeros_like(tip)
        middle_y = np.median(tip[..., 1], axis=1)
        high = np.median(tip[..., 2], axis=1)
        for f in range(FINGERS):
            knuckle[:, f, 0] = 0.75 * (centre + (f - 2) * 18) + 0.25 * tip[:, f, 0]
            knuckle[:, f, 1] = middle_y + look.knuckle_behind + 3 * (f - 2) ** 2
            knuckle[:, f, 2] = high + look.knuckle_height + bob - 3 * abs(f - 2)
        wrist = np.stack(
            [centre, middle_y + look.knuckle_behind + 75, high + look.knuckle_height - 8 + bob], 1
        )
        wrist += self._wrist
        inward = -1 if self.left else 1
        knuckle[:, thumb] = wrist + np.array([-inward * 26.0, -48.0, -12.0])
        parts: list[Float64] = []

        def add(a: Float64, b: Float64, r: float, albedo: float) -> None:
            rest = np.broadcast_to(np.array([r, albedo]), (count, 2))
            parts.append(np.concatenate([a, b, rest], axis=1))

        for f in range(FINGERS):
            arch = np.array([0.0, 0.0, look.curl])
            first = tip[:, f] + 0.3 * (knuckle[:, f] - tip[:, f]) + 0.9 * arch
            second = tip[:, f] + 0.62 * (knuckle[:, f] - tip[:, f]) + arch
            add(tip[:, f], first, 0.85 * radius, skin * look.nail)
            add(first, second, 0.95 * radius, skin * look.joint)
            add(second, knuckle[:, f], 1.08 * radius, skin)
            heel = wrist + np.array([(f - 2) * 11.0, -8.0, 0.0])
            add(knuckle[:, f], heel, (1.75 if look.palm else 0.7) * radius, skin)
        elbow = wrist + np.array([*self._elbow, 20.0])
        add(wrist, elbow, 3.4 * radius, skin)
        sleeve = wrist + (elbow - wrist) * (look.sleeve_behind / 360.0)
        add(sleeve, elbow, 5.0 * radius, look.sleeve)
        return np.stack(parts, axis=1).astype(np.float32)


def random_hands(
    room: Room,
    strokes: Strokes,
    span_s: tuple[float, float],
    rng: np.random.Generator,
    arrives_s: float = -1e9,
) -> list[Hand]:
    """Return the hands of one stretch of time: two at the strokes, sometimes idle ones, sometimes none."""
    kind = rng.choice(["two", "idle", "none"], p=[0.78, 0.06, 0.16])
    look = random_look(rng)
    span = room.keys[-1, 0]
    if kind == "none":
        return []
    low, high = split_hands(room, strokes)
    none = strokes.where(np.zeros(len(strokes), bool))
    if kind == "idle":
        low = high = none
    middle = float(rng.uniform(0.25, 0.75) * span)
    left_x = float(room.keys[low.key, 0].mean()) if len(low) else middle - float(rng.uniform(90, 350))
    right_x = float(room.keys[high.key, 0].mean()) if len(high) else left_x + float(rng.uniform(130, 450))
    hands = [
        Hand(room, look, low, True, left_x, span_s, rng, arrives_s),
        Hand(room, look, high, False, right_x, span_s, rng, arrives_s),
    ]
    if rng.random() < 0.1:
        hands.pop(int(rng.integers(2)))
    return hands


def split_hands(room: Room, strokes: Strokes) -> tuple[Strokes, Strokes]:
    """Part strokes between left and right hand: each chord where the hands move least."""
    reach = _SPAN * room.body["white_width"]
    x = room.keys[strokes.key, 0].astype(float)
    right = np.zeros(len(strokes), bool)
    if len(strokes):
        low, high = np.quantile(x, [0.2, 0.8])
        if high - low < 0.5 * reach:
            middle = (low + high) / 2
            low, high = (middle, middle + reach) if middle > room.keys[44, 0] else (middle - reach, middle)
        order = np.argsort(strokes.onset_s, kind="stable")
        begin = 0
        for end in range(1, len(order) + 1):
            if end < len(order) and strokes.onset_s[order[end]] - strokes.onset_s[order[begin]] < 0.06:
                continue
            chord = order[begin:end][np.argsort(x[order[begin:end]])]
            costs = []
            for cut in range(len(chord) + 1):
                a, b = x[chord[:cut]], x[chord[cut:]]
                cost = np.abs(a - low).sum() + np.abs(b - high).sum()
                cost += sum(10 * max(0.0, np.ptp(part) - reach) for part in (a, b) if len(part))
                costs.append(cost)
            cut = int(np.argmin(costs))
            right[chord[cut:]] = True
            if cut:
                low += 0.5 * (x[chord[:cut]].mean() - low)
            if cut < len(chord):
                high += 0.5 * (x[chord[cut:]].mean() - high)
            begin = end
    return strokes.where(~right), strokes.where(right)
