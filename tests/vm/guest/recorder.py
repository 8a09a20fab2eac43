"""When the kernel said that something happened, and when the view showed it."""

import ctypes
import os
import select
import socket
import struct
import threading
import time

KERNEL_GROUP = 1
IN_CREATE, IN_DELETE, IN_ONLYDIR = 0x100, 0x200, 0x01000000
LIBC = ctypes.CDLL(None, use_errno=True)


class Recorder:
    """A thread that is woken before everything else, so that its clock is the event's."""

    def __init__(self, directory):
        self.records = []
        self.directory = directory
        self.uevents = socket.socket(socket.AF_NETLINK, socket.SOCK_DGRAM, 15)
        self.uevents.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
        self.uevents.bind((0, KERNEL_GROUP))
        self.inotify = LIBC.inotify_init1(os.O_CLOEXEC)
        watch = LIBC.inotify_add_watch(self.inotify, os.fsencode(directory),
                                       IN_CREATE | IN_DELETE | IN_ONLYDIR)
        assert watch >= 0, os.strerror(ctypes.get_errno())
        self.ending, self.end = os.pipe()
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def _run(self):
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(50))
        while True:
            ready, _, _ = select.select([self.uevents, self.inotify, self.ending], [], [])
            now = time.monotonic()
            if self.ending in ready:
                return
            if self.uevents in ready:
                self._uevent(now, self.uevents.recv(1 << 16))
            if self.inotify in ready:
                self._view(now, os.read(self.inotify, 1 << 16))

    def _uevent(self, now, message):
        words = message.decode(errors="replace").split("\0")
        values = dict(word.split("=", 1) for word in words[1:] if "=" in word)
        if values.get("SUBSYSTEM") == "block" and values["ACTION"] == "remove":
            threading.Thread(target=self._wait_missing, daemon=True).start()
        if values.get("SUBSYSTEM") == "block":
            self.records.append({
                "at": now, "source": "kernel", "what": values["ACTION"],
                "name": values["DEVPATH"].rpartition("/")[2],
                "media_change": values.get("DISK_MEDIA_CHANGE") == "1"})

    def _wait_missing(self):
        """Looks at the listing until nothing is there any more."""
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(49))
        end = time.monotonic() + 60
        while time.monotonic() < end and os.listdir(self.directory):
            time.sleep(0.001)
        self.records.append({"at": time.monotonic(), "source": "listing", "what": "empty",
                             "name": ""})

    def _view(self, now, data):
        while data:
            _, mask, _, length = struct.unpack_from("iIII", data)
            name = data[16:16 + length].rstrip(b"\0").decode(errors="replace")
            what = "appeared" if mask & IN_CREATE else "gone"
            self.records.append({"at": now, "source": "view", "what": what, "name": name})
            data = data[16 + length:]

    def take(self):
        taken, self.records = self.records, []
        return taken

    def stop(self):
        os.write(self.end, b"x")
        self.thread.join()
        for descriptor in (self.inotify, self.ending, self.end):
            os.close(descriptor)
        self.uevents.close()
