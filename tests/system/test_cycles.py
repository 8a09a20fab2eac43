"""Plugging and unplugging for a long time, with everybody at work."""

import contextlib
import errno
import os
import random
import signal
import threading
import time

import pytest

from harness import kernel, processes
from harness.wait import SLOWNESS, until

CYCLES = int(os.environ.get("TEST_CYCLES", "200"))
WARM_UP = 20
GROWTH = 1 << 20


class Crowd:
    """Four writers, each on its own medium whenever that is there, and one who lists."""

    def __init__(self, view, names):
        self.stopping = threading.Event()
        self.surprises = []
        self.files = dict.fromkeys(names, 0)
        self.lists = 0
        self.threads = [threading.Thread(target=self.write, args=(view, name)) for name in names]
        self.threads.append(threading.Thread(target=self.list, args=(view, set(names))))
        for thread in self.threads:
            thread.start()

    def write(self, view, name):
        while not self.stopping.is_set():
            with contextlib.suppress(OSError):
                with open(view.path(name, f"f{self.files[name] % 10}"), "wb") as file:
                    file.write(os.urandom(20_000))
                    file.flush()
                    os.fsync(file.fileno())
                self.files[name] += 1
            self.stopping.wait(0.01)

    def wait_for_writer(self, name):
        """Until it has written another file, so that disks are pulled from people at work."""
        written = self.files[name]
        until(f"{name} is written to", lambda: self.files[name] > written)

    @staticmethod
    def look(path):
        """ENODEV: it was pulled between the lookup of its name and the question to the disk."""
        try:
            os.stat(path)
        except OSError as error:
            if error.errno not in (errno.ENOENT, errno.ENODEV):
                raise

    def list(self, view, names):
        while not self.stopping.is_set():
            try:
                odd = set(os.listdir(view.media)) - names
                for name in names:
                    self.look(view.path(name))
            except OSError as error:
                odd = error
            if odd:
                self.surprises.append(odd)
            self.lists += 1
            self.stopping.wait(0.02)

    def stop(self):
        self.stopping.set()
        for thread in self.threads:
            thread.join(20)
        assert not any(thread.is_alive() for thread in self.threads), "somebody hangs"


class Usage:
    """What the daemon's processes hold."""

    def __init__(self, view):
        self.pids = view.pids()
        self.files = {pid: len(processes.open_files(pid)) for pid in self.pids}
        self.memory = sum(processes.private_memory(pid) for pid in self.pids)
        self.mounts = len(kernel.mounts_under("/"))


def toggle(view, disks, label):
    """Plugs what is not there, pulls what is; the view is right within a second."""
    disk, present = disks[label]
    if present:
        disk.pull()
    else:
        disk.unplug().wait_unplugged()
        disk.plug()
    disks[label] = (disk, not present)
    expected = {name for name, (_, there) in disks.items() if there}
    start = time.monotonic()
    until(f"{label} toggled and {sorted(expected)} in the view\n{view.log()[-3000:]}",
          lambda: view.names() == expected, 1.0)
    return time.monotonic() - start


def empty(view, disks, processes_at_rest):
    """Everything unplugged, everything closed."""
    for label, (disk, _) in disks.items():
        disk.unplug().wait_unplugged()
        disks[label] = (disk, False)
    view.wait_for()
    until("no child is left", lambda: len(view.pids()) == processes_at_rest)


@pytest.mark.slow
@pytest.mark.deadline(400)
@pytest.mark.log_errors("could not be put on the disk")
def test_cycles(daemon, loopdev):
    """200 plug/unplug cycles of 4 devices in random order, while 4 writers and an `ls` loop run:
    the view always right within 1 s; afterwards no leaked fd, mount, child, memory growth below
    1 MiB."""
    labels = [f"DISK{number}" for number in range(4)]
    disks = {label: (loopdev(label=label), False) for label in labels}
    view = daemon(*(disk for disk, _ in disks.values()))
    at_rest = len(view.pids())
    rng = random.Random(4)
    slowest = 0.0
    crowd = Crowd(view, labels)
    try:
        for _ in range(WARM_UP):
            toggle(view, disks, rng.choice(labels))
        crowd.stop()
        empty(view, disks, at_rest)
        before = Usage(view)
        crowd = Crowd(view, labels)
        for _ in range(CYCLES):
            label = rng.choice(labels)
            slowest = max(slowest, toggle(view, disks, label))
            if disks[label][1] and rng.random() < 0.7:
                crowd.wait_for_writer(label)
    finally:
        crowd.stop()
    empty(view, disks, at_rest)
    assert crowd.surprises == []
    assert all(count > CYCLES / 20 for count in crowd.files.values()), crowd.files
    until("as many files are open as before", lambda: Usage(view).files == before.files)
    after = Usage(view)
    print(f"{CYCLES} cycles, slowest {slowest:.3f} s, {sum(crowd.files.values())} files, "
          f"memory {after.memory - before.memory:+} bytes")
    assert (after.pids, after.mounts) == (before.pids, before.mounts)
    if SLOWNESS == 1:
        assert after.memory - before.memory < GROWTH


@pytest.mark.deadline(120)
def test_zram_cycles(daemon, zram):
    """The same with devices that really come and go in the kernel, in bursts."""
    disks = [zram(label=f"RAM{number}") for number in range(3)]
    view = daemon(*disks).wait_for("RAM0", "RAM1", "RAM2")
    for _ in range(8):
        for disk in disks:
            disk.unplug()
        view.wait_for(deadline_s=2)
        for number, disk in enumerate(disks):
            disk.plug().format(label=f"RAM{number}")
        view.wait_for("RAM0", "RAM1", "RAM2", deadline_s=2)
    assert sorted(os.listdir(view.path("RAM1"))) == ["lost+found"]


@pytest.mark.deadline(120)
def test_storm(daemon, loopdev):
    """A storm of events that overflows the socket: the view is right afterwards."""
    disk, other = loopdev(label="STICK"), loopdev(label="OTHER")
    view = daemon(disk, other)
    disk.plug()
    view.wait_for("STICK")
    view.send(signal.SIGSTOP)  # it cannot read while the storm lasts
    try:
        with open(f"/sys/block/{disk.kname}/uevent", "w", encoding="ascii", buffering=1) as uevent:
            for _ in range(6000):
                uevent.write("change\n")
                uevent.flush()
        disk.unplug()
        other.plug()
    finally:
        view.send(signal.SIGCONT)
    view.wait_for("OTHER", deadline_s=10)
    disk.wait_unplugged()
    disk.plug()
    view.wait_for("OTHER", "STICK")
