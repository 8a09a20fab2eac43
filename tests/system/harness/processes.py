"""What a group of processes uses, read from /proc."""

import contextlib
import os


def of_session(session):
    """Process ids of everything that was started by the leader of a session, and the leader."""
    pids = []
    for name in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError, ValueError):
            with open(f"/proc/{name}/stat", encoding="utf-8", errors="replace") as stat:
                fields = stat.read().rpartition(")")[2].split()
            if int(fields[3]) == session and fields[0] not in "ZX":
                pids.append(int(name))
    return sorted(pids)


def with_variable(name, value):
    """Process ids of those that were started with this in their environment."""
    wanted = f"{name}={value}".encode()
    pids = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError):
            with open(f"/proc/{pid}/environ", "rb") as environment:
                if wanted in environment.read().split(b"\0"):
                    pids.append(int(pid))
    return pids


def children(pid):
    """Process ids of its children."""
    with contextlib.suppress(OSError):
        with open(f"/proc/{pid}/task/{pid}/children", encoding="ascii") as line:
            return [int(word) for word in line.read().split()]
    return []


def tree(pid):
    """It and its children and theirs."""
    return [pid, *(one for child in children(pid) for one in tree(child))]


def of_user(uid):
    """Process ids whose real user this is."""
    return [int(name) for name in filter(str.isdigit, os.listdir("/proc"))
            if _status_uid(name) == uid]


def _status_uid(pid):
    with contextlib.suppress(OSError, KeyError):
        facts = status(pid)
        return -1 if facts["State"].startswith("Z") else int(facts["Uid"].split()[0])
    return -1


def status(pid):
    """/proc/PID/status as a dictionary of texts."""
    with open(f"/proc/{pid}/status", encoding="utf-8", errors="replace") as lines:
        return dict(map(str.strip, line.split(":", 1)) for line in lines)


def open_files(pid):
    """What each of its file descriptors points to; nothing when it has ended."""
    files = []
    with contextlib.suppress(OSError):
        for descriptor in os.listdir(f"/proc/{pid}/fd"):
            with contextlib.suppress(OSError):  # closed since it was listed
                files.append(os.readlink(f"/proc/{pid}/fd/{descriptor}"))
    return files


def threads(pid):
    """How many it has; none when it has ended."""
    with contextlib.suppress(OSError):
        return len(os.listdir(f"/proc/{pid}/task"))
    return 0


def waits(pid, task):
    """Whether a thread waits for a device; not when it has ended."""
    with contextlib.suppress(OSError):
        with open(f"/proc/{pid}/task/{task}/stat", encoding="utf-8", errors="replace") as stat:
            return stat.read().rpartition(")")[2].split()[0] == "D"
    return False


def sleeps_in(pid):
    """The kernel's function that it waits in; nothing when it runs or has ended."""
    with contextlib.suppress(OSError):
        with open(f"/proc/{pid}/wchan", encoding="ascii") as function:
            return function.read()
    return ""


def cpu_s(pid):
    """Seconds that it has had of a processor."""
    with open(f"/proc/{pid}/stat", encoding="ascii") as stat:
        user, system = stat.read().rpartition(")")[2].split()[11:13]
    return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")


def private_memory(pid):
    """Bytes that only this process uses and has written to."""
    with open(f"/proc/{pid}/smaps_rollup", encoding="ascii") as rollup:
        values = dict(line.split()[:2] for line in rollup.readlines()[1:])
    return int(values["Private_Dirty:"]) * 1024


def command_line(pid):
    with contextlib.suppress(OSError):
        with open(f"/proc/{pid}/cmdline", encoding="utf-8", errors="replace") as line:
            return line.read().replace("\0", " ").strip()
    return ""


def name(pid):
    """As ps(1) shows it; "" when it has ended."""
    try:
        with open(f"/proc/{pid}/comm", encoding="utf-8") as file:
            return file.read().strip()
    except OSError:
        return ""


def has_open(pid, path):
    """Whether it has this file open; not when it has ended."""
    return path in open_files(pid)
