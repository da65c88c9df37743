"""The C of both packages compiles without a warning; in a user's build one is told, but does not end it."""

import subprocess
import sysconfig
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FILES = sorted([*ROOT.glob("edge/native/**/*.c"), *ROOT.glob("training/native/**/*.c")])


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(ROOT)))
def test_a_file_compiles_without_a_warning(file):
    native = [f"-I{ROOT / name / 'native'}" for name in ("edge", "training")]
    flags = ["-std=c11", "-O3", "-DPy_LIMITED_API=0x030B0000", "-Wall", "-Wextra", "-Werror"]
    include = f"-I{sysconfig.get_path('include')}"
    done = subprocess.run(
        ["gcc", *flags, *native, include, "-o", "/dev/null", "-c", file],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
