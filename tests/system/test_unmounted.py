"""What is said of a medium while nothing is mounted gives nobody more than the disk does."""

import os
import signal
import subprocess
import sys

import pytest

from harness.people import as_user, start_as_user
from harness.programs import serving
from harness.wait import holds

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
