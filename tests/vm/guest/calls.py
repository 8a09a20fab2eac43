"""
Which calls of the jobs were in the kernel when a device went, and when they came back: by the
kernel's own trace points. Calls that wait for something else than a file are left out, as are those
that start programs: these are read from the root, and vfork waits until they are.
"""

import contextlib
import os
import re

TRACING = "/sys/kernel/tracing"
EVENTS = ("raw_syscalls/sys_enter", "raw_syscalls/sys_exit", "signal/signal_deliver")
WAITING = {7, 13, 14, 23, 34, 35, 56, 57, 58, 59, 61, 202, 230, 232, 247, 270, 271, 281, 435}
"""poll, rt_sig*, select, pause, nanosleep, clone, fork, vfork, execve, wait4, futex, epoll_wait,
waitid, clone3, ... of x86_64"""
SIGBUS = 7
LINE = re.compile(r"-(\d+) +\[\d+\] \S+ +(\d+)\.(\d{6}): (\w+): (.*)")

class Trace:
    """What traced processes do, and those that they start."""

    def __init__(self):
        if not os.path.exists(f"{TRACING}/trace"):
            os.system(f"mount -t tracefs none {TRACING}")
        self.directory = f"{TRACING}/instances/calls"
        with contextlib.suppress(FileExistsError):
            os.mkdir(self.directory)
        for name, value in (("tracing_on", "0"), ("trace_clock", "mono"),
                            ("buffer_size_kb", "4096"), ("options/event-fork", "1")):
            self._write(name, value)
        for event in EVENTS:  # which takes long
            self._write(f"events/{event}/enable", "1")

    def _write(self, name, value):
        with open(f"{self.directory}/{name}", "w", encoding="ascii") as file:
            file.write(value)

    def start(self, pids):
        self._write("trace", "")
        self._write("set_event_pid", " ".join(map(str, pids)))
        self._write("tracing_on", "1")

    def stop(self):
        self._write("tracing_on", "0")
        with open(f"{self.directory}/trace", encoding="utf-8", errors="replace") as file:
            return file.read()


def events(text):
    """Of a trace: process, time in microseconds, event, the rest of the line."""
    for line in text.splitlines():
        match = LINE.search(line)
        if match:
            yield int(match[1]), int(match[2] + match[3]), match[4], match[5]


def returned(text, moment):
    """
    From a moment on, in microseconds: how long after it those calls that were running then
    returned, and the longest that any call took, with its process and number. A page that could
    not be had, and ended its process, is a call, too.
    """
    inside, running, longest = {}, [], (0, 0, 0)
    for pid, at, event, rest in events(text):
        number = int(rest.split()[1]) if event != "signal_deliver" else None
        if event == "sys_enter":
            inside[pid] = at
        elif at <= moment or number in WAITING:
            inside.pop(pid, None)
        elif event == "sys_exit":
            began = inside.pop(pid, 0)
            longest = max(longest, (at - max(began, moment), pid, number))
            if began <= moment:
                running.append(at - moment)
        elif f"sig={SIGBUS} " in rest:
            running.append(at - moment)
    return running, longest
