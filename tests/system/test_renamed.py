"""
A call on a file or a directory that is open reaches that very one, whatever is renamed while the
server is at it. strace holds the server in between.
"""

import contextlib
import os
import stat
import threading

import pytest

from harness import kernel
from harness.programs import serving
from harness.tracing import hold
from harness.wait import until
from test_killed import held

pytestmark = pytest.mark.data

RENAME_EXCHANGE = 2


@contextlib.contextmanager
def delayed(pid, calls, at):
    """Each thread of the server stands still for a moment before such a call, or after it."""
    strace = hold(pid, calls, f"delay_{at}=700000")
    try:
        yield
    finally:
        strace.terminate()
        strace.communicate()


@pytest.fixture
def inside(daemon, loopdev):
    disk = loopdev("ext4", label="STICK")
    view = daemon(disk)
    disk.plug()
    view.wait_for("STICK")
    return view


def meanwhile(view, calls, act, other, at="enter"):
    """What act returns, during whose call of the server other is done."""
    server = serving(view)
    result = []

    def run():
        try:
            result.append(act())
        except OSError as error:
            result.append(error)
    with delayed(server, calls, at):
        thread = threading.Thread(target=run)
        thread.start()
        until("the server is held", lambda: held(server))
        other()
        thread.join()
    return result[0]


def moves(view, flags):
    """Renames a to b, or exchanges them."""
    return lambda: kernel.call("renameat2", -100, os.fsencode(view.path("STICK", "a")), -100,
                               os.fsencode(view.path("STICK", "b")), flags)


def make(view, what):
    for name in "ab":
        path = view.path("STICK", name)
        if what == "link":
            os.symlink(name.upper(), path)
            continue
        if what == "directory":
            os.mkdir(path)
        else:
            open(path, "w", encoding="ascii").close()
        os.chmod(path, 0o755)
        os.setxattr(path, f"user.{name}", name.encode())
        os.setxattr(path, "user.x", name.encode())


CHANGES = {
    "fchmod": ("fchmodat", lambda fd: os.fchmod(fd, 0o700)),
    "fchown": ("fchownat", lambda fd: os.fchown(fd, 7, 7)),
    "futimens": ("utimensat", lambda fd: os.utime(fd, (1, 1))),
    "fsetxattr": ("lsetxattr,setxattr", lambda fd: os.setxattr(fd, "user.x", b"new")),
    "fremovexattr": ("lremovexattr,removexattr", lambda fd: os.removexattr(fd, "user.x")),
}


def facts(path):
    st = os.stat(path)
    return {"fchmod": stat.S_IMODE(st.st_mode), "fchown": (st.st_uid, st.st_gid),
            "futimens": st.st_mtime,
            "fsetxattr": os.getxattr(path, "user.x") if "user.x" in os.listxattr(path) else None}


@pytest.mark.parametrize("how", CHANGES)
def test_directories_exchanged(inside, how):
    """What is changed through an open directory is changed on that one, although the kernel locks
    no directory that is renamed within its parent."""
    make(inside, "directory")
    calls, change = CHANGES[how]
    other = inside.path("STICK", "b")
    before = facts(other)
    fd = os.open(inside.path("STICK", "a"), os.O_RDONLY)
    mine = facts(fd)
    try:
        assert meanwhile(inside, calls, lambda: change(fd), moves(inside, RENAME_EXCHANGE)) is None
        assert facts(fd) != mine
    finally:
        os.close(fd)
    assert facts(inside.path("STICK", "a")) == before


@pytest.mark.parametrize("how", CHANGES)
def test_directory_renamed(inside, how):
    """Nor does the call fail because the name has gone."""
    make(inside, "directory")
    os.rmdir(inside.path("STICK", "b"))
    calls, change = CHANGES[how]
    fd = os.open(inside.path("STICK", "a"), os.O_RDONLY)
    mine = facts(fd)
    try:
        assert meanwhile(inside, calls, lambda: change(fd), moves(inside, 0)) is None
        assert facts(fd) != mine
    finally:
        os.close(fd)


READS = {
    "fgetxattr": ("lgetxattr,getxattr", lambda path: os.getxattr(path, "user.x"), b"a"),
    "flistxattr": ("llistxattr,listxattr", os.listxattr, ["user.a", "user.x"]),
}


@pytest.mark.parametrize("what", ["file", "directory"])
@pytest.mark.parametrize("flags", [os.O_RDONLY, os.O_PATH], ids=["open", "path"])
@pytest.mark.parametrize("move", [0, RENAME_EXCHANGE], ids=["rename", "exchange"])
@pytest.mark.parametrize("how", READS)
def test_attributes_read(inside, how, move, flags, what):
    """What is read of a file is that file's, also of one that nobody has open for data."""
    make(inside, what)
    if not move:
        (os.rmdir if what == "directory" else os.unlink)(inside.path("STICK", "b"))
    calls, read, expected = READS[how]
    fd = os.open(inside.path("STICK", "a"), flags)
    try:
        got = meanwhile(inside, calls, lambda: read(f"/proc/self/fd/{fd}"), moves(inside, move))
    finally:
        os.close(fd)
    assert (sorted(got) if isinstance(got, list) else got) == expected


def test_name_given_to_another(inside):
    """The same when the name is removed, and another file made under it."""
    make(inside, "file")
    path = inside.path("STICK", "a")
    fd = os.open(path, os.O_PATH)

    def other():
        os.link(path, inside.path("STICK", "c"))
        os.unlink(path)
        open(path, "w", encoding="ascii").close()
    try:
        assert meanwhile(inside, "lgetxattr,getxattr",
                         lambda: os.getxattr(f"/proc/self/fd/{fd}", "user.x"), other) == b"a"
    finally:
        os.close(fd)


def test_links_exchanged(inside):
    """A symbolic link that is exchanged with another while it is read: the kernel keeps what it
    is told."""
    make(inside, "link")
    assert meanwhile(inside, "readlinkat", lambda: os.readlink(inside.path("STICK", "a")),
                     moves(inside, RENAME_EXCHANGE)) == "A"
    assert [os.readlink(inside.path("STICK", name)) for name in "ab"] == ["B", "A"]


def test_a_fifo_takes_its_place(inside):
    """The server does not wait for the other end of a FIFO that has the name by now."""
    path = inside.path("STICK", "a")
    with open(path, "w", encoding="ascii") as file:
        file.write("text")
    os.mkfifo(inside.path("STICK", "b"))
    fd = os.open(path, os.O_PATH)

    def read():
        with open(f"/proc/self/fd/{fd}", encoding="ascii") as file:
            assert file.read() == "text"
    try:
        # the disk has the new names, and the server's table the old ones
        assert meanwhile(inside, "renameat2", moves(inside, RENAME_EXCHANGE), read,
                         at="exit") == 0
    finally:
        os.close(fd)
    assert stat.S_ISFIFO(os.stat(path).st_mode)
