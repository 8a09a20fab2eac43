"""The root of the view is not writable by workloads."""

import errno
import os

import pytest

from harness.people import NOBODY, as_user

REFUSED = {errno.EROFS, errno.EPERM, errno.EACCES}
ATTEMPTS = """
import os, sys
os.chdir(sys.argv[1])
attempts = [
    lambda: os.mkdir("new"), lambda: open("new", "w"), lambda: os.symlink("x", "new"),
    lambda: os.mknod("new"), lambda: os.mkfifo("new"),
    lambda: os.rename("STICK", "new"), lambda: os.rename("STICK/inside", "new"),
    lambda: os.rename("STICK/directory", "new"), lambda: os.link("STICK/inside", "new"),
    lambda: os.rmdir("STICK"), lambda: os.unlink("STICK"),
    lambda: os.setxattr(".", "user.x", b"1"), lambda: os.setxattr("STICK", "user.hotplugfs.state", b"x"),
    lambda: os.removexattr(".", "user.x"), lambda: os.chmod(".", 0o777), lambda: os.chown(".", 1, 1),
    lambda: os.utime("."), lambda: os.truncate("new", 1),
    lambda: os.open(".", os.O_TMPFILE | os.O_WRONLY),
]
for attempt in attempts:
    try:
        attempt()
        print(0)
    except OSError as error:
        print(error.errno)
"""


@pytest.mark.parametrize("uid", [1000, NOBODY, 0])
def test_every_change_is_refused(daemon, loopdev, uid):
    """The root is not writable by workloads (EROFS/EPERM), not by root either."""
    disk = loopdev(label="STICK")
    with disk.native() as tree:
        os.makedirs(os.path.join(tree, "directory"))
        with open(os.path.join(tree, "inside"), "w", encoding="ascii"):
            os.chmod(tree, 0o777)
    view = daemon(disk)
    disk.plug()
    view.wait_for("STICK")
    before = os.stat(view.media)
    result = as_user(uid, uid, "/usr/bin/python3", "-c", ATTEMPTS, view.media, check=True)
    codes = [int(line) for line in result.stdout.split()]
    absent = {errno.ENOENT, errno.EOPNOTSUPP, errno.ENODATA, errno.EISDIR, errno.EXDEV,
              errno.ENOTSUP, errno.EBUSY}
    assert len(codes) == 19
    assert all(code in REFUSED | absent for code in codes), str(codes)
    assert codes[0] in REFUSED and codes[1] in REFUSED and codes[9] in REFUSED
    assert view.names() == {"STICK"}
    assert sorted(os.listdir(view.path("STICK"))) == ["directory", "inside", "lost+found"]
    after = os.stat(view.media)
    assert (before.st_mode, before.st_uid, before.st_gid) == (after.st_mode, after.st_uid,
                                                              after.st_gid)
    assert os.listxattr(view.media) == []


def test_nothing_lands_below_the_view(daemon, work):
    """Never a file that lands on the container's own disk: what lay there before is untouched."""
    view = daemon(start=False)
    beneath = os.path.join(view.media, "beneath")
    with open(beneath, "w", encoding="ascii") as file:
        file.write("hidden by the view")
    view.start()
    assert view.names() == set()
    with pytest.raises(OSError):
        open(view.path("new"), "w", encoding="ascii").close()
    view.stop()
    assert os.listdir(view.media) == ["beneath"]


def test_stays_after_removal_of_a_medium(daemon, loopdev):
    """A write under the name of a medium that is gone fails; it does not make a new directory."""
    disk = loopdev(label="STICK")
    view = daemon(disk)
    disk.plug()
    view.wait_for("STICK")
    disk.unplug()
    view.wait_for()
    result = as_user(0, 0, "sh", "-c", 'mkdir -p "$1" && echo lost >"$1/file"', "sh",
                     view.path("STICK"))
    assert result.returncode != 0
    assert view.names() == set()
