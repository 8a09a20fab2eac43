"""A disk that takes a few megabytes a second, as many sticks do."""

import os
import threading

import pytest

from harness.wait import took, until

pytestmark = [pytest.mark.data, pytest.mark.slow]

MIB = 1 << 20
RATE = 4 * MIB


@pytest.fixture
def slow(daemon, dying):
    """A disk that is shown, mounted and slow from then on."""
    disk = dying("ext4", label="STICK", options=["-E", "lazy_itable_init=0,lazy_journal_init=0"])
    view = daemon(disk)
    disk.plug()
    view.wait_for("STICK")
    os.listdir(view.path("STICK"))
    disk.throttle(RATE)
    return view, disk


def write(path, size):
    """The bytes that were written."""
    content = os.urandom(size)
    with open(path, "wb") as file:
        file.write(content)
    return content


def test_eject_of_a_slow_disk(slow):
    """`eject` ends when all is on the disk, not before: what it holds then is complete although the
    disk never works again. Meanwhile the disk is listed as being ejected."""
    view, disk = slow
    size = 12 * MIB
    content = write(view.path("STICK", "film"), size)
    told = []
    ejector = threading.Thread(target=lambda: told.append(
        (took(lambda: view.client("eject", "--", "STICK")), disk.image_contains(content[-4096:]))))
    ejector.start()
    try:
        until("it is being ejected",
              lambda: any(medium["state"] == "ejecting" for medium in view.list()))
    finally:
        ejector.join(60)
    (seconds, complete), = told
    assert complete
    assert seconds > (size - 2 * MIB) / RATE / 2, "nothing was left to be written"
    assert not disk.held()
    disk.fail()
    disk.unplug()
    disk.wait_unplugged()
    disk.work()
    with disk.native() as tree, open(os.path.join(tree, "film"), "rb") as file:
        assert file.read() == content


def test_little_is_left_to_be_written(slow):
    """With the limit that the daemon sets on a slow bus (bdi.c), here set by the test: who writes
    through the view waits for the disk, and at the end a few seconds' worth is left."""
    view, disk = slow
    limit, size = 2 * MIB, 24 * MIB
    number = os.stat(disk.device).st_rdev
    for name, value in (("strict_limit", 1), ("max_bytes", limit)):
        with open(f"/sys/class/bdi/{os.major(number)}:{os.minor(number)}/{name}", "w",
                  encoding="ascii") as attribute:
            attribute.write(str(value))
    before = int(disk.sysfs("stat").split()[6])
    write(view.path("STICK", "film"), size)
    written = (int(disk.sysfs("stat").split()[6]) - before) * 512
    assert written > size - 4 * limit
    view.eject_soon("STICK")
