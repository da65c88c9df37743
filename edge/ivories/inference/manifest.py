"""The manifest that travels with every model: NAME.toml beside NAME.tflite.

It says what the network was fed with (front-end fingerprint), what each output channel means and how its
int8 value becomes a calibrated log-likelihood ratio, and which state tensors the host carries from step to
step. A device refuses a model whose fingerprint is not its own.
"""

import hashlib
from pathlib import Path
from typing import Literal

import msgspec

from ivories.errors import ModelError


class Channel(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One channel of the ``keys`` output, (1, 1, 88, C) int8 logits.

    The calibrated posterior logit is ``(logit + bias) / temperature``; the evidence is that minus ``prior``,
    the log-odds of the event before looking (its base rate in the calibration material).
    """

    kind: Literal["onset", "frame", "offset", "velocity", "visible"]
    horizon: int = 0
    """Onset only: steps (hops, frames) between the onset and the newest input; negative predicts."""
    temperature: float = 1.0
    bias: float = 0.0
    prior: float = 0.0


class Stream(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """State kept by the host: at each step ``input`` receives ``output`` of ``delays`` steps ago.

    Several delays are concatenated along the channel axis, in the order given. Before the first step the
    past is the int8 zero point.
    """

    input: str
    output: str
    delays: list[int]


class Manifest(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What ``NAME.toml`` holds."""

    name: str
    kind: Literal["audio", "video"]
    file: str
    sha256: str
    """Of the int8 file."""
    edgetpu_file: str | None = None
    edgetpu_sha256: str | None = None
    frontend: str
    """Fingerprint of the front end the network was trained behind."""
    input: str
    """Name of the input tensor."""
    context: int = 1
    """How many consecutive front-end frames stand along the first spatial axis of the input."""
    channels: list[Channel]
    pedal: Channel | None = None
    """Calibration of the ``pedal`` output (1, 1), where the network has one."""
    streams: list[Stream] = []
    thresholds: dict[str, list[float]] = {}
    """Policy -> posterior log-odds to commit at, one per onset horizon."""
    parameters: int = 0
    licence: str = "Apache-2.0"
    trained_on: list[str] = []
    scores: dict[str, float] = {}
    """Measured with the int8 file through the device's own stages."""


def load_manifest(path: Path) -> Manifest:
    """Read a manifest; raises ModelError with the file and the reason."""
    try:
        return msgspec.toml.decode(path.read_bytes(), type=Manifest)
    except FileNotFoundError as error:
        raise ModelError(f"no model manifest at {path}: train one (make train-qat), or name one") from error
    except (OSError, msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ModelError(f"{path} is not a model manifest: {error}") from error


def save_manifest(manifest: Manifest, path: Path) -> None:
    """Write ``manifest`` as TOML, absent values left out."""
    fields = {k: v for k, v in msgspec.to_builtins(manifest).items() if v is not None}
    path.write_bytes(msgspec.toml.encode(fields))


def check(manifest: Manifest, folder: Path, fingerprint: str) -> Path:
    """Return the path of the int8 file after checking that it is the one described and fits this front end.

    Raises:
        ModelError: the file is missing, was changed, or was trained behind another front end.
    """
    path = folder / manifest.file
    if not path.is_file():
        raise ModelError(f"model file {path} is missing: run make train-qat, or install the models again")
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    if digest != manifest.sha256:
        raise ModelError(f"model file {path} is not the one its manifest describes: install the models again")
    if manifest.frontend != fingerprint:
        raise ModelError(
            f"model {manifest.name} was trained behind another {manifest.kind} front end "
            f"({manifest.frontend[:12]}, this device has {fingerprint[:12]}): "
            "train it again (make train-qat) or install the matching release of Ivories"
        )
    return path
