"""What the daemon costs when nothing happens, and what it is made of."""

import os
import shutil
import socket
import subprocess
import time

import columns
from results import Row, at_most

LIBRARIES = ("libc.so", "libfuse3", "libblkid", "libudev", "libjson-c", "libinih", "libseccomp",
             "libcap-ng", "liburing", "libcap.so", "ld-linux", "linux-vdso")
"""Those of the goal, and what they need themselves."""

ROWS = [
    Row("wakeups", "wakeups in 60 idle seconds", "", (at_most(0, ""),)),
    Row("binary", "size of the binary, stripped", "MiB", (at_most(1, "MiB"),)),
    Row("libraries", "shared libraries not on the list", "", (at_most(0, ""),)),
    Row("start", "start to READY", "ms", (at_most(50, "ms"),)),
]


def switches(pids):
    """How often their threads were given a CPU: context switches, voluntary and not."""
    total = 0
    for pid in pids:
        for thread in os.listdir(f"/proc/{pid}/task"):
            with open(f"/proc/{pid}/task/{thread}/status", encoding="utf-8") as status:
                total += sum(int(line.split()[1]) for line in status if "ctxt_switches" in line)
    return total


def events():
    """Kernel events so far; every one of them wakes whoever listens, whatever its device."""
    with open("/sys/kernel/uevent_seqnum", encoding="ascii") as number:
        return int(number.read())


def quiet_wakeups(view, seconds):
    """(switches, events of other devices meanwhile), of an interval without any if there is one."""
    for _ in range(3):
        before, seen = switches(view.pids()), events()
        time.sleep(seconds)
        woken, disturbed = switches(view.pids()) - before, events() - seen
        if not disturbed:
            break
    return woken, disturbed


def measure_wakeups(run, work):
    """A medium is there, has been used, and is idle again."""
    seconds = 5 if run.quick else 60
    with columns.ram_disk(work, 64 << 20) as disk, \
            columns.daemon(run, work, [disk], ["--idle-timeout", "200ms"]) as view:
        view.start().wait_for("DISK")
        os.listdir(view.path("DISK"))
        view.wait_state("DISK", "idle", deadline_s=10)
        time.sleep(2)
        woken, disturbed = quiet_wakeups(view, seconds)
        run.record("wakeups", "hotplugfs", woken)
        run.note("wakeups", f"in {seconds} s, with {disturbed} kernel events of other devices, "
                 "which wake whoever listens")


def measure_binary(run, work):
    stripped = os.path.join(work, "stripped")
    shutil.copy(run.binary, stripped)
    subprocess.run(["strip", stripped], check=True)
    run.record("binary", "hotplugfs", os.stat(stripped).st_size / (1 << 20))
    loaded = subprocess.run(["ldd", run.binary], stdout=subprocess.PIPE, text=True,
                            check=True).stdout.split("\n")
    names = [os.path.basename(line.split()[0]) for line in loaded if line.strip()]
    foreign = [name for name in names if not name.startswith(LIBRARIES)]
    run.record("libraries", "hotplugfs", len(foreign))
    run.note("libraries", f"{len(names)} in all; not on the list: {' '.join(foreign) or 'none'}")


def until_ready(command, address):
    """Milliseconds until a service manager, who waits for nothing else, is told READY=1."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(address)
        manager.settimeout(10)
        start = time.monotonic()
        daemon = subprocess.Popen(command, env={**os.environ, "NOTIFY_SOCKET": address},
                                  stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                                  stderr=subprocess.DEVNULL)
        try:
            while b"READY=1" not in manager.recv(4096).splitlines():
                pass
            return (time.monotonic() - start) * 1000
        finally:
            daemon.terminate()
            daemon.wait()
            os.unlink(address)


def measure_start(run, work):
    with columns.daemon(run, work, []) as view:
        for _ in run.rounds("start", 3 if run.quick else 15):
            took = until_ready(view.command, os.path.join(work, "notify"))
            run.record("start", "hotplugfs", took)


PARTS = {"wakeups": measure_wakeups, "binary": measure_binary, "libraries": measure_binary,
         "start": measure_start}


def measure(run):
    with run.directory() as work:
        for part in dict.fromkeys(part for name, part in PARTS.items() if run.wants(name)):
            part(run, work)
