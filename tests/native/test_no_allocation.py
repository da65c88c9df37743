"""The C path takes no memory per hop or frame: what it needs, it takes when it is made."""

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from test_bit_equality import audio_job, cut, integers
from test_strip_builds import job_and_result

from ivories.audio.resample import _filter
from signals import RATE, SPECS, melody, noise

NATIVE = Path(__file__).parents[2] / "edge" / "native"
FLAGS = ["-std=c11", "-O2", "-ffp-contract=off", f"-I{NATIVE}"]
WRAPPED = ("malloc", "calloc", "realloc", "aligned_alloc", "audio_frontend_push", "strip_push", "resample")


@pytest.fixture(scope="module")
def count(tmp_path_factory):
    """Return a function: what to replay, job -> calls, allocations within them, allocations elsewhere."""
    if shutil.which("gcc") is None:
        pytest.skip("gcc is not installed")
    folder = tmp_path_factory.mktemp("count")
    program = folder / "replay"
    tests = NATIVE / "tests"
    sources = [tests / "count_allocations.c", *sorted(tests.glob("replay*.c")), *sorted(NATIVE.glob("*.c"))]
    wraps = [f"-Wl,--wrap={name}" for name in WRAPPED]
    # Without link-time optimization or inlining between files, so that every call can be seen.
    command = ["gcc", *FLAGS, "-fno-builtin-malloc", "-fno-builtin-calloc", *wraps, "-o", str(program)]
    done = subprocess.run([*command, *map(str, sources)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr

    def run(what, job):
        path = folder / f"{what}.job"
        path.write_bytes(job)
        done = subprocess.run([program, what, path], capture_output=True, check=True)
        return tuple(map(int, done.stderr.split()))

    return run


@pytest.mark.parametrize("name", SPECS)
def test_audio_features(count, name):
    pushes = cut(melody(RATE // 2))
    calls, within, elsewhere = count("audio", audio_job(SPECS[name], pushes))
    assert calls == len(pushes)
    assert within == 0
    assert elsewhere > 10  # the counter counts: the front end took its memory when it was made


@pytest.mark.parametrize("name", ["wide", "narrow"])
def test_strips(count, name):
    job, _ = job_and_result(name, name == "narrow")
    calls, within, elsewhere = count("strip", job)
    assert calls > 20
    assert within == 0
    assert elsewhere > 10


def test_resampler(count):
    rows = _filter(160, 441)
    x = np.concatenate([np.zeros(rows.shape[1] // 2 - 1, np.float32), noise(3000)])
    job = np.array([160, 441, 0], "<i8").tobytes() + integers(rows.shape[1], len(x), 1000)
    calls, within, _ = count("resample", job + rows.tobytes() + x.tobytes())
    assert (calls, within) == (1, 0)
