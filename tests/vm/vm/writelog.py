"""
What a disk with a volatile write cache has kept when its power is cut.

QEMU's block driver blklogwrites records all that a disk is sent, in the format of the kernel's
dm-log-writes (Documentation/admin-guide/device-mapper/log-writes.rst, struct log_write_super and
log_write_entry in drivers/md/dm-log-writes.c). All numbers are little-endian. Sector 0 is

    u64 magic, u64 version, u64 number of entries, u32 sector size

then entry follows entry, each a sector that begins with

    u64 first sector, u64 number of sectors, u64 flags, u64 length of a mark

and the data behind it, unless it is a flush (no sectors) or a discard. QEMU writes an entry when the
disk has done what it tells, and counts the entries anew at each flush.
"""

import os
import struct

SECTOR = 512
PAGE = 4096
"""What a disk writes at once: a physical sector, a page of flash."""

MAGIC = 0x6a736677736872
FLUSH, FUA, DISCARD, MARK = 1, 2, 4, 8
SUPER = struct.Struct("<QQQI")
ENTRY = struct.Struct("<QQQQ")


class Entry:
    def __init__(self, start, size, flags, data):
        """start, size: bytes of the disk; data: where they are in the log."""
        self.start, self.size, self.flags, self.data = start, size, flags, data

    def pieces(self):
        """Its parts that do not cross a page, each an Entry."""
        done = 0
        while done < self.size:
            size = min(self.size - done, PAGE - (self.start + done) % PAGE)
            yield Entry(self.start + done, size, self.flags, self.data + done)
            done += size


def entries(log):
    """All entries of an open log, in order."""
    log.seek(0)
    head = SUPER.unpack(log.read(SUPER.size).ljust(SUPER.size, b"\0"))
    assert not any(head) or head == (MAGIC, 1, head[2], SECTOR), "this is no log"
    counted = head[2]  # 0 before the first flush, when there is no head
    found, place, end = [], SECTOR, os.fstat(log.fileno()).st_size
    while place + SECTOR <= end:
        log.seek(place)
        first, count, flags, _ = ENTRY.unpack(log.read(ENTRY.size))
        if not count and not flags:
            break
        assert flags < 2 * MARK, f"no entry at {place}"
        place += SECTOR
        size = count * SECTOR
        found.append(Entry(first * SECTOR, size, flags, place))
        if not flags & DISCARD:
            place += size
    assert len(found) >= counted, f"the log tells of {counted} entries and has {len(found)}"
    if place > end:
        found.pop()  # the cut was in the middle of it
    return found


def replay(log_path, image_path, choose=None):
    """
    Applies to an image what the disk keeps: all up to the last flush and, of what came later, only
    what was to go past the cache. choose (random.Random): the disk had written some of its cache,
    too. Each page of it is then as it was at some moment after that flush.
    """
    with open(log_path, "rb") as log, open(image_path, "r+b") as image:
        found = entries(log)
        last = max((number for number, entry in enumerate(found) if entry.flags & FLUSH), default=-1)
        for entry in found[:last + 1]:
            _apply(log, image, entry)
        cached = {}
        for entry in found[last + 1:]:
            for piece in entry.pieces():
                cached.setdefault(piece.start // PAGE, []).append(piece)
        for pieces in cached.values():
            kept = max((number for number, piece in enumerate(pieces, 1) if piece.flags & FUA),
                       default=0)
            if choose:
                kept = choose.randint(kept, len(pieces))
            for piece in pieces[:kept]:
                _apply(log, image, piece)


def _apply(log, image, entry):
    image.seek(entry.start)
    if entry.flags & DISCARD:
        image.write(bytes(entry.size))
        return
    log.seek(entry.data)
    image.write(log.read(entry.size))
