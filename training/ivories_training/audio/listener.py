"""The exported int8 file as the device runs it: front end, network, evidence, tracker."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ivories.audio.frontend import AudioFrontEnd
from ivories.clock import SECOND
from ivories.datatypes import Float32, Int8, KeyEvidence, Spectrum
from ivories.inference.audio_model import AudioModel
from ivories.inference.litert import LiteRtRuntime
from ivories.inference.manifest import Manifest, check


class Listener:
    """Hears whole recordings through the device's own stages.

    Args:
        manifest: of the model.
        folder: where its file lies.

    Raises:
        ModelError: the file is missing, changed, or was trained behind another front end.
    """

    def __init__(self, manifest: Manifest, folder: Path) -> None:
        self.manifest = manifest
        self.frontend = AudioFrontEnd()
        path = check(manifest, folder, self.frontend.fingerprint)
        self.model = AudioModel(LiteRtRuntime(path), manifest)
        self.hop_ns = SECOND * self.frontend.spec.hop // self.frontend.spec.rate

    def hear(self, samples: Float32) -> list[KeyEvidence]:
        """Return the evidence of every hop of (n,) float32 samples at the front end's rate."""
        bins, level = self.frontend.process(samples)
        return self.follow(bins, level)

    def follow(self, bins: Int8, level: NDArray[np.float32] | None = None) -> list[KeyEvidence]:
        """Return the evidence of (T, 291, 3) int8 features; time 0 is the start of the first hop."""
        self.model.reset()
        evidence: list[KeyEvidence] = []
        for i, frame in enumerate(bins):
            loud = 0.0 if level is None else float(level[i])
            evidence += self.model.push(Spectrum(frame, i, (i + 1) * self.hop_ns, loud))
        return evidence
