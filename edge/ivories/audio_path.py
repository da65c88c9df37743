"""The way from the microphone to evidence, and the same for the appliance, ``transcribe`` and the scores.

One stage made of stages: only who pushes the blocks differs.
"""

from ivories.audio.frontend import AudioFrontEnd
from ivories.audio.loudness import KeyLoudness
from ivories.audio.octaves import OctaveDoubt
from ivories.audio.resample import Resampler
from ivories.audio.spec import FrontEndSpec
from ivories.audio.voice_guard import VoiceGuard
from ivories.clock import SECOND
from ivories.datatypes import AudioBlock, KeyEvidence
from ivories.fusion.health import MicrophoneHealth, weighted
from ivories.inference.audio_model import AudioModel
from ivories.inference.base import Runtime
from ivories.inference.manifest import Manifest
from ivories.runtime.timing import StageTimes


class AudioPath:
    """AudioBlock -> resampler -> front end -> network -> KeyEvidence."""

    def __init__(
        self, rate: int, runtime: Runtime, manifest: Manifest, spec: FrontEndSpec, times: StageTimes
    ) -> None:
        self._resampler = Resampler(rate, spec.rate)
        self._frontend = AudioFrontEnd(spec)
        self._model = AudioModel(runtime, manifest, SECOND * spec.hop // spec.rate)
        self._loudness = KeyLoudness(spec)
        self._guard = VoiceGuard(spec)
        self._octaves = OctaveDoubt()
        self._health = MicrophoneHealth()
        self._times = times

    @property
    def delay_ns(self) -> int:
        """Resampler and front end; the network's horizons are in its evidence."""
        return self._resampler.delay_ns + self._frontend.delay_ns

    def push(self, block: AudioBlock) -> list[KeyEvidence]:
        """Take one block of any rate that the path was made for."""
        weight = self._health.push(block)
        with self._times.measure("audio features"):
            spectra = [s for part in self._resampler.push(block) for s in self._frontend.push(part)]
        evidence: list[KeyEvidence] = []
        for spectrum in spectra:
            with self._times.measure("audio network"):
                judged = self._model.push(spectrum)
            with self._times.measure("loudness and doubts"):
                guarded = self._guard.enter(spectrum, self._loudness.enter(spectrum, judged))
                evidence += self._octaves.enter(guarded)
        return weighted(evidence, weight)

    def reset(self) -> None:
        """Forget what was heard."""
        self._resampler.reset()
        self._frontend.reset()
        self._model.reset()
        self._loudness.reset()
        self._guard.reset()
        self._octaves.reset()
