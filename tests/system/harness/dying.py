"""
A disk that stalls, crawls or fails on command: a loop device over a file on a FUSE filesystem that this
very small server serves. It speaks the kernel's protocol itself (include/uapi/linux/fuse.h).

    python3 dying.py IMAGE MOUNTPOINT      one file "disk", the image; commands on standard input
"""

import errno
import os
import selectors
import struct
import subprocess
import sys
import time

if __name__ == "__main__":
    sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from harness import kernel  # noqa: E402
from harness.disks import LOOP_SET_CAPACITY, LoopDisk  # noqa: E402

LOOKUP, FORGET, GETATTR, SETATTR, OPEN, READ, WRITE = 1, 2, 3, 4, 14, 15, 16
RELEASE, FSYNC, FLUSH, INIT, OPENDIR, INTERRUPT, BATCH_FORGET = 18, 20, 25, 26, 27, 36, 42
FOPEN_DIRECT_IO = 1
ROOT, FILE = 1, 2
IN_HEADER = struct.Struct("<IIQQIIIHH")
OUT_HEADER = struct.Struct("<IiQ")
SIZE_IN = struct.Struct("<QQI")
"""Of READ and WRITE: handle, offset, size."""
MAX_WRITE = 1 << 17
CRAWL_S = 0.1
"""For each read or write, one after the other; a disk in memory needs less than a thousandth of it."""


class Server:
    """Answers while `mode` is "work"; late while "slow"; at `rate` bytes a second while "throttle";
    keeps reads and writes while "stall"; EIO with "fail"."""

    def __init__(self, image, point):
        self.image = os.open(image, os.O_RDWR | os.O_CLOEXEC)
        self.fuse = os.open("/dev/fuse", os.O_RDWR | os.O_CLOEXEC)
        self.mode = "work"
        self.rate = 0
        self.free_at = 0.0
        self.pulled = False
        self.waiting = []
        kernel.mount("dying", point, "fuse",
                     f"fd={self.fuse},rootmode=40000,user_id=0,group_id=0")

    def attributes(self, node):
        facts = os.fstat(self.image)
        mode, size = (0o040755, 0) if node == ROOT else (0o100644, facts.st_size)
        if self.pulled:
            size = 0
        return struct.pack("<6Q10I", node, size, size // 512, 0, 0, 0, 0, 0, 0, mode, 1, 0, 0, 0,
                           4096, 0)

    def init(self, _node, body):
        major, _minor, readahead = struct.unpack_from("<III", body)
        return struct.pack("<IIIIHHIIHHI7I", major, 31, readahead, 0, 16, 12, MAX_WRITE, 1, 32, 0,
                           0, *[0] * 7)

    def lookup(self, _node, body):
        if body != b"disk\0":
            raise OSError(errno.ENOENT, "")
        return struct.pack("<QQQQII", FILE, 0, 3600, 0, 0, 0) + self.attributes(FILE)

    def getattr(self, node, _body):
        return struct.pack("<QII", 0, 0, 0) + self.attributes(node)

    def open(self, _node, _body):
        return struct.pack("<QII", 1, FOPEN_DIRECT_IO, 0)

    def read(self, _node, body):
        _handle, offset, size = SIZE_IN.unpack_from(body)
        return os.pread(self.image, size, offset)

    def write(self, _node, body):
        _handle, offset, size = SIZE_IN.unpack_from(body)
        return struct.pack("<II", os.pwrite(self.image, body[40:40 + size], offset), 0)

    def nothing(self, _node, _body):
        return b""

    ANSWERS = {INIT: init, LOOKUP: lookup, GETATTR: getattr, SETATTR: getattr, OPEN: open,
               OPENDIR: open, READ: read, WRITE: write, RELEASE: nothing, FSYNC: nothing,
               FLUSH: nothing}

    def throttle(self, size):
        """As long as it takes to move that much, behind what was asked for before."""
        self.free_at = max(self.free_at, time.monotonic()) + size / self.rate
        time.sleep(max(0, self.free_at - time.monotonic()))

    def reply(self, unique, error, body=b""):
        os.write(self.fuse, OUT_HEADER.pack(OUT_HEADER.size + len(body), -error, unique) + body)

    def handle(self, request):
        _length, opcode, unique, node = IN_HEADER.unpack_from(request)[:4]
        if opcode in (FORGET, BATCH_FORGET, INTERRUPT):
            return
        if opcode in (READ, WRITE) and self.mode == "stall":
            self.waiting.append(request)
            return
        if opcode in (READ, WRITE) and self.mode == "slow":
            time.sleep(CRAWL_S)
        if opcode in (READ, WRITE) and self.mode == "throttle":
            self.throttle(SIZE_IN.unpack_from(request, IN_HEADER.size)[2])
        try:
            if opcode in (READ, WRITE, FSYNC) and self.mode == "fail":
                raise OSError(errno.EIO, "")
            if opcode not in self.ANSWERS:
                raise OSError(errno.ENOSYS, "")
            body = self.ANSWERS[opcode](self, node, request[IN_HEADER.size:])
        except OSError as error:
            self.reply(unique, error.errno)
        else:
            self.reply(unique, 0, body)

    def command(self, word):
        self.pulled = word == "pull" or self.pulled and word != "insert"
        name, _, number = word.partition("=")
        if name in ("work", "slow", "stall", "fail", "throttle"):
            self.mode = name
        if name == "throttle":
            self.rate = int(number)
        if self.mode != "stall":
            waiting, self.waiting = self.waiting, []
            for request in waiting:
                self.handle(request)

    def run(self):
        """Until standard input ends or the filesystem is unmounted."""
        with selectors.DefaultSelector() as selector:
            selector.register(self.fuse, selectors.EVENT_READ)
            selector.register(0, selectors.EVENT_READ)
            print("ready", flush=True)
            while True:
                for key, _ in selector.select():
                    data = os.read(key.fd, MAX_WRITE + 4096)
                    if not data:
                        return
                    if key.fd == self.fuse:
                        self.handle(data)
                        continue
                    for word in data.decode().split():
                        self.command(word)
                        print(word, flush=True)


class DyingDisk(LoopDisk):
    """A LoopDisk whose medium obeys: work(), slow(), throttle(), stall(), fail(); pull() also while it
    stalls."""

    def __init__(self, directory):
        super().__init__(directory)
        self.medium = self.image + ".medium"
        self.point = self.image + ".fuse"
        self.server = None

    def format(self, *args, **parameters):
        super().format(*args, **parameters)
        os.rename(self.image, self.medium)
        os.mkdir(self.point)
        # it ends when we do, and not before: without it, its disk could not be removed
        self.server = subprocess.Popen(
            [sys.executable, os.path.abspath(__file__), self.medium, self.point],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True)
        assert self.server.stdout.readline() == "ready\n"
        self.image = os.path.join(self.point, "disk")
        return self

    def content(self):
        """Without asking the medium."""
        return self.medium

    def order(self, word):
        self.server.stdin.write(f"{word}\n")
        self.server.stdin.flush()
        assert self.server.stdout.readline() == f"{word}\n"

    def work(self):
        self.order("work")

    def slow(self):
        self.order("slow")

    def throttle(self, bytes_per_s):
        self.order(f"throttle={bytes_per_s}")

    def stall(self):
        self.order("stall")

    def fail(self):
        self.order("fail")

    def pull(self):
        """The file becomes empty, and so does the disk; unlike LoopDisk's, this waits for nothing."""
        self.order("pull")
        self._ioctl(LOOP_SET_CAPACITY)
        return self

    def plug(self, read_only=False):
        self.order("insert")
        return super().plug(read_only)

    def cut_off(self):
        """Without its server every request to it fails."""
        self.server.kill()

    def remove(self):
        try:
            self.order("fail")
            self.image = self.medium
            super().remove()
        finally:
            self.server.stdin.close()
            self.server.stdout.close()
            kernel.umount(self.point, kernel.MNT_DETACH)
            self.server.wait(timeout=10)
            os.rmdir(self.point)


if __name__ == "__main__":
    try:
        Server(sys.argv[1], sys.argv[2]).run()
    except (KeyboardInterrupt, OSError):
        sys.exit(1)
