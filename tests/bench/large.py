"""A medium with very many files: what the server remembers of them, and when it forgets."""

import os
import subprocess
import threading
import time

import columns
from harness import disks
from harness.processes import open_files
from many import memory
from results import Row, at_most

ROWS = [
    Row("find-time", "find -ls of very many files", "s"),
    Row("find-memory", "server's RSS for each known file", "bytes", (at_most(200, "bytes"),)),
    Row("find-fds", "most descriptors open meanwhile", "", (at_most(64, ""),)),
    Row("find-left", "RSS left when the kernel forgot them", "%", (at_most(20, "%"),)),
]


def make_files(tree, count):
    """A thousand in each directory."""
    for number in range(count):
        parent = os.path.join(tree, f"{number // 1000:04}")
        if number % 1000 == 0:
            os.mkdir(parent)
        os.close(os.open(os.path.join(parent, f"file{number:07}"), os.O_CREAT | os.O_WRONLY))


class Watcher(threading.Thread):
    """Looks again and again how many descriptors a process has, until told to stop."""

    def __init__(self, pid):
        super().__init__()
        self.pid = pid
        self.most = 0
        self.enough = threading.Event()

    def run(self):
        while not self.enough.wait(0.02):
            self.most = max(self.most, len(open_files(self.pid)))


def find(directory):
    """Seconds; like the user, who looks at everything once."""
    start = time.monotonic()
    subprocess.run(["find", directory, "-ls"], stdout=subprocess.DEVNULL, check=True)
    return time.monotonic() - start


def forget(pid, before):
    """Makes the kernel drop its caches; waits until the server has given its memory back."""
    least = memory(pid, "VmRSS")
    for _ in range(20):
        with open("/proc/sys/vm/drop_caches", "w", encoding="ascii") as caches:
            caches.write("2")
        time.sleep(0.1)
        least = min(least, memory(pid, "VmRSS"))
        if least <= before:
            break
    return least


def measure_view(run, view, count):
    pid = view.server_pid()
    os.listdir(view.path("DISK"))
    before = memory(pid, "VmRSS")
    watcher = Watcher(pid)
    watcher.start()
    try:
        run.record("find-time", "hotplugfs", find(view.path("DISK")))
    finally:
        watcher.enough.set()
        watcher.join()
    grown = memory(pid, "VmRSS") - before
    run.record("find-memory", "hotplugfs", grown / count)
    run.record("find-fds", "hotplugfs", watcher.most)
    left = forget(pid, before) - before
    run.record("find-left", "hotplugfs", max(left, 0) / max(grown, 1) * 100)
    for row in ROWS:
        run.note(row.name, f"{count} files, RLIMIT_NOFILE 256")


def with_few_descriptors(view):
    """Starts it with a limit of 256 that it cannot raise."""
    view.command = ["prlimit", "--nofile=256:256", "--", *view.command]
    return view.start()


def measure(run):
    if not any(run.wants(row.name) for row in ROWS):
        return
    count = 1000000 if run.large else 2000 if run.quick else 50000
    with run.directory() as work:
        disk = disks.LoopDisk(work)
        try:
            disk.format("ext4", label="DISK", size=max(256 << 20, count * 600),
                        options=[*columns.NO_LAZY_WORK, "-N", str(count + count // 500 + 100)])
            with disk.native() as tree:
                make_files(tree, count)
            with disk.native() as tree:
                run.record("find-time", "native", find(tree))
            with columns.daemon(run, os.path.join(work, "daemon"), [disk]) as view:
                disk.plug()
                with_few_descriptors(view).wait_for("DISK")
                measure_view(run, view, count)
        finally:
            disk.remove()
