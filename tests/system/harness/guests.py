"""Containers that run and know nothing of hotplugfs: a workload in each kind that there is."""

import contextlib
import itertools
import os
import shutil
import signal
import subprocess

from . import kernel, processes
from .daemon import die_with_parent
from .image import copy_program
from .podman import write_program
from .wait import SLOWNESS, until

NUMBERS = itertools.count()
IDLE = ["/bin/sh", "-c", "trap 'exit 0' TERM; while :; do sleep 1000 & wait; done"]
"""What the container's first process does."""


class Refused(Exception):
    """This machine cannot have such a container."""


def must_have(*programs):
    for program in programs:
        if not shutil.which(program):
            raise Refused(f"{program} is not installed")


class Guest:
    """A running container. uid: the host's number of the user that exec() runs as."""

    uid = 1000
    has_rootfs = True
    covers_run = False

    def __init__(self, engine, work, more=()):
        """engine: for a root filesystem, or None; work: an empty directory; more: for podman run."""
        self.engine, self.work, self.more = engine, work, more
        self.name = f"hotplugfs-guest-{os.getpid()}-{next(NUMBERS)}"
        self.pid = None

    def _cover_run(self):
        """For engines that leave directories in /run; uncovered by _uncover_run(). A test may have
        done it itself."""
        if os.path.ismount("/run") and kernel.statfs_magic("/run") == kernel.OVERLAYFS_MAGIC:
            return
        kernel.cover("/run", os.path.join(self.work, "machine-run"))
        self.covers_run = True

    def _uncover_run(self):
        if self.covers_run:
            kernel.umount("/run", kernel.MNT_DETACH)
            self.covers_run = False

    def whose(self):
        """The options by which attach is told of it."""
        return ["--pid", str(self.pid)]

    def inside(self, script, *args):
        """The command line that runs a shell script in it, as its user."""
        return ["nsenter", f"--target={self.pid}", "--mount", "--pid", "--root", "--wd=/", "--",
                "setpriv", "--reuid=1000", "--regid=1000", "--clear-groups",
                "--bounding-set=-all", "--inh-caps=-all", "--no-new-privs", "--",
                "/bin/sh", "-euc", script, "sh", *args]

    def exec(self, script, *args):
        """Runs it; returns the CompletedProcess."""
        return self._run(self.inside(script, *args))

    @staticmethod
    def _run(command):
        return subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE, text=True, timeout=60 * SLOWNESS,
                              check=False)

    def out(self, script, *args):
        result = self.exec(script, *args)
        assert result.returncode == 0, result.stderr
        return result.stdout

    def mounts(self, *points):
        """The lines of its mount table, or those for these mount points."""
        with open(f"/proc/{self.pid}/mountinfo", encoding="utf-8") as table:
            return [line for line in table if not points or line.split()[4] in points]

    def names(self, directory="/media"):
        return set(self.out('ls "$1"', directory).split())


class Podman(Guest):
    """As README.md has it: no capability, a user, a read-only root, the default seccomp filter."""

    FLAGS = ["--cap-drop=all", "--user=1000:1000", "--read-only",
             "--security-opt=no-new-privileges"]
    RUNTIME = "runc"
    flags = ()
    command = IDLE

    def start(self):
        must_have("podman", self.RUNTIME)
        self._engine_start()
        result = self.engine.call(*self.engine.run("--detach", "--name", self.name, *self.FLAGS,
                                                   *self.flags, *self.more)[len(self.engine.command):],
                                  *self.command, check=False)
        if result.returncode:
            raise Refused(f"podman: {result.stderr.strip().splitlines()[-1]}")
        self.pid = int(self.engine.call("inspect", "--format", "{{.State.Pid}}",
                                        self.name).stdout)
        return self

    def _engine_start(self):
        pass

    def whose(self):
        program = self.engine.script(os.path.join(self.work, "engine"))
        return ["--container", self.name, "--engine", program]

    def inside(self, script, *args):
        return [*self.engine.command, "exec", self.name, "/bin/sh", "-euc", script, "sh", *args]

    def stop(self):
        self.engine.call("rm", "--force", "--time", "0", "--ignore", self.name)


class Crun(Podman):
    """crun 1.8 wants a version of cgroups, not two."""

    RUNTIME = "crun"
    UNIFIED = "/sys/fs/cgroup/unified"

    def _engine_start(self):
        self.engine = self.engine.other("crun")
        self.hybrid = os.path.ismount(self.UNIFIED)
        if self.hybrid:
            kernel.umount(self.UNIFIED)

    def stop(self):
        super().stop()
        if getattr(self, "hybrid", False):
            kernel.mount("cgroup2", self.UNIFIED, "cgroup2")


class UserNamespace(Podman):
    uid = 201000
    flags = ["--uidmap=0:200000:65536", "--gidmap=0:200000:65536"]


class Rootless(Podman):
    """podman of an ordinary user, known in this mount namespace only. Its user 0 is that one."""

    covered = ()
    USER = uid = 1000000 + os.getpid()  # nobody else's, since what it leaves running is killed
    flags = ["--user=0:0"]

    def _engine_start(self):
        must_have("newuidmap")
        self.covered = []
        for name, line in (("passwd", f"tester:x:{self.USER}:{self.USER}::{self.work}:/bin/sh"),
                           ("group", f"tester:x:{self.USER}:"),
                           ("subuid", "tester:300000:65536"), ("subgid", "tester:300000:65536")):
            self._cover(f"/etc/{name}", line)
        places = {"HOME": os.path.join(self.work, "home"),
                  "XDG_RUNTIME_DIR": os.path.join(self.work, "run")}
        for place in places.values():
            os.mkdir(place, 0o700)
            os.chown(place, self.USER, self.USER)
        self.engine = self.engine.other("runc")
        self.engine.command = [
            "setpriv", f"--reuid={self.USER}", f"--regid={self.USER}", "--clear-groups", "--",
            "env", *(f"{name}={place}" for name, place in places.items()), "USER=tester",
            "podman", "--cgroup-manager", "cgroupfs", "--events-backend", "file",
            "--runtime", "runc", "--storage-driver", "vfs"]

    def _cover(self, path, line):
        if not os.path.exists(path):
            raise Refused(f"there is no {path}")
        copy = os.path.join(self.work, os.path.basename(path))
        with open(path, encoding="utf-8") as old, open(copy, "w", encoding="utf-8") as new:
            new.write(f"{old.read()}{line}\n")
        kernel.mount(copy, path, "none", flags=kernel.MS_BIND)
        self.covered.append(path)

    def stop(self):
        try:
            super().stop()
            for paused in processes.of_user(self.USER):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(paused, signal.SIGKILL)
            until("the user's processes have ended", lambda: not processes.of_user(self.USER))
        finally:
            for path in self.covered:
                kernel.umount(path, kernel.MNT_DETACH)


class Process(Guest):
    """One that a program of its own keeps in the foreground."""

    PROGRAM = ""
    process = None

    def start(self):
        must_have(self.PROGRAM)
        log = os.path.join(self.work, "log")
        with open(log, "wb") as file:
            self.process = subprocess.Popen(self.command(), stdin=subprocess.DEVNULL, stdout=file,
                                            stderr=file, preexec_fn=die_with_parent,
                                            start_new_session=True)
        until("it is running", lambda: self._look() or self.process.poll() is not None, 20)
        if not self.pid:
            with open(log, encoding="utf-8", errors="replace") as file:
                raise Refused(f"{self.PROGRAM}: {file.read().strip()}")
        return self

    def _look(self):
        """Sets and returns pid once the shell has been started in its root."""
        for pid in processes.tree(self.process.pid):
            with contextlib.suppress(OSError):
                with open(f"/proc/{pid}/cmdline", encoding="utf-8") as file:
                    if file.read().split("\0")[:3] == IDLE:
                        self.pid = pid
        return self.pid

    def stop(self):
        if self.process and self.process.poll() is None:
            for pid in processes.tree(self.process.pid):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            self.process.wait(20)


class Nspawn(Process):
    PROGRAM = "systemd-nspawn"

    def start(self):
        self._cover_run()
        return super().start()

    def stop(self):
        super().stop()
        self._uncover_run()

    def command(self):
        return [self.PROGRAM, "-q", "-D", self.engine.rootfs, "--register=no", "--keep-unit",
                "--read-only", "--machine", self.name, *IDLE]


class Bubblewrap(Process):
    """A sandbox that maps one user, who may write in /opt (outside: data)."""

    PROGRAM = "bwrap"

    def command(self):
        self.data = os.path.join(self.work, "data")
        os.mkdir(self.data)
        os.chown(self.data, 1000, 1000)
        return ["setpriv", "--reuid=1000", "--regid=1000", "--clear-groups", "--",
                self.PROGRAM, "--unshare-all", "--die-with-parent", "--ro-bind",
                self.engine.rootfs, "/", "--proc", "/proc", "--dev", "/dev", "--bind", self.data,
                "/opt", *IDLE]


class Docker(Guest):
    """dockerd with all its state in the work directory, and an image of busybox."""

    dockerd = None

    def start(self):
        must_have("dockerd", "docker", "busybox")
        self._cover_run()
        self.socket = os.path.join(self.work, "docker.sock")
        client = "/usr/bin/docker" if os.path.exists("/usr/bin/docker") else "docker"
        self.client = [client, "--host", f"unix://{self.socket}"]
        self._start_daemon()
        self._import()
        self._docker("run", "--detach", "--name", self.name, "--network=none",
                     "--ulimit=nofile=4096:4096", *Podman.FLAGS, "tiny", *IDLE)
        self.pid = int(self._docker("inspect", "--format", "{{.State.Pid}}", self.name).stdout)
        return self

    def _start_daemon(self):
        log = os.path.join(self.work, "dockerd.log")
        with open(log, "wb") as file:
            self.dockerd = subprocess.Popen(
                ["dockerd", "--data-root", os.path.join(self.work, "data"), "--exec-root",
                 os.path.join(self.work, "exec"), "--host", f"unix://{self.socket}", "--pidfile",
                 os.path.join(self.work, "pid"), "--iptables=false", "--bridge=none",
                 "--storage-driver=vfs"],
                stdout=file, stderr=file, preexec_fn=die_with_parent, start_new_session=True)

        def answers():
            return self._run([*self.client, "version"]).returncode == 0
        until("dockerd", lambda: self.dockerd.poll() is not None or answers(), 40)
        if self.dockerd.poll() is not None:
            with open(log, encoding="utf-8", errors="replace") as file:
                raise Refused(f"dockerd: {file.read().strip().splitlines()[-1]}")

    def _import(self):
        root = os.path.join(self.work, "image")
        for name in ("bin", "media"):
            os.makedirs(os.path.join(root, name))
        busybox = shutil.which("busybox")
        shutil.copy(busybox, os.path.join(root, "bin/busybox"))
        for name in ("sh", "ls", "cat", "cmp", "cp", "find", "sleep", "touch", "stat"):
            os.symlink("busybox", os.path.join(root, "bin", name))
        copy_program("inotifywait", root)
        with subprocess.Popen(["tar", "-C", root, "-c", "."], stdout=subprocess.PIPE) as tar:
            subprocess.run([*self.client, "import", "-", "tiny"], stdin=tar.stdout, check=True,
                           stdout=subprocess.DEVNULL, timeout=60 * SLOWNESS)

    def _docker(self, *words, check=True):
        result = self._run([*self.client, *words])
        assert not check or result.returncode == 0, f"{words}: {result.stderr}"
        return result

    def whose(self):
        program = write_program(os.path.join(self.work, "engine"), self.client)
        return ["--container", self.name, "--engine", program]

    def inside(self, script, *args):
        return [*self.client, "exec", self.name, "/bin/sh", "-euc", script, "sh", *args]

    def stop(self):
        if self.dockerd and self.dockerd.poll() is None:
            self._docker("rm", "--force", self.name, check=False)
            self.dockerd.terminate()
            self.dockerd.wait(40 * SLOWNESS)
        self._uncover_run()
        for point in reversed(kernel.mounts_under(self.work)):
            kernel.umount(point, kernel.MNT_DETACH)


class Namespaces(Process):
    """The least that a container is: a mount namespace. user: with a user namespace, too, in
    which its process has all capabilities."""

    PROGRAM = "unshare"
    has_rootfs = False
    user = False

    def command(self):
        user = ["--user", "--map-root-user"] if self.user else []
        prepare = 'mount -t tmpfs tmpfs "$0"; cd "$0"; mkdir media; exec "$@"'
        self.root = os.path.join(self.work, "root")
        os.mkdir(self.root)
        return [self.PROGRAM, *user, "--mount", "--propagation=private", "--", "/bin/sh", "-euc",
                prepare, self.root, *IDLE]

    def inside(self, script, *args):
        user = ["--user", "--preserve-credentials"] if self.user else []
        return ["nsenter", f"--target={self.pid}", *user, "--mount", "--",
                "/bin/sh", "-euc", script, "sh", *args]


class UserNamespaces(Namespaces):
    user = True


KINDS = {"runc": Podman, "crun": Crun, "userns": UserNamespace, "rootless": Rootless,
         "nspawn": Nspawn, "bwrap": Bubblewrap, "docker": Docker}
