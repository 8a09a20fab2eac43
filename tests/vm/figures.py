#!/usr/bin/python3
"""Figures of the tests: TEST_FIGURES=FILE collects them, `figures.py FILE...` makes a table."""

import collections
import json
import os
import statistics
import sys


def record(what, **facts):
    """Adds a line for one thing that was done and seen to be right; numbers of it go in with their
    unit at the end of the name (..._ms)."""
    path = os.environ.get("TEST_FIGURES")
    if not path:
        return
    with open(path, "a", encoding="utf-8") as file:
        file.write(json.dumps({"what": what, **facts}) + "\n")


def read(paths):
    for path in paths:
        with open(path, encoding="utf-8") as file:
            yield from map(json.loads, file)


def spread(values):
    """Median, 95 of 100, and the largest."""
    ordered = sorted(values)
    largest_of_most = ordered[max(0, -(-len(ordered) * 95 // 100) - 1)]
    return f"{statistics.median(ordered):9.0f} {largest_of_most:9.0f} {ordered[-1]:9.0f}"


def table(records):
    """A line for each thing and kernel: how often; below it, its numbers."""
    groups = collections.defaultdict(list)
    for one in records:
        groups[one["what"], one.get("kernel", "")].append(one)
        if one.get("kernel"):
            groups[one["what"], "all"].append(one)
    for (what, kernel), ones in sorted(groups.items()):
        kinds = collections.Counter(one.get("kind", "") for one in ones)
        told = ", ".join(f"{kind} {count}" for kind, count in sorted(kinds.items()) if kind)
        yield f"{what:24} {kernel:18} {len(ones):5} times  {told}"
        for key in sorted({key for one in ones for key in one if key.endswith("_ms")}):
            values = [one[key] for one in ones if one.get(key) is not None]
            if values:
                yield f"    {key:38} {len(values):5} {spread(values)}"


if __name__ == "__main__":
    print(f"{'':43} {'count':>5} {'median':>9} {'95 %':>9} {'max':>9}")
    for line in table(read(sys.argv[1:])):
        print(line)
