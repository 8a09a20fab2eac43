"""One run of the benchmark: what was asked for, and what has been measured so far."""

import contextlib
import fnmatch
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time

from results import Result


class Run:
    def __init__(self, options, work, build, rows):
        self.quick = options.quick
        self.large = options.large
        self.files = options.files or (300 if self.quick else 20000)
        self.columns = options.columns
        self.repeat = options.rounds or (2 if self.quick else 7)
        self.only = options.only
        self.work = work
        self.build = build
        self.binary = os.path.abspath(options.hotplugfs or os.path.join(build, "hotplugfs"))
        self.rows = {row.name: row for row in rows}
        self.results = {}
        self.trips = {}
        self.left_out = {}
        self.servers = []

    def helper(self, name):
        return os.path.join(self.build, "tests", "bench", name)

    def wants(self, name):
        """Whether a row was asked for."""
        return not self.only or any(fnmatch.fnmatchcase(name, glob) for glob in self.only)

    def say(self, text):
        print(f"# {text}", file=sys.stderr, flush=True)

    def rounds(self, label, count=None):
        """Numbers of the rounds; every column is measured in each of them."""
        count = count or self.repeat
        start = time.monotonic()
        yield from range(count)
        self.say(f"{label}: {count} rounds in {time.monotonic() - start:.0f} s")

    def record(self, row, column, value):
        """Keeps a sample; one of a row that was not asked for came by the way."""
        if not self.wants(row):
            return
        self.results.setdefault(row, Result(self.rows[row])).add(column, value)

    def note(self, row, text):
        if not self.wants(row):
            return
        self.results.setdefault(row, Result(self.rows[row])).notes.append(text)

    def record_trip(self, channel, suffix, microseconds):
        """One round trip to the empty server, on any CPU ("") or on one ("@1cpu")."""
        self.trips.setdefault((channel, suffix), []).append(microseconds)

    def set_floor(self, row, requests, suffix):
        """What the call costs natively, and the requests that the kernel insists on."""
        result = self.results.get(row)
        if not result or not result.median("native"):
            return
        trip = statistics.median(self.trips["/dev/fuse", suffix])
        result.floor = result.median("native") + requests * trip
        result.notes.append(f"{requests:.1f} requests of {trip:.1f} µs")

    def leave_out(self, column, reason):
        """A column stays empty, and the report tells why."""
        if column not in self.left_out:
            self.say(f"{column} is left out: {reason}")
        self.left_out[column] = reason
        self.columns = [name for name in self.columns if name != column]

    @contextlib.contextmanager
    def directory(self):
        """An empty directory on memory."""
        with tempfile.TemporaryDirectory(dir=self.work) as path:
            os.chmod(path, 0o755)
            yield path

    @contextlib.contextmanager
    def one_cpu(self):
        """Everything that is started within runs on one CPU, and so do we."""
        allowed = os.sched_getaffinity(0)
        os.sched_setaffinity(0, {max(allowed)})
        try:
            yield
        finally:
            os.sched_setaffinity(0, allowed)

    def timed(self, command, **options):
        """Seconds that a command takes."""
        start = time.monotonic()
        result = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                                stderr=subprocess.PIPE, text=True, check=False, **options)
        took = time.monotonic() - start
        if result.returncode:
            raise RuntimeError(f"{' '.join(command)}: {result.stderr.strip()}")
        return took

    def as_json(self):
        return {
            "kernel": platform.release(),
            "cpus": os.cpu_count(),
            "load": os.getloadavg()[0],
            "rounds": self.repeat,
            "quick": self.quick,
            "round_trip_us": {
                f"{channel}, {'one CPU' if suffix else 'any CPU'}": statistics.median(samples)
                for (channel, suffix), samples in self.trips.items()},
            "left_out": self.left_out,
            "rows": [self.results[name].as_json() for name in self.rows if name in self.results],
        }
