"""
A service manager that keeps descriptors, as far as `hotplugfs mount` sees systemd: sd_notify(3) with
FDSTORE=1, FDSTOREREMOVE=1 and BARRIER=1, sd_listen_fds_with_names(3), RestartKillSignal=SIGUSR1 and
KillMode=mixed.
"""

import array
import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading

from . import kernel
from .daemon import Daemon, as_journal, die_with_parent
from .wait import SLOWNESS, until

START = """
import fcntl, os, sys
fds = [int(word) for word in sys.argv[1].split(",") if word]
high = [fcntl.fcntl(fd, fcntl.F_DUPFD, 100) for fd in fds]
for number, fd in enumerate(high, 3):
    os.dup2(fd, number)
os.closerange(3 + len(fds), 1000)
os.environ["LISTEN_PID"] = str(os.getpid())
os.execvp(sys.argv[2], sys.argv[2:])
"""


class Service(Daemon):
    """Daemon whose start() and stop() are those of a service; also restart() and crash()."""

    def __init__(self, *args, **environment):
        super().__init__(*args, **environment)
        self.store = []  # of (name, descriptor)
        self.ready = threading.Event()
        self.records = []  # as they were at the last mark
        self.marked = threading.Event()
        self.notify = None
        self.thread = None

    def _listen(self):
        address = os.path.join(self.work, "notify.sock")
        self.notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.notify.bind(address)
        self.thread = threading.Thread(target=self._receive, daemon=True)
        self.thread.start()

    def _receive(self):
        fds = array.array("i")
        while True:
            try:
                data, ancillary, _, _ = self.notify.recvmsg(4096, socket.CMSG_SPACE(64))
            except OSError:
                return
            for level, kind, body in ancillary:
                if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
                    fds.frombytes(body)
            self._told(dict(line.split("=", 1) for line in data.decode().splitlines()), list(fds))
            del fds[:]
            if data == b"STOP=1":
                return

    def _told(self, message, fds):
        name = message.get("FDNAME")
        if message.get("FDSTORE") == "1":
            self.store += [(name, fd) for fd in fds]
            assert len(self.store) <= 16, "FileDescriptorStoreMax=16"
            return
        if message.get("FDSTOREREMOVE") == "1":
            for fd in [fd for kept, fd in self.store if kept == name]:
                os.close(fd)
            self.store = [(kept, fd) for kept, fd in self.store if kept != name]
        if message.get("MARK") == "1":
            self.records = [os.pread(fd, 1 << 20, 0) for kept, fd in self.store if "record" in kept]
            self.marked.set()
        for fd in fds:  # BARRIER=1
            os.close(fd)
        if message.get("READY") == "1":
            self.ready.set()

    def start(self, ready=True):
        if not self.notify:
            self._listen()
        self.ready.clear()
        fds = [fd for _, fd in self.store]
        environment = {**os.environ, "NOTIFY_SOCKET": os.path.join(self.work, "notify.sock"),
                       "LISTEN_FDS": str(len(fds)),
                       "LISTEN_FDNAMES": ":".join(name for name, _ in self.store),
                       **self.environment}
        with open(self.log_path, "ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-Ic", START, ",".join(map(str, fds)), *self.command],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, pass_fds=fds,
                env={**environment, **as_journal(log)},
                start_new_session=True, preexec_fn=die_with_parent)
        if ready:
            until(f"READY=1; log:\n{self.log()[-3000:]}",
                  lambda: self.ready.is_set() or self.process.poll() is not None, 20)
            assert self.process.poll() is None, f"it ended; log:\n{self.log()[-3000:]}"
        return self

    def end(self, number):
        """Its main process ends by this signal, then all that is left is killed."""
        self.send(number)
        status = self.process.wait(timeout=30 * SLOWNESS)
        for pid in self.pids():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        until("all its processes are dead", lambda: not self.pids())
        return status

    def replace(self, number):
        """As restart() and crash(), but a process that the kernel does not let go is left behind."""
        self.send(number)
        self.process.wait(timeout=30)
        for pid in self.pids():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        return self.start()

    def restart(self):
        assert self.end(signal.SIGUSR1) == 0
        return self.start()

    def crash(self):
        assert self.end(signal.SIGKILL) == -signal.SIGKILL
        return self.start()

    def stop(self, number=signal.SIGTERM, deadline_s=20):
        super().stop(number, deadline_s)
        self.drain()
        assert self.store == [], "something is left in the store"

    def _send(self, message):
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
            sock.sendto(message, os.path.join(self.work, "notify.sock"))

    def kept_now(self):
        """The records that the daemon has sent before this moment."""
        self.marked.clear()
        self._send(b"MARK=1")
        assert self.marked.wait(10 * SLOWNESS)
        return b"".join(self.records)

    def drain(self):
        """Waits until all messages have been dealt with."""
        if self.thread and self.thread.is_alive():
            self._send(b"STOP=1")
            self.thread.join(10)

    def clean_up(self):
        super().clean_up()
        self.drain()
        for _, fd in self.store:
            os.close(fd)
        self.store = []
        while kernel.mounts_under(self.media):
            kernel.umount(self.media, kernel.MNT_DETACH)
        if self.notify:
            self.notify.close()
