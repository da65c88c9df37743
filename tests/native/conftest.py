"""Builds of edge/native/tests/replay.c: the C path without Python, on several instruction sets."""

import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
NATIVE = ROOT / "edge" / "native"
FLAGS = ["-std=c11", "-O2", "-ffp-contract=off", "-Wall", "-Wextra", "-Werror", f"-I{NATIVE}"]


@dataclass(frozen=True)
class Build:
    compiler: str
    flags: tuple[str, ...] = ()
    runner: tuple[str, ...] = ()
    simd: str = ""
    """What the program must say it runs on; empty: whatever this machine has"""


BUILDS = {
    "plain": Build("gcc"),
    "scalar": Build("gcc", ("-DIVORIES_SCALAR",), simd="scalar"),
    "scalar with FMA offered": Build("gcc", ("-DIVORIES_SCALAR", "-O3", "-march=native"), simd="scalar"),
    "clang": Build("clang"),
    "sanitized": Build("gcc", ("-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-g")),
    "aarch64": Build("aarch64-linux-gnu-gcc", ("-static",), ("qemu-aarch64",), "neon"),
    "aarch64 scalar": Build(
        "aarch64-linux-gnu-gcc", ("-static", "-DIVORIES_SCALAR"), ("qemu-aarch64",), "scalar"
    ),
}


class Replay:
    """One build; call it with what to replay and the job's bytes."""

    def __init__(self, build, program, folder):
        self.build, self._program, self._folder = build, program, folder

    def _run(self, *arguments):
        environment = os.environ | {"QEMU_CPU": "cortex-a72"}
        command = [*self.build.runner, str(self._program), *arguments]
        done = subprocess.run(command, capture_output=True, env=environment, check=False)
        assert done.returncode == 0, f"{' '.join(command)}: {done.stderr.decode(errors='replace')}"
        return done.stdout

    def __call__(self, what, job):
        path = self._folder / f"{what}.job"
        path.write_bytes(job)
        return self._run(what, str(path))

    @property
    def simd(self):
        return self._run("simd").decode().strip()


@pytest.fixture(scope="session", params=BUILDS)
def replay(request, tmp_path_factory):
    build = BUILDS[request.param]
    for tool in (build.compiler, *build.runner):
        if shutil.which(tool) is None:
            pytest.skip(f"{tool} is not installed")
    folder = tmp_path_factory.mktemp("replay")
    program = folder / "replay"
    sources = [*sorted((NATIVE / "tests").glob("replay*.c")), *sorted(NATIVE.glob("*.c"))]
    command = [build.compiler, *FLAGS, *build.flags, "-o", str(program), *map(str, sources)]
    done = subprocess.run(command, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode(errors="replace")
    return Replay(build, program, folder)
