"""
Where the time of small files goes when client and server have one CPU: each sample of a profile of
that CPU (perf) is put down to a part of the way of a call.
"""

import collections
import os
import shutil
import subprocess

import columns
import tools

FREQUENCY = 20000
FILES = 1000
PASSES = 100
PARTS = {
    "program": "the program, and the kernel before FUSE",
    "client": "FUSE in the kernel, for the program",
    "switch": "from one process to the other",
    "channel": "requests read and answered",
    "disk": "the call on the disk's filesystem",
    "backing": "files registered for passthrough",
    "look": "stat by the server",
    "entry": "the server's ways into the kernel and back, its other calls",
    "own": "the server's own code",
}
OF_SERVER = ("look", "entry", "own")
"""What a server that costs nothing would save."""

SWITCHES = ("__schedule", "finish_task_switch", "switch_mm_irqs_off", "__switch_to_asm")
LOOKS = ("newfstatat", "newfstat", "statx")
OTHER_CALLS = ("futex", "getrusage", "clock_nanosleep", "poll", "sched_setaffinity", "setfsuid",
               "sched_setscheduler", "setfsgid", "timerfd_settime", "epoll_wait")


def system_call(frames):
    """The name of the system call that a stack is in, or None."""
    for frame in frames:
        for prefix in ("__x64_sys_", "__arm64_sys_", "__do_sys_"):
            if frame.startswith(prefix):
                return frame.removeprefix(prefix)
    return None


def part_of_server(frames, in_kernel):
    if not in_kernel:
        return "own"
    if any(frame.startswith(("fuse_dev_read", "fuse_dev_write", "fuse_dev_splice"))
           for frame in frames):
        return "channel"
    if any(frame.startswith("fuse_dev_ioctl") for frame in frames):
        return "backing"
    call = system_call(frames)
    if call in LOOKS:
        return "look"
    if call in OTHER_CALLS or not (call or "task_work_run" in frames):
        return "entry"
    return "disk"


def part_of(command, program, frames, in_kernel):
    """Which of PARTS a sample is of; frames: innermost first. None: of another process."""
    if command not in (program, "hotplugfs"):
        return None
    if any(frame.startswith(SWITCHES) for frame in frames):
        return "switch"
    if command == "hotplugfs":
        return part_of_server(frames, in_kernel)
    return "client" if any("fuse_" in frame for frame in frames) else "program"


def samples(profile):
    """(command, frames, whether in the kernel) of each sample in the output of perf script."""
    for block in profile.split("\n\n"):
        command, *lines = block.strip("\n").splitlines() or [""]
        if lines:
            frames = [line.split(maxsplit=1)[-1].split("+")[0].split(" (")[0] for line in lines]
            yield command.strip(), frames, "[kernel" in lines[0]


def shares(run, command, place):
    """Runs a command on this CPU; {part: share}."""
    cpu, = os.sched_getaffinity(0)
    record = os.path.join(place, "perf")
    run.timed(["perf", "record", "-q", "-F", str(FREQUENCY), "-e", "cpu-clock", "-g",
               "-C", str(cpu), "-o", record, "--", *command])
    profile = subprocess.run(["perf", "script", "-i", record, "-F", "comm,ip,sym,dso"],
                             stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
                             check=True).stdout
    program = os.path.basename(command[0])
    counts = collections.Counter(part_of(name, program, *sample)
                                 for name, *sample in samples(profile))
    counts.pop(None, None)
    return {part: counts[part] / counts.total() for part in PARTS}


def works(run, source, archive, target):
    """What is done, in this order: (title or None, command, calls or files)."""
    yield "open+read+close", [run.helper("micro"), "open", os.path.dirname(target), "-n",
                              str(FILES), "-p", str(PASSES)], FILES * PASSES
    for name, command in tools.commands(source, archive, target).items():
        yield tools.TITLES[name], command, run.files
        yield (tools.TITLES["rm"] if name == "cp" else None), \
            ["rm", "-r", os.path.join(target, "source")], run.files
    os.rmdir(target)


def each(run, place, look):
    """{title: look(command, count)} of all that is done in a directory."""
    with run.directory() as directory:
        source = tools.make_source(directory, run.files)
        archive = shutil.make_archive(os.path.join(directory, "archive"), "tar", directory,
                                      "source")
        found = {title: look(command, count, directory) for title, command, count
                 in works(run, source, archive, os.path.join(place, "copies"))}
    return {title: value for title, value in found.items() if title}


def tell(native, ours, parts):
    """A table for README.md: microseconds of each call or file, by part."""
    def line(title, values):
        return f"| {title} | {' | '.join(f'{value:.1f}' for value in values)} |"

    yield f"| µs | {' | '.join(ours)} |"
    yield f"|---|{'---|' * len(ours)}"
    yield line("natively", native.values())
    yield line("through hotplugfs", ours.values())
    for part, title in PARTS.items():
        yield line(title, (ours[work] * parts[work][part] for work in ours))
    floors = (ours[work] * (1 - sum(parts[work][part] for part in OF_SERVER)) / native[work]
              for work in ours)
    yield (f"| without the last three, relative to native | "
           f"{' | '.join(f'{floor:.1f}×' for floor in floors)} |")


def measure(run):
    def microseconds(command, count, _directory):
        return run.timed(command) * 1e6 / count

    with run.one_cpu(), columns.all_of(run, ("native", "hotplugfs")) as places:
        native = each(run, places["native"], microseconds)
        ours = each(run, places["hotplugfs"], microseconds)
        parts = each(run, places["hotplugfs"],
                     lambda command, _count, directory: shares(run, command, directory))
    print("\n".join(tell(native, ours, parts)))
