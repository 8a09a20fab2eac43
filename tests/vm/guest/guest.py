"""What a test can ask of the guest. Everything here runs there, with the harness of ../system."""

import contextlib
import glob
import os
import shutil
import signal
import subprocess
import time

from harness import kernel
from harness.daemon import Daemon
from harness.wait import until
from recorder import Recorder

MODULES = ("xhci_pci", "usb_storage", "uas", "sd_mod", "sdhci_pci", "mmc_block", "fuse", "loop")
WORK = "/run/vm"
POLL_DEFAULT = "/sys/module/block/parameters/events_dfl_poll_msecs"
SLOW = 60
"""Seconds that the emulated processor may need for what takes one second elsewhere."""


class Guest:
    def __init__(self):
        self.daemon = None
        self.recorder = None
        self.udevd = None
        self.jobs = {}

    def hello(self):
        """Called once; returns the kernel's release."""
        os.umask(0o022)
        kernel.mount("none", "/", "none", flags=kernel.MS_REC | kernel.MS_PRIVATE)
        for module in MODULES:
            subprocess.run(["modprobe", module], check=False, stderr=subprocess.DEVNULL)
        subprocess.run(["ip", "link", "set", "lo", "up"], check=False)
        os.makedirs(WORK)
        return os.uname().release

    def shell(self, command, check=True, timeout=60):
        """Returns the exit status and what was printed."""
        result = subprocess.run(["/bin/bash", "-c", command], stdin=subprocess.DEVNULL,
                                stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=timeout,
                                text=True, errors="replace", check=False)
        assert not check or result.returncode == 0, f"{command}: {result.stdout}"
        return result.returncode, result.stdout

    def has_filesystem(self, *types):
        """Which of the filesystem types this kernel has. Loads no module: that is the mount's."""
        def has_module(fstype):
            return subprocess.run(["modprobe", "-q", "-n", fstype], check=False).returncode == 0
        return [one for one in types if one in kernel.filesystems() or has_module(one)]

    # The daemon.

    def start_daemon(self, binary, options=(), passthrough=True, include=(), sysfs=True):
        """sysfs: whether it may write there."""
        work = os.path.join(WORK, f"daemon{time.monotonic_ns()}")
        extra = [] if passthrough else ["--no-passthrough"]
        for kname in include:
            extra += ["--include", kname]
        self.daemon = Daemon(binary, work, [], options, extra)
        if not sysfs:
            self.shell("mount --bind -o ro /sys /sys")
        self.daemon.start()
        self.recorder = Recorder(self.daemon.media)
        return self.daemon.media

    def stop_daemon(self, allowed_errors=()):
        """Ends it as the system tests do: exit status 0, nothing left, no error in its log."""
        daemon, self.daemon = self.daemon, None
        self.recorder.stop()
        try:
            daemon.allowed_errors = list(allowed_errors)
            daemon.stop(deadline_s=SLOW)
            daemon.check_log()
        finally:
            daemon.clean_up()

    def clean_up(self):
        """After a test, whatever became of it."""
        for job in list(self.jobs):
            self.end_job(job)
        if self.daemon:
            self.recorder.stop()
            self.daemon.clean_up()
            self.daemon = None
        self.stop_udevd()
        self.shell("until touch -c /sys/module/block/uevent; do umount -l /sys; done")
        for directory in glob.glob(f"{WORK}/*"):
            shutil.rmtree(directory, ignore_errors=True)

    def wait_names(self, *names, deadline_s=SLOW):
        self.daemon.wait_for(*names, deadline_s=deadline_s)

    def logged(self, text):
        """How often the daemon's log has it."""
        return self.daemon.log().count(text)

    def wait_state(self, name, *states):
        self.daemon.wait_state(name, *states, deadline_s=SLOW)

    def records(self):
        """What was recorded since the last call."""
        return self.recorder.take()

    def wait_gone(self):
        """Waits for a disk that goes, and its directory. Returns when the kernel told, when the
        listing was empty, and when inotify told."""
        def first(what):
            return min((one["at"] for one in self.recorder.records
                        if (one["source"], one["what"]) == what), default=0)

        what = (("kernel", "remove"), ("listing", "empty"), ("view", "gone"))
        until("a directory goes", lambda: all(map(first, what)), SLOW)
        times = [first(one) for one in what]
        self.records()
        return times

    # Files in the view.

    def write(self, path, text):
        with open(self.daemon.path(path), "w", encoding="utf-8") as file:
            file.write(text)

    def write_durably(self, path, size, seed):
        """A file of pseudo-random bytes, which is on the disk when this returns."""
        descriptor = os.open(self.daemon.path(path), os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.write(descriptor, pattern(size, seed))
        os.fsync(descriptor)
        os.close(descriptor)
        parent = os.open(os.path.dirname(self.daemon.path(path)), os.O_RDONLY | os.O_DIRECTORY)
        os.fsync(parent)
        os.close(parent)

    def is_intact(self, path, size, seed):
        with open(self.daemon.path(path), "rb") as file:
            return file.read() == pattern(size, seed)

    def read(self, path):
        with open(self.daemon.path(path), encoding="utf-8") as file:
            return file.read()

    def listing(self, path):
        return sorted(os.listdir(self.daemon.path(path)))

    # Work beside the calls.

    def start_job(self, command):
        """A shell command, in the directory of the media if there is a daemon; returns its number."""
        output = os.path.join(WORK, f"job{time.monotonic_ns()}")
        with open(output, "wb") as out:
            process = subprocess.Popen(["/bin/bash", "-c", command], cwd=self.daemon.media if self.daemon else "/",
                                       stdin=subprocess.DEVNULL, stdout=out, stderr=out,
                                       start_new_session=True)
        self.jobs[process.pid] = process, output
        return process.pid

    def jobs_ended(self):
        """What those that have ended have printed."""
        texts = []
        for process, output in self.jobs.values():
            if process.poll() is not None:
                with open(output, encoding="utf-8", errors="replace") as printed:
                    texts.append(f"{process.args[2]}: {printed.read()}")
        return texts

    def status_of_jobs(self):
        return [process.returncode for process, _ in self.jobs.values()]

    def wait_jobs(self):
        """Waits until all have ended by themselves. Returns when that was."""
        def running():
            return [process.args[2] for process, _ in self.jobs.values() if process.poll() is None]
        until(lambda: f"these end: {running()}; in state D: {blocked()}", lambda: not running(), SLOW)
        self.jobs.clear()
        return time.monotonic()

    def end_job(self, job):
        process, _ = self.jobs.pop(job)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait(SLOW)

    def wait_nothing_blocked(self):
        """No process waits in the kernel for a device, and none keeps waiting."""
        until(lambda: f"no process in state D: {blocked()}", lambda: not blocked(), SLOW)

    # udevd.

    def start_udevd(self):
        """udevd with the distribution's rules, as on a host."""
        os.makedirs("/run/udev", exist_ok=True)
        self.udevd = subprocess.Popen(["/lib/systemd/systemd-udevd"], stdin=subprocess.DEVNULL,
                                      stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        until("udevd listens", lambda: os.path.exists("/run/udev/control"), SLOW)
        self.shell("udevadm trigger -c add -s module -y block; udevadm trigger -c add -s block;"
                   "udevadm settle -t 50")

    def stop_udevd(self):
        if not self.udevd:
            return
        self.udevd.terminate()
        self.udevd.wait(SLOW)
        self.udevd = None
        shutil.rmtree("/run/udev", ignore_errors=True)
        with open(POLL_DEFAULT, "w", encoding="ascii") as setting:
            setting.write("0")


def pattern(size, seed):
    """Bytes that differ in every block and for every seed."""
    return b"".join(b"%015d\n" % (seed * 1000003 + number) for number in range(size // 16))


def blocked():
    """Processes in state D: their name and number."""
    found = []
    for path in glob.glob("/proc/[0-9]*/task/*/stat"):
        with contextlib.suppress(OSError), open(path, encoding="utf-8", errors="replace") as stat:
            head, _, tail = stat.read().rpartition(")")
            if tail.split()[0] == "D" and not is_kernel_thread(tail):
                found.append(head.partition("(")[2] + " " + path.split("/")[2])
    return found


def is_kernel_thread(tail):
    """PF_KTHREAD in the flags (proc(5))."""
    return bool(int(tail.split()[6]) & 0x00200000)
