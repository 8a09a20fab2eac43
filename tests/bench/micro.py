"""The loops of micro.c: file data, and calls on small files; free to run anywhere, and on one CPU."""

import contextlib
import os
import subprocess

import columns
from harness import kernel
from results import Row, times_floor, times_native, times_other

EMPTY = {"/dev/fuse": "empty", "io_uring": "empty-ring"}
"""The columns of the empty server. It runs in any case: the floor takes its round trip."""

ENABLE_RING = "/sys/module/fuse/parameters/enable_uring"
ALL = ("native", "hotplugfs", "no-passthrough", "bindfs", "mergerfs")

COPYING = times_other(1 / 1.5, "bindfs", "no-passthrough")
DATA = [  # name, title, helper's test, threads, goals
    ("read", "read 1 MiB, warm", "read", 1, (times_native(1.05), COPYING)),
    ("read-cold", "read 1 MiB, cold", "read-cold", 1, (times_native(1.05), COPYING)),
    ("write", "write 1 MiB, warm", "write", 1, (times_native(1.05), COPYING)),
    ("write-cold", "write 1 MiB, new file, synced", "write-cold", 1,
     (times_native(1.05), COPYING)),
    ("mmap", "read 1 MiB, mmap", "mmap", 1, (times_native(1.05),)),
    ("direct-read", "read 1 MiB, O_DIRECT", "direct-read", 1, (times_native(1.05),)),
    ("direct-write", "write 1 MiB, O_DIRECT", "direct-write", 1, (times_native(1.05),)),
    ("random-read-1", "read 4 KiB, random", "random-read", 1, (times_native(1.4),)),
    ("random-read-4", "read 4 KiB, random, 4 threads", "random-read", 4, (times_native(1.4),)),
    ("random-write-1", "overwrite 4 KiB, random", "random-write", 1, (times_native(1.4),)),
    ("random-write-4", "overwrite 4 KiB, random, 4 threads", "random-write", 4,
     (times_native(1.4),)),
]
CALLS = {
    "create": "create+write+close",
    "open": "open+read+close",
    "rename": "rename",
    "unlink": "unlink",
    "mkdir": "mkdir",
    "rmdir": "rmdir",
}


def data_rows():
    return [Row(name, title, "µs", goals) for name, title, _, _, goals in DATA]


def call_rows(suffix, where, goals):
    return [Row(f"{name}{suffix}", f"{title}{where}", "µs", goals)
            for name, title in CALLS.items()]


ROWS = [
    *data_rows(),
    Row("stat", "stat of known files", "µs", (times_native(1.2),)),
    Row("ls-l", "ls -l of a directory, again", "ms", (times_native(1.2),)),
    Row("roundtrip", "statx that asks the server", "µs"),
    Row("roundtrip@1cpu", "statx that asks the server, one CPU", "µs"),
    *call_rows("", "", (times_floor(1.25), times_other(0.5, "bindfs"))),
    *call_rows("@1cpu", ", one CPU", (times_native(5),)),
]


def micro(run, test, directory, *options):
    """Runs the helper; {name: [ns, requests]}."""
    result = subprocess.run([run.helper("micro"), test, directory, *map(str, options)],
                            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, check=False)
    if result.returncode:
        raise RuntimeError(f"{test} in {directory}: {result.stderr.strip()}")
    return {words[0]: [float(word) for word in words[1:]]
            for words in map(str.split, result.stdout.splitlines())}


@contextlib.contextmanager
def empty_server(run, *more):
    """An emptyfs, mounted as the view is. more: "ring" for io_uring."""
    with run.directory() as work:
        point = os.path.join(work, "empty")
        os.mkdir(point)
        server = columns.start_server([run.helper("emptyfs"), point, "default_permissions", *more],
                                      stdout=subprocess.PIPE)
        try:
            assert server.stdout.readline() == b"ready\n", "emptyfs did not start"
            yield point
        finally:
            with contextlib.suppress(OSError):
                kernel.umount(point)
            columns.end_server(server)
            server.stdout.close()


@contextlib.contextmanager
def ring_allowed():
    """FUSE over io_uring, which the kernel has switched off by default. Says whether it has it."""
    try:
        with open(ENABLE_RING, "r+", encoding="ascii") as setting:
            before = setting.read().strip()
            setting.write("Y")
    except OSError:
        yield False
        return
    try:
        yield True
    finally:
        with open(ENABLE_RING, "w", encoding="ascii") as setting:
            setting.write(before)


@contextlib.contextmanager
def empty_servers(run):
    """An emptyfs for each channel that there is: {name: directory}."""
    with contextlib.ExitStack() as stack:
        places = {"/dev/fuse": stack.enter_context(empty_server(run))}
        if stack.enter_context(ring_allowed()):
            places["io_uring"] = stack.enter_context(empty_server(run, "ring"))
        yield places


def count_requests(run):
    """Requests that somebody waits for, by call, as the kernel sends them to any server. It fails
    when somebody makes the kernel forget the names meanwhile, which only the kernel knows."""
    for _ in range(5):
        with empty_server(run) as point:
            try:
                calls = micro(run, "names", point, "-n", 200, "-r")
                return {name: values[1] for name, values in calls.items()}
            except RuntimeError as error:
                run.say(f"counting again: {error}")
    raise RuntimeError("the requests of the calls cannot be counted")


def measure_data(run, places):
    for name, _, test, threads, _ in DATA:
        if not run.wants(name):
            continue
        count = (2000 if run.quick else 12000) // threads
        for _ in run.rounds(name):
            for column, place in places.items():
                values = micro(run, test, place, "-m", 8 if run.quick else 64, "-n", count,
                               "-t", threads)
                run.record(name, column, values[test][0] / 1000)
        for place in places.values():
            with contextlib.suppress(FileNotFoundError):
                os.unlink(os.path.join(place, "big"))


def roundtrip(run, place):
    """
    Microseconds to a server and back. After the work of another server the scheduler does not
    look for an idle CPU for some ten milliseconds (nr_idle_scan in kernel/sched/fair.c), and there
    both are on one CPU, as nobody's are who works for longer: so it is let go by first.
    """
    if not run.quick:
        micro(run, "roundtrip", place, "-n", 10000)
    trip = micro(run, "roundtrip", place, "-n", 500 if run.quick else 3000)
    return trip["roundtrip"][0] / 1000


def measure_calls(run, places, suffix):
    """All calls are made in one go; the floor is measured in the same rounds."""
    wanted = [name for name in (*CALLS, "stat", "roundtrip")
              if name + suffix in run.rows and run.wants(name + suffix)]
    if not wanted:
        return
    requests = count_requests(run)
    with empty_servers(run) as empty:
        shown = {EMPTY[channel]: place for channel, place in empty.items()
                 if EMPTY[channel] in run.columns}
        for _ in run.rounds("calls" + suffix):
            for column, place in [*places.items(), *shown.items()]:
                values = micro(run, "names", place, "-n", 100 if run.quick else 500)
                for name in wanted:
                    if name in values:
                        run.record(name + suffix, column, values[name][0] / 1000)
            for column, place in places.items() if "roundtrip" in wanted else ():
                run.record("roundtrip" + suffix, column, roundtrip(run, place))
            for channel, place in empty.items():
                trip = roundtrip(run, place)
                run.record_trip(channel, suffix, trip)
                if EMPTY[channel] in shown:
                    run.record("roundtrip" + suffix, EMPTY[channel], trip)
    for name in wanted:
        if name in CALLS:
            run.set_floor(name + suffix, requests[name], suffix)


def measure_ls(run, places):
    if not run.wants("ls-l"):
        return
    for place in places.values():
        os.mkdir(os.path.join(place, "many"))
        for number in range(500 if run.quick else 10000):
            with open(os.path.join(place, "many", f"file{number}"), "wb"):
                pass
        run.timed(["ls", "-l", os.path.join(place, "many")])
    for _ in run.rounds("ls-l"):
        for column, place in places.items():
            run.record("ls-l", column, run.timed(["ls", "-l", os.path.join(place, "many")]) * 1000)


def measure(run):
    free = [row.name for row in ROWS if not row.name.endswith("@1cpu")]
    if any(map(run.wants, free)):
        with columns.all_of(run, ALL) as places:
            measure_data(run, places)
            measure_ls(run, places)
            measure_calls(run, places, "")
    if any(run.wants(row.name) for row in ROWS if row.name.endswith("@1cpu")):
        with run.one_cpu(), columns.all_of(run, ALL) as places:
            measure_calls(run, places, "@1cpu")
