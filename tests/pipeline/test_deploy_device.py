"""The device's side of an update: what it refuses, how it goes back, what it keeps."""

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from device_site import PROGRAM, Site, pack


@pytest.fixture
def site():
    with tempfile.TemporaryDirectory() as folder:
        site = Site(Path(folder))
        assert site.run("install", site.bundle("good"))[0] == 0
        yield site
        site.close()


@pytest.fixture(scope="module")
def untouched():
    """A device that nothing may change."""
    with tempfile.TemporaryDirectory() as folder:
        site = Site(Path(folder))
        assert site.run("install", site.bundle("good"))[0] == 0
        yield site
        site.close()


def refused(site, bundle, reason):
    before = site.releases()
    code, said = site.run("install", bundle)
    assert code == 1
    assert reason in said, said
    assert "Traceback" not in said
    assert site.releases() == before
    assert site.answer() == "good"


def test_a_bundle_that_nobody_trusted_signed_is_refused(untouched):
    refused(untouched, untouched.bundle("evil", key=untouched.new_key("stranger")), "signature")


def test_a_changed_manifest_is_refused(untouched):
    manifest, files = untouched.manifest("evil")
    signature = pack.sign(manifest, untouched.key)
    refused(untouched, untouched.tar(manifest.replace(b"evil", b"devi"), signature, files), "signature")


def test_a_changed_file_is_refused(untouched):
    manifest, files = untouched.manifest("evil")
    sha, content = next(iter(files.items()))
    changed = files | {sha: content[:-1] + b"!"}
    refused(untouched, untouched.tar(manifest, pack.sign(manifest, untouched.key), changed), "damaged")


def test_a_file_that_is_not_announced_is_refused(untouched):
    manifest, files = untouched.manifest("evil")
    files = files | {"../../etc/passwd": b"root"}
    refused(untouched, untouched.tar(manifest, pack.sign(manifest, untouched.key), files), "does not name")


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"machine": "m68k"}, "is for m68k"),
        ({"created": 5}, "older than"),
        ({"format": 2}, "another format"),
        ({"id": "../../etc"}, "malformed"),
        ({"files": [{"path": "wheels/../../x.whl", "sha256": "0" * 64, "size": 1}]}, "malformed"),
        ({"files": []}, "no wheel"),
    ],
)
def test_a_signed_manifest_that_does_not_fit_is_refused(untouched, changes, reason):
    refused(untouched, untouched.bundle("odd", **changes), reason)


def test_without_a_trusted_key_nothing_is_installed(site):
    (site.root / "etc/ivories/release-signers").unlink()
    refused(site, site.bundle("new"), "make install")


@pytest.mark.parametrize(("illness", "reason"), [("crash", "fails at start"), ("hang", "not ready after")])
def test_a_release_that_is_not_healthy_gives_way_to_the_one_before(site, illness, reason):
    site.environment["IVORIES_HEALTH_S"] = "2"
    code, said = site.run("install", site.bundle("ill", illness))
    assert code == 1
    assert reason in said
    assert "runs again" in said
    assert site.answer() == "good"
    assert not site.pending()
    assert "not healthy" in site.run("status")[1]
    assert site.run("rollback")[0] == 1  # the ill one is not gone back to, nor is there another


@pytest.mark.parametrize(
    ("illness", "expected"), [("doctor", "doctor of ill"), ("doctor dies", "(signal 11) ended it")]
)
def test_a_release_that_its_own_doctor_finds_ill_never_starts(site, illness, expected):
    count = (site.root / "run/count").read_text()
    code, said = site.run("install", site.bundle("ill", illness))
    assert code == 1
    assert expected in said
    assert (site.root / "run/count").read_text() == count
    assert site.answer() == "good"


def test_rollback_goes_back_one_release_and_the_next_update_forward(site):
    assert site.run("install", site.bundle("better"))[0] == 0
    assert site.answer() == "better"
    code, said = site.run("rollback")
    assert (code, site.answer()) == (0, "good"), said
    code, said = site.run("rollback")
    assert code == 1
    assert "no earlier release" in said
    assert site.run("install", site.bundle("best"))[0] == 0
    assert site.answer() == "best"


def test_rollback_passes_over_a_release_whose_update_was_cut_off(site):
    code, _ = site.run("install", site.bundle("cut"), kill_at=10)  # while it is watched
    assert code == -9
    site.restart()
    assert site.answer() == "good"
    assert site.run("install", site.bundle("better"))[0] == 0
    code, said = site.run("rollback")
    assert (code, site.answer()) == (0, "good"), said


def test_a_release_that_ran_well_is_one_to_go_back_to_though_nobody_confirmed_it(site):
    (site.root / "opt/ivories/current/confirmed").unlink()  # as of an Ivories that did not
    assert site.run("install", site.bundle("better"))[0] == 0
    code, said = site.run("rollback")
    assert (code, site.answer()) == (0, "good"), said


def test_three_releases_are_kept_and_no_file_that_none_of_them_needs(site):
    for number in range(4):
        assert site.run("install", site.bundle(str(number)))[0] == 0
    kept = site.releases()
    assert len(kept) == 3
    folder = site.root / "opt/ivories/releases"
    manifests = [json.loads((folder / name / "manifest.json").read_text()) for name in kept]
    named = {entry["sha256"] for manifest in manifests for entry in manifest["files"]}
    assert {path.name for path in (site.root / "opt/ivories/store").iterdir()} == named
    status = site.run("status")[1]
    assert "service: active" in status
    assert f"-> {kept[-1]}" in status


def test_models_go_where_the_release_looks_for_them_readable_by_the_service(site):
    model = site.root / "opt/ivories/current/venv/share/ivories/models/audio.tflite"
    assert model.read_text() == "good"
    assert model.stat().st_mode & 0o777 == 0o644


def test_only_what_is_lacking_is_asked_for(site):
    manifest, files = site.manifest("good")  # the same content again
    code, said = site.run("missing", manifest)
    assert (code, json.loads(said)) == (0, [])
    manifest, files = site.manifest("other")
    assert set(json.loads(site.run("missing", manifest)[1])) == set(files)


@pytest.mark.parametrize(("states", "reboots"), [("D", True), ("DS", False), ("S", False)])
def test_a_process_that_hangs_in_a_driver_has_the_computer_restarted(tmp_path, states, reboots):
    process, calls, systemctl = tmp_path / "proc/4711", tmp_path / "calls", tmp_path / "systemctl"
    process.mkdir(parents=True)
    systemctl.write_text(f"#!/bin/sh\necho $* >>{calls}\n")
    systemctl.chmod(0o755)
    environment = {
        "IVORIES_ROOT": str(tmp_path), "SYSTEMCTL": str(systemctl),
        "IVORIES_STUCK_S": "0.2" if reboots else "20",
    }  # fmt: skip

    def be(state):
        (process / "new").write_text(f"Name:\tivories\nState:\t{state} (so)\nUid:\t{os.getuid()}\t0\t0\t0\n")
        (process / "new").replace(process / "status")

    be(states[0])
    with subprocess.Popen(
        [sys.executable, "-IS", PROGRAM, "unstick"], env=os.environ | environment, stdout=subprocess.PIPE
    ) as running:
        time.sleep(0.3)
        be(states[-1])
        said = running.stdout.read().decode()
    assert running.returncode == 0
    assert (calls.read_text() if calls.exists() else "") == ("reboot --force\n" if reboots else "")
    assert ("[4711] hang in a driver" in said) == reboots
