"""No privilege of the host at all: in a user namespace programs are the filesystem drivers."""

import json
import os
import signal
import subprocess

import pytest

from harness import kernel, processes
from harness.container import WATCH
from harness.people import sh
from harness.unprivileged import AS_USER, UserDaemon, give
from harness.wait import SLOWNESS, until
from test_run import facts

pytestmark = [pytest.mark.deadline(120)]
PROGRAM = "/usr/bin/fuse2fs"


@pytest.fixture
def user(daemon):
    """user(disk, ...): a daemon of a plain user; the disks are the user's."""
    if not os.path.exists(PROGRAM):
        pytest.skip("fuse2fs is not installed")

    def factory(*disks, options=(), **parameters):
        for disk in disks:
            give(disk)
        return daemon(*disks, options=["--dev", "/dev", *options], kind=UserDaemon, **parameters)
    return factory


def check_filesystem(disk):
    sh("e2fsck -fn $1", disk.image)


BASICS = r"""
umask 022
mkdir -p a/b/c; echo one >a/one; echo two >a/two
cp a/one a/b/copy; cat a/one a/two >>a/b/copy; ln a/one a/b/hard; ln -s ../one a/b/soft
mv a/two a/b/c/moved; mv a/b/c a/c; chmod 640 a/b/copy; touch -d @1000000000 a/one
truncate -s 3M a/sparse; printf end | dd of=a/sparse bs=1 seek=2000000 conv=notrunc status=none
rm a/b/soft; ln -s /nowhere a/b/soft; mkdir gone; echo x >gone/x
rmdir gone 2>/dev/null || echo "rmdir refused"
rm -r gone; cat gone/x 2>/dev/null || echo "gone"
mkdir a 2>/dev/null || echo "mkdir refused"
mv a a/b 2>/dev/null || echo "mv into itself refused"
setfattr -n user.color -v blue a/one; getfattr --only-values -n user.color a/b/hard; echo
mkfifo a/fifo; dd if=/dev/zero of=big bs=64k count=100 status=none; truncate -s 12345 big
exec 3<>open; echo "unlinked but open" >&3; rm open; cat /proc/self/fd/3; exec 3>&-
i=0; while [ $i -lt 200 ]; do echo $i >"name with a blank $i"; i=$((i + 1)); done
rm name*7
find . -path ./lost+found -prune -o -type d -printf '%P %y %m %n\n' -o -printf '%P %y %m %n %s %l\n' |
    sort; find . -type f | sort | xargs -d '\n' sha256sum; stat -c %y a/one
"""


def test_same_as_native(user, loopdev, work):
    """What programs do with files has the same results as on the kernel's own mount."""
    reference = loopdev("ext4", label="NATIVE")
    disk = loopdev("ext4", label="STICK")
    with reference.native() as native:
        expected = sh(f'cd "$1"; {BASICS}', native)
    view = user(disk)
    disk.plug()
    view.wait_for("STICK")
    assert view.sh(f"cd STICK; {BASICS}") == expected
    medium = view.medium("STICK")
    assert (medium["driver"], medium["reason"]) == ("fuse2fs", "")
    assert medium["passthrough"] is False
    view.eject_soon("STICK")
    assert not disk.held()
    check_filesystem(disk)
    disk.unplug()
    with disk.native() as native:
        assert sh('cd "$1"; cat a/b/hard; ls | wc -l', native) == "one\n183\n"


def test_program_is_locked_up(user, loopdev):
    """The driver program parses a stranger's disk: no capability, no new privileges, a filter, and
    nothing in its root but programs, libraries and its device."""
    disk = loopdev("ext2", label="STICK").plug()
    view = user(disk)
    view.wait_for("STICK").sh("ls STICK")
    pid = view.program()
    status = processes.status(pid)
    assert {int(status[name], 16) for name in status if name.startswith("Cap") if name != "CapBnd"} \
        == {0}
    assert status["NoNewPrivs"] == "1" and status["Seccomp"] == "2"
    root = f"/proc/{pid}/root"
    assert set(os.listdir(root)) <= {"usr", "lib", "lib32", "lib64", "bin", "sbin", "etc", "dev",
                                     "helper", "mnt", "proc"}
    assert set(os.listdir(f"{root}/dev")) == {"disk", "fuse", "null", "urandom"}
    assert set(os.listdir(f"{root}/etc")) <= {"ld.so.cache", "mtab"}
    opened = {path for path in processes.open_files(pid) if path.startswith("/")}
    assert opened <= {"/dev/disk", "/dev/fuse", "/dev/null", disk.device}
    assert processes.open_files(pid).count("/dev/fuse") >= 1


def test_many_files(user, loopdev):
    """A thousand files, listed and removed again."""
    disk = loopdev("ext4", label="STICK").plug()
    view = user(disk)
    view.wait_for("STICK")
    out = view.sh("""cd STICK; mkdir many; seq 1000 | sed 's|^|many/file |' | tr '\\n' '\\0' |
        xargs -0 touch; ls many | wc -l; mv many other; ls other | tail -n 1; rm -r other; ls""")
    assert out.split("\n") == ["1000", "file 999", "lost+found", ""]
    view.stop()
    check_filesystem(disk)


def test_idle(user, loopdev):
    """An idle disk is unmounted, and clean when the program has ended; the next access mounts it."""
    disk = loopdev("ext4", label="STICK").plug()
    view = user(disk, options=["--idle-timeout", "300ms"])
    view.wait_for("STICK").sh("echo data >STICK/file")
    view.wait_state("STICK", "idle", deadline_s=15)
    assert view.programs() == [] and not disk.held()
    check_filesystem(disk)
    assert view.sh("cat STICK/file") == "data\n"


def test_written_soon(user, loopdev):
    """A second after the last close the file is on the disk, without any unmount."""
    disk = loopdev("ext4", label="STICK").plug()
    view = user(disk)
    view.wait_for("STICK").sh("mkdir -p STICK/x/y; echo durable-data >STICK/x/y/file")
    until("it is on the disk", lambda: disk.image_contains(b"durable-data"), 15)
    view.wait_state("STICK", "clean", deadline_s=15)
    assert view.programs()


def test_busy_eject(user, loopdev):
    """A disk with an open file is not ejected; it goes on as it was."""
    disk = loopdev("ext4", label="STICK").plug()
    view = user(disk)
    view.wait_for("STICK")
    with view.start_sh("exec 3>STICK/file; echo open; read x; echo last >&3") as holder:
        assert holder.stdout.readline() == "open\n"
        refused = view.eject("STICK", check=False)
        assert refused.returncode == 1 and "1 file is open" in refused.stderr
        holder.stdin.write("\n")
    view.eject_soon("STICK")
    assert not disk.held()
    with disk.native() as native:
        assert sh('cat "$1"/file', native) == "last\n"


def test_pull(user, loopdev):
    """A pulled disk: its name is gone, its program too, open files give EIO; plugged in again it
    works."""
    disk = loopdev("ext4", label="STICK").plug()
    view = user(disk)
    view.wait_for("STICK").sh("echo durable >STICK/file; sync STICK")
    script = """python3 -Ic 'import os
f = os.open("STICK/file", os.O_RDWR)
print("open", flush=True)
input()
for call in (lambda: os.pread(f, 1, 4096), lambda: os.pwrite(f, b"x", 0), lambda: os.fsync(f)):
    try:
        call()
        print("no error")
    except OSError as error:
        print(error.errno)'
"""
    with view.start_sh(script) as holder:
        assert holder.stdout.readline() == "open\n"
        disk.pull()
        view.wait_for()
        until("the program has ended", lambda: not view.programs())
        out, _ = holder.communicate("\n", timeout=60)
    assert set(out.split()) <= {"5", "19"}, out  # EIO, ENODEV
    disk.unplug().wait_unplugged().plug()
    view.wait_for("STICK")
    assert view.sh("cat STICK/file") == "durable\n"


def test_program_killed(user, loopdev):
    """The program dies: what is open gives EIO, the state says why, the next access starts another
    one, and another disk does not notice."""
    disk = loopdev("ext4", label="STICK").plug()
    other = loopdev("ext4", label="OTHER").plug()
    view = user(disk, other)
    view.wait_for("STICK", "OTHER").sh("echo durable >STICK/file; sync STICK; echo x >OTHER/file")
    victim = [pid for pid in view.programs()
              if os.stat(f"/proc/{pid}/root/dev/disk").st_rdev == os.stat(disk.device).st_rdev][0]
    with view.start_sh("exec 3<STICK/file; echo open; read x; cat <&3 || echo $?") as holder:
        assert holder.stdout.readline() == "open\n"
        os.kill(victim, signal.SIGKILL)
        until("it has failed", lambda: view.medium("STICK")["state"] == "failed", 15)
        assert view.medium("STICK")["reason"] == "fuse2fs was killed by signal 9"
        assert view.sh("cat OTHER/file") == "x\n"
        out, err = holder.communicate("\n", timeout=60)
    assert out == "1\n" and "Input/output error" in err
    assert view.sh("cat STICK/file") == "durable\n"
    assert view.medium("STICK")["state"] == "clean"
    until("there is another", lambda: len(view.programs()) == 2)
    assert victim not in view.programs()


def test_killed_with_unwritten(user, loopdev):
    """Who ejects the disk then is not told that all is on it."""
    view = user(loopdev("ext4", label="STICK").plug()).wait_for("STICK")
    with view.start_sh("exec 3>STICK/file; echo x >&3; echo written; read x") as writer:
        assert writer.stdout.readline() == "written\n"
        os.kill(view.programs()[0], signal.SIGKILL)
        until("it has failed", lambda: view.medium("STICK")["state"] == "failed", 15)
        writer.communicate("\n", timeout=60)
    result = view.eject("STICK", check=False)
    assert result.returncode == 1 and "could not be put on it" in result.stderr


@pytest.mark.slow
@pytest.mark.log_errors("could not be put on the disk")
def test_program_hangs(user, loopdev):
    """The program stands still: other disks go on, eject says what is wrong, and by force it
    ends."""
    disk = loopdev("ext4", label="STICK").plug()
    other = loopdev("ext4", label="OTHER")
    view = user(disk, other, options=["--mount-timeout", "3s"])
    view.wait_for("STICK").sh("echo durable >STICK/file; sync STICK")
    pid = view.program()
    os.kill(pid, signal.SIGSTOP)
    with view.start_sh("cat STICK/file") as stuck:
        other.plug()
        view.wait_for("STICK", "OTHER")
        assert view.sh("echo x >OTHER/file; cat OTHER/file") == "x\n"
        refused = view.eject("STICK", check=False)
        assert refused.returncode == 1, refused
        assert view.names() == {"STICK", "OTHER"}
        view.eject("STICK", "--force", check=False)  # what it had not yet written is lost
        _, err = stuck.communicate(timeout=60)
    assert err
    view.wait_for("OTHER", deadline_s=15)
    until("it has ended", lambda: pid not in view.programs(), 15)
    assert "was killed" in view.log()


def test_hangs_while_idle(user, loopdev):
    """A program that does not give an idle disk back is killed, and that is the reason shown; the
    next access starts another one."""
    disk = loopdev("ext4", label="STICK").plug()
    view = user(disk, options=["--mount-timeout", "2s", "--idle-timeout", "500ms"])
    view.wait_for("STICK").sh("ls STICK")
    pid = view.program()
    os.kill(pid, signal.SIGSTOP)
    view.wait_state("STICK", "failed", deadline_s=30)
    assert view.medium("STICK")["reason"] == "fuse2fs did not answer in time and was killed"
    assert pid not in view.programs()
    assert view.sh("ls STICK") == "lost+found\n"


def test_hangs_while_mounting(user, loopdev):
    """A program that does not answer when it is started is killed at the deadline."""
    disk = loopdev("ext4", label="STICK").plug()
    view = user(disk, options=["--mount-timeout", "2s"])
    view.wait_for("STICK")
    with view.start_sh("ls STICK") as stuck:
        pid = view.program()
        os.kill(pid, signal.SIGSTOP)
        until("it is given up, or is mounted already",
              lambda: view.medium("STICK")["state"] in ("failed", "clean"), 30)
        if view.medium("STICK")["state"] == "clean":
            os.kill(pid, signal.SIGCONT)
        out, err = stuck.communicate(timeout=60)
    if out != "lost+found\n":  # it may have been faster than we
        assert "timed out" in err
        assert view.medium("STICK")["reason"] == "fuse2fs did not answer in time and was killed"
    until("it has ended", lambda: not view.programs(), 15)


def test_cannot_be_mounted(user, loopdev):
    """A damaged filesystem: the state says what the program has said."""
    disk = loopdev("ext4", label="STICK", options=["-b", "1024"])
    with open(disk.image, "r+b") as image:
        image.seek(2048)
        image.write(bytes(4096))  # the group descriptors
    disk.plug()
    view = user(disk)
    view.wait_for("STICK")
    result = view.sh("ls STICK", check=False)
    assert result.returncode == 2 and not result.stdout
    medium = view.medium("STICK")
    assert medium["state"] == "failed"
    assert medium["reason"].startswith("fuse2fs"), medium["reason"]
    assert "signal" not in medium["reason"]
    until("nothing runs", lambda: not view.programs())
    assert not disk.held()


def test_upgrade(user, loopdev):
    """`hotplugfs upgrade` waits until no disk is served by a program; then all goes on."""
    disk = loopdev("ext4", label="STICK").plug()
    view = user(disk, options=["--idle-timeout", "1s"])
    view.wait_for("STICK").sh("echo data >STICK/file")
    served = view.programs()
    view.client("upgrade")
    assert served and view.programs() == []
    assert view.sh("cat STICK/file") == "data\n"
    view.eject_soon("STICK")
    assert not disk.held()


def test_read_only(user, loopdev):
    """--read-only goes through to the program: EROFS, and not one write reaches the disk."""
    disk = loopdev("ext4", label="STICK").plug()
    view = user(disk, options=["--read-only"])
    view.wait_for("STICK")
    with open(disk.image, "rb") as image:
        before = image.read()
    result = view.sh("ls STICK; echo x >STICK/file", check=False)
    assert result.stdout == "lost+found\n" and "Read-only file system" in result.stderr
    view.stop()
    with open(disk.image, "rb") as image:
        assert image.read() == before


def test_owner(user, loopdev):
    """Files of users that the namespace does not know belong to nobody and cannot be written; with
    --owner they can."""
    disk = loopdev("ext4", label="STICK")
    with disk.native() as native:
        sh('cd "$1"; echo data >file; chown -R 1000:1000 .', native)
    disk.plug()
    view = user(disk)
    view.wait_for("STICK")
    assert view.sh("stat -c %u STICK/file; cat STICK/file") == "65534\ndata\n"
    assert view.sh("echo more >>STICK/file", check=False).returncode != 0
    view.stop()
    view = user(disk, options=["--owner", "0:0"])
    view.wait_for("STICK")
    assert view.sh("echo more >>STICK/file; echo new >STICK/new; cd STICK; stat -c %u . file new") \
        == "0\n0\n0\n"
    view.stop()
    with disk.native() as native:
        assert sh('cat "$1"/file', native) == "data\nmore\n"


def test_not_installed(user, loopdev, work, hotplugfs):
    """Without the program the disk is not shown, and list and doctor say what to install."""
    disk = loopdev("ext4", label="STICK").plug()
    empty = os.path.join(work, "empty")
    with open(empty, "wb"):
        pass
    programs = [path for path in (PROGRAM, "/usr/bin/ntfs-3g") if os.path.exists(path)]
    for path in programs:
        kernel.mount(empty, path, "none", flags=kernel.MS_BIND)
    try:
        view = user(disk)
        found = until("it is known", lambda: [one for one in view.list("--all")
                                              if one["device"] == disk.kname and one["reason"]])[0]
        assert not found["shown"] and view.names() == set()
        assert "fuse2fs is not installed (package fuse2fs)" in found["reason"]
        checks = json.loads(view.inside(view.binary, "doctor", "--json", check=False).stdout)
        finding = {check["check"]: check for check in checks}["filesystems"]
        assert finding["verdict"] == "fail" and "apt install" in finding["advice"]
        assert {"ntfs-3g", "fuse2fs"} <= set(finding["advice"].split())
    finally:
        for path in programs:
            kernel.umount(path)


def test_doctor(user, loopdev):
    """In a user namespace doctor says which programs there are, and fails for that reason no
    more."""
    view = user()
    checks = json.loads(view.inside(view.binary, "doctor", "--json", check=False).stdout)
    found = {check["check"]: check for check in checks}
    assert found["user-namespace"]["verdict"] == "warn"
    assert found["filesystems"]["verdict"] == "warn"
    assert "ext4 (fuse2fs)" in found["filesystems"]["found"]
    assert "ntfs (ntfs-3g)" in found["filesystems"]["found"]
    assert "vfat" in found["filesystems"]["found"]
    assert found["sysfs"]["found"] == "not writable for this user"
    assert "as root" not in found["device-nodes"]["advice"]
    assert "udev rule" in found["device-nodes"]["advice"]


def test_run(loopdev, work, request):
    """The command line of README.md, by a plain user who has nothing but the node of the disk."""
    disk = give(loopdev("ext4", label="STICK").plug())
    media = os.path.join(work, "media")
    os.mkdir(media)
    result = subprocess.run(
        [*AS_USER, "unshare", "--user", "--map-root-user", "--mount", "--",
         request.config.option.hotplugfs, "run", "--include", disk.kname, "--user", "0",
         "--socket", os.path.join(work, "socket"), media, "--",
         "sh", "-euc", 'cd "$0"; ls; cp /etc/passwd STICK; cat /proc/self/status; exit 7',
         media], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        text=True, timeout=60 * SLOWNESS, check=False)
    assert result.returncode == 7, result.stderr
    status = facts(result.stdout)
    assert result.stdout.startswith("STICK\n") and int(status["CapEff"], 16) == 0
    assert "no control socket" in result.stderr
    until("the disk is free", lambda: not disk.held())
    with disk.native() as native:
        assert sh('cmp "$1"/passwd /etc/passwd && echo same', native) == "same\n"


def test_podman(container, rootless_engine, loopdev):
    """The all-in-one container of rootless podman: the workload copies to a disk, sees it go and
    come, and finds what it had written."""
    disk = loopdev("ext4", label="STICK")
    os.chmod(disk.device, 0o666)
    script = f"""
        {WATCH.replace("while :", "while [ ! -d /media/STICK ]")}
        cp -r /etc "$MEDIA/STICK/copy"; sync "$MEDIA/STICK"; diff -r /etc "$MEDIA/STICK/copy" &&
        echo copied; while [ -d "$MEDIA/STICK" ]; do sleep 0.05; done; echo unplugged
        until [ -d "$MEDIA/STICK" ]; do sleep 0.05; done
        diff -r /etc "$MEDIA/STICK/copy" && echo back; exec sleep 1000"""
    one = container("sh", "-uc", script, disks=[disk], engine=rootless_engine,
                    flags=["--tmpfs", "/run:notmpcopyup"],
                    options=["--user", "1000:1000", "--owner", "1000:1000", "--log-level",
                             "debug"])
    one.wait_out("names: .", 60)
    disk.plug()
    one.wait_out("copied", 60)
    disk.pull()
    one.wait_out("unplugged", 30)
    disk.unplug().wait_unplugged().plug()
    one.wait_out("back", 30)
    one.podman("stop", "--time", "30")
    assert one.process.wait(60) == 143, one.err()
    until("the disk is free", lambda: not disk.held())
