"""`/media/NAME` exists exactly while a usable medium is present."""

import errno
import os
import signal

import pytest

from harness import kernel
from harness.people import as_user, sh
from harness.wait import holds, took, until


def test_appears_and_disappears(daemon, loopdev):
    """`/media/NAME` exists exactly while a usable medium is present."""
    disk = loopdev(label="STICK")
    view = daemon(disk)
    assert view.names() == set()
    for _ in range(3):
        disk.plug()
        view.wait_for("STICK", deadline_s=1)
        assert os.path.isdir(view.path("STICK"))
        disk.unplug()
        view.wait_for(deadline_s=1)


def test_present_at_the_start(daemon, loopdev):
    """A medium that was plugged before the daemon started is shown when it is ready."""
    disk = loopdev(label="EARLY").plug()
    assert daemon(disk).names() == {"EARLY"}


def test_real_add_and_remove(daemon, zram):
    """The same with a device that the kernel makes and removes, not only fills."""
    disk = zram(label="RAMDISK")
    view = daemon(disk).wait_for("RAMDISK")
    disk.unplug()
    view.wait_for(deadline_s=1)
    disk.plug().format(label="AGAIN")
    view.wait_for("AGAIN", deadline_s=2)


def test_absent_is_enoent(daemon, loopdev):
    """Absent means ENOENT, never an empty writable directory."""
    disk = loopdev(label="STICK")
    view = daemon(disk)
    for _ in range(2):
        for function in (os.stat, os.listdir, os.mkdir):
            with pytest.raises(OSError) as failure:
                function(view.path("STICK", "sub") if function is os.mkdir else view.path("STICK"))
            assert failure.value.errno == errno.ENOENT
        disk.plug()
        view.wait_for("STICK")
        disk.unplug()
        view.wait_for()
        # the list is the server's, and what the kernel remembers of the name goes a moment later
        until("it is gone", lambda: not os.path.exists(view.path("STICK")))


@pytest.mark.parametrize("content", ["nothing", "swap", "partition table"])
def test_unusable_is_not_shown(daemon, loopdev, content):
    """A *usable* medium: a disk without a filesystem is listed with a reason, and not shown."""
    disk = loopdev(fstype=None)
    with open(disk.image, "wb") as image:
        image.truncate(16 << 20)
    sh({"nothing": ":", "swap": "mkswap $1",
        "partition table": "echo ',,L' | sfdisk $1"}[content], disk.image)
    view = daemon(disk)
    disk.plug()
    mine = until("it is listed with --all", lambda: [
        medium for medium in view.list("--all") if medium["device"].endswith(disk.kname)
        and medium["reason"]])[0]
    assert (mine["shown"], mine["name"]) == (False, None)
    holds("nothing is shown", lambda: view.names() == set(), 0.3)


def write_filesystem(disk, announced):
    """announced: udevd, or who else it may be, tells of it."""
    sh("mkfs.ext4 -q -F -L FRESH $1", disk.device)
    if announced:
        disk.announce()


def tell_to_look(disk, view):
    """The filesystem is there without any use of the disk's node that could be noticed."""
    sh("mkfs.ext4 -q -F -L FRESH $1", disk.image)
    holds("nothing is shown", lambda: view.names() == set(), 0.3)
    view.send(signal.SIGHUP)


FORMATTED = {
    "announced": lambda disk, view: write_filesystem(disk, True),
    "unannounced": lambda disk, view: write_filesystem(disk, False),
    "SIGHUP": tell_to_look,
}


@pytest.mark.parametrize("how", FORMATTED)
@pytest.mark.parametrize("before", ["blank", "swap"])
def test_formatted_later(daemon, loopdev, how, before):
    """A disk that gets its filesystem while it is plugged appears then."""
    disk = loopdev(fstype=None)
    with open(disk.image, "wb") as image:
        image.truncate(64 << 20)
    if before == "swap":
        sh("mkswap $1", disk.image)
    view = daemon(disk)
    disk.plug()
    until("it is known", lambda: any(medium["device"].endswith(disk.kname) and medium["reason"]
                                     for medium in view.list("--all")))
    FORMATTED[how](disk, view)
    view.wait_for("FRESH")


def test_another_disk_in_the_same_place(daemon, loopdev):
    """A new stick on an old device node is another medium."""
    disk, other = loopdev(label="FIRST"), loopdev(label="SECOND")
    view = daemon(disk)
    disk.plug()
    view.wait_for("FIRST")
    with open(view.path("FIRST", "mine"), "w", encoding="ascii") as file:
        file.write("first")
    disk.unplug()
    view.wait_for()
    disk.wait_unplugged()
    disk.image, saved = other.image, disk.image
    disk.plug()
    view.wait_for("SECOND")
    assert os.listdir(view.path("SECOND")) == ["lost+found"]
    disk.unplug()
    disk.image = saved


def test_excluded(daemon, loopdev):
    """--exclude wins over --include."""
    shown, hidden = loopdev(label="SHOWN"), loopdev(label="HIDDEN")
    view = daemon(shown, hidden, options=["--exclude", hidden.kname])
    hidden.plug()
    shown.plug()
    view.wait_for("SHOWN")
    reasons = [m["reason"] for m in view.list("--all") if m["device"].endswith(hidden.kname)]
    assert len(reasons) == 1 and "exclude" in reasons[0]


def test_not_included_is_not_touched(daemon, loopdev):
    """A disk that is neither removable nor included is never read."""
    mine, foreign = loopdev(label="MINE"), loopdev(label="FOREIGN").plug()
    before = foreign.reads()
    view = daemon(mine)
    mine.plug()
    view.wait_for("MINE")
    assert foreign.reads() == before


def test_mounted_elsewhere(daemon, loopdev):
    """A device found in use is never mounted a second time; it works once the other lets go."""
    disk = loopdev(label="SHARED")
    view = daemon(disk, options=["--idle-timeout", "200ms"])
    with disk.native():
        until("the disk is known", lambda: any(
            m["device"].endswith(disk.kname) for m in view.list("--all")))
        with pytest.raises(OSError) as failure:
            os.listdir(view.path("SHARED"))
        assert failure.value.errno in (errno.EBUSY, errno.ENOENT)
    disk.plug()
    until(lambda: f"it can be listed: {view.log()[-3000:]}",
          lambda: sh("ls $1", view.path("SHARED"), check=False).returncode == 0)


def test_source_of_a_mount_is_in_the_view(daemon, loopdev, work):
    """Whoever mounts something chooses what it is called. The daemon does not look at its own view
    for that: it would wait for itself."""
    disk = loopdev(label="STICK").plug()
    view = daemon(disk).wait_for("STICK")
    where = os.path.join(work, "other")
    os.mkdir(where)
    kernel.mount("/dev/.." + view.path("STICK", "x"), where, "tmpfs")
    try:
        view.send(signal.SIGHUP)
        until("it has looked at the mounts", lambda: "configuration loaded again" in view.log())
        assert view.medium("STICK")["state"] == "idle"
    except AssertionError:
        kernel.abort_fuse(view.media)
        raise
    finally:
        kernel.umount(where)


def test_appears_quickly(daemon, loopdev):
    """`hotplugfs wait` returns as soon as the name is there, and the name is there soon."""
    disk = loopdev(label="QUICK")
    view = daemon(disk)
    disk.plug()
    assert took(lambda: view.client("wait", "QUICK", "--timeout", "5")) < 3
    assert view.names() == {"QUICK"}


def test_seen_by_a_workload(daemon, loopdev):
    """The workload has no capability and mounts nothing, and sees media come and go."""
    disk = loopdev(label="STICK")
    view = daemon(disk)
    assert as_user(1000, 1000, "ls", view.media, check=True).stdout == ""
    disk.plug()
    view.wait_for("STICK")
    assert as_user(1000, 1000, "ls", view.media, check=True).stdout == "STICK\n"
    assert as_user(1000, 1000, "ls", view.path("STICK"), check=True).stdout == "lost+found\n"
