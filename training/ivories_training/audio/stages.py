"""The steps from nothing to a calibrated int8 file, each in a process of its own.

``python -m ivories_training.audio.stages STAGE SETTINGS RUN MODELS`` runs one.
"""

import logging
import shutil
import sys
from pathlib import Path

import msgspec
import numpy as np

from ivories.audio.frontend import AudioFrontEnd
from ivories.inference.manifest import Manifest, Stream
from ivories_training.audio import settings as settings_file
from ivories_training.audio.card import audio_card
from ivories_training.audio.settings import Settings
from ivories_training.audio.voices import SPEAKER
from ivories_training.backends import EXPORT_BACKEND, as_stage, run_module, training_backend
from ivories_training.checkpoint import claim, finished
from ivories_training.performances import provenance

log = logging.getLogger(__name__)

STAGES = ("prepare", "float", "quantized", "export")
PARITY_HOPS = 60


def build(settings: Settings, run: Path, models: Path) -> Path:
    """Run all stages; return the manifest's path. ``run`` keeps data, checkpoints, logs and the settings.

    Raises:
        ConfigError: a stage failed; its last words are on the terminal.
    """
    run.mkdir(parents=True, exist_ok=True)
    models.mkdir(parents=True, exist_ok=True)
    used = run / f"{settings.name}.toml"
    claim(run, same=not used.is_file() or settings_file.load(used) == settings)
    settings_file.save(settings, used)
    for stage in STAGES:
        backend = EXPORT_BACKEND if stage == "export" else training_backend()
        run_module("ivories_training.audio.stages", stage, used, run, models, backend=backend)
    return models / f"{settings.name}.toml"


def run_stage(stage: str, settings: Settings, run: Path, models: Path) -> None:
    """Run one stage in this process."""
    material = run / f"{settings.name}-material"
    if stage == "prepare":
        from ivories_training.audio.dataset import prepare

        prepare(settings, material)
        return
    from ivories_training.audio import train

    if stage == "export":
        export_audio(settings, material, run, models)
        return
    weights = run / (train.FLOAT_WEIGHTS if stage == "float" else train.QUANTIZED_WEIGHTS)
    if finished(weights, after=run / train.FLOAT_WEIGHTS):
        log.info("%s is trained already; remove it to train again", weights)
    elif stage == "float":
        train.train_float(settings, material, run)
    else:
        train.train_quantized(settings, material, run)


def export_audio(settings: Settings, material: Path, run: Path, models: Path) -> Manifest:
    """Write models/NAME.tflite with its calibrated manifest and model card; returns the manifest.

    Raises:
        RuntimeError: the int8 file does not compute what the quantized graph computes.
    """
    from ivories_training import export, quantize
    from ivories_training.audio.calibrate import calibrate, plain_manifest
    from ivories_training.audio.network import AudioNetwork
    from ivories_training.audio.train import QUANTIZED_WEIGHTS

    network = AudioNetwork(settings.network)
    whole = network.sequence_model()
    whole.load_weights(run / QUANTIZED_WEIGHTS)
    step, delays = network.step_model()
    quantize.set_phase(step, quantize.Phase.QUANTIZED)
    path = models / f"{settings.name}.tflite"
    export.write_int8(step, path)
    _check_parity(path, step)
    manifest = plain_manifest(
        settings, path.name, export.sha256(path), AudioFrontEnd().fingerprint, whole.count_params()
    )
    streams = [Stream(input=f"past_{n}", output=f"state_{n}", delays=d) for n, d in delays.items()]
    manifest = msgspec.structs.replace(manifest, streams=streams, trained_on=_sources(settings))
    manifest = calibrate(manifest, models, material / "validation", settings)
    compiled = export.compile_edgetpu(path)
    if compiled:
        manifest = msgspec.structs.replace(
            manifest, edgetpu_file=compiled.name, edgetpu_sha256=export.sha256(compiled)
        )
    report = export.finish(manifest, path, audio_card(manifest))
    log.info("%s", report)
    return manifest


def _check_parity(path: Path, step: object) -> None:
    """Compare file and graph on random input with running state; a few steps of the scale are rounding."""
    from ivories_training import export

    rng = np.random.default_rng(0)
    file = export.Int8Model(path)
    feeds = [
        {
            name: rng.integers(-128, 128 if name == "spectrum" else -64, detail["shape"]).astype(np.int8)
            for name, detail in file.inputs.items()
        }
        for _ in range(PARITY_HOPS)
    ]
    found = export.compare(path, step, feeds)  # type: ignore[arg-type]
    log.info("int8 file against quantized graph, in steps of each output's scale: %s", found)
    if found["keys.mean"] > 0.5:
        raise RuntimeError(f"the int8 file {path} differs from its graph by {found['keys.mean']:.2f} steps")


def _sources(settings: Settings) -> list[str]:
    from ivories_training.audio import instruments

    pianos, _ = instruments.load(settings.instruments)
    licences = {p.name: f"{p.file.split('/')[1]}, {p.licence}" for p in instruments.PRESETS}
    licences |= settings.instruments.licences
    used = ["invented performances"]
    if settings.data.performances:
        used += provenance(Path(settings.data.performances).expanduser(), "train")
    sampled = [name for name in pianos if not name.startswith(instruments.IMAGINED)]
    used += [f"piano {name} ({licences.get(name, 'licence not told')})" for name in sampled]
    if len(sampled) < len(pianos):
        used.append(f"{len(pianos) - len(sampled)} imagined pianos")
    used.append(f"invented words said by {SPEAKER}" if shutil.which(SPEAKER) else "voices from formants")
    return used


def main() -> None:
    """Entry point of one stage's process."""
    stage, used, run, models = sys.argv[1:]
    run_stage(stage, settings_file.load(Path(used)), Path(run), Path(models))


if __name__ == "__main__":
    as_stage(main)
