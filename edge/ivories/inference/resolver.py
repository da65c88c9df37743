"""Which runtime a model runs on: the Edge TPU where there is one that works, else the CPU."""

import hashlib
import logging
from pathlib import Path

from ivories.errors import BackendError, ModelError
from ivories.inference.base import Runtime
from ivories.inference.edgetpu import EdgeTpuRuntime
from ivories.inference.litert import LiteRtRuntime
from ivories.inference.manifest import Manifest

log = logging.getLogger(__name__)


def open_runtime(manifest: Manifest, folder: Path, prefer: str = "auto", threads: int = 1) -> Runtime:
    """Load the network of ``manifest`` from ``folder``, its int8 file checked before by ``manifest.check``.

    ``auto`` takes the Edge TPU if the model was compiled for one and a probe succeeds, else the CPU, and logs
    why. ``edgetpu`` and ``litert`` work or fail.

    Raises:
        BackendError: the runtime named cannot be used here, or is unknown.
        ModelError: a file is missing, damaged, or not the one that the manifest describes.
    """
    if prefer == "litert":
        return LiteRtRuntime(folder / manifest.file, threads)
    if prefer == "edgetpu":
        return EdgeTpuRuntime(_compiled(manifest, folder), threads)
    if prefer != "auto":
        raise BackendError(f"unknown inference back-end {prefer!r}: choose auto, edgetpu or litert")
    runtime: Runtime
    try:
        runtime = EdgeTpuRuntime(_compiled(manifest, folder), threads)
    except (BackendError, ModelError) as refusal:
        log.info("model %s runs on the CPU: %s", manifest.name, refusal)
        runtime = LiteRtRuntime(folder / manifest.file, threads)
    return runtime


def _compiled(manifest: Manifest, folder: Path) -> Path:
    if manifest.edgetpu_file is None:
        raise BackendError(f"model {manifest.name} was not compiled for the Edge TPU")
    path = folder / manifest.edgetpu_file
    if not path.is_file():
        raise ModelError(f"compiled model {path} is missing: install the models again")
    if hashlib.sha256(path.read_bytes()).hexdigest() != manifest.edgetpu_sha256:
        raise ModelError(f"compiled model {path} is not the one its manifest describes: install it again")
    return path
