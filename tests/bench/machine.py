"""What a run needs and leaves nothing of: packages, a build, a mount namespace, a directory."""

import contextlib
import os
import signal
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
TOP = os.path.dirname(os.path.dirname(HERE))
sys.path.insert(0, os.path.join(TOP, "tests", "system"))

from harness import disks, kernel  # noqa: E402  (after the path is set)

PREFIX = "/tmp/hotplugfs-bench-"


def words_of(path):
    """The lines of a list, each split into words, without comments."""
    with open(path, encoding="utf-8") as lines:
        return [line.split() for line in lines if line.strip() and not line.startswith("#")]


def installed(package):
    status = subprocess.run(["dpkg-query", "-W", "-f", "${db:Status-Status}", package],
                            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
                            check=False).stdout
    return status == "installed"


def install(packages):
    """Installs what is missing of Debian's packages; returns the last words of apt, or None."""
    missing = [package for package in packages if not installed(package)]
    if not missing:
        return None
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    command = ["apt-get", "-qq", "install", "-y", "--no-install-recommends", *missing]
    for attempt in (command, ["apt-get", "-qq", "update"], command):
        result = subprocess.run(attempt, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                stderr=subprocess.STDOUT, text=True, env=environment, check=False)
        if attempt is command and result.returncode == 0:
            return None
    return (result.stdout.strip().splitlines() or ["apt-get failed"])[-1]


def install_build():
    """The packages that tests/run.sh installs."""
    failure = install([words[0] for words in words_of(os.path.join(TOP, "tests", "packages.txt"))])
    if failure:
        raise RuntimeError(f"packages cannot be installed: {failure}")


def install_column(column):
    """What a column needs; returns why it cannot be had, or None."""
    table = words_of(os.path.join(HERE, "packages.txt"))
    return install([package for name, package in table if name == column])


def build():
    """A build of this checkout of the benchmark's own; returns its directory."""
    directory = os.path.join(TOP, "build-bench")
    if not os.path.exists(os.path.join(directory, "build.ninja")):
        subprocess.run(["meson", "setup", directory, TOP], check=True, stdout=subprocess.DEVNULL)
    subprocess.run(["ninja", "-C", directory], check=True, stdout=subprocess.DEVNULL)
    return directory


def interrupt(_number, _frame):
    """The first signal ends the run by an exception; later ones do not disturb the cleaning up."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    raise KeyboardInterrupt


def prefer(pid, nice=-20):
    """
    High priority for the session of a process. Nice values count only within a session where the
    kernel groups by them (autogroup in sched(7)); the file is empty where it does not. It matters
    on a machine that does other things. Returns the nice value that it had.
    """
    try:
        with open(f"/proc/{pid}/autogroup", "r+", encoding="ascii") as group:
            words = group.read().split()
            if not words:
                return nice
            group.write(str(nice))
        return int(words[-1])
    except FileNotFoundError:
        return nice


@contextlib.contextmanager
def workplace():
    """
    A tmpfs in a mount namespace of this process; it and all mounts on it go with the process.
    """
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, interrupt)
    os.umask(0o022)
    os.setpriority(os.PRIO_PROCESS, 0, -20)
    nice = prefer("self")
    kernel.private_mounts()
    disks.remove_leftovers(PREFIX)
    directory = disks.work_directory(PREFIX)
    kernel.mount("tmpfs", directory, "tmpfs", "mode=755")
    try:
        yield directory
    finally:
        prefer("self", nice)
        disks.remove_forgotten()
        kernel.umount(directory, kernel.MNT_DETACH)
        os.rmdir(directory)
