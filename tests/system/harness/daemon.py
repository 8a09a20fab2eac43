"""One `hotplugfs mount` in the foreground: started, asked, watched, ended, and looked through."""

import contextlib
import ctypes
import json
import os
import re
import signal
import socket
import subprocess
import tempfile

from . import kernel, processes
from .wait import SLOWNESS, until

SUSPICIOUS = re.compile(
    r"ERROR: AddressSanitizer|ERROR: LeakSanitizer|WARNING: ThreadSanitizer|runtime error:"
    r"|Assertion .* failed|stack smashing|buffer overflow detected|^<[0-3]>", re.MULTILINE)
PR_SET_PDEATHSIG = 1


def with_places(text, binary):
    """A sanitizer's report with the function and line of each address: its sandboxed process
    cannot start the program that looks them up."""
    def place(match):
        found = subprocess.run(["addr2line", "-fse", binary, match[1]], stdout=subprocess.PIPE,
                               text=True, check=False).stdout.split()
        return " ".join(found)

    name = re.escape(os.path.basename(binary))
    return re.sub(rf"(?:<null> )*\(\S*{name}\+(0x[0-9a-f]+)\)(?: \(BuildId: \w+\))?", place, text)


def as_journal(log):
    """What a service gets whose stderr is the journal: then each line begins with its priority."""
    status = os.fstat(log.fileno())
    return {"JOURNAL_STREAM": f"{status.st_dev}:{status.st_ino}"}


def run_to_end(command):
    """Runs what does not stay; its stderr is without what is for information only."""
    with tempfile.TemporaryFile("w+", encoding="utf-8") as log:
        result = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                stderr=log, text=True, timeout=30, check=False,
                                env={**os.environ, **as_journal(log)})
        log.seek(0)
        result.stderr = "".join(line for line in log if not line.startswith(("<6>", "<7>")))
    return result


def die_with_parent():
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


class Daemon:
    """Made by the `daemon` fixture, which also ends it and checks that nothing is left."""

    def __init__(self, binary, work, devices=(), options=(), extra=(), **environment):
        """devices: disks shown; options: command line; extra: what the test session adds."""
        self.binary = binary
        self.work = work
        self.media = os.path.join(work, "media")
        self.socket = os.path.join(work, "control.sock")
        self.log_path = os.path.join(work, "daemon.log")
        self.allowed_errors = []
        self.environment = environment
        os.makedirs(self.media, exist_ok=True)
        includes = [word for disk in devices for word in ("--include", disk.kname)]
        self.command = [binary, "mount", *includes, "--socket", self.socket,
                        "--state-dir", os.path.join(work, "state"), "--log-level", "debug",
                        *extra, *options, self.media]
        self.process = None

    def start(self, ready=True):
        """Starts it and waits for the READY=1 that a service manager would get."""
        address = os.path.join(self.work, "notify.sock")
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify:
            notify.bind(address)
            environment = {**os.environ, "NOTIFY_SOCKET": address, **self.environment}
            with open(self.log_path, "ab") as log:
                self.process = subprocess.Popen(
                    self.command, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                    env={**environment, **as_journal(log)}, start_new_session=True, preexec_fn=die_with_parent)
            if ready:
                self._wait_ready(notify)
        os.unlink(address)
        return self

    def _wait_ready(self, notify):
        def told():
            try:
                return b"READY=1" in notify.recv(4096).splitlines()
            except BlockingIOError:
                assert self.process.poll() is None, f"it ended; log:\n{self.log()}"
                return False

        notify.setblocking(False)
        until(f"READY=1; log:\n{self.log()}", told, 15)

    def log(self):
        with open(self.log_path, encoding="utf-8", errors="backslashreplace") as log:
            return log.read()

    def path(self, *parts):
        return os.path.join(self.media, *parts)

    def names(self):
        return set(os.listdir(self.media))

    def wait_for(self, *names, deadline_s=5.0):
        """Waits until exactly these names are shown."""
        until(lambda: f"{sorted(names)} in the view, log:\n{self.log()[-4000:]}",
              lambda: self.names() == set(names), deadline_s)
        return self

    # The client commands.

    def client(self, command, *args, check=True, timeout=30):
        result = subprocess.run([self.binary, command, "--socket", self.socket, *args],
                                stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                                timeout=timeout * SLOWNESS, check=False)
        assert not check or result.returncode == 0, \
            f"{command} {args}: exit {result.returncode}: {result.stderr}"
        return result

    def list(self, *args):
        return json.loads(self.client("list", "--json", *args).stdout)

    def medium(self, name):
        """The one object of `list --json` with this name."""
        found = [medium for medium in self.list() if medium["name"] == name]
        assert len(found) == 1, f"{name!r} is not listed once"
        return found[0]

    def wait_state(self, name, *states, deadline_s=5.0):
        until(lambda: f"{name} is {' or '.join(states)}: {self.medium(name)}, open:\n"
              f"{self.open_files()}\nlog:\n{self.log()[-5000:]}",
              lambda: self.medium(name)["state"] in states, deadline_s)

    def open_files(self):
        """Of all its processes, a line each."""
        return "\n".join(f"{pid} {processes.name(pid)} {path}" for pid in self.pids()
                         for path in processes.open_files(pid))

    def eject(self, name, *args, check=True):
        return self.client("eject", *args, "--", name, check=check)

    def eject_soon(self, name):
        """Ejects it as soon as the last close, which close(2) does not wait for, has arrived."""
        told = []

        def ejected():
            result = self.eject(name, check=False)
            told.append(result.stderr)
            return result.returncode == 0 or name not in self.names()
        try:
            until("ejected", ejected)
        except AssertionError as error:
            raise AssertionError(f"{set(told)}, log:\n{self.log()[-4000:]}") from error

    # Its processes.

    def pids(self):
        return processes.of_session(self.process.pid)

    def processes(self):
        """Each with its name, state and where it sleeps, for messages."""
        return [(pid, processes.name(pid), processes.status(pid).get("State"),
                 processes.sleeps_in(pid)) for pid in self.pids()]

    def server_pid(self):
        """The process, beside the broker and the keeper of its fds, that has the connection; by its
        threads told from a child of the broker that is just beginning."""
        threads = {pid: processes.threads(pid) for pid in self.pids()
                   if pid != self.process.pid and processes.name(pid) != "hotplugfs-fds"
                   and processes.has_open(pid, "/dev/fuse")}
        server = max(threads, key=threads.get, default=0)
        assert threads.get(server, 0) > 1, threads
        return server

    def send(self, number):
        self.process.send_signal(number)

    def kill(self):
        """The worst end: every process of it at once."""
        for pid in self.pids():
            with contextlib.suppress(ProcessLookupError):  # some end with the first
                os.kill(pid, signal.SIGKILL)
        self.process.wait()
        until("all its processes are dead", lambda: not self.pids())

    def stop(self, number=signal.SIGTERM, deadline_s=20):
        """Asks it to end, and checks what the contract says about a clean end."""
        if self.process.poll() is None:
            self.send(number)
        status = self.process.wait(timeout=deadline_s * SLOWNESS)
        assert status == 0, f"exit status {status}; log:\n{self.log()[-3000:]}"
        self.check_nothing_left()

    def check_nothing_left(self):
        until("all its processes have ended", lambda: not self.pids())
        assert kernel.mounts_under(self.media) == [], "a mount is left"
        assert not os.path.exists(self.socket), "its socket is left"

    def check_log(self):
        """No report of a sanitizer, no error that the test did not announce."""
        for line in self.log().splitlines():
            if SUSPICIOUS.search(line) and not any(re.search(p, line) for p in self.allowed_errors):
                around = self.log().partition(line)[2][:4000]
                raise AssertionError(f"in the log: {line}\n{with_places(around, self.binary)}")

    def cut_off(self):
        """Ends what hangs, so that a test which waits for the view fails instead of waiting."""
        for pid in self.pids() if self.process else ():
            os.kill(pid, signal.SIGKILL)

    def clean_up(self):
        """After a failure: nothing may be left, whatever state it is in."""
        if self.process and self.pids():
            self.kill()
        while kernel.mounts_under(self.media):
            kernel.umount(self.media, kernel.MNT_DETACH)


class NotNice(Daemon):
    """One without CAP_SYS_NICE."""

    def __init__(self, *args, **parameters):
        super().__init__(*args, **parameters)
        self.command = ["setpriv", "--bounding-set=-sys_nice", "--inh-caps=-sys_nice",
                        *self.command]
