"""`hotplugfs relay`, and a relay that says what a test wants."""

import os
import socket
import subprocess

from . import processes
from .daemon import die_with_parent
from .wait import until


class Relay:
    """The real one, in the foreground, ready when it is made."""

    def __init__(self, binary, work, *options, prefix=()):
        self.log_path = os.path.join(work, "relay.log")
        address = os.path.join(work, "relay-notify.sock")
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify:
            notify.bind(address)
            os.chmod(address, 0o666)
            notify.setblocking(False)
            with open(self.log_path, "wb") as log:
                self.process = subprocess.Popen(
                    [*prefix, binary, "relay", "--log-level", "debug", *options], stdout=log,
                    stderr=log, stdin=subprocess.DEVNULL, preexec_fn=die_with_parent, cwd="/",
                    env={**os.environ, "NOTIFY_SOCKET": address}, start_new_session=True)
            until("the relay is ready", lambda: self._told(notify), 15)
        os.unlink(address)

    def _told(self, notify):
        try:
            return notify.recv(64) == b"READY=1"
        except BlockingIOError:
            assert self.process.poll() is None, self.log()
            return False

    def log(self):
        with open(self.log_path, encoding="utf-8") as log:
            return log.read()

    def stop(self):
        """Ends it in order."""
        self.process.terminate()
        assert self.process.wait(20) == 0, self.log()
        assert processes.of_session(self.process.pid) == []

    def clean_up(self):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()


def message(action, devpath, **values):
    """A uevent as the kernel writes it."""
    values = {"ACTION": action, "DEVPATH": devpath, "SUBSYSTEM": "block",
              "DEVNAME": os.path.basename(devpath), "SEQNUM": "1", **values}
    return b"\0".join([f"{action}@{devpath}".encode(),
                       *(f"{key}={value}".encode() for key, value in values.items())]) + b"\0"


class FakeRelay:
    """Listens as a relay does, for one daemon; what it says is up to the test."""

    def __init__(self, path):
        self.path = path
        self.peer = None
        self.listen()

    def listen(self):
        self.listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.listener.bind(self.path)
        self.listener.listen(1)

    def accept(self):
        self.listener.settimeout(20)
        self.peer, _ = self.listener.accept()
        return self

    def say(self, *messages):
        for one in messages:
            self.peer.sendall(one)
        return self

    def close(self):
        for one in filter(None, (self.peer, self.listener)):
            one.close()
        os.unlink(self.path)
