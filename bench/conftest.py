"""One line per kernel at the end: how long it takes, beside what a user would write instead."""

import pytest

from ivories import native

RESULTS = pytest.StashKey[list]()


def pytest_configure(config):
    config.stash[RESULTS] = []


@pytest.fixture
def timed(benchmark, request):
    """Measure ``work``; ``peer``: the measurement to compare with; ``seconds``: of sensor time."""

    def run(name, work, *, peer=None, seconds=None):
        result = benchmark(work)
        if benchmark.stats is not None:  # absent under --benchmark-disable
            request.config.stash[RESULTS].append((name, benchmark.stats.stats.median, peer, seconds))
        return result

    return run


@pytest.fixture
def measured(request):
    """Enter ``took`` seconds that were measured otherwise; the rest is as for ``timed``."""

    def enter(name, took, *, peer=None, seconds=None):
        request.config.stash[RESULTS].append((name, took, peer, seconds))

    return enter


def pytest_terminal_summary(terminalreporter, config):
    results = config.stash[RESULTS]
    if not results:
        return
    terminalreporter.section(f"median on one core, {native.simd()}")
    medians = {name: median for name, median, _, _ in results}
    for name, median, peer, seconds in results:
        line = f"{name:32} {1e3 * median:10.3f} ms"
        line += f" {seconds / median:8.0f} x real time" if seconds else ""
        line += f" {medians[peer] / median:7.1f} x as fast as {peer}" if peer in medians else ""
        terminalreporter.line(line)
