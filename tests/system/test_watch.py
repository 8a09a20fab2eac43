"""Watchers work: inotify in any container reports media that come and go."""

import os
import subprocess

import pytest

from harness.people import start_as_user
from harness.wait import until


class Watcher:
    """`inotifywait -m` as a workload, in another mount namespace."""

    def __init__(self, path, uid=1000):
        self.lines = []
        self.process = start_as_user(
            uid, uid, "stdbuf", "-oL", "inotifywait", "-m", "-e", "create,delete,moved_to",
            "--format", "%e %f", path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for line in self.process.stderr:
            if "Watches established" in line:
                break
        os.set_blocking(self.process.stdout.fileno(), False)

    def read(self):
        while line := self.process.stdout.readline():
            self.lines.append(line.rstrip("\n"))
        return self.lines

    def close(self):
        self.process.terminate()
        self.process.wait()
        self.process.stdout.close()
        self.process.stderr.close()


@pytest.fixture
def watch():
    made = []

    def factory(*args):
        made.append(Watcher(*args))
        return made[-1]

    yield factory
    for watcher in made:
        watcher.close()


def test_plug_and_unplug(daemon, loopdev, watch):
    """`inotifywait -m /media` in any container reports CREATE,ISDIR and DELETE,ISDIR when media
    come and go."""
    disk = loopdev(label="STICK")
    view = daemon(disk)
    watchers = [watch(view.media, 1000), watch(view.media, 0)]
    for _ in range(5):
        disk.plug()
        view.wait_for("STICK")
        disk.unplug()
        view.wait_for()
        disk.wait_unplugged()
    expected = ["CREATE,ISDIR STICK", "DELETE,ISDIR STICK"] * 5
    for watcher in watchers:
        until("ten events", lambda watcher=watcher: len(watcher.read()) >= 10)
        assert watcher.read() == expected


def test_each_of_several(daemon, loopdev, watch):
    """One event for every medium, none too many."""
    disks = [loopdev(label=f"S{number}") for number in range(4)]
    view = daemon(*disks)
    watcher = watch(view.media)
    for disk in disks:
        disk.plug()
    view.wait_for("S0", "S1", "S2", "S3")
    for disk in disks:
        disk.unplug()
    view.wait_for()
    until("eight events", lambda: len(watcher.read()) >= 8)
    assert sorted(watcher.read()) == sorted(
        f"{event},ISDIR S{number}" for event in ("CREATE", "DELETE") for number in range(4))


def test_somebody_sits_inside(daemon, loopdev, watch):
    """DELETE also when a process has its working directory in the medium that is pulled."""
    disk = loopdev(label="STICK")
    view = daemon(disk)
    disk.plug()
    view.wait_for("STICK")
    watcher = watch(view.media)
    os.chdir(view.path("STICK"))
    try:
        os.listdir(".")
        disk.pull()
        until("told", lambda: watcher.read() == ["DELETE,ISDIR STICK"])
    finally:
        os.chdir("/")


def test_inside_a_medium(daemon, loopdev, watch):
    """Inside a medium inotify works as on any filesystem."""
    disk = loopdev(label="STICK")
    view = daemon(disk)
    disk.plug()
    view.wait_for("STICK")
    watcher = watch(view.path("STICK"), 0)
    with open(view.path("STICK", "file"), "w", encoding="ascii"):
        os.mkdir(view.path("STICK", "directory"))
    os.unlink(view.path("STICK", "file"))
    until("three events", lambda: len(watcher.read()) >= 3)
    assert watcher.read() == ["CREATE file", "CREATE,ISDIR directory", "DELETE file"]


def test_created_means_usable(daemon, loopdev, watch):
    """Whoever reacts to CREATE finds the medium there."""
    disk = loopdev(label="STICK")
    view = daemon(disk)
    watcher = watch(view.media)
    for _ in range(5):
        seen = len(watcher.lines)
        disk.plug()
        until("CREATE", lambda: len(watcher.read()) > seen)
        assert os.listdir(view.path("STICK")) == ["lost+found"]
        disk.unplug()
        until("DELETE", lambda: len(watcher.read()) > seen + 1)
        assert view.names() == set()
        disk.wait_unplugged()
