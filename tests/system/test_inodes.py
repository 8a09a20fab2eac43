"""st_dev and st_ino: what tar, rsync -H, du and find recognise hard links by."""

import os
import signal

import pytest

from harness.people import sh
from harness.programs import serving
from harness.wait import until


def inodes(root):
    """(st_dev, st_ino) -> the paths that have it."""
    found = {}
    for directory, directories, files in os.walk(root):
        for name in directories + files:
            path = os.path.join(directory, name)
            facts = os.lstat(path)
            found.setdefault((facts.st_dev, facts.st_ino), []).append(path)
    return found


@pytest.fixture
def three(daemon, loopdev):
    """Three media, on which every file has the same inode numbers."""
    disks = [loopdev(label="ONE")]
    with disks[0].native() as tree:
        sh("cd $1; mkdir d e; for i in 1 2 3 4 5; do echo $i >d/$i; done; ln d/1 e/linked", tree)
    for label in ("TWO", "THREE"):
        disks.append(loopdev(fstype=None).copy_of(disks[0]))
        # a new UUID wants a check that is younger than the last mount
        sh("e2fsck -fy $1 || [ $? = 1 ]; tune2fs -L $2 $1; tune2fs -f -U random $1",
           disks[-1].image, label)
    view = daemon(*disks, options=["--idle-timeout", "300ms"])
    for disk in disks:
        disk.plug()
    return view.wait_for("ONE", "TWO", "THREE"), disks


def test_unique_over_media(three):
    """`st_dev` is one for the whole view, so `st_ino` must never collide between two media or
    between a medium and the synthetic directories."""
    view, _ = three
    found = inodes(view.media)
    root = os.stat(view.media)
    assert {device for device, _ in found} == {root.st_dev}
    assert (root.st_dev, root.st_ino) not in found
    shared = sorted(sorted(os.path.relpath(path, view.media) for path in paths)
                    for paths in found.values() if len(paths) > 1)
    assert shared == [[f"{name}/d/1", f"{name}/e/linked"] for name in ("ONE", "THREE", "TWO")]


def test_stable(three):
    """... and must stay the same for the same file while the medium is present: over an idle
    unmount and after the kernel forgot everything."""
    view, disks = three
    before = inodes(view.media)
    until("all idle", lambda: not any(disk.mounted() for disk in disks))
    sh("echo 3 >/proc/sys/vm/drop_caches")
    assert inodes(view.media) == before


def test_readdir_agrees_with_stat(three):
    """d_ino of a directory entry is st_ino of the file."""
    view, _ = three
    for directory in (view.media, view.path("ONE"), view.path("ONE", "d")):
        for entry in os.scandir(directory):
            assert entry.inode() == os.stat(entry.path).st_ino


def test_before_and_after_the_mount(three):
    """The directory of a medium is the same inode before and after it was mounted."""
    view, disks = three
    before = os.stat(view.path("ONE")).st_ino
    os.listdir(view.path("ONE"))
    assert disks[0].mounted()
    assert os.stat(view.path("ONE")).st_ino == before


def test_not_reused_for_another_file(three):
    """A hard link and its file are one; a new file is none of the old ones."""
    view, _ = three
    before = set(inodes(view.media))
    with open(view.path("TWO", "new"), "w", encoding="ascii") as file:
        file.write("x")
    os.link(view.path("TWO", "new"), view.path("TWO", "newer"))
    facts = os.stat(view.path("TWO", "new"))
    assert (facts.st_dev, facts.st_ino) not in before
    assert os.stat(view.path("TWO", "newer")).st_ino == facts.st_ino
    assert facts.st_nlink == 1 + 1


def test_tools_find_the_links(three, work):
    """`tar` and `rsync -H` copy two media without joining files of different media."""
    view, _ = three
    sh("mkdir $2/t; tar -C $1 -cf - . | tar -C $2/t -xf -; rsync -aH $1/ $2/r", view.media, work)
    for copy in ("t", "r"):
        links = [paths for paths in inodes(os.path.join(work, copy)).values() if len(paths) > 1]
        assert len(links) == 3 and all(len(paths) == 2 for paths in links)


@pytest.fixture
def subvolumes(daemon, loopdev):
    """A btrfs disk with two subvolumes, in which files have the same inode numbers."""
    disk = loopdev("btrfs", label="STICK", size=256 << 20)
    with disk.native() as tree:
        for name in "AB":
            sh("btrfs subvolume create $1 >/dev/null; cd $1; ln -s x link; echo $2f >f; echo $2g >g",
               os.path.join(tree, name), name)
        found = [os.stat(os.path.join(tree, name, "g")).st_ino for name in "AB"]
        assert found[0] == found[1]
    view = daemon(disk, options=["--idle-timeout", "300ms"])
    disk.plug()
    view.wait_for("STICK")
    return view, disk


@pytest.mark.data
def test_subvolumes_and_another_server(subvolumes):
    """Files of two subvolumes do not become one for the next server, whichever it sees first."""
    view, disk = subvolumes

    def read(name):
        with open(view.path("STICK", name), encoding="ascii") as file:
            return file.read()
    keep = os.open(view.path("STICK", "A"), os.O_PATH)
    for name in ("A", "A/f", "A/g", "A/link", "B", "B/f"):
        os.lstat(view.path("STICK", name))
    before = os.stat(view.path("STICK", "A/g")).st_ino
    server = serving(view)
    os.kill(server, signal.SIGKILL)
    serving(view, dead=server)
    assert [read(name) for name in ("B/g", "A/g", "A/f", "B/f")] == ["Bg\n", "Ag\n", "Af\n", "Bf\n"]
    assert os.stat(view.path("STICK", "A/g")).st_ino == before
    assert not os.path.samefile(view.path("STICK", "A/g"), view.path("STICK", "B/g"))
    with open(view.path("STICK", "A/g"), "w", encoding="ascii") as file:
        file.write("new")
    os.close(keep)
    until("idle", lambda: not disk.mounted())
    with disk.native() as tree:
        texts = [open(os.path.join(tree, name, "g"), encoding="ascii").read() for name in "AB"]
    assert texts == ["new", "Bg\n"]


def test_subvolumes_after_an_unmount(subvolumes):
    """The numbers stay over an unmount, also if a symbolic link is what is looked at first."""
    view, disk = subvolumes
    names = ["B/link", "B/f", "B", "A/f"]
    before = [os.lstat(view.path("STICK", name)).st_ino for name in names]
    keep = os.open(view.path("STICK", "B"), os.O_PATH)  # the kernel looks up what is in it only
    until("idle", lambda: not disk.mounted())
    sh("echo 2 >/proc/sys/vm/drop_caches")
    assert [os.lstat(view.path("STICK", name)).st_ino for name in names] == before
    os.close(keep)
