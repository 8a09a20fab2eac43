"""
NTFS where the kernel has no driver for it, or mounts nothing: by ntfs-3g, which mounts FUSE itself
instead of asking fusermount.
"""

import os
import signal
import struct
import subprocess

import pytest

from harness import kernel, processes
from harness.people import sh
from harness.unprivileged import UserDaemon, give
from harness.wait import took, until

pytestmark = [pytest.mark.deadline(120)]
PROGRAM = "/usr/bin/ntfs-3g"
HIBERNATED = b"hibr" + bytes(4092)
"""The beginning of hiberfil.sys while Windows sleeps."""


def kernel_has_ntfs():
    with open("/proc/filesystems", encoding="ascii") as known:
        return any(line.split()[-1] in ("ntfs", "ntfs3") for line in known) \
            or subprocess.run(["modprobe", "-qn", "ntfs3"], check=False).returncode == 0


@pytest.fixture(params=["host", "user"])
def ntfs(daemon, loopdev, request):
    """ntfs(options=, label=): a disk, plugged, and a daemon that shows it, the host's or a
    user's."""
    if not os.path.exists(PROGRAM):
        pytest.skip("ntfs-3g is not installed")
    if request.param == "host" and kernel_has_ntfs():
        pytest.skip("this kernel has a driver of its own for NTFS")

    def factory(options=(), before=lambda disk: None):
        disk = loopdev("ntfs", label="STICK", size=32 << 20)
        before(disk)
        kind = {}
        if request.param == "user":
            give(disk)
            kind = {"kind": UserDaemon, "options": ["--dev", "/dev", *options]}
        view = daemon(disk, **(kind or {"options": options}))
        disk.plug()
        view.wait_for("STICK")
        return view, disk
    return factory


def run(view, script, check=True):
    """A shell script in the view; returns what it printed, or the result."""
    if isinstance(view, UserDaemon):
        return view.sh(script, check=check)
    result = subprocess.run(["sh", "-euc", script], cwd=view.media, text=True, check=False,
                            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                            stderr=subprocess.PIPE)
    assert not check or result.returncode == 0, result
    return result.stdout if check else result


def program(view):
    return until("a driver program runs",
                 lambda: [pid for pid in view.pids() if processes.name(pid) == "ntfs-3g"])[0]


def no_program(view):
    until("it has ended", lambda: "ntfs-3g" not in map(processes.name, view.pids()), 15)


def put_file(disk, name, content):
    """Writes a file to the image; no driver is in use."""
    source = f"{disk.image}.{name}"
    with open(source, "wb") as file:
        file.write(content)
    sh("ntfscp -q $1 $2 $3", disk.image, source, name)


def test_long_names(ntfs):
    """255 characters, three bytes each, as many as NTFS allows; the view's own names have 255 bytes."""
    view, _ = ntfs()
    run(view, """
        name=$(printf '漢%.0s' $(seq 255))
        echo content >STICK/$name
        test "$(ls STICK)" = $name
        mv STICK/$name STICK/_${name#漢}
        test "$(cat STICK/_${name#漢})" = content
        rm STICK/_${name#漢}
        for long in STICK/$name- $name; do
            ! told=$(LC_ALL=C stat $long 2>&1)
            test "$told" != "${told%File name too long}"
        done
    """)


def test_what_programs_do(ntfs):
    """Files, directories, renames, holes, links, attributes; the disk is clean when it is ejected,
    and other programs find there what was written."""
    view, disk = ntfs()
    if isinstance(view, UserDaemon) or not os.path.exists("/proc/modules"):
        assert view.medium("STICK")["driver"] == "ntfs-3g"  # known before it is mounted
    run(view, r"""cd STICK; mkdir -p a/b; echo one >a/one; cp a/one a/b/copy; ln a/one a/b/hard
        mv a/one a/b/moved; truncate -s 3M a/sparse
        printf end | dd of=a/sparse bs=1 seek=2000000 conv=notrunc status=none
        setfattr -n user.color -v blue a/b/moved; touch -d @1000000000 a/b/copy
        mkdir gone; echo x >gone/x; rm -r gone; echo "Grüße" >"ä ö.txt"
        dd if=/dev/zero of=big bs=64k count=100 status=none; sync .
        i=0; while [ $i -lt 200 ]; do echo $i >"name $i"; i=$((i + 1)); done; rm name*7""")
    medium = view.medium("STICK")
    assert (medium["driver"], medium["reason"]) == ("ntfs-3g", "")
    assert medium["passthrough"] is False and medium["read_only"] is False
    assert disk.held()
    view.eject_soon("STICK")
    no_program(view)
    assert not disk.held()
    sh("ntfsfix -n $1", disk.image)
    assert sh("ntfscat $1 a/b/hard; ntfscat $1 'ä ö.txt'; ntfsls $1 | grep -c name", disk.image) \
        == "one\nGrüße\n180\n"
    disk.unplug().wait_unplugged().plug()
    view.wait_for("STICK")
    assert run(view, r"""cd STICK; cat a/b/moved; getfattr --only-values -n user.color a/b/hard; echo
        stat -c '%s %h' a/sparse a/b/hard; stat -c %Y a/b/copy; stat -c %s big""") == \
        "one\nblue\n3145728 1\n4 2\n1000000000\n6553600\n"


def test_is_locked_up(ntfs):
    """No capability, no new privileges, a filter, and nothing in its root but programs, libraries
    and its device; the one FUSE connection that it has is ours."""
    view, disk = ntfs()
    run(view, "ls STICK")
    pid = program(view)
    status = processes.status(pid)
    assert {int(status[name], 16) for name in status if name.startswith("Cap") if name != "CapBnd"} \
        == {0}
    assert status["NoNewPrivs"] == "1" and status["Seccomp"] == "2"
    root = f"/proc/{pid}/root"
    assert set(os.listdir(f"{root}/dev")) == {"disk", "fuse", "null", "urandom"}
    assert os.listdir(f"{root}/mnt") == []
    assert processes.open_files(pid).count("/dev/fuse") == 1
    opened = {path for path in processes.open_files(pid) if path.startswith("/")}
    assert opened <= {"/dev/disk", "/dev/fuse", "/dev/null", disk.device}


def test_written_soon(ntfs):
    """A second after the last close the file is on the disk, without any unmount."""
    view, disk = ntfs()
    run(view, "mkdir -p STICK/x; echo durable-data-durable-data >STICK/x/file")
    until("it is on the disk", lambda: disk.image_contains(b"durable-data-durable-data"), 15)
    view.wait_state("STICK", "clean", deadline_s=15)


def test_idle(ntfs):
    """An idle disk is unmounted and not held; the next access mounts it."""
    view, disk = ntfs(["--idle-timeout", "300ms"])
    run(view, "echo data >STICK/file")
    view.wait_state("STICK", "idle", deadline_s=15)
    no_program(view)
    assert not disk.held()
    assert run(view, "cat STICK/file") == "data\n"


def test_pulled(ntfs):
    """The name is gone and the program too; plugged in again it works."""
    view, disk = ntfs()
    run(view, "echo durable >STICK/file; sync STICK")
    disk.pull()
    view.wait_for()
    no_program(view)
    disk.unplug().wait_unplugged().plug()
    view.wait_for("STICK")
    assert run(view, "cat STICK/file") == "durable\n"


def test_killed(ntfs):
    """The state says why, and the next access starts another one."""
    view, _ = ntfs()
    run(view, "echo durable >STICK/file; sync STICK")
    os.kill(program(view), signal.SIGKILL)
    view.wait_state("STICK", "failed", deadline_s=15)
    assert view.medium("STICK")["reason"] == "ntfs-3g was killed by signal 9"
    assert run(view, "cat STICK/file") == "durable\n"


def test_hibernated(ntfs):
    """Windows sleeps on it: it is read-only, with the reason, and nothing is written."""
    view, disk = ntfs(before=lambda disk: put_file(disk, "hiberfil.sys", HIBERNATED))
    with open(disk.image, "rb") as image:
        before = image.read()
    result = run(view, "ls STICK; echo x >STICK/file", check=False)
    assert result.stdout == "hiberfil.sys\n" and "Read-only file system" in result.stderr
    medium = view.medium("STICK")
    assert medium["read_only"] is True
    assert medium["reason"].startswith("read-only: ") and "hibernat" in medium["reason"]
    view.eject_soon("STICK")
    with open(disk.image, "rb") as image:
        assert image.read() == before


def test_not_ntfs(ntfs):
    """Damaged: the state says what the program has said."""
    def damage(disk):
        with open(disk.image, "r+b") as image:
            sector, cluster = struct.unpack_from("<HB", image.read(512), 11)
            image.seek(56)
            mirror = struct.unpack("<Q", image.read(8))[0]
            image.seek(mirror * cluster * sector)  # the second copy of the table of files
            image.write(os.urandom(4096))
    view, disk = ntfs(before=damage)
    result = run(view, "ls STICK", check=False)
    assert result.returncode == 2 and not result.stdout
    medium = view.medium("STICK")
    assert medium["state"] == "failed" and medium["reason"].startswith("ntfs-3g ended with status")
    no_program(view)
    assert not disk.held()


def test_in_use(ntfs):
    """ntfs-3g itself would open a device that another filesystem or program has."""
    view, disk = ntfs()
    holder = os.open(disk.device, os.O_RDONLY | os.O_EXCL | os.O_CLOEXEC)
    try:
        assert run(view, "ls STICK", check=False).returncode == 2
        assert view.medium("STICK")["reason"].startswith("in-use: ")
    finally:
        os.close(holder)
    run(view, "echo data >STICK/file")
    assert run(view, "cat STICK/file") == "data\n"


def test_owner(ntfs):
    """Files have no owner of their own: --owner names one."""
    view, _ = ntfs(["--owner", "0:0"])
    assert run(view, "cd STICK; echo x >file; mkdir d; stat -c '%u %g %a' file d") == \
        "0 0 755\n0 0 755\n"


def test_not_installed(ntfs, daemon, loopdev, work):
    """The kernel does not know it and the program is missing: the reason names it."""
    empty = os.path.join(work, "empty")
    with open(empty, "wb"):
        pass
    kernel.mount(empty, PROGRAM, "none", flags=kernel.MS_BIND)
    try:
        disk = loopdev("ntfs", label="STICK", size=32 << 20)
        view = daemon(disk)
        disk.plug()
        view.wait_for("STICK")
        assert run(view, "ls STICK", check=False).returncode == 2
        assert "ntfs-3g is not installed (package ntfs-3g)" in view.medium("STICK")["reason"]
    finally:
        kernel.umount(PROGRAM)


@pytest.fixture
def impostor(request):
    """tests/fault/mapdriver.c is in the place of ntfs-3g."""
    if not os.path.exists(PROGRAM):
        pytest.skip("ntfs-3g is not installed")
    if kernel_has_ntfs():
        pytest.skip("this kernel has a driver of its own for NTFS")
    kernel.mount(os.path.join(os.path.dirname(request.config.option.hotplugfs), "tests", "fault",
                              "mapdriver"), PROGRAM, "none", flags=kernel.MS_BIND)
    yield
    kernel.umount(PROGRAM)


@pytest.fixture
def taken_over(impostor, daemon, dying):
    """A daemon with a disk that can stall, and has taken over its driver program."""
    disk = dying("ntfs", label="STICK", size=32 << 20)
    view = daemon(disk, options=["--mount-timeout", "3s"])
    disk.plug()
    view.wait_for("STICK")
    return view, disk


def test_memory_is_not_read(taken_over):
    """A program that has mapped the disk where the options of its mount should be cannot make the
    daemon wait for the disk."""
    view, disk = taken_over
    disk.stall()
    with subprocess.Popen(["ls", view.path("STICK")], stderr=subprocess.DEVNULL) as looking:
        until("it has what it needs", lambda: "says: \"mounted\"" in view.log())
        assert took(lambda: view.client("list")) < 3
        assert looking.wait(20) != 0
    assert view.medium("STICK")["reason"] == "ntfs-3g did not answer in time and was killed"
