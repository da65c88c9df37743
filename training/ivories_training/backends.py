"""Which Keras back-end does what: the fastest at hand trains, TensorFlow exports.

A back-end is chosen once per process, so the steps of a training are processes of their own.
"""

import importlib.util
import os
import subprocess
import sys
from typing import Final

from ivories.errors import ConfigError

EXPORT_BACKEND: Final = "tensorflow"


def training_backend() -> str:
    """Return the Keras back-end to train behind: the one named, else torch (twice as fast on CPUs)."""
    named = os.environ.get("KERAS_BACKEND")
    if named:
        return named
    return "torch" if importlib.util.find_spec("torch") else "tensorflow"


def run_module(module: str, *arguments: object, backend: str) -> None:
    """Run ``python -m module arguments`` behind ``backend``, its output on this process's terminal.

    Raises:
        ConfigError: it failed; its last words are on the terminal.
    """
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "2", "KERAS_BACKEND": backend}
    command = [sys.executable, "-m", module, *map(str, arguments)]
    done = subprocess.run(command, env=environment, check=False)  # noqa: S603
    if done.returncode:
        raise ConfigError(f"{module} {arguments[0]} failed (status {done.returncode}); see above")
