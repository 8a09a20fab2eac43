"""What is said of a medium while nothing is mounted gives nobody more than the disk does."""

import os
import signal
import struct
import subprocess
import sys

import pytest

from harness.people import as_user, start_as_user
from harness.programs import serving
from harness.tracing import hold
from harness.wait import holds, until

pytestmark = pytest.mark.data

USER = 65534

LIST = r"""
import os, sys
fd = os.open(sys.argv[1], os.O_RDONLY | os.O_DIRECTORY)
if len(sys.argv) > 2:
    os.setgroups([]); os.setgid(65534); os.setuid(65534)
print("opened", flush=True)
sys.stdin.readline()
try:
    print(os.listdir(fd))
except PermissionError:
    print("refused")
"""


@pytest.fixture
def closed(daemon, loopdev):
    """A disk that only root may look into, and that has not been mounted."""
    disk = loopdev("ext4", label="STICK")
    with disk.native() as tree:
        open(os.path.join(tree, "secret"), "w", encoding="ascii").close()
        os.chmod(tree, 0o700)
    view = daemon(disk)
    disk.plug()
    view.wait_for("STICK")
    return view, disk


def refused(view):
    result = as_user(USER, USER, "ls", view.path("STICK"))
    return result.returncode != 0 and "secret" not in result.stdout


def listed_by(start, view, disk, killed):
    """What one sees who opens the directory before it is mounted and lists it long after."""
    with start(stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as user:
        assert user.stdout.readline() == "opened\n"
        assert not disk.mounted()
        if killed:
            server = serving(view)
            os.kill(server, signal.SIGKILL)
            serving(view, dead=server)
        assert "secret" in os.listdir(view.path("STICK"))
        holds("nobody else is let in", lambda: refused(view), 1.3)
        return user.communicate("\n", timeout=40)[0]


@pytest.mark.parametrize("killed", [False, True], ids=["", "killed"])
def test_opened_before_the_mount(closed, killed):
    """A directory that somebody opened by rights that were made up is listed by the disk's."""
    view, disk = closed

    def start(**options):
        return start_as_user(USER, USER, sys.executable, "-c", LIST, view.path("STICK"), **options)
    assert listed_by(start, view, disk, killed) == "refused\n"


def test_opened_by_root(closed):
    """Natively one who may open it may list it, whoever he is then."""
    view, disk = closed

    def start(**options):
        return subprocess.Popen([sys.executable, "-c", LIST, view.path("STICK"), "user"],
                                **options)
    assert "secret" in listed_by(start, view, disk, False)


def test_waits_longer_than_it_is_made_up(closed):
    """Who was let in by rights that were made up is refused, however long the request has to wait."""
    view, _ = closed
    strace = hold(serving(view), "clone3", "delay_enter=2000000")  # a thread for what has waited
    try:
        result = as_user(USER, USER, "stat", view.path("STICK", "secret"))
    finally:
        strace.terminate()
        strace.communicate()
    assert result.returncode != 0 and "denied" in result.stderr


def test_root_without_capabilities(daemon, loopdev):
    """Nor is root let in who has no capability for it, as in a container."""
    disk = loopdev("ext4", label="STICK")
    with disk.native() as tree:
        open(os.path.join(tree, "secret"), "w", encoding="ascii").close()
        os.chmod(tree, 0o700)
        os.chown(tree, USER, USER)
    view = daemon(disk)
    disk.plug()
    view.wait_for("STICK")
    result = subprocess.run(["setpriv", "--bounding-set=-all", "--inh-caps=-all", "ls",
                             view.path("STICK")], stderr=subprocess.PIPE, text=True, check=False)
    assert result.returncode != 0 and "denied" in result.stderr
    assert "secret" in os.listdir(view.path("STICK"))


TO_THE_DIRECTORY = {
    "set": "os.setxattr(sys.argv[1], 'user.x', b'1')",
    "get": "os.getxattr(sys.argv[1], 'user.y')",
    "remove": "os.removexattr(sys.argv[1], 'user.y')",
    "touch": "os.utime(sys.argv[1])",
}


@pytest.mark.parametrize("what", TO_THE_DIRECTORY)
def test_done_to_the_directory(daemon, loopdev, what):
    """What takes no name in it is checked by the disk's rights, too."""
    disk = loopdev("ext4", label="STICK")
    with disk.native() as tree:
        os.setxattr(tree, "user.y", b"2")
        os.chmod(tree, 0o711)
        before = os.stat(tree).st_mtime_ns
    view = daemon(disk)
    disk.plug()
    view.wait_for("STICK")
    result = as_user(USER, USER, sys.executable, "-c",
                     f"import os, sys; {TO_THE_DIRECTORY[what]}", view.path("STICK"))
    assert result.returncode != 0 and "Permission denied" in result.stderr
    assert os.getxattr(view.path("STICK"), "user.y") == b"2"
    assert os.listxattr(view.path("STICK")).count("user.x") == 0
    assert os.stat(view.path("STICK")).st_mtime_ns == before


def acl(user_permissions):
    """The value of an ACL that gives user these, and everybody else reading."""
    nobody = 0xffffffff
    entries = [(1, 7, nobody), (2, user_permissions, USER), (4, 5, nobody), (0x10, 5, nobody),
               (0x20, 5, nobody)]
    return struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *entry) for entry in entries)


@pytest.fixture
def denied(daemon, loopdev):
    """A disk with an ACL on its directory that gives a user nothing."""
    disk = loopdev("ext4", label="STICK")
    with disk.native() as tree:
        open(os.path.join(tree, "secret"), "w", encoding="ascii").close()
        os.chmod(tree, 0o755)
        os.setxattr(tree, "system.posix_acl_access", acl(0))
    view = daemon(disk, options=["--idle-timeout", "300ms"])
    disk.plug()
    view.wait_for("STICK")
    return view, disk


def cannot_read(view):
    result = as_user(USER, USER, "cat", view.path("STICK", "secret"))
    return result.returncode != 0 and "denied" in result.stderr


@pytest.mark.parametrize("killed", [False, True], ids=["", "killed"])
def test_acl_while_unmounted(denied, killed):
    """An ACL of the directory counts while the disk is unmounted, and after the next mount, too."""
    view, disk = denied
    os.mkdir(view.path("STICK", "x"))
    os.stat(view.path("STICK"))
    until("idle", lambda: not disk.mounted())
    if killed:
        server = serving(view)
        os.kill(server, signal.SIGKILL)
        serving(view, dead=server)
    assert refused(view)
    if not killed:  # what is known of the disk needs no mount
        assert os.getxattr(view.path("STICK"), "system.posix_acl_access") == acl(0)
        assert not disk.mounted()
    os.listdir(view.path("STICK"))
    holds("nobody reads it", lambda: cannot_read(view), 1.3)


def test_acl_with_another_server(denied):
    """Who may by the ACL alone still may after a crash of the server, also unmounted."""
    view, disk = denied
    os.setxattr(view.path("STICK"), "system.posix_acl_access", acl(5))
    os.chmod(view.path("STICK"), 0o750)
    assert not refused(view)
    until("idle", lambda: not disk.mounted())
    server = serving(view)
    os.kill(server, signal.SIGKILL)
    serving(view, dead=server)
    assert as_user(USER, USER, "ls", view.path("STICK")).stdout.split() == ["lost+found", "secret"]
    assert as_user(USER + 1, USER + 1, "ls", view.path("STICK")).returncode != 0
