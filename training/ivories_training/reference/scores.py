"""What the reference networks are trained for, and the frame scores that go with it."""

from collections.abc import Callable
from typing import Any

import numpy as np
from keras import ops
from numpy.typing import NDArray

Float32 = NDArray[np.float32]


def weighted_cross_entropy(positive: float) -> Callable[[Any, Any], Any]:
    """Return the loss for truth 0/1 and logits of any one shape; a 1 counts ``positive`` times a 0."""

    def loss(truth: Any, logits: Any) -> Any:
        logits = ops.cast(logits, "float32")
        return ops.mean(positive * truth * ops.softplus(-logits) + (1 - truth) * ops.softplus(logits))

    return loss


def squared_error(truth: Any, amplitudes: Any) -> Any:
    """Return the mean squared error of amplitudes."""
    return ops.mean(ops.square(truth - ops.cast(amplitudes, "float32")))


def frame_scores(truth: Float32, logits: Float32, threshold: float = 0.5) -> dict[str, float]:
    """Return accuracy, precision, recall and F1 over all cells, at a probability of ``threshold``."""
    told, true = logits > np.log(threshold / (1 - threshold)), truth > 0.5
    right = int((told & true).sum())
    return {
        "accuracy": float((told == true).mean()),
        "precision": right / max(1, int(told.sum())),
        "recall": right / max(1, int(true.sum())),
        "f1": 2 * right / max(1, int(told.sum() + true.sum())),
    }


def amplitude_scores(truth: Float32, amplitudes: Float32) -> dict[str, float]:
    """Return the correlation over all cells, and over those that sound."""
    sounding = truth > 0.02
    return {
        "r": _correlation(truth.ravel(), amplitudes.ravel()),
        "r_sounding": _correlation(truth[sounding], amplitudes[sounding]),
    }


def _correlation(one: Float32, other: Float32) -> float:
    if len(one) < 2 or one.std() == 0 or other.std() == 0:
        return 0.0
    return float(np.corrcoef(one, other)[0, 1])
