"""The processes that mount and unmount: what they, or the daemon, cannot finish is not forgotten."""

import contextlib
import os
import resource
import signal
import subprocess
import threading

import pytest

from harness import processes
from harness.people import sh
from harness.wait import took, until

pytestmark = [pytest.mark.data]


def keeper(view):
    """The child of the broker that lives in the namespace with the real filesystems."""
    here = os.readlink("/proc/self/ns/mnt")
    return next(pid for pid in processes.children(view.process.pid)
                if os.readlink(f"/proc/{pid}/ns/mnt") != here)


@contextlib.contextmanager
def stopped(pid):
    """What is asked of the process meanwhile waits for it."""
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


@pytest.fixture
def stuck(daemon, dying):
    """A daemon with a disk that can stall."""
    disk = dying("ext4", label="STUCK")
    view = daemon(disk, options=["--mount-timeout", "2s"])
    disk.plug()
    view.wait_for("STUCK")
    return view, disk


def numbers(pid):
    return {int(name) for name in os.listdir(f"/proc/{pid}/fd")}


@pytest.mark.parametrize("spare", [0, 1])
def test_no_descriptor_for_the_answer(daemon, loopdev, spare):
    """The daemon has no descriptor left for what a mount gives it: the caller gets an error, and
    nothing stays mounted; the next access works, and the disk can be ejected."""
    disk = loopdev(label="STICK").plug()
    view = daemon(disk).wait_for("STICK")
    broker = view.process.pid
    before = numbers(broker)
    soft, hard = resource.prlimit(broker, resource.RLIMIT_NOFILE)
    with stopped(keeper(view)):
        looking = subprocess.Popen(["ls", view.path("STICK")], stderr=subprocess.DEVNULL)
        until("it is being mounted", lambda: "-> mounting" in view.log())
        least = min(set(range(1024)) - numbers(broker))
        resource.prlimit(broker, resource.RLIMIT_NOFILE, (least + spare, hard))
    if spare == 0:  # nothing can be undone then
        until("the answer was lost", lambda: numbers(broker) == before)
        resource.prlimit(broker, resource.RLIMIT_NOFILE, (soft, hard))
    assert looking.wait(20) != 0
    resource.prlimit(broker, resource.RLIMIT_NOFILE, (soft, hard))
    reason = view.medium("STICK")["reason"]
    assert os.listdir(view.path("STICK")) == ["lost+found"]
    view.eject_soon("STICK")
    assert not disk.held()
    assert reason == "too many files are open"


def test_no_descriptor_for_the_unmount(daemon, loopdev):
    """A disk that has to go, and the daemon cannot start what unmounts it: that is done once it
    can."""
    disk = loopdev(label="STICK").plug()
    view = daemon(disk).wait_for("STICK")
    os.listdir(view.path("STICK"))
    broker = view.process.pid
    soft, hard = resource.prlimit(broker, resource.RLIMIT_NOFILE)
    least = min(set(range(1024)) - numbers(broker))
    told = []
    ejecting = threading.Thread(target=lambda: told.append(view.eject("STICK", "--force",
                                                                      check=False)))
    resource.prlimit(broker, resource.RLIMIT_NOFILE, (least + 2, hard))
    ejecting.start()
    until("it has been tried", lambda: "Too many open files" in view.log())
    assert not told and disk.held()
    resource.prlimit(broker, resource.RLIMIT_NOFILE, (soft, hard))
    ejecting.join(20)
    assert told and told[0].returncode == 0, told
    assert not disk.held()


def test_mount_while_one_is_undone(stuck):
    """A mount that came too late is unmounted again. That does not meet the next one, which is
    refused until then."""
    view, disk = stuck
    sh("blockdev --flushbufs $1", disk.device)
    disk.stall()
    with pytest.raises(OSError):
        os.listdir(view.path("STUCK"))
    children = processes.children(keeper(view))
    with stopped(keeper(view)):
        disk.work()
        until("it has ended", lambda: not set(children) & set(view.pids()))
        view.list()  # the daemon has heard of it
        with pytest.raises(OSError):
            os.listdir(view.path("STUCK"))
        assert view.log().count("-> mounting") == 1
    until("it works", lambda: sh("ls $1", view.path("STUCK"), check=False).returncode == 0)
    sh("echo content >$1/file; sync $1", view.path("STUCK"))


@pytest.mark.log_errors("the staging namespace is lost", "could not be put on the disk")
@pytest.mark.parametrize("server", ["lives", "killed"])
def test_keeper_is_killed(stuck, server):
    """What it kept mounted is unmounted by the last one who closes it. That is not the daemon,
    which goes on while the disk does not answer, and does not call it safe to pull before."""
    view, disk = stuck
    sh("echo content >$1/file; sync $1", view.path("STUCK"))
    view.wait_state("STUCK", "clean")
    os.kill(keeper(view), signal.SIGKILL)
    until("that is told", lambda: "the staging namespace is lost" in view.log())
    disk.stall()
    if server == "killed":
        os.kill(view.server_pid(), signal.SIGKILL)
    ejected = view.eject("STUCK", check=False)
    assert ejected.returncode == 1 and "safe" not in ejected.stdout
    assert disk.held()
    assert took(lambda: view.client("list")) < 3
    disk.work()
    until("it is unmounted", lambda: not disk.held())
    view.eject_soon("STUCK")
    disk.unplug().wait_unplugged()
    disk.plug()
    view.wait_for("STUCK")
    assert sh("cat $1/file", view.path("STUCK")) == "content\n"
