"""Updates killed anywhere: the old or the new release answers, the next start and the next update work."""

import random
import tempfile
import time
from pathlib import Path

import pytest

from device_site import STEPS, Site

UPDATES = 100
CONFIRM = 11  # the step that makes the new release the one to keep


@pytest.fixture
def site():
    with tempfile.TemporaryDirectory() as folder:  # short: a Unix socket lies in it
        site = Site(Path(folder))
        assert site.run("install", site.bundle("0"))[0] == 0
        yield site
        site.close()


def test_a_hundred_updates_killed_at_every_step_and_at_random_times(site):
    start = time.monotonic()
    code, said = site.run("install", site.bundle("first"))
    whole_s = time.monotonic() - start
    assert code == 0, said
    assert said.count("step ") == STEPS, said
    chance = random.Random(6)
    old, outcomes = "first", {"old": 0, "new": 0, "finished": 0}
    for number in range(UPDATES):
        new = f"update-{number}"
        at_step = number % STEPS + 1 if number < 3 * STEPS else 0
        after = None if at_step else chance.uniform(0.02, 1.3 * whole_s)
        code, said = site.run("install", site.bundle(new), kill_at=at_step, kill_after=after)
        assert code in {0, -9}, said
        assert site.answer() in {old, new}
        site.restart()
        answer = site.answer()
        assert not site.pending()
        if at_step:
            assert answer == (old if at_step <= CONFIRM else new), (at_step, said)
        elif code == 0:
            assert answer == new
        assert answer in {old, new}
        outcomes["finished" if code == 0 else "new" if answer == new else "old"] += 1
        old = answer
    print(  # noqa: T201 - the count is what one wants to see
        f"{UPDATES} updates: {outcomes}, a whole one takes {whole_s:.2f} s"
    )
    assert outcomes["old"] > UPDATES // 3  # else the kills came too late to show anything
    code, said = site.run("install", site.bundle("last"))
    assert (code, site.answer()) == (0, "last"), said
    assert len(site.releases()) == 3


def test_a_cut_line_leaves_everything_as_it_was(site):
    bundle = site.bundle("new")
    for length in (0, 100, 700, 2000, len(bundle.rstrip(b"\0")) - 10):
        code, said = site.run("install", bundle[:length])
        assert code == 1, (length, said)
        assert "nothing was changed" in said or "no bundle" in said, said
        assert site.answer() == "0"


def test_an_update_waits_for_what_a_killed_one_left_running(site):
    fast = site.environment["IVORIES_ENVIRONMENT"]
    script = site.workstation / "slow"
    script.write_text(f'#!/bin/sh\nsleep 1\nexec {fast} "$@"\n')
    script.chmod(0o755)
    site.environment["IVORIES_ENVIRONMENT"] = str(script)
    bundle = site.bundle("new")
    assert site.run("install", bundle, kill_after=0.6)[0] == -9
    site.environment["IVORIES_ENVIRONMENT"] = fast
    code, said = site.run("install", bundle)
    assert (code, site.answer()) == (0, "new"), said
