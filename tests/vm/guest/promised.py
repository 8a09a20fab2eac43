"""
Runs in the guest, after the cut: compares disks with what was told of it (promise.py).

    promised.py TOLD MEDIA DISK...

TOLD is the file with what was told of all disks, which are directories in MEDIA. Prints an object
by disk: how many promises of each kind were looked at; those not kept; of what was not promised,
how much there was and how much is missing.
"""

import collections
import json
import os
import sys

import marked


class File:
    """What must be there of one file."""

    def __init__(self, how):
        self.how = how
        self.least = {}  # the version of each sector
        self.whole = None
        self.gone = None  # None: it must be there; False: it may be missing; True: it must be

    def take(self, told):
        if "leaves" in told or "gone" in told:
            self.gone = "gone" in told
        elif "whole" in told:
            self.whole = told["whole"]
        else:
            for index in range(told["first"], told["first"] + told["count"]):
                self.least[index] = max(told["version"], self.least.get(index, -1))

    def fault(self, root, path):
        full = os.path.join(root, path)
        if self.gone is not None:
            return "it is there" if self.gone and os.path.lexists(full) else None
        try:
            with open(full, "rb") as file:
                data = file.read()
        except OSError as error:
            return error.strerror
        return self._fault_of(data, path)

    def _fault_of(self, data, path):
        size = marked.SIZE
        found = [marked.version_of(data[at:at + size], path, at // size)
                 for at in range(0, len(data), size)]
        if self.whole is not None:
            if len(set(found)) != 1 or found[0] is None or found[0] < self.whole:
                return f"not one whole version from {self.whole} on: {found}"
        for index, least in self.least.items():
            if index >= len(found):
                return f"it has only {len(data)} bytes, and no sector {index}"
            if found[index] is None or found[index] < least:
                return f"sector {index} is version {found[index]}, not {least}: " \
                       f"{data[index * size:index * size + 40]!r}"
        return None


def read_told(name, disks):
    """Files by disk and path, and how many promises of each kind by disk."""
    files = {disk: {} for disk in disks}
    counts = {disk: collections.Counter() for disk in disks}
    with open(name, encoding="utf-8") as told:
        whole, _, _ = told.read().rpartition("\n")
    for line in map(json.loads, whole.splitlines()):
        disk = line["disk"]
        files[disk].setdefault(line["path"], File(line["how"])).take(line)
        counts[disk][line["how"]] += "leaves" not in line
    return files, counts


def report(root, files, counts):
    faults = [(file.how, path, fault) for path, file in files.items()
              if (fault := file.fault(root, path))]
    return {
        "promises": {how: count for how, count in counts.items() if how != "none"},
        "broken": [fault for fault in faults if fault[0] != "none"],
        "unpromised": counts["none"],
        "missing": sum(fault[0] == "none" for fault in faults),
    }


def main():
    name, media, *disks = sys.argv[1:]
    files, counts = read_told(name, disks)
    print(json.dumps({disk: report(os.path.join(media, disk), files[disk], counts[disk])
                      for disk in disks}))


if __name__ == "__main__":
    main()
