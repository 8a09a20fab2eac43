"""
Runs in the guest: writes to disks in all the ways after which data is promised to be there whatever
happens, and tells of each promise once it has been given; besides, much is written with none.

    promise.py PORT SEED DIRECTORY:WAY,...

What is told, one JSON object a line, with "disk", "how" and "path":
    {"version": V, "first": N, "count": N}   these sectors (marked.py) are V or later
    {"whole": V}                             and all sectors of the file are of one version
    {"leaves": true}, {"gone": true}         it may be missing from now on; it is
How "none" is no promise. Way "once" ends; all others go on.
"""

import contextlib
import json
import mmap
import os
import random
import signal
import subprocess
import sys
import threading

import marked

BASE = 256
"""Sectors of a file that is overwritten in place."""


class Writer:
    """Goes one way on one disk, in a directory of its own."""

    def __init__(self, root, how, seed, tell):
        self.root, self.how = root, how
        self.random = random.Random(f"{seed} {root} {how}")
        self.disk = os.path.basename(root)
        self._tell = tell
        self.number = 0
        self.open_file = -1
        self.kept_open = {}
        os.makedirs(os.path.join(root, how), exist_ok=True)
        fsync(root)

    def run(self):
        while True:
            self.number += 1
            WAYS[self.how](self)

    def full(self, path):
        return os.path.join(self.root, path)

    def name(self, suffix=""):
        return f"{self.how}/{self.number}{suffix}"

    def tell(self, path, **what):
        line = {"disk": self.disk, "how": self.how, "path": path, **what}
        self._tell(json.dumps(line).encode() + b"\n")

    def create(self, path, marks=None, flags=0, most=64):
        """A new file; returns what can be told of it."""
        count = self.random.randint(1, most)
        file = os.open(self.full(path), os.O_WRONLY | os.O_CREAT | os.O_EXCL | flags, 0o644)
        write_all(file, marked.sectors(marks or path, 1, 0, count))
        os.close(file)
        return {"version": 1, "first": 0, "count": count}

    def base(self, flags):
        """A file with old data, open to be overwritten."""
        path = f"{self.how}/base"
        if self.open_file < 0:
            file = os.open(self.full(path), os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
            write_all(file, marked.sectors(path, 0, 0, BASE))
            os.close(file)
            fsync(self.full(path))
            fsync(self.full(self.how))
            self.tell(path, version=0, first=0, count=BASE)
            self.open_file = os.open(self.full(path), os.O_RDWR | flags)
        return path

    def piece(self, unit=1):
        """Where to overwrite it; returns first sector and number of sectors."""
        first = self.random.randrange(BASE // unit) * unit
        return first, min(BASE - first, self.random.randint(1, 3) * unit)


def write_all(file, data):
    assert os.write(file, data) == len(data)


def fsync(path):
    file = os.open(path, os.O_RDONLY)
    os.fsync(file)
    os.close(file)


# New files.

def by_fsync(writer):
    path = writer.name()
    made = writer.create(path)
    fsync(writer.full(path))
    fsync(writer.full(writer.how))
    writer.tell(path, **made)


def by_fdatasync(writer):
    path = writer.name()
    made = writer.create(path)
    file = os.open(writer.full(path), os.O_RDONLY)
    os.fdatasync(file)
    os.close(file)
    fsync(writer.full(writer.how))
    writer.tell(path, **made)


def by_new_o_sync(writer):
    path = writer.name()
    made = writer.create(path, flags=os.O_SYNC)
    fsync(writer.full(writer.how))
    writer.tell(path, **made)


def by_rename(writer):
    path = writer.name()
    made = writer.create(writer.name(".new"), marks=path)
    fsync(writer.full(writer.name(".new")))
    os.rename(writer.full(writer.name(".new")), writer.full(path))
    fsync(writer.full(writer.how))
    writer.tell(path, **made)


def by_replace(writer):
    """One name, which always has a whole file."""
    path = f"{writer.how}/always"
    count = writer.random.randint(1, 64)
    file = os.open(writer.full(writer.name()), os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
    write_all(file, marked.sectors(path, writer.number, 0, count))
    os.fsync(file)
    os.close(file)
    os.rename(writer.full(writer.name()), writer.full(path))
    fsync(writer.full(writer.how))
    writer.tell(path, whole=writer.number)


def by_unlink(writer):
    path = writer.name()
    made = writer.create(path)
    fsync(writer.full(path))
    fsync(writer.full(writer.how))
    writer.tell(path, **made)
    writer.tell(path, leaves=True)
    os.unlink(writer.full(path))
    fsync(writer.full(writer.how))
    writer.tell(path, gone=True)


def by_sync_file(writer):
    path = writer.name()
    made = writer.create(path)
    subprocess.run(["sync", writer.full(path)], check=True)
    writer.tell(path, **made)


def by_sync_medium(writer):
    made = create_tree(writer)
    subprocess.run(["sync", writer.root], check=True)
    for path, what in made.items():
        writer.tell(path, **what)


def by_close(writer):
    """With durability=strict."""
    path = writer.name()
    made = writer.create(path)
    writer.tell(path, **made)


def create_tree(writer):
    os.makedirs(writer.full(writer.name("/inner")))
    paths = [writer.name(), *(f"{writer.name('/inner')}/{one}" for one in range(4))]
    return {path: writer.create(path) for path in paths[1:]}


# Old data.

def by_o_sync(writer, flags=os.O_SYNC):
    path = writer.base(flags)
    first, count = writer.piece()
    os.pwrite(writer.open_file, marked.sectors(path, writer.number, first, count),
              first * marked.SIZE)
    writer.tell(path, version=writer.number, first=first, count=count)


def by_o_dsync(writer):
    by_o_sync(writer, os.O_DSYNC)


def by_o_direct(writer):
    path = writer.base(os.O_DIRECT | os.O_DSYNC)
    first, count = writer.piece(unit=8)
    with mmap.mmap(-1, count * marked.SIZE) as aligned:
        aligned.write(marked.sectors(path, writer.number, first, count))
        assert os.pwritev(writer.open_file, [aligned], first * marked.SIZE) == len(aligned)
    writer.tell(path, version=writer.number, first=first, count=count)


def by_rwf_dsync(writer):
    path = writer.base(0)
    first, count = writer.piece()
    data = marked.sectors(path, writer.number, first, count)
    os.pwritev(writer.open_file, [data], first * marked.SIZE, os.RWF_DSYNC)
    writer.tell(path, version=writer.number, first=first, count=count)


def by_overwriting(writer):
    path = writer.base(0)
    pieces = [writer.piece() for _ in range(3)]
    for first, count in pieces:
        os.pwrite(writer.open_file, marked.sectors(path, writer.number, first, count),
                  first * marked.SIZE)
    os.fdatasync(writer.open_file)
    for first, count in pieces:
        writer.tell(path, version=writer.number, first=first, count=count)


def by_msync(writer):
    path = writer.base(0)
    pieces = [writer.piece() for _ in range(3)]
    with mmap.mmap(writer.open_file, BASE * marked.SIZE) as mapping:
        for first, count in pieces:
            data = marked.sectors(path, writer.number, first, count)
            mapping[first * marked.SIZE:first * marked.SIZE + len(data)] = data
        mapping.flush()
    for first, count in pieces:
        writer.tell(path, version=writer.number, first=first, count=count)


def by_appending(writer):
    path = writer.base(os.O_APPEND)
    size = os.fstat(writer.open_file).st_size // marked.SIZE
    write_all(writer.open_file, marked.sectors(path, writer.number, size, 3))
    os.fdatasync(writer.open_file)
    writer.tell(path, version=writer.number, first=size, count=3)


# Others.

def by_nothing(writer):
    """What is written and told here is not promised, and some of it should be lost."""
    path = f"none/{writer.number % 8}"
    if path not in writer.kept_open:
        writer.kept_open[path] = os.open(writer.full(path), os.O_WRONLY | os.O_CREAT, 0o644)
    os.pwrite(writer.kept_open[path], marked.sectors(path, writer.number, 0, 128), 0)
    writer.tell(path, version=writer.number, first=0, count=128)
    if writer.number % 4:
        return
    other = writer.full(f"none/other{writer.random.randrange(20)}")
    if os.path.exists(other):
        os.rename(other, f"{other}.old")
        os.truncate(f"{other}.old", writer.random.randrange(10000))
        os.unlink(f"{other}.old")
    with open(other, "wb") as file:
        file.write(bytes(writer.random.randrange(100000)))


def by_waiting(writer):
    """Some files, once; they become a promise by what is done with the disk then."""
    writer.number += 1
    for path, what in create_tree(writer).items():
        writer.tell(path, **what)


WAYS = {
    "fsync": by_fsync, "fdatasync": by_fdatasync, "new-o_sync": by_new_o_sync,
    "rename": by_rename, "replace": by_replace, "unlink": by_unlink, "sync-file": by_sync_file,
    "sync-medium": by_sync_medium, "close": by_close, "o_sync": by_o_sync, "o_dsync": by_o_dsync,
    "o_direct": by_o_direct, "rwf_dsync": by_rwf_dsync, "overwrite": by_overwriting,
    "msync": by_msync, "append": by_appending, "none": by_nothing,
}


def sync_all(roots, seed, tell):
    """sync(1) of everything: one for all disks."""
    writers = [Writer(root, "sync", seed, tell) for root in roots]
    while True:
        made = {}
        for writer in writers:
            writer.number += 1
            made[writer] = create_tree(writer)
        subprocess.run(["sync"], check=True)
        for writer, files in made.items():
            for path, what in files.items():
                writer.tell(path, **what)


def end_process(arguments):
    """An error of one writer ends its process, and with that all, which the host sees."""
    sys.excepthook(*arguments[:3])
    os._exit(1)


def work_on(root, ways, seed, tell):
    threading.excepthook = end_process
    for how in ways:
        threading.Thread(target=Writer(root, how, seed, tell).run).start()


def main():
    port, seed = os.open(sys.argv[1], os.O_WRONLY), sys.argv[2]
    ways = {root: how.split(",") for root, _, how in (word.rpartition(":") for word in sys.argv[3:])}

    def tell(line):
        write_all(port, line)

    synced = [root for root in ways if "sync" in ways[root]]
    if synced and os.fork() == 0:
        sync_all(synced, seed, tell)
    for root, its_ways in ways.items():
        if its_ways == ["once"]:
            by_waiting(Writer(root, "once", seed, tell))
        elif os.fork() == 0:
            return work_on(root, [how for how in its_ways if how != "sync"], seed, tell)
    with contextlib.suppress(ChildProcessError):
        os.wait()  # none ends by itself
        os.killpg(0, signal.SIGTERM)
    return None


if __name__ == "__main__":
    main()
