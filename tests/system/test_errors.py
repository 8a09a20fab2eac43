"""A request that cannot be done fails with the filesystem's own errno, and nothing else does."""

import contextlib
import errno
import os
import resource
import signal
import socket
import time

import pytest

from harness import processes
from harness.disks import KERNEL_FILESYSTEMS
from harness.failing import failing
from harness.people import as_user, sh
from harness.wait import until

pytestmark = pytest.mark.data


def fill(path, piece=1 << 16):
    """Writes a file until that fails; the errno."""
    try:
        with open(path, "wb", buffering=0) as file:
            while True:
                file.write(bytes(piece))
                os.fdatasync(file.fileno())
    except OSError as error:
        return error.errno


def works(directory):
    """A file can be made, written, renamed, read and removed."""
    path = os.path.join(directory, "works")
    with open(path, "wb") as file:
        file.write(b"content")
    os.rename(path, path + "-")
    with open(path + "-", "rb") as file:
        assert file.read() == b"content"
    os.unlink(path + "-")


@pytest.mark.parametrize("fstype", KERNEL_FILESYSTEMS)
def test_disk_is_full(daemon, loopdev, fstype):
    """ENOSPC for who writes; what was there can be read and removed, and then there is space."""
    full = loopdev(fstype, label="FULL")
    other = loopdev(label="OTHER").plug()
    view = daemon(full, other)
    full.plug()
    view.wait_for("FULL", "OTHER")
    works(view.path("FULL"))
    assert fill(view.path("FULL", "big")) == errno.ENOSPC
    works(view.path("OTHER"))
    assert os.stat(view.path("FULL", "big")).st_size > 1 << 20
    os.unlink(view.path("FULL", "big"))
    until("there is space again", lambda: sh("echo x >$1/small", view.path("FULL"),
                                             check=False).returncode == 0)
    works(view.path("FULL"))


def test_no_inodes_left(daemon, loopdev):
    """ENOSPC for every call that makes a file; links and writes go on."""
    disk = loopdev(label="STICK", options=["-N", "32"]).plug()
    view = daemon(disk).wait_for("STICK")
    path = view.path("STICK")
    keep = os.path.join(path, "keep")
    with open(keep, "wb"):
        pass
    made = 0
    with pytest.raises(OSError) as failure:
        while True:
            os.mkdir(os.path.join(path, f"d{made}"))
            made += 1
    assert failure.value.errno == errno.ENOSPC and made > 5
    for make in (lambda p: os.close(os.open(p, os.O_CREAT | os.O_WRONLY)), os.mkfifo,
                 lambda p: os.symlink("x", p)):
        with pytest.raises(OSError) as failure:
            make(os.path.join(path, "new"))
        assert failure.value.errno == errno.ENOSPC
    os.link(keep, keep + "2")
    with open(keep, "wb") as file:
        file.write(b"x")
    os.rmdir(os.path.join(path, "d0"))  # kept by the server until the kernel has forgotten it
    until("its inode is free", lambda: attempt(os.mkdir, os.path.join(path, "new")) == 0)


def test_quota(daemon, loopdev):
    """EDQUOT of a btrfs quota group."""
    disk = loopdev("btrfs", label="STICK")
    with disk.native() as tree:
        sh("btrfs subvolume create $1/s && btrfs quota enable $1 && btrfs qgroup limit 8M $1/s && "
           "chmod 777 $1/s && sync $1", tree)
    disk.plug()
    view = daemon(disk).wait_for("STICK")
    assert fill(view.path("STICK", "s", "big")) == errno.EDQUOT
    works(view.path("STICK"))
    until("it can be removed",
          lambda: sh("rm $1", view.path("STICK", "s", "big"), check=False).returncode == 0)


@pytest.mark.log_errors("could not be put on the disk")
def test_read_only_while_open(daemon, loopdev):
    """ext4 remounts itself read-only after an error (errors=remount-ro): EROFS for changes, and
    what can be read is read."""
    disk = loopdev(label="STICK")
    with disk.native() as tree:
        with open(os.path.join(tree, "old"), "wb") as file:
            file.write(b"content")
    disk.plug()
    view = daemon(disk).wait_for("STICK")
    works(view.path("STICK"))
    with open(f"/sys/fs/ext4/{disk.kname}/trigger_fs_error", "wb") as file:
        file.write(b"1")
    for change in (os.mkdir, os.mkfifo, lambda p: open(p, "wb").close()):
        with pytest.raises(OSError) as failure:
            change(view.path("STICK", "new"))
        assert failure.value.errno == errno.EROFS
    with open(view.path("STICK", "old"), "rb") as file:
        assert file.read() == b"content"


def read_all(path):
    with open(path, "rb") as file:
        return file.read()


@pytest.mark.log_errors("could not be put on the disk|I/O error")
@pytest.mark.parametrize("fstype", KERNEL_FILESYSTEMS)
def test_disk_fails(daemon, loopdev, dying, fstype):
    """EIO for who reads what is in no cache, or wants something written; what is in memory can be
    read, and another disk does not notice. Then, when the disk answers again, it can be read."""
    bad = dying(fstype, label="BAD")
    with bad.native() as tree:
        for name in ("cold", "warm"):
            with open(os.path.join(tree, name), "wb") as file:
                file.write(os.urandom(1 << 18))
    other = loopdev(label="OTHER").plug()
    view = daemon(bad, other)
    bad.plug()
    view.wait_for("BAD", "OTHER")
    warm = read_all(view.path("BAD", "warm"))
    assert os.stat(view.path("BAD", "cold")).st_size == 1 << 18
    bad.fail()
    assert attempt(read_all, view.path("BAD", "cold")) == errno.EIO
    assert read_all(view.path("BAD", "warm")) == warm
    works(view.path("OTHER"))
    bad.work()
    assert len(read_all(view.path("BAD", "cold"))) == 1 << 18
    with open(view.path("BAD", "warm"), "r+b") as file:
        file.write(b"new")
        file.flush()
        bad.fail()
        assert attempt(os.fsync, file.fileno()) == errno.EIO
    works(view.path("OTHER"))


def descriptors_of(pid):
    return len(os.listdir(f"/proc/{pid}/fd"))


def fault(request, name):
    """A library of tests/fault."""
    return os.path.join(os.path.dirname(request.config.option.hotplugfs), "tests", "fault", name)


OPERATIONS = [
    lambda p: os.mkdir(p),
    lambda p: os.listdir(p),
    lambda p: [os.close(os.open(f"{p}/{n}", os.O_CREAT | os.O_RDWR)) for n in range(3)],
    lambda p: open(f"{p}/0", "wb").write(bytes(20000)),
    lambda p: open(f"{p}/0", "rb").read(),
    lambda p: os.setxattr(f"{p}/0", "user.x", b"value"),
    lambda p: os.getxattr(f"{p}/0", "user.x"),
    lambda p: os.listxattr(f"{p}/0"),
    lambda p: os.link(f"{p}/0", f"{p}/link"),
    lambda p: os.symlink("0", f"{p}/symlink"),
    lambda p: os.readlink(f"{p}/symlink"),
    lambda p: os.rename(f"{p}/1", f"{p}/renamed"),
    lambda p: os.truncate(f"{p}/0", 100),
    lambda p: os.chmod(f"{p}/0", 0o600),
    lambda p: os.utime(f"{p}/0", (1, 2)),
    lambda p: os.statvfs(p),
    lambda p: os.unlink(f"{p}/link"),
    lambda p: os.listdir(p),
    lambda p: [os.unlink(f"{p}/{n}") for n in os.listdir(p)],
    lambda p: os.rmdir(p),
]
ABSENT = (errno.ENOENT, errno.EEXIST, errno.ENOTEMPTY, errno.ENODATA)
"""Follow from an earlier call that failed."""


def attempt(operation, path):
    try:
        operation(path)
    except OSError as error:
        return error.errno
    return 0


@pytest.mark.slow  # a sanitizer has an allocator of its own
def test_no_memory(daemon, loopdev, work, request):
    """One allocation in three fails in the server: some calls get ENOMEM, no other error, it goes
    on, and nothing leaks."""
    control, environment = failing(work, request.config.option.hotplugfs)
    disk = loopdev(label="STICK").plug()
    view = daemon(disk, **environment).wait_for("STICK")
    works(view.path("STICK"))
    server = view.server_pid()
    descriptors = descriptors_of(server)
    errors = set()
    control.one_in(3, server)
    for number in range(100):
        errors |= {attempt(operation, view.path("STICK", f"d{number % 7}"))
                   for operation in OPERATIONS}
        as_user(1000, "ls -l $1 >/dev/null 2>&1", view.path("STICK"), check=False)
    control.one_in(0, 0)
    assert control.failed() > 100
    assert errors - {0, *ABSENT} == {errno.ENOMEM}
    works(view.path("STICK"))
    for number in range(7):
        path = view.path("STICK", f"d{number}")
        assert sh("rm -rf $1 && mkdir $1 && echo x >$1/y", path, check=False).returncode == 0
    assert view.server_pid() == server
    until("nothing has leaked",
          lambda: descriptors_of(server) <= descriptors + 8)


def opened(path, most=1000):
    """As many new files there as can be open, and why there are no more."""
    files = []
    for number in range(most):
        try:
            files.append(os.open(f"{path}/f{number}", os.O_CREAT | os.O_RDWR))
        except OSError as error:
            return files, error.errno
    return files, 0


DIRECTORIES_KEPT = 40
"""DIRS_CACHED in fs/dirs.h."""


def test_no_descriptors(daemon, loopdev):
    """Every open file is a descriptor of the server, which may have 256: ENFILE for the open that
    is one too many, and it makes no file. All else goes on, also on a disk that was not mounted
    before; and afterwards none has leaked."""
    disk = loopdev(label="STICK")
    other = loopdev(label="OTHER")
    view = daemon(disk, other, start=False)
    view.command = ["prlimit", "--nofile=256:256", "--", *view.command]
    view.start()
    disk.plug()
    other.plug()
    view.wait_for("STICK", "OTHER")
    for number in range(100):
        os.makedirs(view.path("STICK", f"d{number}", "e"))
    works(view.path("STICK", "d0"))
    server, before = view.server_pid(), descriptors_of(view.server_pid())
    files, why = opened(view.path("STICK"))
    try:
        assert why == errno.ENFILE and len(files) > 100
        assert not os.path.exists(view.path("STICK", f"f{len(files)}"))
        for number in range(100):
            path = view.path("STICK", f"d{number}")
            assert os.listdir(path) == ["e"]
            os.mkdir(f"{path}/e/new")
            os.rename(f"{path}/e/new", f"{path}/new")
            os.rmdir(f"{path}/new")
        assert os.listdir(view.path("OTHER")) == ["lost+found"]
        os.mkdir(view.path("OTHER", "new"))
        for file in files:
            assert os.pwrite(file, b"content", 0) == 7
            assert os.pread(file, 7, 0) == b"content"
    finally:
        for file in files:
            os.close(file)
    until("files can be opened again",
          lambda: attempt(lambda p: works(p), view.path("OTHER")) == 0)
    works(view.path("STICK"))
    assert view.server_pid() == server
    until("nothing has leaked", lambda: descriptors_of(server) <= before + DIRECTORIES_KEPT)


@contextlib.contextmanager
def descriptors_left(pid, count):
    """Lets a process open only so many descriptors more; a limit does not count, it is a number."""
    before = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    looks = []

    def same():
        looks.append({int(name) for name in os.listdir(f"/proc/{pid}/fd")})
        return len(looks) > 30 and all(look == looks[-1] for look in looks[-30:])
    until("it opens and closes nothing", same)
    used = looks[-1]
    free = [number for number in range(len(used) + count + 1) if number not in used]
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (free[count], before[1]))
    try:
        yield
    finally:
        resource.prlimit(pid, resource.RLIMIT_NOFILE, before)


def cpu_seconds(pid):
    """What the first thread of a process has used."""
    with open(f"/proc/{pid}/schedstat", encoding="ascii") as stat:
        return int(stat.read().split()[0]) / 1e9


def test_client_cannot_be_taken(daemon, loopdev):
    """A client of the control socket for which there is no descriptor waits, and so does the daemon."""
    view = daemon(loopdev(label="STICK").plug()).wait_for("STICK")
    with socket.socket(socket.AF_UNIX) as client:
        with descriptors_left(view.process.pid, 0):
            client.connect(view.socket)
            used = cpu_seconds(view.process.pid)
            time.sleep(1)
            assert cpu_seconds(view.process.pid) - used < 0.2
        client.sendall(b'{"command":"list"}\n')
        client.settimeout(5)
        assert b'"STICK"' in client.recv(1 << 16)


def test_device_cannot_be_looked_at(daemon, loopdev):
    """An event of a disk in use, for which the daemon has no descriptor left, takes nothing away,
    and is dealt with later; so is that of a new disk."""
    disk = loopdev(label="STICK").plug()
    other = loopdev(label="OTHER")
    view = daemon(disk, other).wait_for("STICK")
    with open(view.path("STICK", "file"), "wb", buffering=0) as file:
        file.write(b"content")
        view.wait_state("STICK", "busy")
        with descriptors_left(view.process.pid, 0):
            disk.announce()
            until("it was noticed", lambda: f"{disk.kname}: cannot be looked at" in view.log())
            other.plug()
            until("it was noticed", lambda: f"{other.kname}: cannot be looked at" in view.log())
            assert view.names() == {"STICK"}
            file.write(b"more")
        view.wait_for("STICK", "OTHER")
        file.write(b"of it")
        assert view.medium("STICK")["state"] == "busy"
    assert f"{disk.kname}: gone" not in view.log()


def test_disk_cannot_be_probed(daemon, loopdev):
    """An event of a disk that is shown, for which no process can be started, does not hide it: it is
    probed later."""
    disk = loopdev(label="STICK").plug()
    view = daemon(disk).wait_for("STICK")
    probes = view.log().count(f"{disk.kname}: probed, outcome 0")
    with descriptors_left(view.process.pid, 1):
        disk.announce()
        until("the probe has failed",
              lambda: f"{disk.kname}: probed, outcome 4, error -24" in view.log())
        assert view.names() == {"STICK"}
    until("it is probed again",
          lambda: view.log().count(f"{disk.kname}: probed, outcome 0") > probes)
    assert view.names() == {"STICK"}
    assert f"{disk.kname} is not shown" not in view.log()
    assert f"{disk.kname}: gone" not in view.log()


def announcer_pid(view):
    """The child of the broker in its mount namespace that has no connection."""
    broker = view.process.pid
    found = [pid for pid in processes.children(broker)
             if os.readlink(f"/proc/{pid}/ns/mnt") == os.readlink(f"/proc/{broker}/ns/mnt")
             and not processes.has_open(pid, "/dev/fuse")]
    assert len(found) == 1, found
    return found[0]


@pytest.mark.slow  # a sanitizer wants to be loaded first
@pytest.mark.log_errors("was killed by signal 9|ended, starting it again")
@pytest.mark.parametrize("which", ["server", "announcer"])
def test_no_process(daemon, loopdev, work, request, which):
    """The server or the announcer dies while no process can be started: there is another one once
    there can be. Nothing is lost meanwhile."""
    control = os.path.join(work, "forkfail")
    disk = loopdev(label="STICK").plug()
    other = loopdev(label="OTHER")
    view = daemon(disk, other, LD_PRELOAD=fault(request, "forkfail.so"), FORKFAIL=control)
    view.wait_for("STICK")
    works(view.path("STICK"))
    victim = view.server_pid() if which == "server" else announcer_pid(view)
    with open(control, "w", encoding="ascii") as file:
        file.write(str(view.process.pid))
    os.kill(victim, signal.SIGKILL)
    until("it cannot be started", lambda: f"cannot start the {which}: " in view.log())
    os.unlink(control)
    works(view.path("STICK"))
    other.plug()
    view.wait_for("STICK", "OTHER")
    works(view.path("OTHER"))
