"""The exported int8 file as the device runs it: front end, network, evidence, tracker."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ivories.audio.frontend import AudioFrontEnd
from ivories.audio.loudness import KeyLoudness
from ivories.audio.octaves import OctaveDoubt
from ivories.audio.voice_guard import VoiceGuard
from ivories.audio_path import AudioPath
from ivories.clock import SECOND
from ivories.datatypes import AudioBlock, Float32, Int8, KeyEvidence, Spectrum
from ivories.inference.audio_model import AudioModel
from ivories.inference.litert import LiteRtRuntime
from ivories.inference.manifest import Manifest, check
from ivories.runtime.timing import StageTimes


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
        self.runtime = LiteRtRuntime(path)
        self.model = AudioModel(self.runtime, manifest)
        self.hop_ns = SECOND * self.frontend.spec.hop // self.frontend.spec.rate

    def hear(self, samples: Float32) -> list[KeyEvidence]:
        """Return the evidence of every hop of (n,) float32 samples at the front end's rate."""
        bins, level = self.frontend.process(samples)
        return self.follow(bins, level)

    def hear_stream(self, samples: Float32, rate: int) -> list[KeyEvidence]:
        """Return the evidence of (n,) float32 samples at any rate, in blocks through the device's whole path.

        That is what ``ivories transcribe`` goes by: its resampler, and the weight of a microphone that clips.
        """
        path = AudioPath(rate, self.runtime, self.manifest, self.frontend.spec, StageTimes())
        size = rate // 100
        return [
            evidence
            for first in range(0, len(samples), size)
            for evidence in path.push(
                AudioBlock(samples[first : first + size], rate, first, first * SECOND // rate)
            )
        ]

    def follow(self, bins: Int8, level: NDArray[np.float32] | None = None) -> list[KeyEvidence]:
        """Return the evidence of (T, 291, 3) int8 features; time 0 is the start of the first hop.

        Without their ``level`` (T,) dB the network speaks for itself: nothing is known of loudness, nor
        whether it is a piano, and octaves are not doubted.
        """
        self.model.reset()
        loudness, guard = KeyLoudness(self.frontend.spec), VoiceGuard(self.frontend.spec)
        octaves = OctaveDoubt()
        evidence: list[KeyEvidence] = []
        for i, frame in enumerate(bins):
            spectrum = Spectrum(frame, i, (i + 1) * self.hop_ns, 0.0 if level is None else float(level[i]))
            judged = self.model.push(spectrum)
            if level is not None:
                judged = octaves.enter(guard.enter(spectrum, loudness.enter(spectrum, judged)))
            evidence += judged
        return evidence
