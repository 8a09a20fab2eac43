"""Who goes first where the CPU is busy: the daemon, while a disk comes or goes."""

import contextlib
import os
import signal

import pytest

from harness import processes
from harness.daemon import Daemon, NotNice
from harness.wait import holds, until

HIGH = -20
LIMITED = "cannot take precedence"


class Nice(Daemon):
    """One that somebody gave a priority."""

    def __init__(self, *args, **parameters):
        super().__init__(*args, **parameters)
        self.command = ["nice", "-n", "3", *self.command]


def nice_values(pid):
    """Of all threads of a process."""
    found = set()
    with contextlib.suppress(FileNotFoundError):
        for task in os.listdir(f"/proc/{pid}/task"):
            with contextlib.suppress(ProcessLookupError):
                found.add(os.getpriority(os.PRIO_PROCESS, int(task)))
    return found


def session_nice(pid):
    """What the kernel compares sessions by; None where it does not."""
    with contextlib.suppress(FileNotFoundError):
        with open(f"/proc/{pid}/autogroup", encoding="ascii") as file:
            return int(file.read().rpartition("nice")[2])
    return None


def all_values(view):
    """Of the session, the server, the broker, and the others but the server's child, which sleeps."""
    server, broker = view.server_pid(), view.process.pid
    rest = [pid for pid in view.pids()
            if pid not in (server, broker) and processes.name(pid) != "hotplugfs-fds"]
    return session_nice(broker), nice_values(server), nice_values(broker), \
        sorted(nice for pid in rest for nice in nice_values(pid))


def is_so(view, server):
    """Broker and announcer always go first, and nothing else that they start but the server."""
    session = None if session_nice(view.process.pid) is None else server
    *own, rest = all_values(view)
    return own == [session, {server}, {HIGH}] and rest[0] == HIGH and set(rest[1:]) == {0}


def wait_rests(view, number):
    """As often as that by now."""
    until(f"rests again, {number} times",
          lambda: view.log().count("precedence: rests") >= number)
    until(lambda: f"rests, now {all_values(view)}", lambda: is_so(view, 0))


def seen_taken(view, change):
    """Whether the server goes first after a change. The broker is stopped meanwhile, so that it ends
    no earlier than we have looked; which may be too late, on a busy machine."""
    change()
    os.kill(view.process.pid, signal.SIGSTOP)
    try:
        return is_so(view, HIGH)
    finally:
        os.kill(view.process.pid, signal.SIGCONT)


def test_while_a_disk_comes_or_goes(daemon, loopdev):
    """The server goes first until a disk has come or gone, and no longer."""
    disk = loopdev(label="STICK")
    view = daemon(disk)

    def come():
        disk.plug()
        view.wait_for("STICK")

    def go():
        disk.unplug()
        view.wait_for()

    wait_rests(view, 1)
    until("it goes first when a disk comes", lambda: go() or seen_taken(view, come))
    assert os.listdir(view.path("STICK"))  # mounted by a child of the keeper
    wait_rests(view, 2)
    go()
    wait_rests(view, 3)
    until("it goes first when a disk goes", lambda: come() or seen_taken(view, go))


@pytest.mark.log_errors("was killed by signal 9")
def test_after_a_crash_and_an_upgrade(daemon, loopdev):
    """The next server goes first at its start, and the next program goes on as the last one did."""
    view = daemon(loopdev(label="STICK").plug()).wait_for("STICK")

    def crash():
        before = view.log().count("the server is ready")
        os.kill(view.server_pid(), signal.SIGKILL)
        until("there is another one", lambda: view.log().count("the server is ready") > before)

    wait_rests(view, 1)
    until("the next server goes first", lambda: seen_taken(view, crash))
    wait_rests(view, 2)
    view.client("upgrade")
    wait_rests(view, 3)
    until("as before the upgrade", lambda: seen_taken(view, crash))


@pytest.mark.parametrize("kind, nice", [(Nice, 3), (NotNice, 0)])
def test_priority_that_stays(daemon, loopdev, kind, nice):
    """A priority that somebody gave the daemon stays; without CAP_SYS_NICE it says what it lacks."""
    view = daemon(loopdev(label="STICK").plug(), kind=kind).wait_for("STICK")
    assert (LIMITED in view.log()) == (kind is NotNice)
    holds("the priority stays", lambda: {
        value for pid in view.pids() for value in nice_values(pid)} == {nice}, 0.3)
    assert session_nice(view.process.pid) in (0, None)


@pytest.mark.parametrize("pid1", [False, True])
def test_command(run, pid1):
    """COMMAND of `hotplugfs run` goes before nobody, nor does the session that it shares."""
    one = run("sh", "-c", "nice; cat /proc/self/autogroup || echo nice 0", pid1=pid1)
    assert one.wait() == 0, one.err()
    own, session = one.out().splitlines()
    assert own == "0" and session.endswith("nice 0")
