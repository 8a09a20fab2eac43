"""One dead disk holds nobody else."""

import contextlib
import errno
import mmap
import os
import signal
import subprocess
import threading

import pytest

from harness import processes
from harness.people import sh
from harness.programs import serving
from harness.wait import holds, took, until

pytestmark = [pytest.mark.data, pytest.mark.log_errors("STUCK", "I/O error")]


@pytest.fixture
def pair(daemon, loopdev, dying, request):
    """A disk that can stall, and a good one, both shown and mounted."""
    bad, good = dying("ext4", label="STUCK"), loopdev(label="GOOD")
    view = daemon(bad, good, options=["--mount-timeout", "3s", "--probe-timeout", "2s",
                                      *getattr(request, "param", [])])
    bad.plug()
    good.plug()
    view.wait_for("STUCK", "GOOD")
    return view, bad, good


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


def descriptors(pid, name):
    """How many of its descriptors are of a file with this name."""
    found = 0
    for number in os.listdir(f"/proc/{pid}/fd"):
        with contextlib.suppress(FileNotFoundError):
            found += os.path.basename(os.readlink(f"/proc/{pid}/fd/{number}")) == name
    return found


@pytest.mark.parametrize("pair", [["--no-passthrough"]], indirect=True)
def test_direct_read_of_a_removed_medium(pair):
    """A file of which an O_DIRECT read hangs when its disk is pulled is closed when that ends, although
    the client keeps it: nothing of the server is in the way of the disk's end."""
    view, bad, _ = pair
    with open(view.path("STUCK", "victim"), "wb") as file:
        file.write(os.urandom(1 << 20))
        os.fsync(file.fileno())
    client = os.open(view.path("STUCK", "victim"), os.O_RDONLY | os.O_DIRECT)
    failures = []

    def read():
        with mmap.mmap(-1, 4096) as memory:
            try:
                os.preadv(client, [memory], 0)
            except OSError as error:
                failures.append(error.errno)

    bad.stall()
    reader = threading.Thread(target=read)
    reader.start()
    try:
        until("the server reads", lambda: descriptors(view.server_pid(), "victim") == 2)
        bad.unplug()
        view.eject("STUCK", "--force", check=False)
        reader.join(15)
        assert failures
        bad.work()
        until("it is closed", lambda: descriptors(view.server_pid(), "victim") == 0)
    finally:
        bad.work()
        reader.join(15)
        os.close(client)


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


def test_end_while_a_disk_hangs(pair):
    """The daemon ends, which takes until a disk answers: no other one is mounted meanwhile."""
    view, bad, good = pair
    with open(view.path("STUCK", "file"), "wb") as file:
        file.write(os.urandom(1 << 20))
    bad.stall()
    view.send(signal.SIGTERM)
    until("it is ending", lambda: not os.path.exists(view.socket))
    with pytest.raises(OSError):
        os.listdir(view.path("GOOD"))
    assert f"{good.kname}: idle -> mounting" not in view.log()
    bad.work()
    view.stop()


def test_probes_that_hang(daemon, loopdev, dying):
    """As many disks hang while they are looked at as are looked at at a time: another one has its
    turn when one of them is pulled."""
    hanging, good = [dying(label=f"HANGS{number}") for number in range(8)], loopdev(label="GOOD")
    view = daemon(*hanging, good, options=["--probe-timeout", "60s", "--log-level", "debug"])
    with contextlib.ExitStack() as ours:  # who closes a device last waits, and everybody for him
        for disk in hanging:
            ours.callback(os.close, os.open(disk.device, os.O_RDWR))
            ours.callback(disk.work)
            disk.stall()
            disk.plug()
        until("all are looked at", lambda: 8 == len(
            {line for line in view.log().splitlines() if line.endswith(": probing")}))
        good.plug()
        holds("it waits", lambda: not view.names(), 1)
        hanging[3].pull()
        view.wait_for("GOOD")


def test_late_answer(pair):
    """A disk that does not answer before the deadline, as one that takes long to start, is shown
    when it does."""
    view, bad, _ = pair
    bad.unplug()
    view.wait_for("GOOD")
    bad.wait_unplugged()
    bad.stall()
    bad.plug()
    until("it is given up", lambda: any(
        one["device"] == bad.kname and one["reason"].startswith("did not answer in time")
        for one in view.list("--all")), 10)
    bad.work()
    view.wait_for("STUCK", "GOOD", deadline_s=10)


def test_cannot_be_read_at_first(pair):
    """A disk that answers EIO when it is plugged, and works a little later, is shown then, though
    nobody tells."""
    view, bad, _ = pair
    bad.unplug()
    view.wait_for("GOOD")
    bad.wait_unplugged()
    bad.fail()
    bad.plug()
    until("it cannot be read", lambda: any(
        one["device"] == bad.kname and one["reason"] == "cannot be read (EIO)"
        for one in view.list("--all")))
    bad.work()
    view.wait_for("STUCK", "GOOD", deadline_s=10)


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


def hanging(pid):
    """How many threads of the process wait for a device, and cannot be ended."""
    return sum(processes.waits(pid, task) for task in os.listdir(f"/proc/{pid}/task"))


def hangs(pid):
    return hanging(pid) > 0


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


class Stuck:
    """Threads that are left waiting on a dead disk. All of them end once it works again."""

    def __init__(self):
        self.threads = []

    def start(self, call, *arguments):
        def run():
            with contextlib.suppress(OSError):
                call(*arguments)

        self.threads.append(threading.Thread(target=run))
        self.threads[-1].start()

    def waiting(self):
        return sum(thread.is_alive() for thread in self.threads)

    def end(self):
        for thread in self.threads:
            thread.join(30)
        assert self.waiting() == 0


MEDIUM_THREADS = 16
"""Requests of one disk that run at a time: LIMIT_MEDIUM_THREADS."""

THREADS_MAX = 60
"""Of a server with one dead disk: those that wait for it, and those that read requests."""


class Jammed:
    """A directory of a disk whose journal waits, and who is left waiting there."""

    def __init__(self, view, disk):
        self.view, self.disk = view, disk
        self.directory = view.path("STUCK", "d")
        self.stuck = Stuck()
        self.descriptors = []
        os.mkdir(self.directory)

    def path(self, name):
        return os.path.join(self.directory, name)

    def created(self, name, size=1 << 16, flags=0):
        """A new file, open, whose content is on the disk."""
        descriptor = os.open(self.path(name), os.O_RDWR | os.O_CREAT | os.O_EXCL | flags)
        self.descriptors.append(descriptor)
        with mmap.mmap(-1, size) as content:
            os.pwrite(descriptor, content, 0)
        os.fsync(descriptor)
        return descriptor

    def close(self, descriptor):
        self.descriptors.remove(descriptor)
        os.close(descriptor)

    @contextlib.contextmanager
    def jam(self, change=lambda: None, by=os.fsync):
        """
        Stalls it while its journal is written, with what `change` changes: whoever would change
        the same waits. All that was to be written before is written, or it would come first and
        leave the journal free.
        """
        self.usual = took(lambda: write_files(self.view.path("GOOD")))
        sh("sync $1", self.view.path("STUCK"))
        change()
        self.disk.stall()
        try:
            self.descriptors.append(os.open(self.path("jam"), os.O_CREAT | os.O_WRONLY))
            self.stuck.start(by, self.descriptors[-1])
            until("the journal waits", self.journal_waits)
            yield self.stuck
        finally:
            self.disk.work()
            self.stuck.end()
            for descriptor in self.descriptors:
                os.close(descriptor)

    def journal_waits(self):
        return any(processes.name(int(pid)).startswith(f"jbd2/{self.disk.kname}"[:15])
                   and processes.waits(pid, pid) for pid in os.listdir("/proc") if pid.isdigit())

    def nobody_else_waits(self):
        """Nor are there many threads."""
        server = self.view.server_pid()
        for _ in range(20):
            assert took(lambda: write_files(self.view.path("GOOD"))) < 10 * self.usual + 0.5
            assert processes.threads(server) < THREADS_MAX


def test_closes_that_wait(pair):
    """Two hundred deleted files of a dead disk are closed, which frees their blocks."""
    view, bad, _ = pair
    jammed = Jammed(view, bad)
    for number in range(200):
        jammed.created(f"f{number}")
        os.unlink(jammed.path(f"f{number}"))
    with jammed.jam() as stuck:
        for descriptor in jammed.descriptors[:-1]:
            stuck.start(jammed.close, descriptor)
        jammed.nobody_else_waits()


def test_close_of_a_shared_backing(pair):
    """
    The kernel's data of a file go through the first open of it, which it closes with the last one.
    When that had been truncated, ext4 writes it out then (auto_da_alloc).
    """
    view, bad, _ = pair
    jammed = Jammed(view, bad)
    first = jammed.created("file")
    second = os.open(jammed.path("file"), os.O_WRONLY)
    jammed.close(first)

    def change():
        os.ftruncate(second, 0)
        os.pwrite(second, bytes(4096), 0)

    with jammed.jam(change) as stuck:
        stuck.start(os.close, second)
        jammed.nobody_else_waits()


def test_writes_that_wait(pair):
    """Two hundred writers, who come at once."""
    view, bad, _ = pair
    jammed = Jammed(view, bad)
    server = view.server_pid()
    files = [jammed.created(f"f{number}") for number in range(200)]
    threads = []
    with jammed.jam(lambda: [os.utime(file) for file in files]) as stuck:
        for file in files:
            stuck.start(os.pwrite, file, bytes(4096), 1 << 20)
            threads.append(processes.threads(server))
        until("many wait", lambda: stuck.waiting() > 100)
        assert max(threads) < THREADS_MAX
        jammed.nobody_else_waits()


def test_reads_that_wait(pair):
    """More pages are asked for in advance than a kernel's FUSE has at work by default."""
    view, bad, _ = pair
    jammed = Jammed(view, bad)
    jammed.created("file", 12 << 20, os.O_DIRECT)
    jammed.descriptors.append(os.open(jammed.path("file"), os.O_RDONLY))
    ahead = jammed.descriptors[-1]
    with open(view.path("GOOD", "cold"), "wb") as cold:
        cold.write(bytes(1 << 20))
    with jammed.jam() as stuck:
        for offset in range(0, 12 << 20, 1 << 14):
            stuck.start(os.posix_fadvise, ahead, offset, 4096, os.POSIX_FADV_WILLNEED)
        jammed.nobody_else_waits()
        with open(view.path("GOOD", "cold"), "rb") as cold:
            os.posix_fadvise(cold.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
            assert took(cold.read) < 1


def test_eject_of_a_dead_disk(pair):
    """A directory that was removed while somebody is in it is freed then, which waits for the disk;
    meanwhile others are ejected, and mounted."""
    view, bad, good = pair
    jammed = Jammed(view, bad)
    os.mkdir(jammed.path("removed"))
    jammed.descriptors.append(os.open(jammed.path("removed"), os.O_PATH))
    os.rmdir(jammed.path("removed"))
    with jammed.jam(by=jammed.close) as stuck:  # then the daemon makes it write
        stuck.start(lambda: view.client("eject", "--force", "--", "STUCK", check=False))
        until("it is being ejected", lambda: view.medium("STUCK")["state"] == "ejecting")
        view.eject("GOOD")
        good.unplug().wait_unplugged()
        good.plug()
        until("it is back", lambda: "GOOD" in view.names())
        write_files(view.path("GOOD"))


def test_directory_of_a_busy_disk(pair):
    """`ls` of the list does not wait for a disk as many of whose calls wait as may run at a time, and
    what it is told of the disk's directory is true."""
    view, bad, _ = pair
    root = view.path("STUCK")
    os.chmod(root, 0o700)
    os.setxattr(root, "user.foo", b"1")
    before = os.stat(root).st_mtime_ns
    files = [os.open(os.path.join(root, f"f{number}"), os.O_WRONLY | os.O_CREAT)
             for number in range(MEDIUM_THREADS + 4)]
    for file in files:
        os.write(file, os.urandom(8192))
    stuck = Stuck()
    found = []
    bad.stall()
    try:
        for file in files:
            stuck.start(os.fsync, file)
        until("no more may run", lambda: hanging(view.server_pid()) >= MEDIUM_THREADS)
        assert took(lambda: found.append(os.stat(root).st_mode & 0o777)) < 3
        assert found == [0o700]
        stuck.start(lambda: found.append(os.listxattr(root)))
    finally:
        bad.work()
        stuck.end()
        for file in files:
            os.close(file)
    assert found[1] == ["user.foo"]
    after = os.stat(root)
    assert after.st_mode & 0o777 == 0o700 and after.st_mtime_ns > before
