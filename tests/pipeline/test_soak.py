"""The soak: it runs, it sees what grows, and it sees what drifts."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile
from rich.console import Console

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))

from bench.memory_use import Look, growth, look  # noqa: E402  found through the line above
from bench.soak import Onsets, verdict  # noqa: E402

from ivories.datatypes import NoteEvent, NoteKind  # noqa: E402
from ivories.sources.synthetic import SyntheticSound  # noqa: E402

PERIOD_NS = 1_000_000_000


def looks(resident=100.0, heap=30.0, blocks=1000, count=40, *, grows=0.0, blocks_grow=0, files=9):
    return [
        Look(
            60.0 * n, resident + grows * n, heap, blocks + blocks_grow * n, 3, files + (n > 30) * (files < 9)
        )
        for n in range(count)
    ]


def onsets(shift_ns=0, passes=10, lost=0):
    sink = Onsets(PERIOD_NS, epoch_ns=5)
    for number in range(passes):
        for key in range(20 - (lost if number > 5 else 0)):
            t_ns = 5 + number * PERIOD_NS + key * 40_000_000 + number * shift_ns
            sink.send(NoteEvent(NoteKind.ONSET, key, 64, t_ns, t_ns, 1.0), None)
            sink.send(NoteEvent(NoteKind.OFFSET, key, 0, t_ns, t_ns, 1.0), None)
    return sink


def well(looks, onsets):
    return verdict(looks, onsets, Console(quiet=True))


def test_flat_and_steady_is_well():
    assert well(looks(), onsets())


def test_what_fills_during_the_warm_up_does_not_count():
    early = [Look(60.0 * n, 100 + min(n, 8) * 5, 30, 1000 + min(n, 8) * 900, 3, 9) for n in range(40)]
    assert well(early, onsets())


@pytest.mark.parametrize(
    "ill", [looks(grows=0.2), looks(blocks_grow=200), looks(files=8)], ids=["resident", "blocks", "files"]
)
def test_growth_is_seen(ill):
    assert not well(ill, onsets())


def test_growth_is_told_per_time():
    grown, hours = growth(looks(grows=0.5), "resident_mib")
    assert 0.5 * 39 * 0.75 * 0.6 < grown < 0.5 * 39 * 0.75
    assert hours == pytest.approx(29 / 60)


@pytest.mark.parametrize("ill", [onsets(shift_ns=400_000), onsets(lost=5)], ids=["drift", "lost"])
def test_drift_and_lost_notes_are_seen(ill):
    assert not well(looks(), ill)


def test_only_the_second_and_the_newest_repetitions_are_kept():
    assert sorted(onsets(passes=50).passes) == [1, 47, 48, 49]


def test_a_look_sees_memory_and_files():
    before = look(0.0)
    held = [np.ones(1 << 20) for _ in range(8)]  # 64 MiB
    file = (ROOT / "README.md").open()
    after = look(1.0)
    file.close()
    assert len(held) == 8
    assert 60 < after.heap_mib - before.heap_mib < 70
    assert after.resident_mib >= before.resident_mib > 0  # what others freed may have been enough
    assert after.files == before.files + 1


@pytest.mark.parametrize("pace", [[], ["--paced"]])
def test_a_minute_is_flat(tmp_path, pace):
    """Of material; at its own speed a few seconds only, through the threads."""
    source = SyntheticSound(seed=3, seconds=3.9 if not pace else 1.9)
    path = tmp_path / "take.wav"
    soundfile.write(path, np.concatenate([block.samples for block in source]), source.rate)
    minutes = "1" if not pace else "0.2"
    done = subprocess.run(
        [sys.executable, "-m", "bench.soak", str(path), "--minutes", minutes, "--audio-only", *pace],
        cwd=ROOT, capture_output=True, text=True, check=False, timeout=280,
        env=os.environ | {"COLUMNS": "160"},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    for words in ("resident MiB", "drift of the onsets", "messages arrived", "x real time"):
        assert words in done.stdout
    assert "Traceback" not in done.stderr


def test_ctrl_c_ends_it_with_a_report(tmp_path):
    """The terminal interrupts all of its processes, the far ends' too."""
    source = SyntheticSound(seed=3, seconds=1.9)
    path = tmp_path / "take.wav"
    soundfile.write(path, np.concatenate([block.samples for block in source]), source.rate)
    running = subprocess.Popen(
        [sys.executable, "-u", "-m", "bench.soak", str(path), "--minutes", "600", "--audio-only"],
        cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
        env=os.environ | {"COLUMNS": "160"},
    )  # fmt: skip
    try:
        assert " times " in running.stdout.readline()
        time.sleep(12)  # for more than four repetitions, however slow
        os.killpg(running.pid, signal.SIGINT)
        told, trouble = running.communicate(timeout=60)
    finally:
        running.kill()
    # Whether memory has settled after so little material is another matter.
    assert running.returncode in (0, 1), told + trouble
    assert "drift of the onsets" in told
    assert "Traceback" not in trouble
