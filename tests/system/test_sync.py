"""When data is on the disk itself: looked for in the bytes of the image, below every cache."""

import os
import secrets

import pytest

from harness.people import sh
from harness.wait import holds, took, until

pytestmark = pytest.mark.data


@pytest.fixture
def stick(daemon, loopdev):
    """A factory of a daemon with a mode of durability, and its mounted disk."""
    def factory(mode, fstype="ext4"):
        disk = loopdev(fstype, label="STICK", options=["-E", "lazy_itable_init=0"]
                       if fstype == "ext4" else [])
        view = daemon(disk, options=["--durability", mode, "--idle-timeout", "1h"])
        disk.plug()
        view.wait_for("STICK")
        os.listdir(view.path("STICK"))
        return view, disk
    return factory


def write(view, name="file"):
    """Writes something that is found again; returns what."""
    needle = secrets.token_bytes(32)
    with open(view.path("STICK", name), "wb") as file:
        file.write(needle * 64)
    return needle


@pytest.mark.parametrize("fstype", ["ext4", "xfs", "btrfs"])
@pytest.mark.parametrize("how", ["directory", "file", "sync"])
def test_on_request(stick, fstype, how):
    """fsync of a medium's root directory must be a syncfs of that medium; fsync of a file and
    sync(2) do what they promise."""
    view, disk = stick("lazy", fstype)
    needle = write(view)
    assert not disk.image_contains(needle), "it was written before anybody asked"
    if how == "sync":
        os.sync()
    else:
        path = view.path("STICK") if how == "directory" else view.path("STICK", "file")
        descriptor = os.open(path, os.O_RDONLY)
        os.fsync(descriptor)
        os.close(descriptor)
    assert disk.image_contains(needle)


def test_sync_command(stick):
    """`sync /media/NAME` writes out all of that medium."""
    view, disk = stick("lazy")
    needles = [write(view, f"file{number}") for number in range(5)]
    sh("sync $1", view.path("STICK"))
    assert all(disk.image_contains(needle) for needle in needles)


def test_soon_after_close(stick):
    """One second after the last writer closes, the medium is synced in the background."""
    view, disk = stick("close")
    with open(view.path("STICK", "open"), "wb") as file:
        file.write(b"x")
        needle = write(view)
        holds("not while somebody writes", lambda: not disk.image_contains(needle), 1.2)
    until("it is on the disk", lambda: disk.image_contains(needle), 4)
    view.wait_state("STICK", "clean")


def test_strict(stick):
    """`durability=strict` makes close wait."""
    view, disk = stick("strict")
    for number in range(5):
        assert disk.image_contains(write(view, f"file{number}"))


def test_lazy_is_quick(stick):
    """`durability=lazy` leaves it to the kernel; idle unmount, eject and the end write it."""
    view, disk = stick("lazy")
    needle = write(view)
    assert took(view.list) < 2
    assert not disk.image_contains(needle)
    view.wait_state("STICK", "dirty")
    view.stop()
    assert disk.image_contains(needle)


def test_states(stick):
    """busy (open for writing), dirty (written, not yet synced), clean, idle (unmounted)."""
    view, _ = stick("close")
    view.wait_state("STICK", "clean")
    with open(view.path("STICK", "file"), "wb") as file:
        view.wait_state("STICK", "busy")
        file.write(b"x")
    view.wait_state("STICK", "dirty", deadline_s=0.9)
    view.wait_state("STICK", "clean")
    with open(view.path("STICK", "file"), "rb") as file:
        assert view.medium("STICK")["state"] == "clean"
        file.read()
    view.eject("STICK")
    assert view.names() == set()
