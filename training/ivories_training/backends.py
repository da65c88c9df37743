"""Which Keras back-end does what: the fastest at hand trains, TensorFlow exports.

A back-end is chosen once per process, so the steps of a training are processes of their own.
"""

import importlib.util
import os
import subprocess
import sys
from collections.abc import Callable
from typing import Final, NoReturn

from ivories.errors import ConfigError, IvoriesError

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


def as_stage(work: Callable[[], None]) -> NoReturn:
    """Do one stage's ``work`` as a process: log to the terminal, end on a user's mistake with a sentence."""
    from ivories_training.progress import log_to_terminal

    log_to_terminal()
    try:
        work()
    except IvoriesError as error:
        sys.exit(str(error))
    except KeyboardInterrupt:
        sys.exit("interrupted: the same command goes on from here, at most two minutes of work are lost")
    sys.exit(0)
