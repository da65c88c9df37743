"""Training examples: windows of five frames over a stretch of the keyboard, drawn where something happens."""

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from ivories.keyboard import KEYS
from ivories.native import StripFrontEnd as NativeStripFrontEnd
from ivories.vision.strip import CHANNELS, FRAMES, StripSpec
from ivories_training.video.balance import Balance, Kinds, kinds_of, members
from ivories_training.video.dataset import Shard, load_shard, shards
from ivories_training.video.network import OCTAVE, NetworkConfig
from ivories_training.video.sequences import BEFORE

UInt8 = NDArray[np.uint8]
Int8 = NDArray[np.int8]
Float32 = NDArray[np.float32]
OUTSIDE = 128
"""Luma that the front end shows where the picture ends"""


class Assembler:
    """Turns stored luma into the network's input with the device's own C code."""

    def __init__(self, spec: StripSpec | None = None) -> None:
        self.spec = spec or StripSpec()
        self._shape = (self.spec.rows, self.spec.width)
        self._whole = self._frontend(np.ones(self._shape, bool))

    def _frontend(self, inside: NDArray[np.bool_]) -> NativeStripFrontEnd:
        corner = np.zeros((*self._shape, 2), np.uint16)
        weights = np.zeros((*self._shape, 16), np.uint8)
        weights[..., 0] = 255 * inside  # never used to sample: what comes in is rectified already
        return NativeStripFrontEnd(self.spec.native(), 4, 4, corner, weights)

    def strips(self, luma: UInt8, t_ns: NDArray[np.int64]) -> Int8:
        """Return (F - 4, rows, width, 6) of (1 + F, rows, width) luma, rest picture first, at t_ns (F,)."""
        outside = (luma == OUTSIDE).all(axis=0)
        frontend = self._frontend(~outside) if outside.mean() > 0.002 else self._whole
        frontend.reset()
        frontend.set_rest(np.ascontiguousarray(luma[0]))
        out = np.empty((len(t_ns), *self._shape, CHANNELS), np.int8)
        count = frontend.process(np.ascontiguousarray(luma[1:]), np.ascontiguousarray(t_ns), out, True)
        return out[:count]


@dataclass(frozen=True)
class WindowsConfig:
    """How examples are drawn and changed."""

    keys: int = 40
    """keys per example; the network's weights are shared along the keyboard"""
    per_sequence: int = 6
    brightness: float = 0.2
    """of full scale, added"""
    contrast: tuple[float, float] = (0.7, 1.3)
    rest_mismatch: float = 0.3
    """share of sequences whose rest picture gets another light"""
    lamp_share: float = 0.2
    """share of sequences in which a lamp is switched between two frames"""
    noise_share: float = 0.3
    noise_levels: float = 5.0
    """greatest standard deviation of added noise, of 255"""
    invisible_weight: float = 0.15
    background_share: float = 0.25
    """of the examples, drawn anywhere; the others where keys move"""
    balance: Balance | None = None
    """Draw in these shares of onsets, near misses and quiet moments instead"""


class Windows:
    """Draws batches from a folder of shards that may still be growing.

    Args:
        folder: of one split.
        config: how to draw.
        network: whose channels are wanted.
        seed: of the draws.
    """

    def __init__(self, folder: Path, config: WindowsConfig, network: NetworkConfig, seed: int) -> None:
        self.folder, self.config, self.network = folder, config, network
        self._rng = np.random.default_rng(seed)
        self._assembler = Assembler()
        self._paths = shards(folder)
        self._open: OrderedDict[Path, Shard] = OrderedDict()
        self._noise = self._rng.standard_normal(1 << 22, np.float32)
        self._draws = 0
        if not self._paths:
            raise FileNotFoundError(f"no shards in {folder}: render some first")

    def reseed(self, seed: Sequence[int]) -> None:
        """Draw on from another seed: a training that goes on shall not see its first batches again."""
        self._rng = np.random.default_rng(seed)

    def batch(self, size: int) -> tuple[Float32, Float32]:
        """Return inputs (size, 48, 12 * keys, 6) and targets with weights (size, 1, keys, 2 * C)."""
        config = self.config
        inputs, targets = [], []
        while len(inputs) < size:
            shard, i, among = self._draw()
            luma = self._changed(np.array(shard.luma[i]))
            strips = self._assembler.strips(luma, shard.t_ns[i])
            truth = sequence_targets(shard, i, self.network, config.invisible_weight)
            for _ in range(min(config.per_sequence, size - len(inputs))):
                w, first = self._place(shard, i, among)
                columns = slice(12 * first, 12 * (first + config.keys))
                inputs.append(strips[w, :, columns])
                targets.append(truth[w, None, first : first + config.keys])
        scale = np.float32(1 / 64)
        return np.stack(inputs).astype(np.float32) * scale, np.stack(targets)

    def _draw(self) -> tuple[Shard, int, NDArray[np.int64]]:
        """Return a shard, a sequence in it, and the windows of it that may be drawn."""
        self._draws += 1
        if self._draws % 200 == 0:
            self._paths = shards(self.folder)
        path = self._paths[int(self._rng.integers(len(self._paths)))]
        if path not in self._open:
            self._open[path] = load_shard(path)
            if len(self._open) > 400:
                self._open.popitem(last=False)
        shard, balance = self._open[path], self.config.balance
        if balance is None:
            count = shard.t_ns.shape[1] - FRAMES + 1
            return shard, int(self._rng.integers(len(shard.luma))), np.arange(count)
        found = members(window_kinds(shard, balance.radius), balance.draw(self._rng))
        i = int(found[self._rng.integers(len(found)), 0])
        return shard, i, found[found[:, 0] == i, 1]

    def _place(self, shard: Shard, i: int, among: NDArray[np.int64]) -> tuple[int, int]:
        """Choose one of the windows ``among`` and a stretch of keys: mostly around onsets and moving keys."""
        rng, keys = self._rng, self.config.keys
        starts = np.arange(0, KEYS - keys + 1, OCTAVE)
        if rng.random() < self.config.background_share:
            return int(rng.choice(among)), int(rng.choice(starts))
        onset = shard.onset[i] > 0
        depth = np.asarray(shard.depth[i], np.float32)
        weight = np.zeros((len(among), len(starts)))
        for row, w in enumerate(among):
            frame = w + FRAMES - 1
            near = onset[frame + BEFORE - 2 : frame + BEFORE + 2].any(0)
            moving = np.abs(depth[frame] - depth[frame - 1]) > 0.05
            score = 3.0 * near + 1.0 * moving + 0.15 * shard.pressed[i, frame]
            total = np.concatenate([[0], np.cumsum(score)])
            weight[row] = 0.02 + total[starts + keys] - total[starts]
        at = int(rng.choice(weight.size, p=(weight / weight.sum()).ravel()))
        return int(among[at // len(starts)]), int(starts[at % len(starts)])

    def _changed(self, luma: UInt8) -> UInt8:
        """Change light, contrast and noise of a whole sequence, the same for all its frames."""
        rng, config = self._rng, self.config
        outside = (luma == OUTSIDE).all(axis=0)
        steps = np.arange(256, dtype=np.float32)
        if rng.random() < 0.8:
            shift = rng.uniform(-config.brightness, config.brightness) * 255 * rng.random()
            gain = rng.uniform(*config.contrast)

            def curve(more: float) -> UInt8:
                changed = ((steps - 128) * gain + 128 + shift) * (1 + more)
                return np.clip(np.round(changed), 0, 255).astype(np.uint8)

            other = rng.normal(0, 0.04) if rng.random() < config.rest_mismatch else 0.0
            luma = np.concatenate([cv2.LUT(luma[:1], curve(other)), cv2.LUT(luma[1:], curve(0.0))])
        if rng.random() < config.lamp_share:
            self._switch_lamp(luma[1:])
        if rng.random() < config.noise_share:
            size = luma[1:].size
            start = int(rng.integers(len(self._noise) - size))
            noise = self._noise[start : start + size].reshape(luma[1:].shape)
            luma[1:] = np.clip(luma[1:] + noise * rng.uniform(0.5, config.noise_levels), 0, 255).astype(
                np.uint8
            )
        if outside.any():
            luma[:, outside] = OUTSIDE
        return luma

    def _switch_lamp(self, luma: UInt8) -> None:
        """Give the (F, rows, width) luma another light from some frame on, stronger at one end."""
        rng, (frames, _, width) = self._rng, luma.shape
        ends = np.exp(rng.uniform(-0.6, 0.6) + rng.normal(0, 0.1, 2))
        gain = np.linspace(*ends, width, dtype=np.float32)
        first = int(rng.integers(1, frames))
        luma[first:] = np.clip(luma[first:] * gain, 0, 255).astype(np.uint8)


def window_kinds(shard: Shard, radius: int) -> list[Kinds]:
    """Return the kinds (``balance``) of all windows of each sequence, by their newest frames."""
    struck = (shard.onset > 0).any(axis=2)  # (S, BEFORE + F + AHEAD)
    newest = slice(BEFORE + FRAMES - 1, BEFORE + shard.t_ns.shape[1])
    return [kinds_of(row, radius)[newest] for row in struck]


def sequence_targets(shard: Shard, i: int, network: NetworkConfig, invisible_weight: float) -> Float32:
    """Return (F - 4, 88, 2 * C): the truth of each window's newest frame, then each channel's weight.

    Onset at horizon h is 1 where the onset lies in the frame interval that ended h frames ago. Velocity is
    MIDI velocity / 127 of an onset within the horizons, without weight elsewhere.
    """
    frames = shard.t_ns.shape[1]
    newest = np.arange(FRAMES - 1, frames)
    visible = shard.visible[i, newest]
    seen = np.where(visible, 1.0, invisible_weight).astype(np.float32)
    channels = len(network.channels)
    result = np.zeros((len(newest), KEYS, 2 * channels), np.float32)
    velocity = np.zeros_like(seen)
    for c, h in enumerate(network.horizons):
        struck = shard.onset[i, newest - h + BEFORE]
        result[..., c] = struck > 0
        result[..., channels + c] = seen
        velocity = np.where((velocity == 0) & (struck > 0), struck / np.float32(127), velocity)
    result[..., channels - 3] = shard.pressed[i, newest]
    result[..., 2 * channels - 3] = seen
    result[..., channels - 2] = velocity
    result[..., 2 * channels - 2] = (velocity > 0) & visible
    result[..., channels - 1] = visible
    result[..., 2 * channels - 1] = 1.0
    return result
