"""From the int8 ``keys`` output of a network to calibrated evidence in physical units."""

from collections.abc import Mapping

import numpy as np

from ivories.datatypes import Bool, Float32, Int8, KeyEvidence, Origin, read_only
from ivories.errors import ModelError
from ivories.inference.base import Tensor
from ivories.inference.manifest import Channel, Manifest
from ivories.keyboard import KEYS

KEYS_OUTPUT = "keys"
PEDAL_OUTPUT = "pedal"
ONSET = "onset"


class EvidenceDecoder:
    """Turns one step's outputs into a KeyEvidence, as the manifest's channels say.

    The log-likelihood ratio of a channel is ``(logit + bias) / temperature - prior``: linear in the int8
    value, so that it is one multiplication and one addition per key and channel.

    Raises:
        ModelError: the network's outputs are not the ones that the manifest describes.
    """

    def __init__(self, manifest: Manifest, outputs: Mapping[str, Tensor]) -> None:
        channels = manifest.channels
        if KEYS_OUTPUT not in outputs:
            raise ModelError(
                f"model {manifest.name} has no output {KEYS_OUTPUT!r}, only {', '.join(outputs)}"
            )
        keys = outputs[KEYS_OUTPUT]
        if keys.shape != (1, 1, KEYS, len(channels)):
            raise ModelError(
                f"model {manifest.name}: its output {KEYS_OUTPUT!r} is {keys.shape}, "
                f"its manifest describes {len(channels)} channels of {KEYS} keys"
            )
        self._gain, self._shift = _line(keys, channels)
        onsets = sorted(
            (channel.horizon, row) for row, channel in enumerate(channels) if channel.kind == ONSET
        )
        self.horizons = tuple(horizon for horizon, _ in onsets)
        """(H,) ascending, in steps"""
        self._onset_rows = [row for _, row in onsets]
        if not onsets or len(set(self.horizons)) != len(onsets):
            raise ModelError(f"model {manifest.name} needs onset channels, each with a horizon of its own")
        for policy, thresholds in manifest.thresholds.items():
            if len(thresholds) != len(onsets):
                raise ModelError(
                    f"model {manifest.name} judges onsets at {len(onsets)} horizons, but its manifest has "
                    f"{len(thresholds)} thresholds for {policy!r}: it needs one for each"
                )
        self._frame = _only(manifest, "frame")
        self._offset = _only(manifest, "offset")
        self._offset_horizon = 0 if self._offset is None else channels[self._offset].horizon
        self._velocity = _only(manifest, "velocity")
        self._visible = _only(manifest, "visible")
        self._pedal: tuple[float, float] | None = None
        if manifest.pedal is not None:
            if PEDAL_OUTPUT not in outputs:
                raise ModelError(f"model {manifest.name} has no output {PEDAL_OUTPUT!r}, its manifest has")
            gain, shift = _line(outputs[PEDAL_OUTPUT], [manifest.pedal])
            self._pedal = float(gain.item()), float(shift.item())

    def decode(
        self,
        outputs: Mapping[str, Int8],
        *,
        origin: Origin,
        t_ns: int,
        step_ns: int,
        horizon_ns: tuple[int, ...],
        visible: Bool,
    ) -> KeyEvidence:
        """Return the evidence of one step; keys that are not ``visible`` (K,) say nothing.

        ``outputs`` holds ``keys`` (1, 1, K, C) int8 and, if the manifest has it, ``pedal`` (1, 1) int8.
        """
        values = np.multiply(outputs[KEYS_OUTPUT][0, 0].T, self._gain, order="C")  # (C, K)
        values += self._shift
        if self._visible is not None:
            visible = visible & (values[self._visible] > 0)
        hidden = ~visible
        if covered := bool(hidden.any()):
            values[:, hidden] = 0
        if self._velocity is None:
            velocity = np.full(KEYS, np.nan, np.float32)
        else:
            velocity = 1 / (1 + np.exp(-values[self._velocity]))
            if covered:
                velocity[hidden] = np.nan
        pedal = None
        if self._pedal is not None:
            gain, shift = self._pedal
            pedal = float(outputs[PEDAL_OUTPUT].flat[0]) * gain + shift
        return KeyEvidence(
            origin=origin,
            t_ns=t_ns,
            step_ns=step_ns,
            horizon_ns=horizon_ns,
            onset=read_only(values[self._onset_rows]),
            frame=read_only(
                np.zeros(KEYS, np.float32) if self._frame is None else values[self._frame].copy()
            ),
            offset=None if self._offset is None else read_only(values[self._offset].copy()),
            velocity=read_only(velocity),
            visible=read_only(visible.copy()),
            pedal=pedal,
            offset_horizon_ns=self._offset_horizon * step_ns,
        )


def _line(tensor: Tensor, channels: list[Channel]) -> tuple[Float32, Float32]:
    """Gain and shift (C, 1) with log-likelihood ratio = gain * int8 + shift.

    Velocity and visibility are judged as they stand: their prior is not taken off.
    """
    if any(channel.temperature <= 0 for channel in channels):
        raise ModelError("a channel's temperature in the manifest must be above 0")
    gain = [tensor.scale / channel.temperature for channel in channels]
    shift = [
        (channel.bias - tensor.scale * tensor.zero_point) / channel.temperature
        - (0.0 if channel.kind in {"velocity", "visible"} else channel.prior)
        for channel in channels
    ]
    return np.array(gain, np.float32)[:, np.newaxis], np.array(shift, np.float32)[:, np.newaxis]


def _only(manifest: Manifest, kind: str) -> int | None:
    rows = [row for row, channel in enumerate(manifest.channels) if channel.kind == kind]
    if len(rows) > 1:
        raise ModelError(f"model {manifest.name}: its manifest has more than one channel {kind!r}")
    return rows[0] if rows else None
