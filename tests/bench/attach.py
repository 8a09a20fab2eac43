"""From the moment a disk is attached: until its name is there, until the first byte is read."""

import os
import time

import columns
import udevd
from harness import disks
from results import Row, at_most, times_other

ROWS = [
    Row("attach-name", "attach to name, loop", "ms", (at_most(5, "ms"),)),
    Row("attach-name-zram", "attach to name, zram", "ms", (at_most(5, "ms"),)),
    Row("attach-byte", "attach to first byte", "ms", (times_other(1, "udev"),)),
]

PATIENCE_S = 10
PAUSE_S = 0.0003


def spin_until(predicate):
    """Asks often, but not all the time: the daemon must answer, and needs the CPU."""
    end = time.monotonic() + PATIENCE_S
    while not predicate():
        if time.monotonic() > end:
            raise TimeoutError("the disk does not appear")
        time.sleep(PAUSE_S)


def reads(path):
    try:
        with open(path, "rb", buffering=0) as file:
            return len(file.read(1)) == 1
    except OSError:
        return False


def milliseconds_since(start):
    return (time.monotonic() - start) * 1000


def once(run, view, disk):
    """The daemon is free of it before and after."""
    start = time.monotonic()
    disk.plug()
    spin_until(lambda: os.path.lexists(view.path("DISK")))
    run.record("attach-name", "hotplugfs", milliseconds_since(start))
    assert reads(view.path("DISK", "first")), "its file cannot be read"
    run.record("attach-byte", "hotplugfs", milliseconds_since(start))
    # the server hears of the close a moment after it
    spin_until(lambda: view.eject("DISK", check=False).returncode == 0)
    disk.unplug()
    view.wait_for()


def once_with_udev(run, recipe, disk):
    start = time.monotonic()
    disk.plug()
    spin_until(lambda: reads(recipe.path("first")))
    run.record("attach-byte", "udev", milliseconds_since(start))
    recipe.unmount()
    disk.unplug()


def loop_disk(work):
    """An image on memory with one file."""
    disk = disks.LoopDisk(work).format("ext4", label="DISK", options=columns.NO_LAZY_WORK)
    with disk.native() as tree, open(os.path.join(tree, "first"), "w", encoding="ascii") as file:
        file.write("x")
    return disk


def measure_loop(run, work):
    """One disk for each of the two, so that each sees only its own."""
    ours, theirs = loop_disk(work), loop_disk(work)
    try:
        with columns.daemon(run, os.path.join(work, "daemon"), [ours]) as view:
            view.start()
            if "udev" in run.columns:
                try:
                    with udevd.running(run, theirs) as recipe:
                        both(run, view, ours, recipe, theirs)
                    return
                except AssertionError as error:
                    run.leave_out("udev", str(error))
            both(run, view, ours, None, None)
    finally:
        theirs.remove()
        ours.remove()


def both(run, view, ours, recipe, theirs):
    for _ in run.rounds("attach", 5 if run.quick else 30):
        once(run, view, ours)
        if recipe:
            once_with_udev(run, recipe, theirs)


def measure_zram(run, work):
    """A zram disk is empty when it comes; what counts is the event after it has been formatted."""
    for _ in run.rounds("attach-name-zram", 3 if run.quick else 20):
        with columns.ram_disk(work, 64 << 20) as disk, columns.daemon(run, work, [disk]) as view:
            wipe(disk)
            view.start().wait_for()
            disks.run_quietly(disks.mkfs_command("ext4", "DISK", None) + [disk.device])
            start = time.monotonic()
            disk.announce()
            spin_until(lambda: os.path.lexists(view.path("DISK")))
            run.record("attach-name-zram", "hotplugfs", milliseconds_since(start))


def wipe(disk):
    with open(disk.device, "r+b", buffering=0) as device:
        device.write(bytes(1 << 16))
        os.fsync(device.fileno())


def measure(run):
    with run.directory() as work:
        if run.wants("attach-name") or run.wants("attach-byte"):
            measure_loop(run, work)
        if run.wants("attach-name-zram"):
            measure_zram(run, work)
