"""A client that makes one call after another is answered on the CPU that it runs on."""

import contextlib
import os
import subprocess
import sys
import time

import pytest

from harness import processes
from harness.daemon import NotNice
from harness.wait import holds, until

LOOK_FOR_WHAT_IS_NOT_THERE = """
import os, sys
os.sched_setaffinity(0, {int(sys.argv[2])})
number = 0
while True:
    number += 1
    try:
        os.stat(f"{sys.argv[1]}/{number}")
    except FileNotFoundError:
        pass
"""
OPEN_AND_CLOSE = """
import os, sys
while True:
    os.close(os.open(sys.argv[1], os.O_RDONLY))
"""
CPUS = sorted(os.sched_getaffinity(0))

pytestmark = pytest.mark.skipif(len(CPUS) < 2, reason="this machine cannot: it has one CPU")


def bound(view):
    """The CPUs that single threads of the server are bound to."""
    pid = view.server_pid()
    found = set()
    for task in os.listdir(f"/proc/{pid}/task"):
        with contextlib.suppress(OSError):  # a thread that has ended
            allowed = processes.status(f"{pid}/task/{task}")["Cpus_allowed_list"]
            if allowed.isdigit():
                found.add(int(allowed))
    return found


@contextlib.contextmanager
def client(view, cpu):
    """Each of its calls is a request; not more than its number of names fit into memory."""
    program = subprocess.Popen([sys.executable, "-c", LOOK_FOR_WHAT_IS_NOT_THERE,
                                view.path("STICK"), str(cpu)])
    try:
        yield program.pid
    finally:
        program.kill()
        program.wait()


def test_follows(daemon, loopdev):
    """A thread of the server is bound to the client's CPU, goes where the client goes, and may run
    everywhere again when nothing comes any more."""
    view = daemon(loopdev(label="STICK").plug()).wait_for("STICK")
    assert bound(view) == set()
    with client(view, CPUS[0]) as pid:
        until(f"a thread on CPU {CPUS[0]}", lambda: bound(view) == {CPUS[0]}, 20)
        os.sched_setaffinity(pid, {CPUS[1]})
        until(f"a thread on CPU {CPUS[1]}", lambda: bound(view) == {CPUS[1]}, 20)
    until("no thread is bound", lambda: bound(view) == set())
    assert os.path.isdir(view.path("STICK", "lost+found"))


def test_does_not_follow_several(daemon, loopdev):
    """With two clients on two CPUs there is nobody to follow: both go on, and no thread stays."""
    view = daemon(loopdev(label="STICK").plug()).wait_for("STICK")
    with client(view, CPUS[0]), client(view, CPUS[1]):
        os.makedirs(view.path("STICK", "a", "b"))
    until("no thread is bound", lambda: bound(view) == set())


def share_of_one(view, seconds=0.3):
    """How much of what the server's threads do one of them does, by the times that it was woken."""
    pid = view.server_pid()

    def woken():
        return {task: int(processes.status(f"{pid}/task/{task}")["voluntary_ctxt_switches"])
                for task in os.listdir(f"/proc/{pid}/task")}

    before = woken()
    time.sleep(seconds)
    times = [times - before.get(task, 0) for task, times in woken().items()]
    return max(times) / max(sum(times), 1)


def test_one_reader_for_one_client(daemon, loopdev):
    """What a client does not wait for, such as the end of an open file, is no reason for another
    thread to read: they would take turns, and each be woken with the other's caches."""
    view = daemon(loopdev(label="STICK").plug()).wait_for("STICK")
    path = view.path("STICK", "file")
    with open(path, "wb") as file:
        file.write(b"content")
    with subprocess.Popen([sys.executable, "-c", OPEN_AND_CLOSE, path]) as program:
        try:
            time.sleep(2)  # as long as it takes to come to the wrong conclusion
            until("one thread does nearly all", lambda: share_of_one(view) > 0.8, 20)
        finally:
            program.kill()


def test_without_the_right(daemon, loopdev):
    """Where a thread could not come back from SCHED_IDLE, none is bound, and all works."""
    view = daemon(loopdev(label="STICK").plug(), kind=NotNice).wait_for("STICK")
    with client(view, CPUS[0]):
        holds("no thread is bound", lambda: bound(view) == set(), 1)
        os.makedirs(view.path("STICK", "a", "b"))
    assert os.path.isdir(view.path("STICK", "a", "b"))
