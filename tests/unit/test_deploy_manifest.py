"""The device's reader of manifests, the one parser that meets a bundle before it is trusted in any way."""

import importlib.util
import io
import json
import sys
import tarfile
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


NAMES = st.text("0123456789-abz./\\\n ", max_size=30) | st.from_regex(r"[0-9]{8}-[0-9]{6}-[0-9a-z]{1,16}\n?")


@given(NAMES)
def test_the_name_of_a_release_is_a_folder_of_its_own(name):
    try:
        manifest = bundle.parse_manifest(json.dumps(GOOD | {"id": name}).encode())
    except places.Refusal:
        return
    assert manifest.id == Path(name).name == name.strip()
    assert manifest.id not in {".", "..", ""}


@given(st.binary(max_size=600))
def test_no_stream_does_more_than_be_refused(stream):
    with pytest.raises(places.Refusal):
        bundle.receive(io.BytesIO(stream))


@given(
    st.binary(max_size=400),
    st.sampled_from(["manifest.json", "manifest.json.sig", "../x", "a" * 300]),
    st.booleans(),
)
def test_a_tar_of_anything_else_is_refused_before_a_signature_is_looked_for(content, name, link):
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as tar:
        member = tarfile.TarInfo(name)
        if link:
            member.type, member.linkname = tarfile.SYMTYPE, "/etc/passwd"
        else:
            member.size = len(content)
        tar.addfile(member, io.BytesIO(content))
    with pytest.raises(places.Refusal, match=r"this is no bundle|broke off"):
        bundle.receive(io.BytesIO(stream.getvalue()))
