"""The int8 network on a Coral Edge TPU, through LiteRT's delegate interface and nothing else.

Some builds of libedgetpu end the whole process with a segmentation fault when the interpreter is newer than
they are, and a stick that was pulled can make them wait for ever. So the delegate and the network are first
tried in a process of their own, under a time limit; only what worked there is loaded here.
"""

import logging
import signal
import subprocess
import sys
from pathlib import Path
from typing import Final

from ivories.errors import BackendError
from ivories.inference.litert import LiteRtRuntime, interpreter_module

log = logging.getLogger(__name__)

LIBRARY: Final = "libedgetpu.so.1"
PROBE_SECONDS: Final = 30.0
"""A stick that has just been plugged in takes some seconds for its firmware."""

_PROBE: Final = """
import sys
from ivories.inference.litert import interpreter_module
try:
    module = interpreter_module()
    delegate = module.load_delegate(sys.argv[1])
    network = module.Interpreter(model_path=sys.argv[2], experimental_delegates=[delegate])
    network.allocate_tensors()
    network.invoke()
except Exception as error:
    print(str(error) or "it gives no reason")
    sys.exit(1)
"""


def probe(path: Path, library: str = LIBRARY, seconds: float = PROBE_SECONDS) -> str | None:
    """Run one step of the network at ``path`` in a process of its own; return None, or why it failed."""
    command = [sys.executable, "-c", _PROBE, library, str(path)]
    try:
        done = subprocess.run(  # noqa: S603 (our own interpreter, no shell)
            command, capture_output=True, text=True, errors="replace", timeout=seconds, check=False
        )
    except subprocess.TimeoutExpired:
        return f"{library} did not answer within {seconds:g} s: unplug the Edge TPU and plug it in again"
    if done.returncode == 0:
        return None
    if done.returncode < 0:
        died = signal.Signals(-done.returncode).name
        return f"{library} crashes ({died}): install a libedgetpu built for this version of LiteRT"
    said = (done.stdout or done.stderr).strip().splitlines()
    return f"{library} cannot be used: {said[-1] if said else 'it gives no reason'}"


class EdgeTpuRuntime(LiteRtRuntime):
    """One network compiled for the Edge TPU.

    Args:
        path: what the Edge TPU compiler wrote (``NAME_edgetpu.tflite``).
        threads: for what stays on the CPU.
        library: the delegate.
        probe_seconds: how long the delegate may take to show that it works.

    Raises:
        BackendError: no library, no Edge TPU, or a library that crashes; with the reason.
        ModelError: the file cannot be read.
    """

    def __init__(
        self,
        path: Path,
        threads: int = 1,
        *,
        library: str = LIBRARY,
        probe_seconds: float = PROBE_SECONDS,
    ) -> None:
        refusal = probe(path, library, probe_seconds)
        if refusal is not None:
            raise BackendError(f"no Edge TPU: {refusal}")
        module = interpreter_module()
        try:
            delegate = module.load_delegate(library)
        except (OSError, ValueError) as error:
            raise BackendError(f"no Edge TPU: {library} was there a moment ago, but now: {error}") from error
        super().__init__(path, threads, delegates=[delegate])
        self.description = f"Edge TPU through {module.__name__.partition('.')[0]}"
