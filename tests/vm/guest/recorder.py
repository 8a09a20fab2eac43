"""When the kernel said that something happened, and when the view showed it: see observer.c."""

import collections
import os
import select
import subprocess
import time

Record = collections.namedtuple("Record", "at source what name")
"""at: in microseconds of CLOCK_MONOTONIC."""


class Recorder:
    def __init__(self, program, directory):
        self.process = subprocess.Popen([program, directory], stdin=subprocess.DEVNULL,
                                        stdout=subprocess.PIPE)
        self.rest = b""
        self.records = []

    def _read(self, timeout):
        """Waits until there is something, or returns False."""
        output = self.process.stdout.fileno()
        if not select.select([output], [], [], timeout)[0]:
            return False
        received = os.read(output, 1 << 16)
        assert received, "the observer has ended"
        *lines, self.rest = (self.rest + received).split(b"\n")
        for line in lines:
            at, source, what, name = line.decode(errors="replace").split(" ", 3)
            self.records.append(Record(int(at), source, what, name))
        return True

    def forget(self):
        """What was recorded until now."""
        while self._read(0):
            pass
        self.records = []

    def wait(self, wanted, deadline_s):
        """Waits for each of these, (source, what, name), without using the processor; returns when
        each was first."""
        end = time.monotonic() + deadline_s
        while True:
            first = {one[1:]: one.at for one in reversed(self.records)}
            if all(one in first for one in wanted):
                return [first[one] for one in wanted]
            if not self._read(max(0, end - time.monotonic())):
                raise AssertionError(f"not within {deadline_s} s: {wanted}, but {self.records}")

    def stop(self):
        assert self.process.poll() is None, "the observer has ended"
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()
