"""
What is compared: the same ext4 on a RAM disk, mounted by the kernel alone and seen through others.

A column is used as a context manager; it gives the directory to work in.
"""

import contextlib
import os
import subprocess

from harness import disks, kernel
from harness.daemon import Daemon, die_with_parent
from harness.wait import until
from machine import prefer

NO_LAZY_WORK = ["-E", "lazy_itable_init=0,lazy_journal_init=0", "-m", "0"]
FLAGS = kernel.MS_NOSUID | kernel.MS_NODEV


def start_server(command, **options):
    """A server that ends with us, and not by a Ctrl-C that we shall handle."""
    server = subprocess.Popen(command, stdin=subprocess.DEVNULL, start_new_session=True,
                              preexec_fn=die_with_parent, **options)
    prefer(server.pid)
    return server


def end_server(process):
    process.terminate()
    try:
        process.wait(timeout=10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


@contextlib.contextmanager
def ram_disk(work, size, label="DISK"):
    """A formatted zram device of our own."""
    disk = disks.ZramDisk(work, size=size)
    try:
        with open(f"/sys/block/{disk.kname}/disksize", "w", encoding="ascii") as disksize:
            disksize.write(str(size))
        disks.run_quietly(disks.mkfs_command("ext4", label, None) + NO_LAZY_WORK + [disk.device])
        yield disk
    finally:
        disk.remove()


@contextlib.contextmanager
def mounted(device, point):
    os.makedirs(point)
    kernel.mount(device, point, "ext4", "errors=remount-ro", FLAGS)
    try:
        yield point
    finally:
        kernel.umount(point)
        os.rmdir(point)


@contextlib.contextmanager
def native(run, work, size):
    with ram_disk(work, size) as disk, mounted(disk.device, os.path.join(work, "native")) as point:
        yield point


@contextlib.contextmanager
def layered(work, size, command):
    """A foreground server that shows the directory `below` at `above`."""
    below, above = os.path.join(work, "below"), os.path.join(work, "above")
    with ram_disk(work, size) as disk, mounted(disk.device, below):
        os.makedirs(above)
        with open(os.path.join(work, "log"), "wb") as log:
            server = start_server([*command, below, above], stdout=log, stderr=log)
        try:
            until(f"{command[0]} has mounted",
                  lambda: server.poll() is not None or os.path.ismount(above), 10)
            assert server.poll() is None, f"{command[0]} ended"
            yield above
        finally:
            with contextlib.suppress(OSError):
                kernel.umount(above)
            end_server(server)


def bindfs(run, work, size):
    return layered(work, size, ["bindfs", "-f"])


def mergerfs(run, work, size):
    return layered(work, size, ["mergerfs", "-f", "-o", "allow_other,minfreespace=1M"])


class PreferredDaemon(Daemon):
    """One that is not kept waiting by what else runs here."""

    def start(self, ready=True):
        super().start(ready)
        prefer(self.process.pid)
        return self


@contextlib.contextmanager
def daemon(run, work, devices, options=(), **environment):
    """A daemon that logs little; not yet started. It must end as it should."""
    one = PreferredDaemon(run.binary, work, devices, ["--log-level", "notice", *options], **environment)
    try:
        yield one
        if one.process:
            one.stop()
    finally:
        one.clean_up()


@contextlib.contextmanager
def hotplugfs(run, work, size, options=()):
    with ram_disk(work, size) as disk, daemon(run, work, [disk], options) as view:
        view.start().wait_for("DISK")
        run.servers.append(view)
        try:
            yield view.path("DISK")
        finally:
            run.servers.remove(view)


def hotplugfs_copying(run, work, size):
    return hotplugfs(run, work, size, ["--no-passthrough"])


COLUMNS = {
    "native": native,
    "hotplugfs": hotplugfs,
    "no-passthrough": hotplugfs_copying,
    "bindfs": bindfs,
    "mergerfs": mergerfs,
}


@contextlib.contextmanager
def all_of(run, names, size=1 << 30):
    """Those columns of the run that have a directory, at the same time: {name: directory}."""
    with run.directory() as work, contextlib.ExitStack() as stack:
        places = {}
        for name in names:
            if name not in COLUMNS or name not in run.columns:
                continue
            own = os.path.join(work, name)
            os.makedirs(own)
            try:
                places[name] = stack.enter_context(COLUMNS[name](run, own, size))
            except (AssertionError, OSError) as error:
                run.leave_out(name, str(error))
        yield places
