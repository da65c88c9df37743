"""What the manifest says of an exported network: calibration per head, base rates, commit thresholds.

Everything is measured with the int8 file on validation material (pianos and pieces it was not trained on).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray

from ivories.audio.octaves import OctaveDoubt
from ivories.datatypes import KeyEvidence, Origin
from ivories.inference.manifest import Channel, Manifest
from ivories.notes import NOTE_DTYPE
from ivories_training.audio.excerpts import read_shard
from ivories_training.audio.labels import targets
from ivories_training.audio.listener import Listener
from ivories_training.audio.settings import Settings
from ivories_training.performances import Performance
from ivories_training.thresholds import Piece, find_thresholds

Float32 = NDArray[np.float32]


@dataclass(frozen=True)
class Heard:
    """One validation excerpt through the file."""

    evidence: Sequence[KeyEvidence]
    played: Performance
    hops: int


def plain_manifest(settings: Settings, file: str, sha256: str, frontend: str, parameters: int) -> Manifest:
    """Return a manifest whose evidence is the network's raw logits."""
    return Manifest(
        name=settings.name,
        kind="audio",
        file=file,
        sha256=sha256,
        frontend=frontend,
        input="spectrum",
        context=settings.network.context,
        channels=[_channel(name) for name in settings.network.channels],
        pedal=Channel(kind="frame"),
        parameters=parameters,
    )


def _channel(name: str) -> Channel:
    kind, _, horizon = name.partition("@")
    return Channel(kind=kind, horizon=int(horizon or 0))  # type: ignore[arg-type]


def hear(listener: Listener, folder: Path, count: int) -> list[Heard]:
    """Run the file over the first ``count`` validation excerpts."""
    heard: list[Heard] = []
    for path in sorted(folder.glob("shard_*.npy")):
        shard = read_shard(path)
        for bins, played in zip(shard.bins, shard.played, strict=True):
            heard.append(Heard(listener.follow(bins), played, len(bins)))
            if len(heard) == count:
                return heard
    return heard


def fit(manifest: Manifest, heard: Sequence[Heard], cold_hops: int) -> Manifest:
    """Return ``manifest`` with temperature, bias and prior of every channel and of the pedal."""
    horizons = [c.horizon for c in manifest.channels if c.kind == "onset"]
    truths = [targets(h.played, h.hops, horizons) for h in heard]
    keys = np.concatenate([t[0][cold_hops:, :, :-1] for t in truths])
    pedal = np.concatenate([t[1][cold_hops:] for t in truths])
    fitted = []
    for c, channel in enumerate(manifest.channels):
        if channel.kind == "velocity":
            fitted.append(channel)
            continue
        logits = np.concatenate([_logits(h.evidence, channel, c)[cold_hops:] for h in heard])
        fitted.append(_fitted(channel, logits.ravel(), keys[..., c].ravel()))
    foot = np.array([e.pedal for h in heard for e in h.evidence[cold_hops:]], np.float32)
    return msgspec.structs.replace(
        manifest, channels=fitted, pedal=_fitted(Channel(kind="frame"), foot, pedal)
    )


def _logits(evidence: Sequence[KeyEvidence], channel: Channel, row: int) -> Float32:
    """(T, 88) raw logits of one channel."""
    if channel.kind == "onset":
        return np.stack([e.onset[row] for e in evidence])
    if channel.kind == "frame":
        return np.stack([e.frame for e in evidence])
    return np.stack([e.offset for e in evidence if e.offset is not None])


def _fitted(channel: Channel, logits: Float32, truth: Float32) -> Channel:
    """Fit posterior logit = (logit + bias) / temperature by Newton's method on the cross-entropy."""
    z, y = logits.astype(np.float64), truth.astype(np.float64)
    gain, shift = 1.0, 0.0
    for _ in range(25):
        p = 1 / (1 + np.exp(-np.clip(gain * z + shift, -40, 40)))
        w = p * (1 - p) + 1e-9
        gradient = np.array([np.dot(y - p, z), np.sum(y - p)])
        hessian = np.array([[np.dot(w, z * z), np.dot(w, z)], [np.dot(w, z), np.sum(w)]])
        step = np.clip(np.linalg.solve(hessian + 1e-6 * np.eye(2), gradient), -1, 1)
        gain, shift = max(gain + float(step[0]), 0.05), shift + float(step[1])
        if np.abs(step).max() < 1e-5:
            break
    rate = float(np.clip(y.mean(), 1e-6, 1 - 1e-6))
    return msgspec.structs.replace(
        channel,
        temperature=round(1 / gain, 4),
        bias=round(shift / gain, 4),
        prior=round(float(np.log(rate / (1 - rate))), 4),
    )


def notes_of(played: Performance, begin_s: float, end_s: float) -> NDArray[np.void]:
    """Return the notes struck within [begin, end) as a reference for scoring.

    They end where their sound does: a key-up under the pedal cannot be heard.
    """
    kept = played.notes[(played.notes["onset_s"] >= begin_s) & (played.notes["onset_s"] < end_s)]
    rows = [(n["onset_s"], n["sounding_end_s"], n["key"] + 21, n["velocity"]) for n in kept]
    return np.array(rows, NOTE_DTYPE)


def pieces(listener: Listener, folder: Path, count: int) -> list[Piece]:
    """Return validation pieces for the search of thresholds, octaves doubted as on the device.

    The excerpt's last moments do not count.
    """
    heard = hear(listener, folder, count)
    last = listener.model.delay_ns / 1e9
    return [
        Piece(OctaveDoubt().enter(h.evidence), notes_of(h.played, 0.0, h.hops * 0.01 - last))
        for h in heard
        if len(h.played.notes)
    ]


def calibrate(manifest: Manifest, folder: Path, validation: Path, settings: Settings) -> Manifest:
    """Return the manifest of the file in ``folder``, calibrated on the shards in ``validation``."""
    heard = hear(Listener(manifest, folder), validation, settings.data.calibration_excerpts)
    fitted = fit(manifest, heard, settings.train.cold_hops)
    listener = Listener(fitted, folder)
    found = find_thresholds(pieces(listener, validation, settings.data.threshold_excerpts), Origin.AUDIO)
    return msgspec.structs.replace(fitted, thresholds=found)
