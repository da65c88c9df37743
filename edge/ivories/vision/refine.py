"""Refines a map of the keyboard plane against the keys' edges."""

from dataclasses import dataclass
from typing import Final

import numpy as np

from ivories.datatypes import UInt8
from ivories.vision import homography as plane
from ivories.vision.homography import Float64
from ivories.vision.key_edges import EdgeMeter, Kind, Offsets
from ivories.vision.plane_fit import PlaneMap

_LENGTH_IN_WIDTHS: Final = 6.4
_HALF_SPAN: Final = 26.0
_LENS_SIGMA: Final = 0.05
# How wrong the black keys' apparent shift may be, in white-key widths at the keyboard's ends: constant,
# linear, square and cubic along it. The camera's distance is not known well, and a lamp near by throws the
# keys' shadows to both sides. Black keys differ in length between makers.
_RAISED_SIGMA: Final = (0.03, 0.08, 0.03, 0.04)
_BLACK_LENGTH_SIGMA: Final = 0.12
_BACK_SIGMA: Final = 0.15
_SOLVES: Final = 8
_STRAY: Final = 2.0  # standard deviations


@dataclass(frozen=True, slots=True)
class Refined:
    """A better map and how well the edges agree with it."""

    found: PlaneMap
    residual: float
    """white-key widths, median along the keyboard"""
    support: float
    """0..1: share of the places along the keyboard where edges were seen"""
    low: float
    """x of the first place where black keys or gaps were seen in line; nan without any"""
    high: float
    """x of the last one"""


def refine(
    luma: UInt8,
    found: PlaneMap,
    blacks: Float64,
    low: int,
    high: int,
    *,
    lens: bool,
    rounds: int = 3,
    blacks_only: bool = False,
) -> Refined:
    """Return ``found`` after ``rounds`` of measuring edges and solving for the map.

    Args:
        luma: (H, W).
        found: plane -> pixels, less than half a white key off.
        blacks: plane x of black-key centres.
        low: x where the keys to use begin (whole).
        high: x where they end (whole).
        lens: estimate the distortion too.
        rounds: how often.
        blacks_only: leave all other edges out: it is not known yet which way round the keyboard lies.
    """
    residual, support = np.inf, 0.0
    first = last = np.nan
    for _ in range(rounds):
        meter = EdgeMeter(luma, found, blacks, low, high)
        seen = meter.measure_blacks() if blacks_only else meter.measure()
        if len(seen.offset) < 6:
            break
        found, error = _solve(found, seen, (low + high) / 2, lens=lens)
        along = seen.where(Kind.GAP_X) | seen.where(Kind.BLACK_X)
        residual = float(np.median(np.abs(error[along]))) if along.any() else np.inf
        covered = np.unique(np.floor(seen.place[along, 0] / 2))
        support = min(1.0, 2 * len(covered) / max(1, high - low))
        x = seen.place[along, 0]
        first, last = (float(x.min()), float(x.max())) if len(x) else (np.nan, np.nan)
    return Refined(found, residual, support, first, last)


def _solve(found: PlaneMap, seen: Offsets, centre: float, *, lens: bool) -> tuple[PlaneMap, Float64]:
    """Return the map after a small plane -> plane correction, and the remaining errors in white-key widths.

    Each measurement is one linear equation in the eight numbers of the correction, the change of k1, and
    the nuisances: the black keys' shift along the keyboard, their length, and where the fallboard begins.
    """
    u = (seen.place - (centre, 0.5)) / (_HALF_SPAN, 0.5)
    along = seen.where(Kind.GAP_X) | seen.where(Kind.BLACK_X)
    one, nil = np.ones(len(u)), np.zeros(len(u))
    x, y = u[:, 0], u[:, 1]
    across = np.stack([x, y, one, nil, nil, nil, -x * x, -x * y], 1) * _HALF_SPAN
    lengthwise = np.stack([nil, nil, nil, x, y, one, -x * y, -y * y], 1) * 0.5 * _LENGTH_IN_WIDTHS
    design = np.where(along[:, None], across, lengthwise)
    bulge = _lens_effect(found, seen.place)
    lens_column = np.where(along, bulge[:, 0], bulge[:, 1] * _LENGTH_IN_WIDTHS)
    black, black_front, back = (seen.where(k) for k in (Kind.BLACK_X, Kind.BLACK_FRONT_Y, Kind.BACK_Y))
    shifts = [black * x**power for power in range(len(_RAISED_SIGMA))]
    nuisance = np.stack([*shifts, black_front * one, back * one], 1)
    design = np.concatenate([design, lens_column[:, None], nuisance], 1)
    value = np.where(along, seen.offset, seen.offset * _LENGTH_IN_WIDTHS)
    prior = np.array(
        [
            *([1.0] * 8),
            _LENS_SIGMA if lens else 1e-9,
            *_RAISED_SIGMA,
            _BLACK_LENGTH_SIGMA,
            _BACK_SIGMA,
        ]
    )
    held = np.zeros(len(prior))
    held[8] = -found.k1 if lens else 0.0
    solution = np.zeros(len(prior))
    for step in range(_SOLVES):
        error = (value - design @ solution) / seen.sigma
        doubt = 1 + (error / _STRAY) ** 2
        # strays only count less at first (Cauchy); near the solution they have hardly a say (Geman-McClure)
        weight = 1 / seen.sigma / (np.sqrt(doubt) if step < _SOLVES // 2 else doubt)
        rows = np.concatenate([design * weight[:, None], np.diag(1 / prior)])
        solution = np.linalg.lstsq(rows, np.append(value * weight, held / prior), rcond=None)[0]
    error = value - design @ solution
    change = np.eye(3)
    change[0] += solution[0:3]
    change[1] += solution[3:6]
    change[2, :2] += solution[6:8]
    scale = np.array([[1 / _HALF_SPAN, 0, -centre / _HALF_SPAN], [0, 2.0, -1.0], [0, 0, 1.0]])
    moved = found.moved(np.linalg.inv(scale) @ change @ scale)
    k1 = float(np.clip(found.k1 + solution[8], -0.3, 0.3))
    return PlaneMap(moved.matrix, k1, found.width, found.height), np.asarray(error)


def _lens_effect(found: PlaneMap, place: Float64) -> Float64:
    """Return (n, 2) d plane / d k1: how a point seen at ``place`` moves with more distortion."""
    ideal = plane.apply(found.matrix, place)
    offset = ideal - np.array([(found.width - 1) / 2, (found.height - 1) / 2])
    push = offset * ((offset**2).sum(1) / (found.width / 2) ** 2)[:, None]
    return np.asarray(np.linalg.solve(found.jacobian(place), push[..., None])[..., 0])
