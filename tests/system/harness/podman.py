"""Real containers: podman and runc on a root filesystem made of this machine's own files."""

import copy
import os
import shlex
import shutil
import subprocess

from . import kernel
from .container import Run
from .wait import SLOWNESS

RIGHTS = ["--cap-drop=all", "--cap-add", "SYS_ADMIN,SETUID,SETGID,DAC_OVERRIDE,DAC_READ_SEARCH",
          "--cap-add",
          "CHOWN,FOWNER,FSETID,SETFCAP,SETPCAP,LINUX_IMMUTABLE,LEASE,MKNOD,KILL,SYS_NICE",
          "--device", "/dev/fuse", "--device-cgroup-rule", "b 7:* rw",
          "--device-cgroup-rule", "b 252:* rw", "-v", "/dev:/host/dev:ro"]
"""What README.md says that the daemon's container needs, for loop devices."""


def write_program(path, command):
    """A shell script that is the command, with its arguments."""
    with open(path, "w", encoding="utf-8") as file:
        file.write(f'#!/bin/sh\nexec {shlex.join(command)} "$@"\n')
    os.chmod(path, 0o755)
    return path


class Engine:
    """podman with all its state in one directory, so that nothing outside is touched."""

    rights = RIGHTS
    """What it gives the daemon's container."""

    def __init__(self, directory, binary):
        self.directory = directory
        self.rootfs = os.path.join(directory, "rootfs")
        self.command = self._command("runc")
        self._make_rootfs(binary)

    def _command(self, runtime):
        return ["podman", "--root", os.path.join(self.directory, "store"),
                "--runroot", os.path.join(self.directory, "run"),
                "--tmpdir", os.path.join(self.directory, "tmp"), "--cgroup-manager", "cgroupfs",
                "--events-backend", "file", "--runtime", runtime]

    def other(self, runtime):
        """The same with another runtime."""
        one = copy.copy(self)
        one.command = self._command(runtime)
        return one

    def script(self, path):
        """A program that is podman with these options, as `--engine` wants it."""
        return write_program(path, self.command)

    def _make_rootfs(self, binary):
        """/usr is this machine's, read-only; the rest is what a minimal Debian has."""
        for name in ("usr", "etc", "media", "proc", "sys", "dev", "run", "tmp", "opt", "host/dev",
                     "disks", "var/lib", "var/tmp"):
            os.makedirs(os.path.join(self.rootfs, name))
        for name in ("bin", "sbin", "lib", "lib64"):
            os.symlink(f"usr/{name}", os.path.join(self.rootfs, name))
        for name in ("passwd", "group", "ld.so.cache", "nsswitch.conf"):
            shutil.copy(f"/etc/{name}", os.path.join(self.rootfs, "etc"))
        for name in ("etc/hosts", "etc/hostname", "etc/resolv.conf", "etc/localtime",
                     "run/.containerenv"):
            with open(os.path.join(self.rootfs, name), "wb"):
                pass  # mounted over by engines that may not make it
        shutil.copy(binary, os.path.join(self.rootfs, "opt/hotplugfs"))
        usr = os.path.join(self.rootfs, "usr")
        kernel.mount("/usr", usr, "none", flags=kernel.MS_BIND)
        kernel.mount("none", usr, "none",
                     flags=kernel.MS_BIND | kernel.MS_REMOUNT | kernel.MS_RDONLY)

    def remove(self):
        kernel.umount(os.path.join(self.rootfs, "usr"), kernel.MNT_DETACH)

    def run(self, *options, network="none"):
        """The command line of `podman run` up to the command. Hard limits cannot be raised on
        every machine, and podman's own defaults are high."""
        return [*self.command, "run", "--ulimit", "nofile=4096:4096", "--ulimit",
                "nproc=4096:4096", "--network", network, *options, "--rootfs", self.rootfs]

    def call(self, *words, check=True):
        result = subprocess.run([*self.command, *words], cwd="/", stdin=subprocess.DEVNULL,
                                stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                                timeout=120 * SLOWNESS, check=False)
        assert not check or result.returncode == 0, f"{words}: {result.stderr}"
        return result

    def refuses(self):
        """Why no container can be run here, or an empty string."""
        if not shutil.which("podman") or not shutil.which("runc"):
            return "podman and runc are not installed"
        result = subprocess.run([*self.run("--rm"), "/bin/true"], cwd="/",
                                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                stderr=subprocess.STDOUT, text=True, timeout=120, check=False)
        lines = result.stdout.strip().splitlines() or ["no message"]
        return f"podman: {lines[-1]}" if result.returncode else ""


class Container(Run):
    """`podman run` of the all-in-one container in the foreground; made by a fixture."""

    def __init__(self, engine, name, *args, flags=(), inside=(), network="none", **parameters):
        """flags: more for `podman run`; inside: what starts hotplugfs there; else as for Run."""
        self.engine, self.name = engine, name
        before = [*engine.run("--name", name, "--env", "MEDIA=/media", *engine.rights, *flags,
                              network=network), *inside]
        super().__init__("/opt/hotplugfs", *args, mountpoint="/media", before=before, **parameters)

    def places(self):
        return ["--dev", "/host/dev"]

    def pid(self):
        """The process id of the container's process 1, here."""
        return int(self.podman("inspect", "--format", "{{.State.Pid}}").stdout)

    def podman(self, verb, *words, check=True):
        return self.engine.call(verb, *words, self.name, check=check)

    def exec(self, *words):
        return self.engine.call("exec", self.name, *words).stdout

    def clean_up(self):
        self.engine.call("rm", "--force", "--time", "0", "--ignore", self.name)
        super().clean_up()
