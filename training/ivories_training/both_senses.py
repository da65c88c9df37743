"""Do ears and eyes err together? The gain of fusion rests on the answer, so it is measured.

Unseen pieces are filmed in unseen rooms and played on a piano that no network was trained on; both int8 files
judge them through the device's own stages. Told are the correlation of the two log-likelihood ratios, at true
onsets and at false candidates, how much more often than independence says both err at once, and what the
tracker makes of each sensor alone and of both.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray
from rich.table import Table

from ivories.clock import MILLISECOND, SECOND
from ivories.datatypes import Float32, KeyEvidence, NoteEvent
from ivories.fusion.tracker import Tracker, TrackerSettings
from ivories.keyboard import KEYS, LOWEST_PITCH
from ivories.report import decision_delays, notes_of_events
from ivories.scoring import NoteScores, score_notes
from ivories_training.audio import instruments
from ivories_training.audio.listener import Listener
from ivories_training.audio.room import Recorder, coloured_noise
from ivories_training.audio.sample_bank import RATE
from ivories_training.audio.synthesizer import synthesize
from ivories_training.performances import performance
from ivories_training.video.clips import QUIET_S, Clip
from ivories_training.video.evaluate import Watcher
from ivories_training.video.recipe import unseen_clips

SOUNDS: Final = ("clean", "room", "5 dB")
"""Dry piano; a drawn room and microphone; coloured noise 5 dB below the piano"""
BIN_NS: Final = 10 * MILLISECOND
_NEAR: Final = 5  # bins: evidence this near an onset belongs to it
_BLOCK: Final = 10  # bins of a false candidate
_FREE: Final = 15  # bins around an onset of the key that are no false candidate
MISSED: Final = 6.0
"""Log-likelihood ratio below which a true onset is missed: the posterior is then below one half"""
IMAGINED: Final = 4.0
"""Log-likelihood ratio from which a false candidate counts as an error"""


@dataclass(frozen=True)
class Scene:
    """One clip with its sound, as both networks judged it."""

    clip: Clip
    heard: list[KeyEvidence]
    seen: list[KeyEvidence]

    def merged(self) -> list[KeyEvidence]:
        """Return the evidence of both in the order of its times."""
        return sorted([*self.heard, *self.seen], key=lambda e: e.t_ns)


@dataclass(frozen=True)
class Pairs:
    """Log-likelihood ratios of both sensors at the same moments of the same keys, (N,) each."""

    audio: Float32
    video: Float32
    scene: NDArray[np.int64]

    def correlation(self) -> tuple[float, float]:
        """Return Pearson's r over all, and with every scene's own means taken off."""
        own = [a.astype(np.float64).copy() for a in (self.audio, self.video)]
        pooled = float(np.corrcoef(own[0], own[1])[0, 1])
        for scene in np.unique(self.scene):
            here = self.scene == scene
            for values in own:
                values[here] -= values[here].mean()
        return pooled, float(np.corrcoef(own[0], own[1])[0, 1])

    def errors(self, threshold: float, *, above: bool) -> tuple[float, float, float, float]:
        """Return the rates of errors of audio, of video, of both, and both over independence."""
        wrong = [(values > threshold) == above for values in (self.audio, self.video)]
        heard, seen = (float(w.mean()) for w in wrong)
        both = float((wrong[0] & wrong[1]).mean())
        return heard, seen, both, both / max(heard * seen, 1e-12)


def scenes(
    models: Path, performances: Path | None, sound: str, count: int, seconds: float, rate: float | None = None
) -> Iterator[Scene]:
    """Yield ``count`` scenes of the test split with one kind of ``SOUNDS``."""
    from ivories.inference.manifest import load_manifest

    listener = Listener(load_manifest(models / "audio.toml"), models)
    watcher = Watcher(models / "video.toml")
    bank = instruments.test_bank(instruments.InstrumentConfig().cache)
    recorder = Recorder(np.random.default_rng(11), rooms=8, voices=8)
    for seed, clip in enumerate(unseen_clips(performances, "test", count, seconds, rate)):
        rng = np.random.default_rng([seed, 77])
        rows = [
            (float(n["onset_s"]), float(n["offset_s"]), int(n["pitch"]) - LOWEST_PITCH, int(n["velocity"]))
            for n in clip.notes
        ]
        samples = synthesize(performance(clip.name, rows, []), bank, seconds + 0.5, rng)
        if sound == "5 dB":
            level = np.sqrt(np.mean(samples[round(QUIET_S * RATE) :] ** 2)) * 10 ** (-5 / 20)
            samples = samples + np.float32(level) * coloured_noise(len(samples), rng)
        samples = recorder.record(samples, rng, 1.0 if sound == "room" else 0.0)
        yield Scene(clip, listener.hear(samples), watcher.watch(clip))


def last_judgement(evidence: Sequence[KeyEvidence], bins: int) -> Float32:
    """Return the log-likelihood ratios of the last horizon on a 10 ms grid, (bins, K); NaN where none."""
    grid = np.full((bins, KEYS), np.nan, np.float32)
    for one in evidence:
        end = one.t_ns - one.horizon_ns[-1]
        row = np.where(one.visible, one.onset[-1], np.nan)
        first, last = (max(0, t // BIN_NS) for t in (end - one.step_ns, end - 1))
        grid[first : last + 1] = np.fmax(grid[first : last + 1], row)
    return grid


def pairs(found: Sequence[Scene]) -> tuple[Pairs, Pairs]:
    """Return what both sensors say at true onsets, and at false candidates.

    A false candidate is a key in a tenth of a second in which other keys begin, and not this one: where
    nothing happens, both are right too easily. Keys that the eye does not see are left out.
    """
    rows: tuple[list[tuple[float, float, int]], list[tuple[float, float, int]]] = ([], [])
    for number, scene in enumerate(found):
        bins = int(scene.clip.t_ns[-1]) // BIN_NS
        judged = [last_judgement(evidence, bins) for evidence in (scene.heard, scene.seen)]
        known = ~np.isnan(judged[0] + judged[1])
        key = scene.clip.notes["pitch"] - LOWEST_PITCH
        onset = (scene.clip.notes["onset_s"] * SECOND // BIN_NS).astype(np.int64)
        taken = np.zeros((bins, KEYS), bool)
        for k, b in zip(key, onset, strict=True):
            taken[max(0, b - _FREE) : b + _FREE + 1, k] = True
            near = slice(max(0, b - _NEAR), b + _NEAR + 1)
            if known[near, k].any():
                best = (float(np.nanmax(j[near, k])) for j in judged)
                rows[0].append((*best, number))
        for first in range(0, bins - _BLOCK, _BLOCK):
            block = slice(first, first + _BLOCK)
            if not ((onset >= first) & (onset < first + _BLOCK)).any():
                continue
            for k in np.flatnonzero(known[block].all(0) & ~taken[block].any(0)):
                best = (float(j[block, k].max()) for j in judged)
                rows[1].append((*best, number))
    return tuple(  # type: ignore[return-value]
        Pairs(*(np.array(column) for column in zip(*part, strict=True))) for part in rows
    )


def decide(scene: Scene, audio: Sequence[float], video: Sequence[float]) -> dict[str, list[NoteEvent]]:
    """Return what the tracker decides from the ears, from the eyes, and from both."""
    events = {}
    ways = {"audio": scene.heard, "video": scene.seen, "both": scene.merged()}
    for name, evidence in ways.items():
        tracker = Tracker(TrackerSettings(audio_thresholds=tuple(audio), video_thresholds=tuple(video)))
        events[name] = [event for one in evidence for event in tracker.push(one)]
        events[name] += tracker.release_all(evidence[-1].t_ns)
    return events


def late(evidence: Sequence[KeyEvidence], by_ns: int) -> list[KeyEvidence]:
    """Return ``evidence`` as of a sensor whose clock is ``by_ns`` late."""
    return [replace(one, t_ns=one.t_ns + by_ns) for one in evidence]


def report(found: Sequence[Scene], sound: str, audio: Sequence[float], video: Sequence[float]) -> list[Table]:
    """Return the tables of one kind of sound."""
    onsets, candidates = pairs(found)
    dependence = Table(title=f"{sound}: do ears and eyes err together?", title_justify="left")
    for name in (
        "where",
        "cases",
        "r",
        "r within scenes",
        "audio errs",
        "video errs",
        "both",
        "times chance",
    ):
        dependence.add_column(name, justify="left" if name == "where" else "right")
    for name, part, threshold, above in (
        ("true onsets (missed)", onsets, MISSED, False),
        ("false candidates (imagined)", candidates, IMAGINED, True),
    ):
        pooled, within = part.correlation()
        heard, seen, both, lift = part.errors(threshold, above=above)
        dependence.add_row(
            name, str(len(part.audio)), f"{pooled:.3f}", f"{within:.3f}", f"{heard:.4f}", f"{seen:.4f}",
            f"{both:.5f}", f"{lift:.1f}",
        )  # fmt: skip
    scored = Table(title=f"{sound}: what the tracker makes of it", title_justify="left")
    for name in (
        "sense", "F1 50 ms", "P", "R", "F1 25 ms", "ends right too", "velocity r", "decision median", "mean"
    ):  # fmt: skip
        scored.add_column(name, justify="left" if name == "sense" else "right")
    decided = [decide(scene, audio, video) for scene in found]
    for way in ("audio", "video", "both"):
        scores: list[NoteScores] = []
        median, mean = [], []
        for scene, events in zip(found, decided, strict=True):
            notes = notes_of_events(events[way])
            scores.append(score_notes(scene.clip.notes, notes))
            delays = decision_delays(scene.clip.notes, notes)
            if delays is not None:
                median.append(delays.median)
                mean.append(delays.mean)
        fields = ("f1", "precision", "recall", "f1_25ms", "f1_offset", "velocity_r")
        values = [float(np.nanmean([getattr(s, field) for s in scores])) for field in fields]
        scored.add_row(
            way, *(f"{v:.3f}" for v in values), f"{np.mean(median):.0f} ms", f"{np.mean(mean):.0f} ms"
        )
    return [dependence, scored]
