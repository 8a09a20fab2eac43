"""What a test can ask of the guest. Everything here runs there, with the harness of ../system."""

import contextlib
import glob
import os
import shutil
import signal
import subprocess
import time

from calls import Trace, returned
from harness import kernel, processes
from harness.daemon import Daemon
from harness.wait import until
from recorder import Recorder
from vm.images import fill, pattern

MODULES = ("xhci_pci", "usb_storage", "uas", "sd_mod", "sdhci_pci", "mmc_block", "fuse", "loop")
WORK = "/run/vm"
POLL_DEFAULT = "/sys/module/block/parameters/events_dfl_poll_msecs"
SLOW = 60
"""Seconds that the emulated processor may need for what takes one second elsewhere."""


class Guest:
    def __init__(self):
        self.daemon = None
        self.recorder = None
        self.trace = None
        self.going = {}
        self.udevd = None
        self.jobs = {}

    def hello(self):
        """Called once; returns the kernel's release."""
        os.umask(0o022)
        kernel.mount("none", "/", "none", flags=kernel.MS_REC | kernel.MS_PRIVATE)
        self.load_modules(*MODULES)
        subprocess.run(["ip", "link", "set", "lo", "up"], check=False)
        os.makedirs(WORK)
        return os.uname().release

    @staticmethod
    def load_modules(*names):
        for name in names:
            subprocess.run(["modprobe", "-q", name], check=False)

    def shell(self, command, check=True, timeout=SLOW):
        """Returns the exit status and what was printed."""
        with subprocess.Popen(["/bin/bash", "-c", command], stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                              errors="replace", start_new_session=True) as process:
            try:
                printed, _ = process.communicate(timeout=timeout)
            except subprocess.TimeoutExpired as error:
                where = [stack(pid) for pid in processes.tree(process.pid)]
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                raise AssertionError(f"{command}: not within {timeout} s; {where}, in state D: "
                                     f"{blocked()}") from error
        assert not check or process.returncode == 0, f"{command}: {printed}"
        return process.returncode, printed

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
        observer = os.path.join(os.path.dirname(binary), "tests", "vm", "guest", "observer")
        self.recorder = Recorder(observer, self.daemon.media)
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
        self.end_jobs()
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

    def eject(self, name):
        self.daemon.eject(name)

    def client(self, *args):
        """Returns the exit status and what was printed, of both kinds."""
        result = self.daemon.client(*args, check=False, timeout=SLOW)
        return result.returncode, result.stdout + result.stderr

    def wait_state(self, name, *states):
        """Without a client, which takes long to start here."""
        def state():
            return os.getxattr(self.daemon.path(name), "user.hotplugfs.state").decode()
        until(lambda: f"{name}, now {state()}, is {' or '.join(states)}",
              lambda: state() in states, SLOW)

    # A disk that goes.

    def watch_going(self, names, jobs):
        """From now on what happens to these, and which calls of these jobs return."""
        self.going = {name: os.getxattr(self.daemon.path(name), "user.hotplugfs.device").decode()
                      for name in names}
        self.trace = self.trace or Trace()
        self.trace.start([pid for job in jobs for pid in processes.tree(job)])
        self.recorder.forget()

    def wait_gone(self):
        """Waits until they are gone. Returns for each name when the kernel told, when the listing
        was without it, and when inotify told; microseconds."""
        wanted = [one for name, kname in self.going.items() for one in
                  (("kernel", "remove", kname), ("listing", "gone", name),
                   ("inotify", "delete", name))]
        times = self.recorder.wait(wanted, SLOW)
        return {name: times[3 * number:3 * number + 3] for number, name in enumerate(self.going)}

    def calls_returned(self, moment):
        """See there. The jobs have ended."""
        return returned(self.trace.stop(), moment)

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

    def write_pattern(self, path, size, seed):
        """The same, left to the daemon to be brought to the disk."""
        with open(self.daemon.path(path), "wb") as file:
            file.write(pattern(size, seed))

    def is_intact(self, path, size, seed):
        try:
            with open(self.daemon.path(path), "rb") as file:
                return file.read() == pattern(size, seed)
        except OSError:
            return False

    def why(self, name):
        """What there is of a disk on which something is not as it should be."""
        return self.shell(f"ls -lR {self.daemon.path(name)} | tail -n 40; "
                          "dmesg | tail -n 30", check=False)[1]

    def read(self, path):
        with open(self.daemon.path(path), encoding="utf-8") as file:
            return file.read()

    def listing(self, path):
        return sorted(os.listdir(self.daemon.path(path)))

    def fill_natively(self, label, fstype):
        """What the view only reads is written to by this kernel's own mount."""
        place = os.path.join(WORK, "native")
        os.makedirs(place, exist_ok=True)
        until("it is there", lambda: self.shell(f"blkid -L {label}", check=False)[0] == 0, SLOW)
        self.shell(f"mount -t {fstype} LABEL={label} {place}")
        fill(place)
        self.shell(f"umount {place}")

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

    def end_jobs(self):
        for job in list(self.jobs):
            self.end_job(job)

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

    def wait_jobs(self, jobs=None):
        """Waits until these, or all, have ended by themselves. Returns when that was, in
        microseconds."""
        jobs = jobs or list(self.jobs)

        def running():
            return [job for job in jobs if self.jobs[job][0].poll() is None]

        def where():
            return [stack(pid) for job in running() for pid in processes.tree(job)]

        until(lambda: f"these end: {where()}; in state D: {blocked()}; where others are:\n{stacks()}",
              lambda: not running(), SLOW)
        for job in jobs:
            del self.jobs[job]
        return time.monotonic_ns() // 1000

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


def stack(pid):
    """What a process is, and where it waits in the kernel."""
    with contextlib.suppress(OSError), open(f"/proc/{pid}/cmdline", encoding="utf-8") as command, \
            open(f"/proc/{pid}/stack", encoding="ascii") as lines:
        return command.read().split("\0"), [line.split()[1] for line in lines]
    return pid, "has ended"


def blocked():
    """Processes in state D: their name and number."""
    found = []
    for path in glob.glob("/proc/[0-9]*/task/*/stat"):
        with contextlib.suppress(OSError), open(path, encoding="utf-8", errors="replace") as stat:
            head, _, tail = stat.read().rpartition(")")
            if tail.split()[0] == "D" and not is_kernel_thread(tail):
                found.append(head.partition("(")[2] + " " + path.split("/")[2])
    return found


def stacks():
    """Where in the kernel each thread is that has to do with the view, uses it, or is in state D."""
    found = []
    for path in glob.glob("/proc/[0-9]*/task/*/stack"):
        with contextlib.suppress(OSError), open(path, encoding="ascii") as stack:
            calls = [line.split()[1].partition("+")[0] for line in stack]
            name, state = read_name(path), read_state(path)
            if state == "D" or name == "hotplugfs" or any("fuse" in call for call in calls):
                found.append(f"{name} {path.split('/')[4]} {state}: {' '.join(calls[:12])}")
    return "\n".join(found)


def read_name(path):
    with open(os.path.join(os.path.dirname(path), "comm"), encoding="utf-8") as name:
        return name.read().strip()


def read_state(path):
    with open(os.path.join(os.path.dirname(path), "stat"), encoding="utf-8") as stat:
        return stat.read().rpartition(")")[2].split()[0]


def is_kernel_thread(tail):
    """PF_KTHREAD in the flags (proc(5))."""
    return bool(int(tail.split()[6]) & 0x00200000)
