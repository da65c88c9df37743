"""Measures how far the keys' edges lie from where a map says: gaps, black keys, front and back edge."""

from dataclasses import dataclass
from enum import IntEnum
from typing import Final

import numpy as np
from numpy.typing import NDArray

from ivories.datatypes import UInt8
from ivories.keyboard import BLACK_KEY_LENGTH
from ivories.vision.homography import Float64
from ivories.vision.key_layout import normalized, sample
from ivories.vision.plane_fit import PlaneMap
from ivories.vision.viewpoint import black_shift, black_sides, front_face_depth

PER_WHITE: Final = 16  # strip columns per white key
_TOP: Final = -0.4
_ROW: Final = 0.025  # white-key lengths
_ROWS: Final = 76  # y from -0.4 to 1.5
_WINDOW: Final = 4  # white keys
_STRIDE: Final = 2
_REACH: Final = 8  # columns either way: half a white key
_BLACK_HALF: Final = 0.27
_GAP_HALF: Final = 0.09
_BLACK_BANDS: Final = ((0.08, 0.24), (0.24, 0.40), (0.40, 0.56))
_GAP_BANDS: Final = ((0.69, 0.83), (0.83, 0.97))
_LONG_GAP_BANDS: Final = ((0.10, 0.32), (0.32, 0.54))
_LONG_GAP_WINDOW: Final = 4  # columns to either side of the gap
_LONG_GAP_REACH: Final = 3  # columns either way
_LONG_GAP_LIKENESS: Final = 0.6  # correlation that counts
_LONG_GAP_DEPTH: Final = 0.05  # how much darker than what is beside it
_LONG_GAP_CLEAR: Final = 0.05  # white-key widths to the next black key's darkness
_NO_BLACK: Final = 0.6  # white-key widths about a gap without the centre of a black key


class Kind(IntEnum):
    """What was measured, and along which axis."""

    GAP_X = 0
    BLACK_X = 1
    BLACK_FRONT_Y = 2
    FRONT_Y = 3
    BACK_Y = 4


# Correlation that counts, error in white-key widths where it is 1, percentiles to clip brightness to.
_JUDGE: Final = {Kind.BLACK_X: (0.5, 0.03, (20, 80)), Kind.GAP_X: (0.4, 0.025, (0, 70))}


@dataclass(frozen=True, slots=True)
class Offsets:
    """n measurements: the feature that belongs at `place` is seen `offset` further along its axis."""

    place: Float64
    """(n, 2) plane"""
    offset: Float64
    """(n,) plane units of the axis"""
    sigma: Float64
    """(n,) standard deviation to expect, in white-key widths"""
    kind: NDArray[np.intp]
    """(n,) Kind"""

    def where(self, kind: Kind) -> NDArray[np.bool_]:
        """Return (n,) which measurements are of ``kind``."""
        return np.asarray(self.kind == kind)

    def take(self, which: NDArray[np.bool_]) -> "Offsets":
        """Return the measurements picked by the mask."""
        return Offsets(self.place[which], self.offset[which], self.sigma[which], self.kind[which])


class EdgeMeter:
    """A strip of the picture along the keys and what can be measured in it.

    Args:
        luma: (H, W).
        found: plane -> pixels; black keys lie at ``blacks``, gaps at whole x.
        blacks: plane x of black-key centres.
        low: x where the keys begin (whole).
        high: x where they end (whole).
    """

    def __init__(self, luma: UInt8, found: PlaneMap, blacks: Float64, low: int, high: int) -> None:
        margin = 1
        self._found, self._low, self._high = found, low, high
        self._x = low - margin + (np.arange((high - low + 2 * margin) * PER_WHITE) + 0.5) / PER_WHITE
        self._y = _TOP + (np.arange(_ROWS, dtype=np.float64) + 0.5) * _ROW
        strip, inside = sample(luma, found, self._x, self._y)
        self._strip = np.where(inside, strip, np.nan).astype(np.float64)
        self._blacks = blacks[(blacks > low) & (blacks < high)]
        gaps = np.arange(low + 1, high)
        self._long_gaps = gaps[np.abs(gaps[:, None] - blacks[None]).min(1, initial=np.inf) > _NO_BLACK]
        self._off_black = np.abs(self._x[:, None] - blacks[None]).min(1)
        self._off_gap = np.abs(self._x - np.round(self._x))

    def measure(self) -> Offsets:
        """Return all measurements that are clear enough to use."""
        return _joined([self.measure_blacks(), self._gaps(), self._gaps_beside_blacks(), *self._lengthwise()])

    def measure_blacks(self) -> Offsets:
        """Return where the black keys lie along the keyboard."""
        template = np.clip((self._off_black - _BLACK_HALF) * PER_WHITE, -1, 1)
        return self._along(_BLACK_BANDS, template, Kind.BLACK_X)

    def _gaps(self) -> Offsets:
        template = np.clip((self._off_gap - _GAP_HALF) * PER_WHITE, -1, 1)
        return self._along(_GAP_BANDS, template, Kind.GAP_X)

    def _gaps_beside_blacks(self) -> Offsets:
        """Find the gaps that run the keys' whole length: from B to C and from E to F.

        They tell how the keys converge to the back; black keys stand high, and seem to lie elsewhere.
        """
        half, reach = _LONG_GAP_WINDOW, _LONG_GAP_REACH
        template = np.clip((np.abs(np.arange(-half, half + 1)) / PER_WHITE - _GAP_HALF) * PER_WHITE, -1, 1)
        pattern = normalized(template[None])[0]
        steps = np.arange(-half - reach, half + reach + 1) / PER_WHITE
        noise = _JUDGE[Kind.GAP_X][1]
        parts = []
        for low, high in _LONG_GAP_BANDS:
            y = (low + high) / 2
            left, right = black_sides(self._found, self._blacks, y, _BLACK_HALF)
            before = (self._blacks + right)[None] < self._long_gaps[:, None] + steps[0] - _LONG_GAP_CLEAR
            after = (self._blacks + left)[None] > self._long_gaps[:, None] + steps[-1] + _LONG_GAP_CLEAR
            gaps = self._long_gaps[(before | after).all(1)]
            profile = np.interp(gaps[:, None] + steps, self._x, self._band(low, high))
            windows = np.lib.stride_tricks.sliding_window_view(profile, 2 * half + 1, axis=1)
            likeness = np.nan_to_num(normalized(windows) @ pattern, nan=-1.0)
            place, top = _peak(likeness)
            # so few pixels resemble a gap easily: there must be a dark line in them
            column = np.clip(np.round(place).astype(int), 0, 2 * reach) + half
            beside = np.maximum(np.minimum(profile[:, 0], profile[:, -1]), 1)
            depth = 1 - profile[np.arange(len(gaps)), column] / beside
            good = (top > _LONG_GAP_LIKENESS) & (depth > _LONG_GAP_DEPTH)
            offset = (place[good] - reach) / PER_WHITE
            parts.append(
                Offsets(
                    np.stack([gaps[good].astype(np.float64), np.full(len(offset), y)], 1),
                    offset,
                    noise / top[good] ** 2,
                    np.full(len(offset), Kind.GAP_X),
                )
            )
        return _joined(parts)

    def _lengthwise(self) -> list[Offsets]:
        return [self._black_fronts(), self._front_edge(), self._back_edge()]

    def _band(self, low: float, high: float) -> Float64:
        return np.asarray(self._strip[(self._y > low) & (self._y < high)].mean(0))

    def _along(self, bands: tuple[tuple[float, float], ...], template: Float64, kind: Kind) -> Offsets:
        """Correlate rows of pixels with their pattern, a few keys at a time."""
        least, noise, limits = _JUDGE[kind]
        parts = []
        for low, high in bands:
            place, offset, likeness = _slide(self._band(low, high), template, limits)
            good = likeness > least
            x, y = self._x[0] + place[good] / PER_WHITE, (low + high) / 2
            raised = black_shift(self._found, x, y, _BLACK_HALF) if kind == Kind.BLACK_X else 0.0
            parts.append(
                Offsets(
                    np.stack([x, np.full(len(x), y)], 1),
                    offset[good] / PER_WHITE - raised,
                    noise / likeness[good] ** 2,
                    np.full(len(x), kind),
                )
            )
        return _joined(parts)

    def _black_fronts(self) -> Offsets:
        """Find where each black key's darkness ends; beside its middle, where no gap begins."""
        rows = (self._y > 0.35) & (self._y < 0.9)
        y = self._y[rows]
        profiles = []
        for x in self._blacks:
            off = np.abs(self._x - x)
            profiles.append(self._strip[np.ix_(rows, (off > 0.08) & (off < 0.22))].mean(1))
        if not profiles:
            return _none()
        profile = np.stack(profiles)  # (blacks, rows)
        dark, bright = profile[:, y < 0.5].mean(1), profile[:, y > 0.75].mean(1)
        share = (profile - dark[:, None]) / np.maximum(bright - dark, 1e-6)[:, None]
        above = share > 0.5
        first = above.argmax(1)
        row = np.arange(len(share))
        good = (bright - dark > 12) & above.any(1) & (first > 0) & np.isfinite(profile).all(1)
        before, after = share[row, first - 1], share[row, first]
        place = y[first] - _ROW * (after - 0.5) / np.maximum(after - before, 0.05)
        count = int(good.sum())
        return Offsets(
            np.stack([self._blacks[good], np.full(count, BLACK_KEY_LENGTH)], 1),
            place[good] - BLACK_KEY_LENGTH,
            np.full(count, 0.12),
            np.full(count, Kind.BLACK_FRONT_Y),
        )

    def _front_edge(self) -> Offsets:
        """Find the white keys' front edge: the first step near y = 1, not the foot of the front face."""
        columns = self._off_gap > 0.18
        depth = front_face_depth(self._found, (self._low + self._high) / 2)
        return self._edge(columns, 1.0, 0.8, 1.4, depth, Kind.FRONT_Y, 0.08)

    def _back_edge(self) -> Offsets:
        columns = (self._off_black > 0.4) & (self._off_gap > 0.1)
        return self._edge(columns, 0.0, 0.2, -0.35, 0.0, Kind.BACK_Y, 0.25)

    def _edge(
        self,
        columns: NDArray[np.bool_],
        at: float,
        inner: float,
        outer: float,
        second: float,
        kind: Kind,
        sigma: float,
    ) -> Offsets:
        """Look for a change of brightness across ``at``, from ``inner`` (white keys) to ``outer``.

        Args:
            columns: which strip columns to use.
            at: y of the edge.
            inner: y from which to look.
            outer: y up to which to look.
            kind: what to call it.
            sigma: white-key widths.
            second: a further edge follows about so far behind, white-key lengths; 0 = none.
        """
        out = 1.0 if outer > inner else -1.0
        steps = round(abs(outer - inner) / _ROW)
        rows = np.clip(
            np.round((inner - _TOP) / _ROW - 0.5 + out * np.arange(steps)).astype(int), 0, _ROWS - 1
        )
        y = self._y[rows]
        places, offsets = [], []
        for start in range(self._low, self._high - 5, 3):
            take = columns & (self._x > start) & (self._x < start + 6)
            with np.errstate(all="ignore"):
                profile = np.median(self._strip[np.ix_(rows, take)], axis=1)
            if not np.isfinite(profile).all():
                continue
            found = _first_edge((profile - profile[:4].mean()) / max(profile[:4].mean(), 8), y, at, second)
            if found is not None:
                places.append((start + 3.0, at))
                offsets.append(found - at)
        count = len(places)
        return Offsets(
            np.array(places).reshape(-1, 2),
            np.array(offsets, np.float64),
            np.full(count, sigma),
            np.full(count, kind),
        )


def _joined(parts: list[Offsets]) -> Offsets:
    return Offsets(
        np.concatenate([p.place for p in parts]),
        np.concatenate([p.offset for p in parts]),
        np.concatenate([p.sigma for p in parts]),
        np.concatenate([p.kind for p in parts]),
    )


def _none() -> Offsets:
    return Offsets(np.zeros((0, 2)), np.zeros(0), np.zeros(0), np.zeros(0, np.intp))


def _first_edge(profile: Float64, y: Float64, at: float, second: float) -> float | None:
    """Return where the edge lies: a strong step near ``at``, better with another one ``second`` behind."""
    step = np.abs(profile[2:] - profile[:-2])
    middle = y[1:-1]
    peak = np.zeros(len(step), bool)
    peak[1:-1] = (step[1:-1] >= step[:-2]) & (step[1:-1] > step[2:]) & (step[1:-1] > 0.06)
    best: tuple[float, float] | None = None
    for i in np.flatnonzero(peak):
        bend = step[i - 1] - 2 * step[i] + step[i + 1]
        place = middle[i] + 0.5 * (step[i - 1] - step[i + 1]) / min(bend, -1e-6) * (middle[1] - middle[0])
        score = min(step[i], 0.4) - ((place - at) / 0.12) ** 2
        if second > 0.02:
            behind = (middle - place) / (second * np.sign(y[-1] - y[0]))
            further = step[(behind > 0.6) & (behind < 1.5)]
            score += 0.7 * min(float(further.max(initial=0.0)), 0.4)
        if best is None or score > best[0]:
            best = float(score), float(place)
    return best[1] if best is not None and best[0] > 0 else None


def _slide(profile: Float64, template: Float64, limits: tuple[int, int]) -> tuple[Float64, Float64, Float64]:
    """Return window centres, best shifts (columns) and correlations of ``profile`` with ``template``.

    Args:
        profile: (n,) brightness along the keys.
        template: (n,) what it should look like.
        limits: percentiles to which brightness is clipped, so that a dark rim or a reflection does not lead.
    """
    size, step = _WINDOW * PER_WHITE, _STRIDE * PER_WHITE
    starts = np.arange(_REACH, len(profile) - size - _REACH + 1, step)
    if not len(starts):
        return np.zeros(0), np.zeros(0), np.zeros(0)
    windows = np.lib.stride_tricks.sliding_window_view(profile, size)
    shifts = np.arange(-_REACH, _REACH + 1)
    low, high = np.percentile(windows[starts], limits, axis=1)[..., None, None]
    # one row for each window and shift
    seen = normalized(np.clip(windows[starts[:, None] + shifts[None]], low, high))
    pattern = normalized(np.lib.stride_tricks.sliding_window_view(template, size)[starts])
    likeness = np.einsum("wsi,wi->ws", seen, pattern)
    likeness = np.where(np.isfinite(likeness), likeness, -1.0)
    peak, top = _peak(likeness)
    middle = np.asarray(starts + (size - 1) / 2, np.float64)
    return middle, np.asarray(peak - _REACH), top


def _peak(likeness: Float64) -> tuple[Float64, Float64]:
    """Return where along its last axis ``likeness`` (n, shifts) is largest, and how large: -1 for an end."""
    peak = likeness.argmax(1)
    inner = np.clip(peak, 1, likeness.shape[1] - 2)
    row = np.arange(len(likeness))
    before, top, after = likeness[row, inner - 1], likeness[row, inner], likeness[row, inner + 1]
    bend = np.minimum(before - 2 * top + after, -1e-6)
    place = inner + np.clip(0.5 * (before - after) / bend, -0.7, 0.7)
    return np.asarray(place), np.asarray(np.where(peak == inner, top, -1.0))
