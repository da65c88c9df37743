"""The load test of many pianos runs, and none of their notes is lost."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "bench/mqtt_load.py"


def run(*options):
    return subprocess.run(
        [sys.executable, SCRIPT, *options], capture_output=True, text=True, timeout=120, check=False
    )


@pytest.mark.parametrize(
    ("pianos", "options"),
    [(3, ("--processes", "1", "--seconds", "1", "--notes", "20")), (200, ("--seconds", "2", "--notes", "1"))],
)
def test_pianos_lose_nothing(pianos, options):
    done = run("--pianos", str(pianos), *options)
    assert done.returncode == 0, done.stderr
    assert f"{pianos} of {pianos} pianos" in done.stdout
    arrived, sent, dropped = map(
        int, re.search(r"(\d+) of (\d+) arrived, (\d+) dropped", done.stdout).groups()
    )
    assert arrived == sent > 30
    assert dropped == 0
    for name in ("publish", "send"):
        p50, p99 = map(
            float, re.search(rf"{name} to subscriber +p50 +([\d.]+) ms +p99 +([\d.]+)", done.stdout).groups()
        )
        assert 0 < p50 <= p99


def test_a_broker_that_is_not_there_is_named():
    done = run("--host", "127.0.0.1", "--port", "9")
    assert done.returncode == 1
    assert done.stderr == "no broker at 127.0.0.1:9: Connection refused\n"
