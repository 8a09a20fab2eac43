"""Everything at once, for as long as is asked for: TEST_SOAK seconds."""

import contextlib
import errno
import mmap
import os
import random
import re
import signal
import threading
import time

import pytest

from harness import kernel, processes
from harness.programs import at_work, serving
from harness.wait import SLOWNESS, until

SOAK_S = float(os.environ.get("TEST_SOAK", "20"))
SEED = int(os.environ.get("TEST_SEED", "1"))
GROWTH = 4 << 20
"""Private memory of a daemon whose server has been replaced now and then."""


class Scene:
    """A disk that stays, with programs at work; three that come and go; one that stalls and fails."""

    def __init__(self, view, steady, moving, dying):
        self.view, self.steady, self.moving, self.dying = view, steady, moving, dying
        self.present = dict.fromkeys(moving, False)
        self.random = random.Random(SEED)
        self.done = {}

    def expected(self):
        return {"STEADY", "DYING", *(name for name, there in self.present.items() if there)}

    def right(self):
        """The view equals the devices, and each disk that should work does."""
        until(lambda: f"{self.expected()} in the view, not {self.view.names()}:\n"
              f"{self.view.log()[-3000:]}", lambda: self.view.names() == self.expected(), 5)
        for name in self.expected() - {"DYING"}:
            path = self.view.path(name, "proof")
            with open(path, "wb") as file:
                file.write(name.encode())
            with open(path, "rb") as file:
                assert file.read() == name.encode()

    def toggle(self):
        name = self.random.choice(list(self.moving))
        if self.present[name]:
            self.moving[name].pull()
        else:
            self.moving[name].unplug().wait_unplugged()
            self.moving[name].plug()
        self.present[name] = not self.present[name]

    def eject(self):
        """Not while its writer has a file open; then it is pulled, as by a user."""
        name = self.random.choice(list(self.moving))
        if self.present[name] and self.view.eject(name, check=False).returncode == 0:
            self.moving[name].unplug()
            self.present[name] = False

    def kill(self):
        old = serving(self.view)
        os.kill(old, signal.SIGKILL)
        serving(self.view, old)

    def upgrade(self):
        self.view.client("upgrade", timeout=60)

    def reload(self):
        self.view.send(signal.SIGHUP)

    def storm(self):
        for disk in [self.steady, *self.moving.values()]:
            with open(f"/sys/block/{disk.kname}/uevent", "w", encoding="ascii") as uevent:
                for action in ["change", "remove", "add"] * 30:
                    uevent.write(action + "\n")
                    uevent.flush()

    def stall(self):
        self.dying.stall()
        reader = threading.Thread(target=attempt, args=(self.view.path("DYING", "file"),))
        reader.start()
        time.sleep(self.random.random())
        self.dying.work()
        reader.join(60 * SLOWNESS)
        assert not reader.is_alive(), "a read hangs on a disk that works again"

    def fail(self):
        self.dying.fail()
        attempt(self.view.path("DYING", "file"))
        self.dying.work()

    def look(self):
        self.view.client("list", "--all", "--json")
        for name in self.expected():
            os.stat(self.view.path(name))
            self.view.medium(name)

    def step(self):
        action = self.random.choices(
            [self.toggle, self.eject, self.kill, self.upgrade, self.reload, self.storm, self.stall,
             self.fail, self.look], [10, 3, 3, 2, 1, 1, 1, 1, 4])[0]
        action()
        self.done[action.__name__] = self.done.get(action.__name__, 0) + 1


def attempt(path):
    """Reads what is not in the cache; the errno, if the disk has one for it."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_DIRECT)
        try:
            with mmap.mmap(-1, 4096) as page:
                os.preadv(fd, [page], 0)
        finally:
            os.close(fd)
    except OSError as error:
        return error.errno
    return 0


class Writer(threading.Thread):
    """Writes on a disk whenever that is there; what it is told otherwise is what a user would be."""

    GONE = {errno.ENOENT, errno.EIO, errno.ENODEV, errno.EROFS, errno.ENOTDIR, errno.ESTALE,
            errno.ENOSPC, errno.ESHUTDOWN}

    def __init__(self, view, name):
        super().__init__()
        self.view, self.disk = view, name
        self.stopping = threading.Event()
        self.odd = []
        self.written = 0
        self.start()

    def run(self):
        while not self.stopping.wait(0.01):
            try:
                with open(self.view.path(self.disk, f"f{self.written % 10}"), "wb") as file:
                    file.write(os.urandom(30_000))
                    file.flush()
                    os.fsync(file.fileno())
                self.written += 1
            except OSError as error:
                if error.errno not in self.GONE:
                    self.odd.append(error)

    def stop(self):
        self.stopping.set()
        self.join(30 * SLOWNESS)
        assert not self.is_alive(), f"a writer on {self.disk} hangs"
        assert not self.odd, self.odd[:3]


class Usage:
    """What the daemon's processes hold while nothing happens."""

    def __init__(self, view):
        self.pids = len(view.pids())
        self.files = sum(len(processes.open_files(pid)) for pid in view.pids())
        self.threads = sum(len(os.listdir(f"/proc/{pid}/task")) for pid in view.pids())
        self.mounts = len(kernel.mounts_under("/"))
        self.memory = sum(processes.private_memory(pid) for pid in view.pids())


@contextlib.contextmanager
def writers(view, names):
    crowd = [Writer(view, name) for name in names]
    try:
        yield crowd
    finally:
        for writer in crowd:
            writer.stopping.set()
        for writer in crowd:
            writer.stop()


def go_on_for(scene, seconds, programs):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        scene.step()
        scene.right()
        programs.check()


@pytest.fixture
def scene(daemon, loopdev, dying):
    moody = dying("ext4", label="DYING")
    steady = loopdev(label="STEADY", size=512 << 20)
    moving = {f"MOVING-{fstype}": loopdev(fstype, label=f"MOVING-{fstype}")
              for fstype in ["ext4", "btrfs", "xfs"]}
    view = daemon(steady, *moving.values(), moody, options=["--idle-timeout", "2s"])
    steady.plug()
    moody.plug()
    view.wait_for("STEADY", "DYING")
    with open(view.path("DYING", "file"), "wb") as file:
        file.write(os.urandom(1 << 20))
        os.fsync(file.fileno())
    return Scene(view, steady, moving, moody)


def at_rest(scene):
    """All but the steady disk are out, and everybody has ended."""
    for name, disk in scene.moving.items():
        disk.unplug().wait_unplugged()
        scene.present[name] = False
    scene.right()
    scene.view.wait_state("STEADY", "idle", deadline_s=20)
    scene.view.wait_state("DYING", "idle", "failed", deadline_s=20)
    time.sleep(2)  # threads that wait for the next burst go
    return Usage(scene.view)


@pytest.mark.slow
@pytest.mark.deadline(SOAK_S + 300)
@pytest.mark.log_errors("could not be put on the disk|DYING|I/O error|went away|has gone")
def test_soak(scene, work):
    """Disks come and go while they are written, are ejected, stall and fail; the server is killed,
    the program replaced, events are forged and repeated, the configuration is read again; and
    programs at work on another disk notice nothing. Afterwards everything is as it was."""
    work = os.path.join(work, "programs")
    os.mkdir(work)
    before = None
    for seconds in (min(5, SOAK_S), SOAK_S):  # the first is to warm up
        os.makedirs(scene.view.path("STEADY", str(seconds)))
        os.makedirs(os.path.join(work, str(seconds)))
        with at_work(scene.view.path("STEADY", str(seconds)),
                     os.path.join(work, str(seconds))) as programs, \
                writers(scene.view, scene.moving) as crowd:
            go_on_for(scene, seconds, programs)
        after = at_rest(scene)
        before = before or after
    print(f"{SOAK_S:g} s: {scene.done}, {sum(writer.written for writer in crowd)} files; "
          f"memory {after.memory - before.memory:+} bytes, threads {after.threads - before.threads:+}"
          f", descriptors {after.files - before.files:+}")
    assert (after.pids, after.mounts) == (before.pids, before.mounts)
    assert after.files - before.files <= 4 and after.threads - before.threads <= 8
    if SLOWNESS == 1:
        assert after.memory - before.memory < GROWTH
    assert not re.search("fatal|assert", scene.view.log())
