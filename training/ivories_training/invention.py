"""Invented performances: two hands, chords, scales, arpeggios, repeats, trills, octaves, dynamics, pedal.

For whoever has no folder of MIDI files, and to fill what real pieces rarely hold (fast repeats, extreme
registers, single soft notes). Everything follows from the seed.
"""

import numpy as np

from ivories_training.performances import Performance, performance

SCALES = (
    (0, 2, 4, 5, 7, 9, 11),
    (0, 2, 3, 5, 7, 8, 10),
    (0, 2, 3, 5, 7, 8, 11),
    tuple(range(12)),
    (0, 2, 4, 7, 9),
)
CHORDS = (
    (0, 4, 7),
    (0, 3, 7),
    (0, 4, 7, 10),
    (0, 3, 7, 10),
    (0, 4, 7, 11),
    (0, 3, 6, 9),
    (0, 5, 7),
    (0, 12),
    (0, 7),
)
Played = tuple[float, float, int, int]


def invent(seed: int, seconds: float = 60.0) -> Performance:
    """Return a performance of about ``seconds``, the same for the same seed."""
    rng = np.random.default_rng([seed, 0x9A10])
    notes: list[Played] = []
    split_key = int(rng.integers(33, 52))
    for hand in rng.permutation(2)[: 1 if rng.random() < 0.15 else 2]:
        low, high = (rng.integers(0, 14), split_key) if hand == 0 else (split_key, rng.integers(72, 88))
        notes += _Hand(rng, int(low), int(high)).play(seconds)
    return performance(f"invented_{seed}", _playable(notes), _pedal(rng, seconds))


class _Hand:
    """Plays figure after figure between two keys."""

    def __init__(self, rng: np.random.Generator, low: int, high: int) -> None:
        self.rng, self.low, self.high = rng, low, max(high, low + 14)
        self.beat = float(rng.uniform(0.22, 0.9))
        self.loudness = float(rng.uniform(35, 95))
        self.scale = np.array(SCALES[rng.integers(len(SCALES))])
        self.tonic = int(rng.integers(12))
        self.figures = (self._line, self._arpeggio, self._chords, self._repeats, self._trill, self._octaves)

    def play(self, seconds: float) -> list[Played]:
        now, notes = float(self.rng.uniform(0, 0.5)), list[Played]()
        weights = self.rng.dirichlet(np.array([3.0, 3.0, 3.0, 0.9, 0.5, 0.8]))
        while now < seconds:
            figure = self.figures[self.rng.choice(len(self.figures), p=weights)]
            length = float(self.rng.uniform(1.0, 5.0))
            notes += figure(now, length)
            self.loudness = float(np.clip(self.loudness + self.rng.normal(0, 12), 22, 112))
            now += length + float(self.rng.exponential(0.25))
        return notes

    def _velocity(self) -> int:
        return int(np.clip(self.rng.normal(self.loudness, 7), 6, 127))

    def _note(self, at: float, length: float, key: int) -> Played:
        at += float(self.rng.normal(0, 0.006))
        return (
            max(at, 0.0),
            at + max(0.04, length * float(self.rng.uniform(0.5, 1.1))),
            key,
            self._velocity(),
        )

    def _step(self) -> float:
        return self.beat / float(self.rng.choice([1, 2, 2, 3, 4, 4, 6]))

    def _keys(self) -> np.ndarray:
        keys = np.arange(self.low, self.high)
        return keys[np.isin((keys - self.tonic) % 12, self.scale)]

    def _line(self, start: float, length: float) -> list[Played]:
        keys, step = self._keys(), max(self._step(), 0.07)
        walk = np.cumsum(self.rng.choice([-2, -1, 1, 1, 2, 3, -3], int(length / step) + 1)) + len(keys) // 2
        place = np.abs((walk + self.rng.integers(len(keys))) % (2 * len(keys) - 2) - (len(keys) - 1))
        return [self._note(start + i * step, step, int(keys[p])) for i, p in enumerate(place)]

    def _chord(self) -> list[int]:
        root = int(self.rng.integers(self.low, max(self.low + 1, self.high - 12)))
        chord = [root + interval for interval in CHORDS[self.rng.integers(len(CHORDS))]]
        if self.rng.random() < 0.3:
            chord.append(root + 12)
        return [key for key in chord if key < 88]

    def _arpeggio(self, start: float, length: float) -> list[Played]:
        step, chord = max(self._step(), 0.07), self._chord()
        order = chord + chord[-2:0:-1] if self.rng.random() < 0.5 else chord
        count = int(length / step) + 1
        return [self._note(start + i * step, step * 1.3, order[i % len(order)]) for i in range(count)]

    def _chords(self, start: float, length: float) -> list[Played]:
        notes, at = list[Played](), start
        while at < start + length:
            step = self.beat * float(self.rng.choice([1, 1, 2, 4]))
            spread = float(self.rng.choice([0.0, 0.0, 0.02, 0.05]))
            notes += [self._note(at + i * spread, step, key) for i, key in enumerate(self._chord())]
            at += step
        return notes

    def _repeats(self, start: float, length: float) -> list[Played]:
        step, chord = float(self.rng.uniform(0.085, 0.35)), self._chord()[: self.rng.integers(1, 3)]
        count = int(length / step) + 1
        return [self._note(start + i * step, step * 0.6, key) for i in range(count) for key in chord]

    def _trill(self, start: float, length: float) -> list[Played]:
        key, step = int(self.rng.integers(self.low, self.high - 2)), float(self.rng.uniform(0.06, 0.12))
        other = key + int(self.rng.integers(1, 3))
        count = int(min(length, 2.5) / step)
        return [self._note(start + i * step, step, other if i % 2 else key) for i in range(count)]

    def _octaves(self, start: float, length: float) -> list[Played]:
        return [
            (on, off, k, velocity)
            for on, off, key, velocity in self._line(start, length)
            for k in (key, key + 12)
            if k < 88
        ]


def _playable(notes: list[Played]) -> list[Played]:
    """Drop a note that would strike a key within 50 ms of its last strike: no action repeats that fast."""
    last: dict[int, float] = {}
    kept = []
    for note in sorted(notes):
        if note[0] - last.get(note[2], -1.0) >= 0.05:
            kept.append(note)
            last[note[2]] = note[0]
    return kept


def _pedal(rng: np.random.Generator, seconds: float) -> list[tuple[float, float]]:
    if rng.random() < 0.3:
        return []
    intervals, now, period = [], float(rng.uniform(0, 2)), float(rng.uniform(0.5, 4.0))
    while now < seconds:
        length = period * float(rng.uniform(0.5, 1.3))
        intervals.append((now, now + length))
        now += length + float(rng.choice([0.06, 0.12, 0.4, 2.0]))
    return intervals
