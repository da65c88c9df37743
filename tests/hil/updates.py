"""The power goes during an update: the release that ran before runs again, and the next update succeeds."""

import io
import json
import os
import random
import shlex
import subprocess
import sys
import tarfile
import time
from pathlib import Path

import pytest

from hil.guest import HOST
from hil.piano import PROJECT, TOOLS, tell

sys.path.append(str(PROJECT / "deploy"))
import pack

BEFORE = ("receive and verify", "make the environment")
AFTER = ("switch", "restart the service", "wait until it is healthy")
CUTS = BEFORE + AFTER if os.environ.get("FULL") else (BEFORE[-1], AFTER[-1])
NOTES = 3  # that show that it plays
PROGRAM = "/usr/local/sbin/ivories-release"
# What follows the making of an environment meets a copy of the running one, all but its scripts being links:
# on an emulated CPU pip takes minutes.
COPY = f"{TOOLS}/copy-environment"
COPIER = """#!/bin/sh
set -eu
cp -al /opt/ivories/current/venv "$1"
find "$1/bin" -type f -exec sed -i "1s|^#!.*/venv/bin/|#!$1/bin/|" {} +
"""


@pytest.fixture(scope="session")
def parts(piano, work):
    """What every release of these tests consists of: wheel, other wheels, models, facts of the machine.

    One other wheel will do, as none is unpacked.
    """
    piano.guest.put(COPIER.encode(), COPY)
    piano.guest.run(f"sudo chmod 755 {COPY} && sync")  # it has to outlive the cuts of power
    facts = json.loads(piano.guest.run(f"sudo {PROGRAM} facts"))
    wheel = pack.build_wheel(work / "wheel", facts["machine"])
    others = [pack.build_microphone_library(work / "others", facts)]
    models = pack.find_models(Path(piano.models))
    return wheel, others, models, facts


def update(piano, parts, stream, *, send=False, copy=False):
    """Start an update to the same parts under a new name; return its name and the process.

    Args:
        piano: the machine.
        parts: of the release.
        stream: file for what is sent.
        send: all wheels and models, also those that the machine has.
        copy: make the new environment by copying the running one.
    """
    time.sleep(1.1)  # a release is named by its second
    bundle = pack.pack(*parts, piano.key)
    lacking = json.loads(piano.guest.run(f"sudo {PROGRAM} missing", bundle.manifest))
    with tarfile.open(stream, "w") as tar:
        for name, content in (("manifest.json", bundle.manifest), ("manifest.json.sig", bundle.signature)):
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
        for name in bundle.files if send else lacking:
            tar.add(bundle.files[name], name)
    environment = f"env IVORIES_ENVIRONMENT={COPY}" if copy else ""
    words = [*shlex.split(piano.guest.ssh), HOST, f"sudo -n {environment} {PROGRAM} install"]
    with stream.open("rb") as content:
        return bundle.id, subprocess.Popen(
            words, stdin=content, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )


def current(piano):
    """Return the release that starts."""
    return piano.guest.run("basename $(readlink /opt/ivories/current)").strip()


@pytest.mark.parametrize("step", CUTS)
def test_power_cut(piano, parts, step, tmp_path):
    before = current(piano)
    stream = tmp_path / "update.tar"
    _, process = update(piano, parts, stream, send=step == BEFORE[0], copy=step in AFTER)
    said = ""
    for line in process.stdout:
        said += line
        if line.strip() == step:
            break
    else:
        pytest.fail(f"the update did not come to: {step}\n{said}")
    # Into the middle of the step, whose length nobody knows; the same in every run.
    time.sleep(random.Random(step).uniform(0, 2))
    piano.guest.cut_power()
    process.kill()
    process.stdout.close()
    process.wait()
    tell(f"answers {piano.guest.start():.0f} s after the power came back")
    tell(f"plays {piano.settle():.0f} s later")
    assert current(piano) == before
    piano.guest.run("test ! -e /opt/ivories/pending")
    report = piano.laptop(notes=NOTES)
    assert len(report["onsets"]) >= NOTES
    assert report["stuck"] == []


def test_the_next_update_succeeds_and_can_be_taken_back(piano, parts, tmp_path):
    before = current(piano)
    name, process = update(piano, parts, tmp_path / "update.tar", copy=True)
    said = process.communicate(timeout=900)[0]
    assert process.returncode == 0, said
    assert current(piano) == name
    piano.release("rollback")
    assert current(piano) == before
