"""Very many small media at the same time."""

import os
import random
import time

import columns
from harness import disks
from harness.wait import until
from results import Row, at_most

ROWS = [
    Row("many-start", "1,000 media: start to all names", "s", (at_most(10, "s"),)),
    Row("many-ls", "1,000 media: ls /media", "ms", (at_most(10, "ms"),)),
    Row("many-rss", "1,000 media: RSS of all processes", "MiB", (at_most(64, "MiB"),)),
]
LABEL_AT, UUID_AT = 1024 + 120, 1024 + 104
"""Of the superblock of ext2: include/uapi/../ext2_fs.h, s_volume_name and s_uuid."""


def memory(pid, field):
    """Bytes of a line of /proc/PID/status."""
    with open(f"/proc/{pid}/status", encoding="utf-8", errors="replace") as status:
        for line in status:
            if line.startswith(field + ":"):
                return int(line.split()[1]) * 1024
    return 0


class NumberedLoop(disks.LoopDisk):
    """A loop device with a number that we choose, so that one pattern matches them all."""

    def __init__(self, directory, number):
        self.wanted = number
        super().__init__(directory)

    def _reserve(self):
        return disks.fcntl.ioctl(self.control, disks.LOOP_CTL_ADD, self.wanted)


class Crowd:
    """Small ext2 disks, each with its own label and UUID."""

    def __init__(self, work, count):
        self.disks = []
        self.kname = f"loop{random.randrange(100, 1000)}???"
        template = os.path.join(work, "template")
        with open(template, "wb") as image:
            image.truncate(256 << 10)
        disks.run_quietly(disks.mkfs_command("ext2", "X", None) + [template])
        with open(template, "rb") as image:
            self.content = image.read()
        first = int(self.kname[4:7]) * 1000
        try:
            for number in range(count):
                self.add(work, first + number)
        except BaseException:
            self.remove()
            raise

    def add(self, work, number):
        disk = NumberedLoop(work, number)
        self.disks.append(disk)
        content = bytearray(self.content)
        content[LABEL_AT:LABEL_AT + 16] = f"M{number}".encode().ljust(16, b"\0")
        content[UUID_AT:UUID_AT + 16] = random.randbytes(16)
        with open(disk.image, "wb") as image:
            image.write(content)
        disk.plug()

    def remove(self):
        for disk in self.disks:
            disk.remove()


def measure_crowd(run, work, crowd):
    count = len(crowd.disks)
    for _ in run.rounds("many", 1 if run.quick else 3):
        with columns.daemon(run, work, [crowd]) as view:
            start = time.monotonic()
            view.start()
            until(f"{count} names", lambda: len(os.listdir(view.media)) == count, 120)
            run.record("many-start", "hotplugfs", time.monotonic() - start)
            for _ in range(10):
                run.record("many-ls", "hotplugfs", run.timed(["ls", view.media]) * 1000)
            rss = sum(memory(pid, "VmRSS") for pid in view.pids())
            run.record("many-rss", "hotplugfs", rss / (1 << 20))
    for row in ROWS:
        run.note(row.name, f"{count} media")


def measure(run):
    if not any(run.wants(row.name) for row in ROWS):
        return
    with run.directory() as work:
        crowd = Crowd(work, 40 if run.quick else 1000)
        try:
            measure_crowd(run, work, crowd)
        finally:
            crowd.remove()
