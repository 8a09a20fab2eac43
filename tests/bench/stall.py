"""
Eight media under load; one of them answers nothing for a minute. What do callers of the other
seven, and of the view's own directory, feel of it?

Every caller makes one call every so often, so that CPUs are idle most of the time: otherwise its
calls' durations are those of waiting for a CPU.
"""

import contextlib
import dataclasses
import functools
import os
import subprocess
import time

import columns
from harness.wait import until
from results import Row, at_most
from slow import MEDIA, NAMES, dying_disk, natively, viewed

CALLERS, CALLERS_ROOT, CALLERS_STUCK = 4, 2, 200
INTERVAL_MS, INTERVAL_STUCK_MS = 20, 400
ROWS = [
    Row("stall", "99.9th percentile, more by a stall", "ms",
        (at_most(5, "ms"), at_most(5, "ms", "no-passthrough")), difference=True),
    Row("stall-unsynced", "the same, but for fdatasync", "ms", difference=True),
    Row("stall-longest", "longest call beside a stall", "ms"),
]
WAYS = {
    "native": natively,
    "hotplugfs": viewed,
    "no-passthrough": functools.partial(viewed, options=["--no-passthrough"]),
}


@contextlib.contextmanager
def seven_and_one(work):
    """Disks that need no other thread of the kernel, and behind them the one that stalls."""
    with contextlib.ExitStack() as stack:
        yield [*(stack.enter_context(columns.ram_disk(work, 128 << 20, name))
                 for name in NAMES[:-1]), stack.enter_context(dying_disk(work, NAMES[-1]))]


@dataclasses.dataclass
class Figure:
    """Of the calls in one place: how many, 99.9th percentiles, the longest; in ms."""
    calls: int
    late: float
    late_unsynced: float
    longest: float
    name: str


class Load:
    """The callers of one medium: see paced.c."""

    def __init__(self, run, *arguments):
        self.process = subprocess.Popen([run.helper("paced"), *map(str, arguments)], text=True,
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.answer()

    def answer(self):
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError("a caller failed")
        return line.strip()

    def order(self, word):
        self.process.stdin.write(f"{word}\n")
        self.process.stdin.flush()
        return self.answer()

    def result(self):
        """A Figure without and one with the stall."""
        output, _ = self.process.communicate()
        if self.process.returncode:
            raise RuntimeError("a caller failed")
        return [Figure(int(count), *(int(time) / 1e6 for time in times), name)
                for count, *times, name in map(str.split, output.splitlines())]

    def end(self):
        self.process.kill()
        self.process.wait()
        self.process.stdin.close()
        self.process.stdout.close()


@contextlib.contextmanager
def loads(run, places, root):
    """Those that are measured, and last the one whose callers get stuck."""
    started = []
    try:
        for place in places[:-1]:
            started.append(Load(run, "files", "-t", CALLERS, "-i", INTERVAL_MS, place))
        if root:
            started.append(Load(run, "root", "-t", CALLERS_ROOT, "-i", INTERVAL_MS, root, *NAMES[:-1]))
        started.append(Load(run, "hang", "-t", CALLERS_STUCK, "-i", INTERVAL_STUCK_MS, places[-1]))
        yield started
    finally:
        for load in started:
            load.end()


def alternate(run, disk, measured, stuck, seconds):
    """Without the stall, and with it; returns how many callers hung."""
    hung = []

    def during(word):
        for load in measured:
            load.order(word)

    for _ in run.rounds("stall", 1 if run.quick else 2):
        during(0)
        time.sleep(seconds)
        during(1)
        disk.stall()
        time.sleep(seconds)
        hung.append(int(stuck.order("?")))
        during("-")
        disk.work()
        until("nobody hangs any more", lambda: stuck.order("?") == "0", 30)
    return min(hung)


def describe(word, figures):
    longest = max(figures, key=lambda figure: figure.longest)
    return (f"{word} at most {max(each.late for each in figures):.2f} ms, "
            f"{max(each.late_unsynced for each in figures):.2f} ms but for fdatasync, "
            f"longest {longest.longest:.1f} ms ({longest.name})")


def compare(run, column, figures, hung):
    run.record("stall", column, max(beside.late - alone.late for alone, beside in figures))
    run.record("stall-unsynced", column,
               max(beside.late_unsynced - alone.late_unsynced for alone, beside in figures))
    run.record("stall-longest", column, max(beside.longest for _, beside in figures))
    calls = sum(figure.calls for pair in figures for figure in pair)
    run.note("stall", f"{column}: {calls} calls, {hung} callers hung; 99.9th percentile of a place: "
             + "; ".join(describe(word, each) for word, each in zip(("without", "with"), zip(*figures))))


def measure_column(run, column, seconds):
    with run.directory() as work, seven_and_one(work) as made:
        with WAYS[column](run, work, made) as places:
            root = None if column == "native" else os.path.dirname(places[0])
            with loads(run, places, root) as (*measured, stuck):
                hung = alternate(run, made[-1], measured, stuck, seconds)
                figures = [load.result() for load in measured]
    if hung < CALLERS_STUCK // 4:
        raise RuntimeError(f"only {hung} callers hung: that was no stall")
    compare(run, column, figures, hung)


def measure(run):
    if not any(run.wants(row.name) for row in ROWS):
        return
    seconds = 5 if run.quick else 60
    run.note("stall", f"{CALLERS} callers on each of {MEDIA - 1} media and {CALLERS_ROOT} on the "
             f"view's directory, each a call every {INTERVAL_MS} ms (create, write, fdatasync, close, "
             f"stat, open, read, list, unlink); {CALLERS_STUCK} on the disk that stalls for {seconds} s, "
             f"each every {INTERVAL_STUCK_MS} ms")
    for column in WAYS:
        if column in run.columns:
            measure_column(run, column, seconds)
