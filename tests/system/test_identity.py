"""Identity and state without any socket: virtual extended attributes on /media/NAME."""

import errno
import os

import pytest

from harness import kernel
from harness.people import as_user, sh
from harness.wait import until

KEYS = ("state", "reason", "uuid", "label", "fstype", "device", "size", "driver", "options")
UUID = "5f0c8a11-5d5c-4f0e-9a57-2f4b3f0c8a12"


@pytest.fixture
def stick(daemon, loopdev):
    disk = loopdev(label="My Stick", uuid=UUID)
    view = daemon(disk, options=["--idle-timeout", "300ms"])
    disk.plug()
    return view.wait_for("My Stick"), disk, view.path("My Stick")


def value(path, key):
    return os.getxattr(path, f"user.hotplugfs.{key}").decode()


def test_values(stick):
    """`user.hotplugfs.{state,reason,uuid,label,fstype,device,size,driver,options}`"""
    _, disk, path = stick
    assert value(path, "state") == "idle"
    assert value(path, "reason") == ""
    assert value(path, "uuid") == UUID
    assert value(path, "label") == "My Stick"
    assert value(path, "fstype") == "ext4"
    assert value(path, "device").endswith(disk.kname)
    assert int(value(path, "size")) == disk.size()
    assert not disk.mounted()
    os.listdir(path)
    assert disk.mounted()
    assert value(path, "driver") == "ext4"
    assert "errors=remount-ro" in value(path, "options")


def test_follow_the_state(stick):
    """The state is the one that `list` shows."""
    view, disk, path = stick
    with open(os.path.join(path, "file"), "wb") as file:
        file.write(b"x")
        file.flush()
        until("busy", lambda: value(path, "state") == "busy")
        assert view.medium("My Stick")["state"] == "busy"
    until("idle", lambda: value(path, "state") == "idle")
    assert not disk.mounted()


def test_absent_from_listxattr(stick):
    """... answered by getxattr and absent from listxattr (so that `rsync -X` and `cp -a` copy
    nothing odd)."""
    _, _, path = stick
    assert os.listxattr(path) == []
    os.listdir(path)
    assert os.listxattr(path) == []
    os.setxattr(path, "user.mine", b"1")
    assert os.listxattr(path) == ["user.mine"]
    assert value(path, "label") == "My Stick"


def test_copies_have_none(stick, work):
    """`cp -a` and `rsync -X` of a whole medium copy no such attribute."""
    _, _, path = stick
    sh('cp -a "$1" $2/cp; rsync -aX "$1/" $2/rsync', path, work)
    for copy in ("cp", "rsync"):
        assert os.listxattr(os.path.join(work, copy)) == []
        with pytest.raises(OSError) as failure:
            value(os.path.join(work, copy), "label")
        assert failure.value.errno == errno.ENODATA


@pytest.mark.parametrize("key", KEYS)
def test_read_only(stick, key):
    """Read-only: nobody can set or remove one, root neither."""
    _, _, path = stick
    before = value(path, key)
    for function in (lambda: os.setxattr(path, f"user.hotplugfs.{key}", b"forged"),
                     lambda: os.removexattr(path, f"user.hotplugfs.{key}")):
        with pytest.raises(OSError) as failure:
            function()
        assert failure.value.errno in (errno.EPERM, errno.EROFS, errno.EACCES, errno.EOPNOTSUPP)
    assert value(path, key) == before


def test_for_a_workload(stick):
    """A workload reads them without any privilege and without a mount."""
    _, disk, path = stick
    result = as_user(1000, 1000, "getfattr", "--only-values", "-n", "user.hotplugfs.uuid", path)
    assert result.stdout == UUID
    assert not disk.mounted()


def test_unknown_key(stick):
    """A key that does not exist is ENODATA; nor do files inside have such attributes."""
    _, _, path = stick
    for where, key in ((path, "nonsense"), (os.path.join(path, "lost+found"), "label")):
        with pytest.raises(OSError) as failure:
            value(where, key)
        assert failure.value.errno == errno.ENODATA


def test_short_buffer(stick):
    """The size can be asked for, and a short buffer is ERANGE."""
    _, _, path = stick
    name = b"user.hotplugfs.label"
    assert kernel.call("getxattr", os.fsencode(path), name, None, 0) == 8
    with pytest.raises(OSError) as failure:
        kernel.call("getxattr", os.fsencode(path), name, b"\0" * 3, 3)
    assert failure.value.errno == errno.ERANGE
