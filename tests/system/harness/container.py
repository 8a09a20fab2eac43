"""One `hotplugfs run` with its command, as process 1 of a pid namespace or not."""

import contextlib
import os
import signal
import subprocess

from . import kernel, processes
from .daemon import SUSPICIOUS, die_with_parent
from .wait import SLOWNESS, until

WATCH = """
old=-
while :; do
    new=$(ls "$MEDIA" | tr '\\n' ' ')
    [ "$new" = "$old" ] || echo "names: $new."
    old=$new; sleep 0.02
done"""
"""What is in the view, whenever that changes."""


class Run:
    """Made by the `run` fixture, which also ends it and checks that nothing is left."""

    def __init__(self, binary, work, devices, command, options=(), pid1=False, before=(),
                 mountpoint=None, start=True, **popen):
        """before: a command line that starts ours; mountpoint: made by that, None: by us; start:
        False if somebody else is to start self.command; popen: more for subprocess.Popen. COMMAND
        finds the view by $MEDIA."""
        self.binary = binary
        self.work = work
        self.media = mountpoint or os.path.join(work, "media")
        self.out_path, self.err_path = os.path.join(work, "out"), os.path.join(work, "err")
        if not mountpoint:
            os.makedirs(self.media)
        includes = [word for disk in devices for word in ("--include", disk.kname)]
        own = [binary, "run", *includes, *self.places(), *options, self.media, "--", *command]
        self.pid1 = pid1
        self.process = None
        if pid1:
            before = [*before, "unshare", "--pid", "--fork", "--kill-child", "--mount-proc", "--"]
        self.command = [*before, *own]
        self.popen = popen
        if start:
            self.start()

    def places(self):
        """Options for files of the daemon itself."""
        return ["--socket", os.path.join(self.work, "control.sock"),
                "--state-dir", os.path.join(self.work, "state")]

    def start(self):
        popen = self.popen
        before_exec = popen.pop("preexec_fn", None)
        popen.setdefault("stdin", subprocess.DEVNULL)
        popen.setdefault("start_new_session", True)
        popen["env"] = {**popen.get("env", os.environ), "MEDIA": self.media}

        def prepare():
            die_with_parent()
            if before_exec:
                before_exec()

        with open(self.out_path, "wb") as out, open(self.err_path, "wb") as err:
            popen = {"stdout": out, "stderr": err, **popen}
            self.process = subprocess.Popen(self.command, preexec_fn=prepare, **popen)
        return self

    def out(self):
        with open(self.out_path, encoding="utf-8", errors="replace") as out:
            return out.read()

    def err(self):
        with open(self.err_path, encoding="utf-8", errors="replace") as err:
            return err.read()

    def wait_out(self, text, deadline_s=15.0):
        """Waits until COMMAND has printed this."""
        until(lambda: f"{text!r} printed; out:\n{self.out()}\nerr:\n{self.err()}",
              lambda: text in self.out(), deadline_s)
        return self

    def broker(self):
        """The process id of hotplugfs itself: with pid1 the only child of unshare."""
        if not self.pid1:
            return self.process.pid
        return until("unshare has its child", lambda: processes.children(self.process.pid))[0]

    def send(self, number):
        os.kill(self.broker(), number)

    def wait(self, deadline_s=30.0):
        """Waits for its end and returns the exit status; nothing may be left of it."""
        status = self.process.wait(deadline_s * SLOWNESS)
        until("all its processes have ended", lambda: not self.pids())
        assert kernel.mounts_under(self.media) == [], "a mount is left"
        assert not os.path.exists(os.path.join(self.work, "control.sock")), "its socket is left"
        assert not SUSPICIOUS.search(self.err()), self.err()
        return status

    def pids(self):
        """All its processes but for those that made a session of their own, like COMMAND."""
        return processes.of_session(self.process.pid) if self.process else []

    def cut_off(self):
        for pid in self.pids():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def clean_up(self):
        self.cut_off()
        if self.process:
            self.process.wait()
        until("all its processes are dead", lambda: not self.pids())
        if self.media.startswith(self.work):  # else they end with their container
            self._end_left_behind()
        while kernel.mounts_under(self.media):
            kernel.umount(self.media, kernel.MNT_DETACH)

    def _end_left_behind(self):
        """What COMMAND has started and not waited for."""
        for pid in processes.with_variable("MEDIA", self.media):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
