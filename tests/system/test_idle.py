"""Mounted on the first access, unmounted when nobody uses it, mounted again when needed."""

import mmap
import os
import time

import pytest

from harness import kernel
from harness.people import sh
from harness.wait import holds, until

TIMEOUT = ["--idle-timeout", "300ms"]
MANY = int(os.environ.get("TEST_DENTRIES", "50000"))


@pytest.fixture
def stick(daemon, loopdev):
    """A daemon with a short idle timeout, a plugged disk with a small tree in it."""
    disk = loopdev(label="STICK")
    with disk.native() as tree:
        os.makedirs(os.path.join(tree, "a", "b"))
        with open(os.path.join(tree, "a", "b", "file"), "w", encoding="ascii") as file:
            file.write("content")
    view = daemon(disk, options=TIMEOUT)
    disk.plug()
    view.wait_for("STICK")
    return view, disk


def unmounted(disk):
    until("it is unmounted when idle", lambda: not disk.mounted(), 8)


def test_first_access_mounts_and_idleness_unmounts(stick):
    """The first access inside a medium mounts it. After `idle-timeout` without open files it is
    unmounted again, so an idle disk is clean."""
    view, disk = stick
    for _ in range(3):
        assert not disk.mounted()
        with open(view.path("STICK", "a", "b", "file"), encoding="ascii") as file:
            assert file.read() == "content"
        assert disk.mounted()
        unmounted(disk)
        view.wait_state("STICK", "idle")
    sh("e2fsck -fn $1", disk.image)


def test_open_file_keeps_it_mounted(stick):
    """... without open files: a file that is open, even unused, is not cut off."""
    view, disk = stick
    with open(view.path("STICK", "a", "b", "file"), encoding="ascii") as file:
        holds("mounted while a file is open", disk.mounted, 1.2)
        assert file.read() == "content"
    unmounted(disk)


def test_open_directory_keeps_it_mounted(stick):
    """An open directory is an open file too."""
    view, disk = stick
    descriptor = os.open(view.path("STICK", "a"), os.O_RDONLY | os.O_DIRECTORY)
    holds("mounted while a directory is open", disk.mounted, 1.2)
    assert os.listdir(descriptor) == ["b"]
    os.close(descriptor)
    unmounted(disk)


def test_mapping_keeps_working(stick):
    """A mapped file whose descriptor is closed can still be read and written."""
    view, disk = stick
    path = view.path("STICK", "mapped")
    with open(path, "wb") as file:
        file.write(bytes(1 << 16))
    with open(path, "r+b") as file:
        mapping = mmap.mmap(file.fileno(), 0)
    time.sleep(1)
    mapping[4096:4101] = b"later"
    mapping.flush()
    mapping.close()
    unmounted(disk)
    with open(path, "rb") as file:
        assert file.read()[4096:4101] == b"later"


def test_use_prolongs(stick):
    """Accesses that come again and again are not each a mount."""
    view, disk = stick
    os.listdir(view.path("STICK"))

    def used():
        os.statvfs(view.path("STICK", "a"))
        os.close(os.open(view.path("STICK", "a", "b", "file"), os.O_RDONLY))
        return disk.mounted()

    holds("stays mounted", used, 1.2)


def test_dentries_do_not_keep_it(stick):
    """Kernel caches of dentries and attributes must not keep it mounted, nor a working directory;
    the next access mounts again and the old dentries still resolve."""
    view, disk = stick
    os.chdir(view.path("STICK", "a"))
    try:
        inode = os.stat("b/file").st_ino
        handle = os.open("b", os.O_PATH | os.O_DIRECTORY)
        unmounted(disk)
        with open("b/file", encoding="ascii") as file:
            assert file.read() == "content"
        assert os.stat("b/file").st_ino == inode
        unmounted(disk)
        assert os.stat("file", dir_fd=handle).st_ino == inode
        os.mkdir("made", dir_fd=handle)
        os.close(handle)
        assert sorted(os.listdir("b")) == ["file", "made"]
        unmounted(disk)
        assert os.getcwd() == view.path("STICK", "a")
    finally:
        os.chdir("/")


def cached_inodes():
    """FUSE inodes in the kernel's memory, or None where that cannot be read."""
    with open("/proc/slabinfo", encoding="ascii") as slabs:
        for line in slabs:
            if line.startswith("fuse_inode "):
                return int(line.split()[1])
    return None


@pytest.mark.slow
@pytest.mark.deadline(300)
def test_many_dentries(daemon, loopdev):
    """Idle unmount with very many cached dentries in the kernel; TEST_DENTRIES sets how many."""
    disk = loopdev("ext4", label="MANY", size=max(256 << 20, MANY * 2048),
                   options=["-N", str(MANY + 2000)])
    with disk.native() as tree:
        for number in range(MANY):
            if number % 1000 == 0:
                os.mkdir(os.path.join(tree, f"{number // 1000:04}"))
            os.close(os.open(os.path.join(tree, f"{number // 1000:04}", f"{number:07}"),
                             os.O_CREAT | os.O_WRONLY))
    view = daemon(disk, options=["--idle-timeout", "1s"])
    disk.plug()
    view.wait_for("MANY")
    before = cached_inodes()
    inodes = {}
    for directory in sorted(os.listdir(view.path("MANY"))):
        for entry in os.scandir(view.path("MANY", directory)):
            inodes[entry.path] = entry.stat().st_ino
    files = {path: inode for path, inode in inodes.items() if "lost+found" not in path}
    assert len(files) == MANY and len(set(inodes.values())) == len(inodes)
    os.chdir(view.path("MANY", "0000"))
    try:
        unmounted(disk)
        if before is not None:
            assert cached_inodes() - before > MANY * 0.9, "the kernel let go of the dentries"
        for path in list(files)[::max(1, MANY // 500)]:
            assert os.stat(path).st_ino == files[path]
            with open(path, "rb") as file:
                assert file.read() == b""
        assert os.stat("0000000").st_ino == files[view.path("MANY", "0000", "0000000")]
    finally:
        os.chdir("/")


def test_pulled_while_idle(stick):
    """An idle disk is clean and can be pulled at any time."""
    view, disk = stick
    with open(view.path("STICK", "new"), "w", encoding="ascii") as file:
        file.write("kept")
    unmounted(disk)
    disk.unplug()
    view.wait_for()
    sh("e2fsck -fn $1", disk.image)
    with disk.native() as tree, open(os.path.join(tree, "new"), encoding="ascii") as file:
        assert file.read() == "kept"


def test_never(daemon, loopdev):
    """--idle-timeout never keeps it mounted."""
    disk = loopdev(label="STICK")
    view = daemon(disk, options=["--idle-timeout", "never"])
    disk.plug()
    view.wait_for("STICK")
    os.listdir(view.path("STICK"))
    holds("mounted", disk.mounted, 1)


def test_native_filesystem_is_not_visible(stick):
    """The real mount is in nobody's mount table but the daemon's own."""
    view, disk = stick
    os.listdir(view.path("STICK"))
    assert disk.mounted()
    assert kernel.mounts_under(view.media) == [view.media]
    with open("/proc/self/mountinfo", encoding="utf-8") as table:
        assert disk.kname not in table.read()
