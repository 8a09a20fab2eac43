"""--owner: every file appears as, and every new file belongs to, one user. --read-only."""

import errno
import os
import stat

import pytest

from harness import kernel
from harness.people import as_user, sh
from harness.wait import until


@pytest.fixture
def stick(daemon, loopdev):
    """A disk with files of several users, shown as owned by 1000:1001."""
    disk = loopdev(label="STICK")
    with disk.native() as tree:
        sh("cd $1; mkdir d; echo x >d/mine; echo x >yours; chown -R 77:88 d; chown 99:99 yours;"
           "chmod 600 yours; chmod 700 d; chown 5:5 .; chmod 755 .", tree)
    view = daemon(disk, options=["--owner", "1000:1001", "--idle-timeout", "300ms"])
    disk.plug()
    return view.wait_for("STICK"), disk


def owners(root):
    """All owners that are seen in a tree."""
    found = {(os.lstat(root).st_uid, os.lstat(root).st_gid)}
    for directory, directories, files in os.walk(root):
        for name in directories + files:
            facts = os.lstat(os.path.join(directory, name))
            found.add((facts.st_uid, facts.st_gid))
    return found


def test_everything_appears_as_owned(stick):
    """`--owner UID:GID` makes every file appear as ... that owner on any filesystem"""
    view, _ = stick
    assert owners(view.path("STICK")) == {(1000, 1001)}
    assert as_user(1000, 1001, "cat", view.path("STICK", "yours"), check=True).stdout == "x\n"
    assert as_user(2000, 2000, "cat", view.path("STICK", "yours")).returncode != 0


def test_new_files_belong_to_the_owner(stick):
    """... and every new file belong to, that owner"""
    view, disk = stick
    as_user(1000, 1001, "sh", "-euc", 'cd "$1"; echo new >new; mkdir dir; ln -s x link; mkfifo fifo',
            "sh", view.path("STICK"), check=True)
    with open(view.path("STICK", "by root"), "wb"):
        assert owners(view.path("STICK")) == {(1000, 1001)}
    view.eject("STICK")
    disk.unplug()
    disk.wait_unplugged()
    with disk.native() as tree:
        for name in ("new", "dir", "link", "fifo", "by root"):
            facts = os.lstat(os.path.join(tree, name))
            assert (facts.st_uid, facts.st_gid) == (1000, 1001), name
        assert os.stat(os.path.join(tree, "yours")).st_uid == 99


def test_chown_is_accepted_and_ignored(stick):
    """(chown is then accepted and ignored), because sticks carry other machines' numbers."""
    view, _ = stick
    path = view.path("STICK", "yours")
    as_user(1000, 1001, "chown", "1000:1001", path, check=True)
    os.chown(path, 4711, 4711)
    assert (os.stat(path).st_uid, os.stat(path).st_gid) == (1000, 1001)
    sh('cp -a "$1" "$1.copy"; tar -C "$2" -cf - d | tar -C "$2/d" -xpf -', path, view.path("STICK"))
    assert owners(view.path("STICK")) == {(1000, 1001)}


def test_without_it_owners_are_as_stored(daemon, loopdev):
    """Without it, owners are shown as stored."""
    disk = loopdev(label="STICK")
    with disk.native() as tree:
        sh("echo x >$1/f; chown 77:88 $1/f", tree)
    view = daemon(disk)
    disk.plug()
    view.wait_for("STICK")
    assert (os.stat(view.path("STICK", "f")).st_uid, os.stat(view.path("STICK", "f")).st_gid) == \
        (77, 88)


def test_owner_by_name(daemon, loopdev):
    """USER[:GROUP] may be names."""
    disk = loopdev(label="STICK").plug()
    view = daemon(disk, options=["--owner", "nobody:nogroup"]).wait_for("STICK")
    assert owners(view.path("STICK")) == {(65534, 65534)}


@pytest.mark.parametrize("fstype", ["ext4", "xfs", "btrfs"])
def test_read_only(daemon, loopdev, fstype):
    """--read-only: nothing is written to the disk, not even by mounting it."""
    disk = loopdev(fstype, label="STICK")
    with disk.native() as tree:
        sh("echo x >$1/f", tree)
    view = daemon(disk, options=["--read-only"])
    disk.plug()
    view.wait_for("STICK")
    before = disk.writes()
    path = view.path("STICK", "f")
    assert sh("cat $1", path) == "x\n"
    for attempt in (lambda: os.unlink(path), lambda: open(path, "ab").close(),
                    lambda: os.mkdir(view.path("STICK", "d")), lambda: os.chmod(path, 0o600),
                    lambda: os.setxattr(path, "user.x", b"1")):
        with pytest.raises(OSError) as failure:
            attempt()
        assert failure.value.errno == errno.EROFS
    assert view.medium("STICK")["read_only"] is True
    view.eject("STICK")
    if fstype != "xfs":  # which clears stale blocks of its log at every mount
        assert disk.writes() == before


def test_read_only_mount_of_the_view(daemon, loopdev, work):
    """What access(2) and statvfs(3) cannot tell of one disk they tell where the view is given away
    read-only."""
    view = daemon(loopdev(label="STICK").plug(), options=["--read-only"]).wait_for("STICK")
    place = os.path.join(work, "place")
    os.mkdir(place)
    kernel.mount(view.media, place, "none", flags=kernel.MS_BIND)
    try:
        kernel.mount("none", place, "none",
                     flags=kernel.MS_BIND | kernel.MS_REMOUNT | kernel.MS_RDONLY)
        for path in (os.path.join(place, "STICK"), os.path.join(place, "STICK", "lost+found")):
            assert sh("test -w $1", path, check=False).returncode == 1
            assert os.statvfs(path).f_flag & os.ST_RDONLY
        view.eject_soon("STICK")
        assert os.listdir(place) == []
    finally:
        kernel.umount(place)


@pytest.mark.parametrize("fstype", ["squashfs", "erofs"])
def test_read_only_filesystem(daemon, loopdev, work, fstype):
    """Filesystems that are read-only by nature are mounted so; the reason is no failure."""
    tree = os.path.join(work, "tree")
    os.makedirs(os.path.join(tree, "d"))
    with open(os.path.join(tree, "d", "f"), "wb") as file:
        file.write(b"packed" * 1000)
    disk = loopdev(fstype=None).pack(fstype, tree).plug()
    view = daemon(disk)
    name = until("it is shown", view.names).pop()
    with open(view.path(name, "d", "f"), "rb") as file:
        assert file.read() == b"packed" * 1000
    medium = view.medium(name)
    assert medium["read_only"] is True and medium["state"] == "clean"
    with pytest.raises(OSError) as failure:
        os.mkdir(view.path(name, "new"))
    assert failure.value.errno == errno.EROFS


def test_vfat_case(daemon, loopdev):
    """vfat: a name that was not there is there once one is made that differs in case."""
    if "vfat" not in kernel.filesystems():
        pytest.skip("this machine cannot: no vfat in this kernel")
    disk = loopdev("vfat", label="CAMERA", size=64 << 20).plug()
    view = daemon(disk).wait_for("CAMERA")
    assert not os.path.exists(view.path("CAMERA", "NAME"))
    os.mkdir(view.path("CAMERA", "name"))
    assert os.path.exists(view.path("CAMERA", "NAME"))


def test_vfat(daemon, loopdev):
    """vfat: UTF-8 names, short names shown in mixed case, the chosen owner and modes."""
    if "vfat" not in kernel.filesystems():
        pytest.skip("this machine cannot: no vfat in this kernel")
    disk = loopdev("vfat", label="CAMERA", size=64 << 20).plug()
    view = daemon(disk, options=["--owner", "1000:1001"]).wait_for("CAMERA")
    path = view.path("CAMERA", "Grüße aus Köln.txt")
    as_user(1000, 1001, "sh", "-c", 'echo hello >"$1"', "sh", path, check=True)
    facts = os.stat(path)
    assert (facts.st_uid, facts.st_gid, stat.S_ISREG(facts.st_mode)) == (1000, 1001, True)
