"""A server that runs out of memory or threads on command."""

import mmap
import os
import struct


class AllocFail:
    """The commands for tests/fault/allocfail.c."""

    def __init__(self, path):
        self.path = path
        with open(path, "wb") as file:
            file.write(bytes(20))
        with open(path, "r+b") as file:
            self.map = mmap.mmap(file.fileno(), 20)

    def one_in(self, number, pid):
        struct.pack_into("II", self.map, 0, pid, number)

    def failed(self):
        return struct.unpack_from("I", self.map, 8)[0]

    def threads(self, most):
        struct.pack_into("I", self.map, 12, most)

    def threads_failed(self):
        return struct.unpack_from("I", self.map, 16)[0]


def failing(work, binary):
    """The library's commands, and the environment that loads it."""
    library = os.path.join(os.path.dirname(binary), "tests", "fault", "allocfail.so")
    control = AllocFail(os.path.join(work, "allocfail"))
    return control, {"LD_PRELOAD": library, "ALLOCFAIL": control.path}
