"""Virtual machines whose power is cut, with sticks that lose then what was not flushed."""

import json
import os
import subprocess

from . import writelog
from .machine import Machine


class CutMachine(Machine):
    """
    A machine with a second port, /dev/vport*p2: a line that is written there by the guest is in
    the file `told` when write(2) returns, whatever becomes of the machine.
    """

    def __init__(self, kernel, directory, **options):
        self.told = os.path.join(directory, "told")
        super().__init__(kernel, directory, **options)

    def _command(self, memory_mib):
        return super()._command(memory_mib) + [
            "-chardev", f"file,id=told,path={self.told}",
            "-device", "virtserialport,chardev=told,name=told,nr=2"]

    def plug_cached(self, disk, bus):
        """Plugs a CachedDisk."""
        name = disk.name
        for part, path in (("image", disk.path), ("log", disk.log)):
            self.qmp("blockdev-add", node_name=f"{name}-{part}-file", driver="file", filename=path)
            self.qmp("blockdev-add", node_name=f"{name}-{part}", driver="raw",
                     file=f"{name}-{part}-file")
        self.qmp("blockdev-add", node_name=name, driver="blklogwrites", file=f"{name}-image",
                 log=f"{name}-log", log_sector_size=writelog.SECTOR)
        self.attach(name, bus)

    def cut(self):
        """No warning, and nothing that QEMU itself would write at its end."""
        self.usable = False
        self.process.kill()
        self.process.wait()

    def lines(self):
        """What was told: one JSON object a line; a line that the cut left unfinished is none."""
        with open(self.told, encoding="utf-8") as told:
            whole, _, _ = told.read().rpartition("\n")
        return [json.loads(line) for line in whole.splitlines()]


class CachedDisk:
    """A stick with a volatile write cache, which is a log of what it was sent."""

    def __init__(self, directory, name, base):
        """base: its content before it is plugged, an image that is left as it is."""
        self.name = name
        self.base = base
        self.path = os.path.join(directory, f"{name}.written")
        self.log = os.path.join(directory, f"{name}.log")
        self.made = [self.path, self.log]
        _copy(base, self.path)
        with open(self.log, "wb"):
            pass

    def after_cut(self, choose=None):
        """Path of an image of what the disk has kept; see writelog.replay()."""
        path = f"{self.path}.{len(self.made)}"
        self.made.append(path)
        _copy(self.base, path)
        writelog.replay(self.log, path, choose)
        return path

    def remove(self):
        for path in self.made:
            os.unlink(path)


def _copy(source, target):
    subprocess.run(["cp", "--sparse=always", "--reflink=auto", source, target], check=True)
