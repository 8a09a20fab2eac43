"""Looking at the list of media never touches a disk."""

import os

import pytest

from harness.people import as_user, sh
from harness.wait import holds, until

LOOKING = {
    "ls": "ls $1",
    "ls -l": "ls -l $1",
    "ls -la": "ls -la $1",
    "ls --color": "ls -F --color=always $1",
    "stat": "stat $1/STICK",
    "stat -f": "stat -f $1/STICK",
    "df": "df $1 $1/STICK",
    "df -i": "df -i $1/STICK",
    "find": "find $1 -maxdepth 1",
    "find -ls": "find $1 -maxdepth 1 -ls",
    "glob": "cd $1; echo *",
    "glob directories": "cd $1; echo */",
    "test": "test -d $1/STICK && test -e $1/STICK",
    "cd": "cd $1/STICK; pwd",
    "getfattr": "getfattr --only-values -n user.hotplugfs.state $1/STICK",
    "du of the list": "ls -ld $1/*",
}


@pytest.fixture
def probed(daemon, loopdev):
    """A daemon that has finished with the probe, and a disk that has been quiet since."""
    disk = loopdev(label="STICK")
    view = daemon(disk)
    disk.plug()
    view.wait_for("STICK")
    view.client("list")
    return view, disk


@pytest.mark.parametrize("how", LOOKING)
def test_no_mount_and_no_read(probed, how):
    """`ls -l`, `stat`, `df` and `find -maxdepth 1` never touch a disk and never mount one."""
    view, disk = probed
    before = disk.reads(), disk.writes()
    for uid in (0, 1000):
        as_user(uid, uid, "sh", "-euc", LOOKING[how], "sh", view.media, check=True)
    assert (disk.reads(), disk.writes()) == before
    assert not disk.mounted()
    assert view.medium("STICK")["state"] == "idle"


@pytest.mark.parametrize("fstype", ["ntfs", "squashfs"])
def test_space_that_is_not_known(daemon, loopdev, fstype):
    """The same where only a mount tells how much is free: `df` shows the whole disk as free, or as
    used if nobody can write there."""
    full = fstype == "squashfs"
    disk = loopdev().pack(fstype, os.path.dirname(__file__)) if full else loopdev(fstype)
    view = daemon(disk)
    disk.plug()
    name = until("it is shown", view.names).pop()
    view.client("list")
    before = disk.reads()
    sh("df $1", view.path(name))
    space = os.statvfs(view.path(name))
    assert disk.reads() == before and view.medium(name)["state"] == "idle"
    assert space.f_blocks * space.f_frsize == disk.size()
    assert space.f_bavail == (0 if full else space.f_blocks)


def test_nobody_mounts_it_later(probed):
    """The same after a while: nothing was only put off."""
    view, disk = probed
    before = disk.reads()
    sh("ls -l $1; df $1/STICK; stat $1/STICK", view.media)
    holds("untouched", lambda: not disk.mounted() and disk.reads() == before, 1.5)


def test_the_check_can_fail(probed):
    """The first access *inside* a medium mounts it: the counters above do see one."""
    view, disk = probed
    before = disk.reads()
    os.listdir(view.path("STICK"))
    assert disk.mounted() and disk.reads() > before


def test_idle_disk_stays_untouched(daemon, loopdev):
    """Also after it was used and unmounted again."""
    disk = loopdev(label="STICK")
    view = daemon(disk, options=["--idle-timeout", "200ms"])
    disk.plug()
    view.wait_for("STICK")
    os.listdir(view.path("STICK"))
    until("idle unmount", lambda: not disk.mounted())
    view.wait_state("STICK", "idle")
    before = disk.reads()
    sh("ls -l $1; stat $1/STICK; df $1/STICK; find $1 -maxdepth 1 -ls", view.media)
    assert disk.reads() == before and not disk.mounted()
