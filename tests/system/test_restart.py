"""The service is restarted, or crashes, with a service manager that keeps its descriptors."""

import os
import random
import re
import signal
import subprocess
import time

import pytest

from harness import kernel, processes
from harness.every_state import EveryState
from harness.programs import at_work
from harness.service import Service
from harness.unprivileged import UserService, give
from harness.wait import SLOWNESS, until

RESTARTS = int(os.environ.get("TEST_RESTARTS", "4"))
KINDS = ["restart", "crash"]


@pytest.fixture
def stick(daemon, loopdev):
    disk = loopdev(label="STICK").plug()
    return daemon(disk, kind=Service).wait_for("STICK"), disk


def mount_id(path):
    with open("/proc/self/mountinfo", encoding="utf-8") as mounts:
        return [line.split()[0] for line in mounts if line.split()[4] == path]


@pytest.mark.data
@pytest.mark.parametrize("how", KINDS)
def test_goes_on(stick, how):
    """The same mount, disk and open files, served by processes that are all new."""
    view, disk = stick
    mount = mount_id(view.media)
    os.mkdir(view.path("STICK", "d"))
    with open(view.path("STICK", "d", "f"), "w+b", buffering=0) as file:
        directory = os.open(view.path("STICK", "d"), os.O_RDONLY)
        file.write(b"old ")
        for _ in range(3):
            before = view.pids()
            getattr(view, how)()
            assert not set(before) & set(view.pids())
            file.write(b"new ")
            assert view.names() == {"STICK"}
        assert os.pread(file.fileno(), 99, 0) == b"old new new new "
        assert os.listdir(directory) == ["f"]
        os.close(directory)
    assert mount_id(view.media) == mount and disk.mounted()
    assert view.log().count('"STICK" mounted') == 1, "it was not unmounted in between"
    view.wait_state("STICK", "clean", "idle")
    view.eject_soon("STICK")
    disk.unplug()
    view.wait_for()
    disk.wait_unplugged()


@pytest.mark.parametrize("how", KINDS)
def test_served_by_a_program(daemon, loopdev, how):
    """Driver programs end with the daemon, so a restart is a stop and a start; after a crash nothing
    that one has left is in the way."""
    if not os.path.exists("/usr/bin/fuse2fs"):
        pytest.skip("fuse2fs is not installed")
    disk = give(loopdev("ext4", label="STICK").plug())
    view = daemon(disk, options=["--dev", "/dev"], kind=UserService)
    view.wait_for("STICK").sh("echo data >STICK/file")
    if how == "crash":
        view.wait_state("STICK", "clean", deadline_s=15)
    getattr(view, how)()
    view.wait_for("STICK")
    assert view.sh("cat STICK/file; echo more >>STICK/file; cat STICK/file") == "data\ndata\nmore\n"
    assert ("is not kept" in view.log()) == (how == "restart")
    view.eject_soon("STICK")
    until("the disk is free", lambda: not disk.held())
    subprocess.run(["e2fsck", "-fn", disk.image], check=True, stdout=subprocess.DEVNULL)


def test_kept_before_it_is_seen(daemon, loopdev):
    """Who uses a disk as soon as its name is there goes on after a crash: the next start knows it."""
    disks = [loopdev(label=f"DISK{number}") for number in range(4)]
    view = daemon(*disks, kind=Service)
    for disk, name in zip(disks, ["DISK0", "DISK1", "DISK2", "DISK3"]):
        disk.plug()
        deadline = time.monotonic() + 10 * SLOWNESS
        while not os.path.exists(view.path(name)):
            assert time.monotonic() < deadline
        assert name.encode() in view.kept_now()


@pytest.mark.parametrize("how", KINDS)
def test_media_in_every_state(daemon, loopdev, how):
    """Names and what was ejected stay; what was pulled or plugged meanwhile is noticed."""
    scene = EveryState(loopdev)
    view = daemon(*scene.all(), kind=Service)
    scene.enter(view)
    getattr(view, how)()
    view.wait_for(*scene.names)
    scene.check(view)
    view.end(signal.SIGUSR1 if how == "restart" else signal.SIGKILL)
    scene.change()
    scene.wait_changed(view.start())
    for label in ["USED", "NEW", "IDLE"]:
        os.listdir(view.path(label))
    scene.check_ejected(view)


def test_upgraded_and_restarted(stick):
    """Either after the other; the store does not grow."""
    view, _ = stick
    with open(view.path("STICK", "f"), "w+b", buffering=0) as file:
        for how in ["restart", "crash", "restart"]:
            for _ in range(2):
                assert "has taken over" in view.client("upgrade").stdout
            until("all is kept again", lambda: sorted(name for name, _ in view.store)[:3] == [
                "hotplugfs-fuse", "hotplugfs-namespace", "hotplugfs-nodes"])
            getattr(view, how)()
            file.write(b"x")
        assert os.pread(file.fileno(), 9, 0) == b"xxx"
    until("there is one of each", lambda: len(view.store) == 4)


@pytest.mark.parametrize("what", ["hotplugfs-fuse", "hotplugfs-nodes", "hotplugfs-namespace",
                                  "hotplugfs-record", "damaged"])
def test_not_all_is_there(stick, what):
    """What cannot be used is thrown away, and the view is new: it never hangs."""
    view, _ = stick
    os.listdir(view.path("STICK"))
    view.end(signal.SIGUSR1)
    for name, fd in view.store[:]:
        if name.startswith(what):
            os.close(fd)
            view.store.remove((name, fd))
        elif what == "damaged" and "record" in name:
            with open("/dev/zero", "rb") as zero:
                os.dup2(zero.fileno(), fd)
    view.start()
    assert "cannot be used" in view.log()
    view.wait_for("STICK")
    until("the disk can be mounted again", lambda: os.listdir(view.path("STICK")), 15)
    assert len(kernel.mounts_under(view.media)) == 1


def test_another_place(stick, work):
    """A service that is to serve another directory takes the old view away."""
    view, _ = stick
    old = view.media
    os.listdir(view.path("STICK"))
    view.end(signal.SIGUSR1)
    view.media = view.command[-1] = os.path.join(work, "elsewhere")
    os.mkdir(view.media)
    view.start().wait_for("STICK")
    assert kernel.mounts_under(old) == [] and os.listdir(old) == []


def test_nobody_keeps_it(daemon, loopdev):
    """Without a service manager SIGUSR1 is an end like any other."""
    view = daemon(loopdev(label="STICK").plug()).wait_for("STICK")
    os.listdir(view.path("STICK"))
    view.stop(signal.SIGUSR1)


class Usage:
    """What a daemon uses: all of it is to be as it was."""

    def __init__(self, view):
        self.pids = len(view.pids())
        self.files = sorted(re.sub(r"\d+", "N", file)
                            for file in processes.open_files(view.process.pid))
        self.mounts = len(kernel.mounts_under(view.media))
        self.store = len(view.store)


@pytest.mark.data
@pytest.mark.deadline(120 + RESTARTS * 6)
def test_programs_do_not_notice(stick, work):
    """Programs at work while the service is restarted or killed; TEST_RESTARTS sets how often."""
    view, disk = stick
    rng = random.Random(RESTARTS)
    os.listdir(view.path("STICK"))
    view.restart()
    before = Usage(view)
    with at_work(view.path("STICK"), work) as programs:
        for number in range(RESTARTS):
            time.sleep(0.3 + rng.random() / 2)
            getattr(view, KINDS[number % 2])()
            programs.check()
    for what in ["pids", "files", "mounts", "store"]:
        until(f"as before: {what}",
              lambda name=what: getattr(Usage(view), name) == getattr(before, name),
              15 * SLOWNESS)
    view.eject_soon("STICK")
    disk.unplug()
    view.wait_for()


SESSION = r"""
import os, subprocess, time

def show(what):
    return subprocess.run(["systemctl", "show", "hotplugfs.service", "-P", what], text=True,
                          stdout=subprocess.PIPE, check=True).stdout.strip()

def mounts():
    with open("/proc/self/mountinfo") as lines:
        return [line.split()[0] for line in lines if line.split()[4] == "/run/hotplugfs/media"]

with open("/run/hotplugfs/media/STICK/f", "w+b", buffering=0) as file:
    mount = mounts()
    assert len(mount) == 1
    for how in ["restart", "crash", "restart"]:
        pid = show("MainPID")
        if how == "restart":
            subprocess.run(["systemctl", "restart", "hotplugfs.service"], check=True)
        else:
            os.kill(int(pid), 9)
        file.write(b"x")
        while show("MainPID") in ("0", pid) or show("ActiveState") != "active":
            time.sleep(0.1)
        assert mounts() == mount and show("NFileDescriptorStore") == "4", how
        assert os.listdir("/run/hotplugfs/media") == ["STICK"]
    assert os.pread(file.fileno(), 9, 0) == b"xxx"
subprocess.run(["systemctl", "stop", "hotplugfs.service"], check=True)
assert mounts() == [] and show("NFileDescriptorStore") == "0" and show("Result") == "success"
print("all is well")
"""


@pytest.mark.slow
@pytest.mark.deadline(240)
def test_systemd(engine, loopdev, work, checkout):
    """The example's unit under a systemd: restarts and a crash drop nothing, a stop does."""
    if not os.path.exists("/usr/lib/systemd/systemd"):
        pytest.skip("systemd is not installed")
    disk = loopdev(label="STICK").plug()
    with open(os.path.join(checkout, "examples", "hotplugfs.service"), encoding="utf-8") as file:
        unit = file.read().replace("/usr/local/sbin/hotplugfs mount",
                                   f"/opt/hotplugfs mount --include {disk.kname}")
    for name, text in [("hotplugfs.service", unit), ("machine-id", "")]:
        with open(os.path.join(work, name), "w", encoding="utf-8") as file:
            file.write(text)
    name = f"hotplugfs-systemd-{os.getpid()}"
    place = "/etc/systemd/system/hotplugfs.service"
    try:
        subprocess.run([*engine.run("--name", name, "--systemd=always", "--privileged", "-d",
                                    "-v", f"{work}/hotplugfs.service:{place}:ro",
                                    "-v", f"{work}/machine-id:/etc/machine-id"),
                        "/usr/lib/systemd/systemd", "--unit=hotplugfs.service"],
                       stdout=subprocess.DEVNULL, check=True, timeout=100 * SLOWNESS)
        until("the service shows the disk", lambda: "STICK" in engine.call(
            "exec", name, "ls", "/run/hotplugfs/media", check=False).stdout, 60)
        told = engine.call("exec", name, "/usr/bin/python3", "-c", SESSION, check=False)
        assert told.stdout == "all is well\n", told.stderr
    finally:
        engine.call("rm", "--force", "--time", "0", "--ignore", name)
