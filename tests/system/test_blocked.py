"""One dead disk holds nobody else."""

import errno
import os
import signal
import subprocess
import threading

import pytest

from harness import processes
from harness.dying import DyingDisk
from harness.people import sh
from harness.programs import serving
from harness.wait import took, until

pytestmark = [pytest.mark.data, pytest.mark.log_errors("STUCK", "I/O error")]


@pytest.fixture
def pair(daemon, loopdev, work, request):
    """A disk that can stall, and a good one, both shown and mounted."""
    bad = DyingDisk(work)
    try:
        bad.format("ext4", label="STUCK")
        good = loopdev(label="GOOD")
        request.node.can_hang.append([bad])
        view = daemon(bad, good, options=["--mount-timeout", "3s", "--probe-timeout", "2s"])
        bad.plug()
        good.plug()
        view.wait_for("STUCK", "GOOD")
        yield view, bad, good
        bad.work()
        view.stop()
    finally:
        view.clean_up()
        bad.remove()


def write_files(directory, count=30):
    for number in range(count):
        with open(os.path.join(directory, f"f{number}"), "wb") as file:
            file.write(os.urandom(8192))
        os.listdir(directory)


def readers_of(path, count):
    """Processes that read uncached blocks of a file, and so get stuck on a dead disk."""
    return [subprocess.Popen(["dd", f"if={path}", "of=/dev/null", "bs=4096", "count=1",
                              f"skip={number * 64}", "iflag=direct"], stderr=subprocess.DEVNULL)
            for number in range(count)]


def test_other_medium_is_not_delayed(pair):
    """Nothing hangs, other media are not delayed: thirty requests stuck on one dead disk."""
    view, bad, _ = pair
    victim = view.path("STUCK", "victim")
    with open(victim, "wb") as file:
        file.write(os.urandom(16 << 20))
        os.fsync(file.fileno())
    usual = took(lambda: write_files(view.path("GOOD")))
    bad.stall()
    readers = readers_of(victim, 30)
    metadata = [subprocess.Popen(["sh", "-c", f"rm -rf {victim}{number}; mkdir {victim}{number};"
                                  f"sync {victim}{number}"]) for number in range(20)]
    try:
        until("somebody is stuck", lambda: all(r.poll() is None for r in readers[:5]))
        assert took(lambda: write_files(view.path("GOOD"))) < 10 * usual + 0.5
        assert took(lambda: os.listdir(view.media)) < 0.5
        assert took(lambda: os.stat(view.path("STUCK"))) < 0.5
        assert took(lambda: view.client("list")) < 3
    finally:
        bad.work()
        for process in readers + metadata:
            process.wait(timeout=20)
    assert os.path.isdir(view.path("STUCK", "victim3"))


def test_stuck_medium_is_removed(pair):
    """A dead disk that is pulled: its name goes, who waited is told, although it never answers."""
    view, bad, _ = pair
    victim = view.path("STUCK", "victim")
    with open(victim, "wb") as file:
        file.write(os.urandom(4 << 20))
        os.fsync(file.fileno())
    bad.stall()
    stuck = threading.Thread(target=lambda: sh("sync $1", view.path("STUCK"), check=False))
    os.mkdir(view.path("STUCK", "dirty"))
    stuck.start()
    bad.unplug()
    view.eject("STUCK", "--force", check=False)
    until("its name is gone", lambda: "STUCK" not in view.names(), 10)
    assert took(lambda: write_files(view.path("GOOD"))) < 5
    stuck.join(15)
    assert not stuck.is_alive()


def test_mount_that_hangs(pair):
    """A mount that never ends is given up at its deadline; the caller gets an error."""
    view, bad, _ = pair
    bad.unplug()
    view.wait_for("GOOD")
    bad.wait_unplugged()
    bad.plug()
    view.wait_for("STUCK", "GOOD")
    sh("echo 3 >/proc/sys/vm/drop_caches; blockdev --flushbufs $1", bad.device)
    bad.stall()
    with pytest.raises(OSError) as failure:
        os.listdir(view.path("STUCK"))
    assert failure.value.errno in (errno.ETIMEDOUT, errno.EIO, errno.ENODEV)
    assert view.medium("STUCK")["state"] == "failed" and view.medium("STUCK")["reason"]
    write_files(view.path("GOOD"))
    bad.work()
    until("it works at the next access",
          lambda: sh("ls $1", view.path("STUCK"), check=False).returncode == 0, 15)


def test_probe_that_hangs(pair, loopdev):
    """A disk that cannot even be probed does not delay the next one."""
    view, bad, good = pair
    for disk in (bad, good):
        disk.unplug()
    view.wait_for()
    bad.wait_unplugged()
    good.wait_unplugged()
    bad.stall()
    bad.plug()
    good.plug()
    view.wait_for("GOOD", deadline_s=1.5)
    bad.work()


def test_errors_reach_the_caller(pair):
    """A disk that answers EIO: the caller gets EIO, and the others work."""
    view, bad, _ = pair
    victim = view.path("STUCK", "victim")
    with open(victim, "wb") as file:
        file.write(os.urandom(1 << 20))
        os.fsync(file.fileno())
    bad.fail()
    with pytest.raises(OSError) as failure:
        descriptor = os.open(victim, os.O_WRONLY | os.O_DSYNC)
        try:
            os.pwrite(descriptor, bytes(4096), 0)
        finally:
            os.close(descriptor)
    assert failure.value.errno in (errno.EIO, errno.EROFS)
    write_files(view.path("GOOD"))
    bad.work()


def hangs(pid):
    """Whether a thread of the process waits for a device, and cannot be ended."""
    return any(processes.waits(pid, task) for task in os.listdir(f"/proc/{pid}/task"))


def test_killed_while_a_disk_hangs(pair):
    """A server that is killed while one of its calls hangs does not end. The next one takes over all
    the same, and when the disk answers again, that one works, too."""
    view, bad, _ = pair
    os.mkdir(view.path("STUCK", "before"))
    bad.stall()
    with open(view.path("STUCK", "file"), "wb") as file:
        file.write(os.urandom(8192))
        waiting = threading.Thread(target=os.fsync, args=(file.fileno(),))
        waiting.start()
        try:
            server = serving(view)
            until("a call hangs", lambda: hangs(server))
            os.kill(server, signal.SIGKILL)
            assert took(lambda: write_files(view.path("GOOD"))) < 3
            assert serving(view, server)
            assert os.path.exists(f"/proc/{server}/task") and hangs(server)
        finally:
            bad.work()
        waiting.join(20)
        assert not waiting.is_alive()
    until("the old one has ended", lambda: not os.path.exists(f"/proc/{server}"))
    assert sorted(os.listdir(view.path("STUCK"))) == ["before", "file", "lost+found"]
    with open(view.path("STUCK", "file"), "rb") as file:
        assert len(file.read()) == 8192
