"""How well the keyboard is found: over rendered random mounts, and in filmed clips.

Two errors in white-key widths, before and after refinement by the edges: how far the edges lie from where the
calibration says, which needs no truth; and, where the truth is known, the largest error of a key's centre
along the keyboard. Besides, how far a plain scaling of the picture would have been off.
"""

import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

import cv2
import msgspec
import numpy as np
from numpy.typing import NDArray

import ivories.vision
import ivories_training.video
from ivories.errors import CalibrationError, SourceError
from ivories.keyboard import IS_BLACK, KEY_CENTRE, WHITE_KEYS
from ivories.vision.calibration import Calibration
from ivories.vision.find_keyboard import find_in_two_steps, median_picture
from ivories.vision.homography import Float64
from ivories.vision.key_edges import EdgeMeter, Kind
from ivories.vision.overlay import draw_overlay
from ivories.vision.plane_fit import PlaneMap
from ivories_training.video.registration_cases import Case, filmed, mounted

UInt8 = NDArray[np.uint8]

CENTRES: Final = np.stack([KEY_CENTRE, np.where(IS_BLACK, 0.32, 0.8)], 1)
"""(88, 2) keyboard-plane points in the middle of what is seen of each key"""
NEAR: Final = 0.1
"""White-key widths: the aim"""


class Result(msgspec.Struct, frozen=True):
    """What came of one case; errors in white-key widths, None where unknown."""

    name: str
    refused: str | None = None
    """why no keyboard was found"""
    quality: float = 0.0
    octave_sure: bool = False
    edges_before: float | None = None
    """median distance of edges from their places"""
    edges_after: float | None = None
    centre_before: float | None = None
    """largest error of a key's centre along the keyboard, the octave aside"""
    centre_after: float | None = None
    octaves_off: int = 0
    scaling_off: float | None = None
    """mean distance of key centres from the best plain scaling"""


def judge(case: Case) -> tuple[Result, Calibration | None]:
    """Find the keyboard of ``case`` and say how well; the calibration comes along, None where refused."""
    try:
        before, after = find_in_two_steps(case.pictures)
    except CalibrationError as error:
        return Result(case.name, refused=str(error)), None
    luma = median_picture(case.pictures)
    result = Result(
        case.name,
        quality=round(after.quality, 3),
        octave_sure=not after.octave_uncertain,
        edges_before=edge_error(luma, before),
        edges_after=edge_error(luma, after),
        scaling_off=round(scaling_error(after), 3),
    )
    if case.truth is not None:
        octaves, error = centre_error(after, case.truth)
        result = msgspec.structs.replace(
            result,
            octaves_off=octaves,
            centre_before=centre_error(before, case.truth)[1],
            centre_after=error,
        )
    return result, after


def edge_error(luma: UInt8, calibration: Calibration) -> float | None:
    """Return how far gaps and black keys lie from their places, median, white-key widths; None: unseen."""
    found = PlaneMap(np.array(calibration.homography), calibration.k1, calibration.width, calibration.height)
    seen = EdgeMeter(luma, found, KEY_CENTRE[IS_BLACK], 0, WHITE_KEYS).measure()
    along = seen.where(Kind.GAP_X) | seen.where(Kind.BLACK_X)
    return round(float(np.median(np.abs(seen.offset[along]))), 4) if along.any() else None


def centre_error(found: Calibration, truth: Calibration) -> tuple[int, float]:
    """Return whole octaves off, and the largest error of a key's centre besides, white-key widths."""
    off = (found.to_plane(truth.to_pixels(CENTRES)) - CENTRES)[:, 0]
    octaves = round(float(np.median(off)) / 7)
    return octaves, round(float(np.abs(off - 7 * octaves).max()), 4)


def scaling_error(calibration: Calibration) -> float:
    """Return how far a plain scaling, x and y each on its own, misses the key centres: mean, white keys."""
    pixels = calibration.to_pixels(CENTRES)
    missed: list[Float64] = []
    for axis in (0, 1):
        design = np.stack([CENTRES[:, axis], np.ones(len(CENTRES))], 1)
        missed.append(pixels[:, axis] - design @ np.linalg.lstsq(design, pixels[:, axis], rcond=None)[0])
    key = np.linalg.norm(pixels[-1] - pixels[0]) / (WHITE_KEYS - 1)
    return float(np.hypot(*missed).mean() / key)


def check(
    mounts: range, videos: Sequence[Path], pictures: int, cache: Path | None, inspect: Path | None
) -> Iterator[Result]:
    """Yield a result per mount and video; what ``cache`` holds of the same code and pictures is not redone.

    Args:
        mounts: seeds.
        videos: filmed clips.
        pictures: per case.
        cache: JSON file that is read and added to.
        inspect: folder for pictures of the overlay where something is wrong.
    """
    code = _code_hash()
    known = {key: result for key, result in _load(cache).items() if key.startswith(code)}
    jobs = [(f"mount {seed}", lambda seed=seed: mounted(seed, pictures)) for seed in mounts]
    jobs += [(_identity(video), lambda video=video: filmed(video, pictures)) for video in videos]
    for name, make in jobs:
        key = f"{code} {name} x{pictures}"
        if key not in known or (inspect is not None and not is_good(known[key])):
            case = make()
            known[key], found = judge(case)
            _save(known, cache)
            if inspect is not None and not is_good(known[key]):
                _draw(case, found, inspect)
        yield known[key]


def is_good(result: Result) -> bool:
    """Say whether every key was found in its place, or, where the truth is unknown, whether it seems so."""
    if result.refused is not None or result.octaves_off:
        return False
    error = result.centre_after if result.centre_after is not None else result.edges_after
    return error is not None and error < NEAR


def line(result: Result) -> str:
    """Return one line of the report."""
    if result.refused is not None:
        return f"reg_refined: {result.name}: refused: {result.refused}"

    def change(before: float | None, after: float | None) -> str:
        return " -> ".join("?" if value is None else f"{value:.3f}" for value in (before, after))

    octave = f", OCTAVE {result.octaves_off:+d}" if result.octaves_off else ""
    return (
        f"reg_refined: {result.name}: edges {change(result.edges_before, result.edges_after)}, "
        f"key centres {change(result.centre_before, result.centre_after)}, plain scaling off by "
        f"{result.scaling_off:.2f}, quality {result.quality:.2f}{octave}"
    )


def summary(results: Sequence[Result]) -> str:
    """Return the report's end: refusals, octave errors, percentiles of the errors in white-key widths."""
    found = [r for r in results if r.refused is None]
    wrong = [r for r in found if r.octaves_off]
    sure = sum(r.octave_sure for r in wrong)
    counts = f"{len(results)} positions: {len(found)} found, {len(results) - len(found)} refused"
    lines = [f"{counts}, octave wrong in {len(wrong)} ({sure} of them called sure)"]
    for words, values in (
        ("edges off, before refinement", [r.edges_before for r in found]),
        ("edges off, after", [r.edges_after for r in found]),
        ("worst key centre, before", [r.centre_before for r in found]),
        ("worst key centre, after", [r.centre_after for r in found]),
        ("plain scaling off (mean)", [r.scaling_off for r in found]),
    ):
        known = [value for value in values if value is not None]
        if known:
            median, most, worst = np.percentile(known, [50, 95, 100])
            lines.append(f"  {words}: median {median:.3f}, 95 % below {most:.3f}, worst {worst:.3f}")
    centres = [r.centre_after for r in found if r.centre_after is not None]
    if centres:
        share = np.mean([value < NEAR for value in centres])
        lines.append(f"  all keys within {NEAR} of a white key: {share:.1%} of those found")
    return "\n".join(lines)


def _draw(case: Case, found: Calibration | None, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    luma = median_picture(case.pictures)
    shown = luma if found is None else draw_overlay(luma, found)
    cv2.imwrite(str(folder / f"{case.name.replace(' ', '_')}.png"), shown)


def _identity(video: Path) -> str:
    try:
        return hashlib.sha256(video.read_bytes()).hexdigest()[:16]
    except OSError as error:
        raise SourceError(f"{video} cannot be read: {error.strerror}") from error


def _code_hash() -> str:
    digest = hashlib.sha256()
    for package in (ivories.vision, ivories_training.video):
        for file in sorted(Path(package.__path__[0]).glob("*.py")):
            digest.update(file.read_bytes())
    return digest.hexdigest()[:12]


def _load(cache: Path | None) -> dict[str, Result]:
    if cache is None or not cache.exists():
        return {}
    try:
        return msgspec.json.decode(cache.read_bytes(), type=dict[str, Result])
    except (OSError, msgspec.DecodeError) as error:
        raise SourceError(f"{cache} is no registration cache ({error}); delete it or name another") from error


def _save(known: dict[str, Result], cache: Path | None) -> None:
    if cache is None:
        return
    try:
        cache.parent.mkdir(parents=True, exist_ok=True)
        cache.write_bytes(msgspec.json.format(msgspec.json.encode(known), indent=1))
    except OSError as error:
        raise SourceError(
            f"{cache} cannot be written: {error.strerror}; name another with --cache"
        ) from error
