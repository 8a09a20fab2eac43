"""Random operations, many at a time. TEST_STRESS makes it longer; the seed is told on failure."""

import os
import random
import signal
import subprocess
import sys
import time

import pytest

from harness.disks import KERNEL_FILESYSTEMS
from harness.trees import manifest
from harness.wait import SLOWNESS, until

TIMES = float(os.environ.get("TEST_STRESS", "1")) / SLOWNESS
SEED = int(os.environ.get("TEST_SEED", "1"))

pytestmark = [pytest.mark.data, pytest.mark.deadline(60 + 60 * TIMES)]

SCRAMBLE = """
import errno, os, random, sys, traceback
root, seed, count = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
rng = random.Random(seed)
os.chdir(root)

def name():
    return "/".join(rng.choice('ab') + str(rng.randrange(3)) for _ in range(rng.randrange(1, 4)))

def write(path):
    with open(path, rng.choice(["wb", "ab", "r+b"])) as file:
        file.write(rng.randbytes(rng.randrange(9000)))

def unlinked(path):
    with open(path, "r+b") as file:
        os.unlink(path)
        file.write(b"still there")
        os.fstat(file.fileno())

calls = [
    lambda: os.mkdir(name()), lambda: os.mkdir(name()), lambda: os.rmdir(name()),
    lambda: write(name() + "f"), lambda: write(name() + "f"), lambda: os.unlink(name() + "f"),
    lambda: os.rename(name(), name()), lambda: os.rename(name() + "f", name() + "f"),
    lambda: os.link(name() + "f", name() + "f"), lambda: os.symlink("x", name() + "s"),
    lambda: os.unlink(name() + "s"), lambda: os.chmod(name() + "f", rng.randrange(0o1000)),
    lambda: os.setxattr(name() + "f", "user.a", rng.randbytes(20)), lambda: os.listdir(name()),
    lambda: os.stat(name() + "f"), lambda: os.truncate(name() + "f", rng.randrange(20000)),
    lambda: unlinked(name() + "f"), lambda: open(name() + "f", "rb").read(),
    lambda: os.utime(name() + "f", (1, 2)), lambda: os.lstat(name() + "s"),
]
odd = {errno.EIO, errno.EINVAL, errno.ENOTCONN, errno.ENODEV, errno.EFAULT, errno.ENOSYS,
       errno.ENOMEM, errno.EMFILE, errno.ENFILE, errno.ESTALE, errno.EPERM, errno.EBADF}
for _ in range(count):
    try:
        rng.choice(calls)()
    except OSError as error:
        below_itself = error.errno == errno.EINVAL and error.filename2
        if error.errno in odd and not below_itself:
            traceback.print_exc()
            sys.exit(1)
"""


@pytest.fixture
def iocheck(request):
    path = os.environ.get("IOCHECK") or os.path.join(
        os.path.dirname(request.config.option.hotplugfs), "tests", "stress", "iocheck")
    assert os.access(path, os.X_OK), f"{path} is not built"
    return path


def check(processes, timeout):
    """All of them ended well."""
    told = [process.communicate(timeout=timeout)[1] for process in processes]
    assert [process.returncode for process in processes] == [0] * len(processes), "\n".join(told)


def start(command):
    return subprocess.Popen(command, stderr=subprocess.PIPE, text=True)


def scramble(view, seed, count):
    """One process that works at random."""
    return start([sys.executable, "-c", SCRAMBLE, view.path("STICK"), str(seed), str(count)])


def same_without_us(view, disk):
    """What the view shows, from its caches and fresh, is what is on the disk."""
    seen = manifest(view.path("STICK"))
    view.eject_soon("STICK")
    disk.unplug().wait_unplugged()
    with disk.native() as tree:
        assert manifest(tree) == seen
    return seen


@pytest.mark.parametrize("fstype", KERNEL_FILESYSTEMS)
def test_data(daemon, loopdev, iocheck, fstype):
    """Reads, writes, mappings, holes, truncation, direct I/O on three files at a time."""
    disk = loopdev(fstype, label="STICK").plug()
    view = daemon(disk).wait_for("STICK")
    check([start([iocheck, "-s", str(SEED * 10 + number), "-n", str(int(4000 * TIMES)),
                  view.path("STICK", f"file{number}")]) for number in range(3)], 60 + 60 * TIMES)


@pytest.mark.parametrize("fstype", KERNEL_FILESYSTEMS)
def test_namespace(daemon, loopdev, fstype):
    """Six processes create, rename, link and remove in one tree; the view and the disk agree."""
    disk = loopdev(fstype, label="STICK").plug()
    view = daemon(disk).wait_for("STICK")
    check([scramble(view, SEED * 100 + number, int(1500 * TIMES)) for number in range(6)],
          60 + 60 * TIMES)
    assert len(same_without_us(view, disk)) > 3


def test_namespace_with_idle_unmounts(daemon, loopdev):
    """The same in bursts, between which the disk is unmounted under all that is cached."""
    disk = loopdev(label="STICK").plug()
    view = daemon(disk, options=["--idle-timeout", "50ms"]).wait_for("STICK")
    for burst in range(int(6 * TIMES) + 1):
        check([scramble(view, SEED * 1000 + burst * 2 + n, 150) for n in range(2)], 60)
        until("idle", lambda: not disk.mounted())
    same_without_us(view, disk)


def test_namespace_with_killed_servers(daemon, loopdev):
    """The same while the server is killed again and again (each one lives long enough not to be
    taken for one that cannot work): nobody notices, not even with a file that has no name."""
    disk = loopdev(label="STICK").plug()
    view = daemon(disk).wait_for("STICK")
    rng = random.Random(SEED)
    for turn in range(int(3 * TIMES) + 1):
        born = time.monotonic()
        workers = [scramble(view, SEED * 1000 + turn * 3 + n, 1200) for n in range(3)]
        lifetime = 0.3 + rng.random() / 5
        until("it is time", lambda: time.monotonic() - born > lifetime)
        os.kill(view.server_pid(), signal.SIGKILL)
        check(workers, 60)
    same_without_us(view, disk)
