"""A daemon that a plain user runs in a user namespace: no root, no right of the host."""

import os
import subprocess

from . import processes
from .daemon import Daemon, die_with_parent
from .service import Service
from .wait import SLOWNESS, until

UID = 1_500_000 + os.getpid()
"""The user outside; in the namespace it is 0, and there is no other."""
AS_USER = ["setpriv", f"--reuid={UID}", f"--regid={UID}", "--clear-groups", "--"]

UNSHARE = ["unshare", "--user", "--map-root-user", "--mount", "--"]


def give(disk):
    """The disk's node belongs to the user from now on."""
    os.chown(disk.device, UID, UID)
    return disk


class UserDaemon(Daemon):
    """The view is in the user's mount namespace: what looks at it goes there."""

    def __init__(self, binary, work, *args, **parameters):
        super().__init__(binary, work, *args, **parameters)
        for path in (work, self.media):
            os.chown(path, UID, UID)
        self.command = [*self._enter(), *self.command]

    def _enter(self):
        return [*AS_USER, *UNSHARE]

    def start(self, ready=True):
        mask = os.umask(0)  # the user writes to our socket
        try:
            return super().start(ready)
        finally:
            os.umask(mask)

    def inside(self, *command, check=True, start=False, **options):
        """Runs a command in the namespaces, as their root; start: returns the Popen."""
        command = [*AS_USER, "nsenter", f"--target={self.process.pid}", "--user", "--mount",
                   "--preserve-credentials", "--", *map(str, command)]
        if start:
            return subprocess.Popen(command, text=True, stdin=subprocess.PIPE,
                                    stdout=subprocess.PIPE, stderr=subprocess.PIPE, **options)
        result = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                stderr=subprocess.PIPE, text=True, errors="surrogateescape",
                                timeout=100 * SLOWNESS, check=False, **options)
        assert not check or result.returncode == 0, \
            f"{command}: exit {result.returncode}: {result.stdout}{result.stderr}\n{self.log()[-2000:]}"
        return result

    def sh(self, script, *args, check=True):
        """A shell script whose working directory is the view; returns what it printed."""
        script = f'cd "{self.media}"; {script}'
        result = self.inside("sh", "-euc", script, "sh", *args, check=check)
        return result.stdout if check else result

    def start_sh(self, script):
        """The same in the background, with pipes."""
        return self.inside("sh", "-euc", f'cd "{self.media}"; {script}', start=True)

    def names(self):
        return set(self.sh("ls").split())

    def client(self, command, *args, check=True, timeout=30):
        return self.inside(self.binary, command, "--socket", self.socket, *args, check=check)

    def programs(self):
        """The process ids of driver programs."""
        return [pid for pid in self.pids() if processes.name(pid) in ("fuse2fs", "ntfs-3g")]

    def program(self):
        return until("a driver program runs", self.programs)[0]


class UserService(UserDaemon, Service):
    """The same under a service manager: the namespaces are there before it and after it."""

    def _enter(self):
        def made():
            return os.readlink(f"/proc/{self.holder.pid}/ns/mnt") != os.readlink("/proc/self/ns/mnt")

        self.holder = subprocess.Popen([*AS_USER, *UNSHARE, "sleep", "infinity"],
                                       preexec_fn=die_with_parent)
        until("the namespaces", made)
        return [*AS_USER, "nsenter", f"--target={self.holder.pid}", "--user", "--mount",
                "--preserve-credentials", "--"]

    def clean_up(self):
        super().clean_up()
        self.holder.kill()
        self.holder.wait()
