"""What the network is trained for."""

from typing import Any

import keras
from keras import ops

FRAME, OFFSET, VELOCITY, PEDAL = 0.25, 0.25, 0.2, 0.1
"""Weights of the heads other than onset"""
SMOOTHING = 0.002
"""Keeps log-odds finite where the truth is certain"""


class Objective:
    """Losses per output: binary cross-entropy summed over the keys, averaged over the hops that count.

    Soft onset targets make the optimum a calibrated probability. Late horizons weigh more at the start
    (they are easier and teach the trunk), all weigh the same at the end.

    Args:
        horizons: number of onset channels.
        cold_hops: hops at the start of a sequence that do not count.
    """

    def __init__(self, horizons: int, cold_hops: int) -> None:
        self.horizons, self.cold_hops = horizons, cold_hops
        self.weights = keras.Variable(
            [1.0] * (horizons + 2), trainable=False, dtype="float32", name="weights"
        )
        self.set_progress(0.0)

    def set_progress(self, progress: float) -> None:
        """Tell which share (0..1) of the training is over."""
        early = max(0.0, 1.0 - 3.0 * progress)
        rank = [i / max(1, self.horizons - 1) for i in range(self.horizons)]
        self.weights.assign([1.0 - early * (0.6 - 0.8 * r) for r in rank] + [FRAME, OFFSET])

    def keys(self, truth: Any, logits: Any) -> Any:
        """(B, T, K, C + H + 1) targets and what they count (``labels``), (B, T, K, C) logits -> scalar."""
        truth, logits = truth[:, self.cold_hops :], ops.cast(logits[:, self.cold_hops :], "float32")
        events, heads = self.horizons + 2, self.horizons + 3
        loss = _cross_entropy(truth[..., :events], logits[..., :events]) * self.weights
        onset = loss[..., : self.horizons] * truth[..., heads:-1]
        velocity = _cross_entropy(truth[..., events:heads], logits[..., events:heads]) * truth[..., -1:]
        hops = ops.cast(ops.shape(truth)[0] * ops.shape(truth)[1], "float32")
        found = ops.sum(onset) + ops.sum(loss[..., self.horizons :])
        return (found + VELOCITY * ops.sum(velocity)) / hops

    def pedal(self, truth: Any, logits: Any) -> Any:
        """(B, T) each -> scalar."""
        truth, logits = truth[:, self.cold_hops :], ops.cast(logits[:, self.cold_hops :], "float32")
        return PEDAL * ops.mean(_cross_entropy(truth, logits))


def _cross_entropy(truth: Any, logits: Any) -> Any:
    truth = truth * (1 - SMOOTHING) + SMOOTHING / 20
    return ops.softplus(logits) - truth * logits
