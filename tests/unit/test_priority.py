"""Real-time scheduling and locked memory: granted where allowed, else refused in a sentence."""

import json
import os
import subprocess
import sys

import pytest

CODE = """
import json, logging, os, resource, sys, threading
from ivories.runtime.priority import raise_priority, stand_back, step_behind
from ivories.runtime.worker import Worker

priority, lock, allowed = map(int, sys.argv[1:])
locked = lambda: next(int(x.split()[1]) for x in open("/proc/self/status") if x.startswith("VmLck"))
if not allowed:
    resource.setrlimit(resource.RLIMIT_RTPRIO, (0, 0))
    resource.setrlimit(resource.RLIMIT_MEMLOCK, (0, 0))
    os.setgid(65534), os.setuid(65534)
refused = raise_priority(realtime_priority=priority, lock_memory=bool(lock))
threads, nice = {}, {}
def look(name, step):
    step()
    threads[name] = os.sched_getscheduler(0), os.sched_getparam(0).sched_priority
    nice[name] = os.getpriority(os.PRIO_PROCESS, 0)
steps = {"ears": lambda: None, "sight": step_behind, "takes": stand_back}
workers = [Worker(name, lambda name=name: look(name, steps[name])) for name in steps]
for worker in workers:
    worker.start()
for worker in workers:
    worker.join(), worker.check()
resident = next(int(x.split()[1]) for x in open("/proc/self/status") if x.startswith("VmRSS"))
nice["main"] = os.getpriority(os.PRIO_PROCESS, 0)
print(json.dumps({"nice": nice, "refused": refused, "locked": locked(), "resident": resident, **threads}))
"""


def ask(priority, *, lock=False, allowed=True):
    done = subprocess.run(
        [sys.executable, "-c", CODE, str(priority), str(int(lock)), str(int(allowed))],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout), done.stderr


def test_nothing_asked_for_changes_nothing():
    told, log = ask(0)
    assert told["refused"] == []
    assert told["ears"] == told["sight"] == told["takes"] == [os.SCHED_OTHER, 0]
    assert log == ""


def test_where_nothing_is_real_time_the_eyes_are_nicer_than_the_ears_and_takes_nicest():
    own = os.getpriority(os.PRIO_PROCESS, 0)
    told, _ = ask(0)
    assert told["nice"] == {"main": own, "ears": own, "sight": max(own, 5), "takes": max(own, 10)}


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become a user without rights")
def test_a_refusal_is_told_with_what_to_do_and_everything_goes_on():
    told, log = ask(10, lock=True, allowed=False)
    scheduling, memory = told["refused"]
    assert "LimitRTPRIO" in scheduling
    assert "LimitMEMLOCK" in memory
    assert scheduling in log
    assert memory in log
    assert told["ears"] == told["sight"] == told["takes"] == [os.SCHED_OTHER, 0]
    assert told["locked"] == 0


def test_granted_the_threads_inherit_it_and_the_eyes_go_behind_the_ears():
    told, _ = ask(10)
    if told["refused"]:  # a container without the right: nothing may have changed
        assert "SCHED_FIFO 10 refused" in told["refused"][0]
        assert told["ears"] == told["sight"] == told["takes"] == [os.SCHED_OTHER, 0]
    else:
        assert told["ears"] == [os.SCHED_FIFO, 10]
        assert told["sight"] == [os.SCHED_FIFO, 9]
        assert told["takes"] == [os.SCHED_OTHER, 0]


def test_granted_memory_is_locked():
    told, _ = ask(0, lock=True)
    if told["refused"]:
        assert "memory cannot be locked" in told["refused"][0]
        assert told["locked"] == 0
    else:
        assert told["locked"] > 1000  # kB
        assert told["resident"] < told["locked"] / 2  # not what nobody has touched, as thread stacks
