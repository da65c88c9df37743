"""Who may import whom, read from the source, and what the device must never load."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import ivories

PACKAGE = Path(ivories.__file__).parent
STAGES = {"audio", "vision", "fusion"}
EDGES = {"sources", "sinks", "inference"}
SMALL = {"datatypes", "keyboard", "errors", "native", "clock", "_native"}


def imports_of(file):
    """Yield the ivories sub-package or module behind every import in ``file``."""
    for node in ast.walk(ast.parse(file.read_text())):
        names = []
        if isinstance(node, ast.ImportFrom) and node.module:
            names = (
                [f"{node.module}.{a.name}" for a in node.names] if node.module == "ivories" else [node.module]
            )
        elif isinstance(node, ast.Import):
            names = [a.name for a in node.names]
        for name in names:
            parts = name.split(".")
            if parts[0] == "ivories" and len(parts) > 1:
                yield parts[1]
            elif parts[0] in {"ivories_training", "tensorflow", "keras", "torch", "jax"}:
                yield parts[0]


FILES = sorted(PACKAGE.rglob("*.py"))


@pytest.mark.parametrize("file", FILES, ids=lambda f: str(f.relative_to(PACKAGE)))
def test_imports_keep_to_their_layer(file):
    folder = file.relative_to(PACKAGE).parts[0] if file.parent != PACKAGE else None
    used = set(imports_of(file))
    # LiteRT's place can be taken by a TensorFlow that is there already: the one exception, never at import.
    allowed = {"tensorflow"} if file.name == "litert.py" else set()
    assert not (used & {"ivories_training", "keras", "torch", "jax", "tensorflow"}) - allowed
    if folder in STAGES:
        assert used <= SMALL | {folder}, f"{file} reaches for {used - SMALL - {folder}}"
    if folder in EDGES:
        assert not used & (EDGES | STAGES) - {folder}, f"{file} reaches across: {used}"


def test_the_command_line_loads_no_training_library():
    code = (
        "import sys, ivories.cli, ivories.app, ivories.live, ivories.demo, ivories.offline, ivories.doctor;"
        "print(sorted({m.split('.')[0] for m in sys.modules} & {'tensorflow', 'keras', 'torch', 'jax', "
        "'ivories_training', 'matplotlib'}))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_an_ear_alone_starts_without_what_only_pictures_need():
    code = "import sys, ivories.service; print(sorted({'cv2', 'av'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
