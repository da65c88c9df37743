"""The device's reader of manifests, the one parser that meets a bundle before it is trusted in any way."""

import importlib.util
import json
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

DEVICE = Path(__file__).parents[2] / "deploy/device"


def load(name):
    """Import a module of the device's program, which is no package."""
    sys.path.insert(0, str(DEVICE))
    try:
        spec = importlib.util.spec_from_file_location(name, DEVICE / f"{name}.py")
        module = sys.modules[name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
    finally:
        sys.path.remove(str(DEVICE))
    return module


places, bundle = load("places"), load("bundle")

GOOD = {
    "format": 1, "id": "20300101-000000-abc", "version": "0.1.0", "created": 1_900_000_000,
    "machine": "aarch64", "complete": True,
    "files": [{"path": "wheels/ivories-0.1.0-cp311-abi3-linux_aarch64.whl", "sha256": "a" * 64, "size": 9}],
}  # fmt: skip
SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20)
JSON = st.recursive(
    SCALARS, lambda x: st.lists(x, max_size=3) | st.dictionaries(st.text(max_size=8), x, max_size=3)
)


def test_a_good_manifest_is_read():
    manifest = bundle.parse_manifest(json.dumps(GOOD).encode())
    assert (manifest.id, manifest.files[0].size, manifest.complete) == ("20300101-000000-abc", 9, True)


@given(st.binary(max_size=300))
def test_bytes_of_any_kind_are_refused_with_a_sentence(raw):
    with pytest.raises(places.Refusal):
        bundle.parse_manifest(raw)


@given(st.sampled_from(sorted(GOOD)), JSON)
def test_no_value_of_a_field_does_more_than_be_refused(field, value):
    try:
        manifest = bundle.parse_manifest(json.dumps(GOOD | {field: value}).encode())
    except places.Refusal:
        return
    assert "/" not in manifest.id
    assert all(".." not in Path(entry.path).parts for entry in manifest.files)


@given(st.text("ab./\\-_wheelsmod", max_size=40))
def test_no_path_leads_out_of_the_release(path):
    entry = GOOD["files"][0] | {"path": path}
    try:
        manifest = bundle.parse_manifest(json.dumps(GOOD | {"files": [*GOOD["files"], entry]}).encode())
    except places.Refusal:
        return
    target = Path("/release") / manifest.files[1].path
    assert target.resolve().is_relative_to("/release/wheels") or target.resolve().is_relative_to(
        "/release/models"
    )
