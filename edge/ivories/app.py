"""From configuration to a working instrument: the one place where everything is put together."""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, get_args

from ivories import native
from ivories.audio.spec import FrontEndSpec, fingerprint
from ivories.audio_path import AudioPath
from ivories.config import Config, Dynamics, Policy
from ivories.errors import ModelError
from ivories.fusion.key_prior import KeyPriorConfig
from ivories.fusion.touch import TouchScale
from ivories.fusion.tracker import FAITHFUL_MS, Tracker, TrackerSettings
from ivories.inference.base import Runtime
from ivories.inference.manifest import Manifest, check, load_manifest
from ivories.inference.resolver import open_runtime
from ivories.instrument import Instrument
from ivories.resources import models_folder
from ivories.runtime.timing import StageTimes
from ivories.sinks.base import Sink
from ivories.vision.calibration import Calibration
from ivories.vision.strip import StripSpec

if TYPE_CHECKING:
    from ivories.video_path import VideoPath

_log = logging.getLogger(__name__)

# Where a sensor's model names no thresholds: its evidence never commits a note on its own.
_NEVER = 1e9


@dataclass(frozen=True, slots=True)
class Network:
    """One loaded int8 network and what its manifest says."""

    manifest: Manifest
    runtime: Runtime


class Application:
    """Builds paths and instruments for one configuration; owns the loaded networks.

    Args:
        config: all settings.
        audio: load the hearing network.
        video: load the seeing network.

    Raises:
        ModelError: a model is missing or does not fit this release's front end.
        BackendError: the runtime asked for cannot be used here.
    """

    def __init__(self, config: Config, *, audio: bool = True, video: bool = True) -> None:
        self.config = config
        self.times = StageTimes()
        self.audio_spec = FrontEndSpec()
        self.audio = (
            self._load("audio", fingerprint(self.audio_spec, native.AUDIO_KERNEL_REVISION)) if audio else None
        )
        self.video = self._load("video", StripSpec().fingerprint) if video else None

    def _load(self, kind: str, front_end: str) -> Network:
        models = self.config.models
        folder = models_folder(models.folder)
        manifest = load_manifest(folder / f"{getattr(models, kind)}.toml")
        if manifest.kind != kind:
            raise ModelError(f"models.{kind} names {manifest.name}, which is a model for {manifest.kind}")
        check(manifest, folder, front_end)
        runtime = open_runtime(manifest, folder, prefer=models.runtime, threads=models.threads)
        _log.info("%s network %s: %s", kind, manifest.name, runtime.description)
        return Network(manifest, runtime)

    @property
    def models(self) -> dict[str, str]:
        """Name of each loaded network and the hash of its file."""
        loaded = [network.manifest for network in (self.audio, self.video) if network is not None]
        return {manifest.name: manifest.sha256[:12] for manifest in loaded}

    def audio_path(self, rate: int) -> AudioPath:
        """Return a path for sound of ``rate`` Hz."""
        if self.audio is None:
            raise ModelError("the hearing network is not loaded")
        return AudioPath(rate, self.audio.runtime, self.audio.manifest, self.audio_spec, self.times)

    def video_path(
        self,
        calibration: Calibration | None = None,
        on_calibration: Callable[[Calibration], None] = lambda _: None,
        expose: Callable[[float], bool] | None = None,
    ) -> "VideoPath":
        """Return a path for pictures; without ``calibration`` it looks for the keyboard first.

        ``expose`` corrects the camera's exposure, see ``VideoPath``; it is not used where the configuration
        leaves that to the camera.
        """
        from ivories.video_path import VideoPath  # OpenCV: an ear alone starts sooner without

        if self.video is None:
            raise ModelError("the seeing network is not loaded")
        return VideoPath(
            self.video.runtime,
            self.video.manifest,
            StripSpec(),
            self.times,
            calibration,
            on_calibration,
            expose if self.config.video.exposure == "auto" else None,
        )

    def instrument(
        self, sinks: list[Sink], calibration: Calibration | None = None, touch: TouchScale | None = None
    ) -> Instrument:
        """Return fusion, tracker and ``sinks`` as one; ``touch``: the scale of velocities, if known."""
        skew_ns = calibration.audio_video_skew_ns if calibration else 0
        decoding = self.config.decoding
        choices: dict[tuple[str, str], TrackerSettings] = {
            (policy, dynamics): self.tracker_settings(policy, dynamics)
            for policy in self.policies
            for dynamics in self.all_dynamics
        }
        tracker = Tracker(self.tracker_settings(), skew_ns, touch)
        return Instrument(tracker, sinks, self.times, choices, decoding.policy, decoding.dynamics)

    @property
    def policies(self) -> list[Policy]:
        """Policies that every loaded network has thresholds for."""
        loaded = [network.manifest.thresholds for network in (self.audio, self.video) if network is not None]
        return [name for name in get_args(Policy) if all(name in thresholds for thresholds in loaded)]

    @property
    def all_dynamics(self) -> tuple[Dynamics, ...]:
        """Dynamics that make a difference here: only an eye beside an ear can be too early for a velocity."""
        both = self.audio is not None and self.video is not None
        return get_args(Dynamics) if both else (self.config.decoding.dynamics,)

    def tracker_settings(
        self, policy: Policy | None = None, dynamics: Dynamics | None = None
    ) -> TrackerSettings:
        """Return the decoding settings for ``policy`` and ``dynamics``, or for those configured."""
        decoding = self.config.decoding
        policy = policy or decoding.policy
        dynamics = dynamics or decoding.dynamics
        # auto: what a camera sees in several frames need not wait for its sound.
        slow = dynamics == "faithful" or (dynamics == "auto" and policy != "earliest")
        return TrackerSettings(
            audio_thresholds=self._thresholds(self.audio, policy),
            video_thresholds=self._thresholds(self.video, policy),
            refractory_ms=decoding.refractory_ms,
            minimum_duration_ms=decoding.minimum_duration_ms,
            retract=decoding.retract,
            pedal=decoding.pedal,
            wait_ms=FAITHFUL_MS if slow else 0.0,
            quick_wait_ms=FAITHFUL_MS if dynamics == "faithful" else 0.0,
            key_prior=self._key_prior(),
        )

    def _key_prior(self) -> KeyPriorConfig | None:
        decoding = self.config.decoding
        if not decoding.key_prior:
            return None
        return KeyPriorConfig(
            window_sec=decoding.key_prior_window_sec,
            beta=decoding.key_prior_beta,
            rho_uniform=decoding.key_prior_rho_uniform,
            lambda_key=decoding.key_prior_lambda,
        )

    def _thresholds(self, network: Network | None, policy: str) -> tuple[float, ...]:
        if network is None:
            return (_NEVER,)
        return tuple(network.manifest.thresholds[policy])

    def close(self) -> None:
        """Free the networks."""
        for network in (self.audio, self.video):
            if network is not None:
                network.runtime.close()
