"""Eight media with eight writers each; one of them is a hundred times slower than the rest."""

import contextlib
import os
import subprocess

import columns
from harness import disks, kernel
from harness.dying import DyingDisk
from results import Row, at_most

MEDIA, WRITERS = 8, 8
NAMES = [*(f"FAST{number}" for number in range(MEDIA - 1)), "SLOW"]
ROWS = [
    Row("slow-neighbour", "what 7 media lose by a slow one", "%", (at_most(5, "%"),)),
    Row("slow-times", "how many times slower it is", "", ()),
]


def start_writers(run, directory, seconds):
    return subprocess.Popen([run.helper("micro"), "sync-write", directory, "-t", str(WRITERS),
                             "-s", str(seconds)], stdout=subprocess.PIPE, text=True)


def rate(writers):
    """Writes a second, of a helper that has been started before."""
    output, _ = writers.communicate()
    if writers.returncode:
        raise RuntimeError("a writer failed")
    return 1e9 / float(output.split()[1])


def rates(run, places):
    """Of all of them at the same time."""
    writers = [start_writers(run, place, 1 if run.quick else 4) for place in places]
    try:
        return [rate(one) for one in writers]
    finally:
        for one in writers:
            if one.poll() is None:
                one.kill()
                one.wait()


def compare(run, column, places, slow):
    """The loss in percent, with the slow one's writers as with nobody there."""
    before = sum(rates(run, places))
    *beside, crawling = rates(run, [*places, slow])
    alone = (before + sum(rates(run, places))) / 2
    run.record("slow-neighbour", column, (1 - sum(beside) / alone) * 100)
    run.record("slow-times", column, sum(beside) / len(beside) / crawling)


@contextlib.contextmanager
def plugged(disk, name):
    try:
        yield disk.format("ext4", label=name, options=columns.NO_LAZY_WORK).plug()
    finally:
        disk.remove()


def dying_disk(work, name):
    return plugged(DyingDisk(work), name)


@contextlib.contextmanager
def eight_disks(work):
    """Seven on memory, and one whose every request takes a while."""
    with contextlib.ExitStack() as stack:
        yield [*(stack.enter_context(plugged(disks.LoopDisk(work), name)) for name in NAMES[:-1]),
               stack.enter_context(dying_disk(work, NAMES[-1]))]


@contextlib.contextmanager
def natively(run, work, made):
    points = []
    try:
        for disk in made:
            point = os.path.join(work, f"native-{disk.kname}")
            os.mkdir(point)
            kernel.mount(disk.device, point, "ext4", "", columns.FLAGS)
            points.append(point)
        yield points
    finally:
        for point in points:
            kernel.umount(point)


@contextlib.contextmanager
def viewed(run, work, made, options=()):
    with columns.daemon(run, os.path.join(work, "daemon"), made, options) as view:
        view.start().wait_for(*NAMES, deadline_s=20)
        for name in NAMES:
            os.listdir(view.path(name))
        yield [view.path(name) for name in NAMES]


def measure(run):
    if not any(run.wants(row.name) for row in ROWS):
        return
    with run.directory() as work, eight_disks(work) as made:
        for column, way in (("native", natively), ("hotplugfs", viewed)):
            with way(run, work, made) as places:
                rates(run, places)
                made[-1].slow()
                for _ in run.rounds(f"slow-neighbour, {column}", 1 if run.quick else 3):
                    compare(run, column, places[:-1], places[-1])
                made[-1].work()
