"""What cannot work is refused with one clear line, and leaves nothing behind."""

import errno
import json
import os
import stat
import subprocess

import pytest

from harness import kernel
from harness.daemon import run_to_end
from harness.people import sh
from harness.wait import holds, until

NO_ADMIN = ["setpriv", "--bounding-set=-sys_admin", "--inh-caps=-sys_admin", "--"]


def one_line(result, status):
    """Checks that it was told in one line, with the right status."""
    assert result.returncode == status, result
    assert result.stdout == ""
    lines = result.stderr.splitlines()
    assert len(lines) == 1, result.stderr
    assert lines[0].isprintable()
    return lines[0]


@pytest.mark.parametrize("arguments", [
    [], ["nonsense"], ["--nonsense"], ["mount"], ["mount", "/a", "/b"], ["mount", "--nonsense", "/a"],
    ["mount", "--include"], ["mount", "--idle-timeout", "soon", "/a"],
    ["mount", "--idle-timeout", "0", "/a"], ["mount", "--idle-timeout", "-1", "/a"],
    ["mount", "--owner", "no-such-user", "/a"], ["mount", "--owner", "1:2:3", "/a"],
    ["mount", "--log-level", "loud", "/a"],
    ["mount", "--durability", "maybe", "/a"], ["mount", "--read-only=perhaps", "/a"],
    ["list", "extra"], ["list", "--nonsense"], ["wait"], ["wait", "a", "b"], ["wait", "a/b"],
    ["wait", "/"], ["wait", "a", "--timeout", "x"], ["eject"], ["eject", "a", "b"], ["eject", "/a"],
    ["eject", "a//"], ["probe"], ["probe", "a", "b"], ["doctor", "extra"], ["monitor", "extra"],
    ["mount", ""], ["list", "\x1b[31m\n"],
])
def test_bad_command_line(hotplugfs, arguments):
    """Bad command lines: one clear line, exit 2."""
    assert "hotplugfs" in one_line(hotplugfs(*arguments), 2)


@pytest.mark.parametrize("command", ["mount", "list", "wait", "monitor", "eject", "probe", "doctor"])
def test_help(hotplugfs, command):
    """--help of every command goes to standard output, exit 0."""
    result = hotplugfs(command, "--help")
    assert result.returncode == 0 and result.stderr == "" and "Usage" in result.stdout
    assert f"  {command} " in hotplugfs("--help").stdout


def test_version(hotplugfs):
    """--version tells one."""
    assert hotplugfs("--version").stdout.split()[0] == "hotplugfs"


def run_mount(view, *prefix):
    """Runs what should not stay, and returns how it ended."""
    return run_to_end([*prefix, *view.command])


def nothing_left(view):
    assert kernel.mounts_under(view.media) == []
    assert not os.path.exists(view.socket)


def test_no_such_mountpoint(daemon):
    """A mountpoint that does not exist."""
    view = daemon(start=False)
    os.rmdir(view.media)
    assert view.media in one_line(run_mount(view), 1)
    nothing_left(view)
    assert not os.path.exists(view.media)


def test_mountpoint_is_a_file(daemon):
    """A mountpoint that is no directory."""
    view = daemon(start=False)
    os.rmdir(view.media)
    with open(view.media, "w", encoding="ascii") as file:
        file.write("mine")
    assert view.media in one_line(run_mount(view), 1)
    nothing_left(view)
    with open(view.media, encoding="ascii") as file:
        assert file.read() == "mine"


def test_mountpoint_is_the_root(daemon):
    """The root directory: everything would vanish under the view."""
    view = daemon(start=False)
    view.command[-1] = "/"
    assert "root directory" in one_line(run_mount(view), 1)
    nothing_left(view)
    assert "fuse.hotplugfs" not in sh("findmnt -no FSTYPE /")


def test_mountpoint_in_a_view(daemon, loopdev):
    """A directory of a disk in a view, or the disk's own."""
    view = daemon(loopdev(label="STICK").plug()).wait_for("STICK")
    before = kernel.mounts_under(view.media)
    os.mkdir(view.path("STICK", "inside"))
    for place in (view.path("STICK", "inside"), view.path("STICK")):
        second = daemon(start=False)
        second.command[-1] = place
        assert "inside a view" in one_line(run_mount(second), 1)
        assert not os.path.exists(second.socket)
    assert kernel.mounts_under(view.media) == before


def test_second_instance_on_the_mountpoint(daemon, loopdev):
    """A second instance on one mountpoint is refused; the first goes on."""
    disk = loopdev(label="STICK").plug()
    view = daemon(disk).wait_for("STICK")
    second = daemon(disk, start=False)
    second.command[-1] = view.media
    assert view.media in one_line(run_mount(second), 1)
    assert not os.path.exists(second.socket)
    assert view.names() == {"STICK"} and os.listdir(view.path("STICK"))
    assert len(kernel.mounts_under(view.media)) == 1


def test_second_instance_on_the_socket(daemon):
    """A second instance on one socket is refused; the first goes on."""
    view = daemon()
    second = daemon(start=False)
    second.command[second.command.index("--socket") + 1] = view.socket
    assert view.socket in one_line(run_mount(second), 1)
    nothing_left(second)
    assert view.list() == []


def test_no_fuse_device(daemon):
    """No /dev/fuse."""
    view = daemon(start=False)
    result = run_mount(view, "unshare", "-m", "sh", "-c",
                       'mount -t tmpfs none /dev && exec "$@"', "sh")
    assert "/dev/fuse" in one_line(result, 1)
    nothing_left(view)


def test_no_right_to_mount(daemon):
    """No CAP_SYS_ADMIN."""
    view = daemon(start=False)
    assert "CAP_SYS_ADMIN" in one_line(run_mount(view, *NO_ADMIN), 1)
    nothing_left(view)


def test_no_such_dev_directory(daemon):
    """--dev with a directory that is not there."""
    view = daemon(options=["--dev", "/does/not/exist"], start=False)
    assert "/does/not/exist" in one_line(run_mount(view), 1)
    nothing_left(view)


def test_socket_cannot_be_made(daemon, work):
    """--socket where no socket can be made."""
    blocked = os.path.join(work, "file")
    with open(blocked, "w", encoding="ascii"):
        view = daemon(start=False)
    view.command[view.command.index("--socket") + 1] = os.path.join(blocked, "sock")
    assert blocked in one_line(run_mount(view), 1)
    nothing_left(view)


def test_socket_path_is_a_file(daemon):
    """A file at the socket's path that is no socket is not removed."""
    view = daemon(start=False)
    with open(view.socket, "w", encoding="ascii") as file:
        file.write("mine")
    assert view.socket in one_line(run_mount(view), 1)
    assert stat.S_ISREG(os.stat(view.socket).st_mode)
    os.unlink(view.socket)
    nothing_left(view)


def test_broken_filesystem(daemon, loopdev):
    """A device whose filesystem cannot be mounted: the caller gets an errno, the list a reason, and
    it is tried again at the next access."""
    disk = loopdev(label="BROKEN")
    sh("cp $1 $1.good; dd if=/dev/urandom of=$1 bs=1024 seek=2 count=1 conv=notrunc status=none",
       disk.image)
    view = daemon(disk)
    disk.plug()
    view.wait_for("BROKEN")
    for _ in range(2):
        with pytest.raises(OSError):
            os.listdir(view.path("BROKEN"))
        medium = view.medium("BROKEN")
        assert medium["state"] == "failed" and medium["reason"].isprintable()
    assert not disk.held()
    sh("dd if=$1.good of=$2 bs=1M conv=notrunc,fsync status=none", disk.image, disk.device)
    view.wait_for("BROKEN")
    until("it works once it is repaired",
          lambda: sh("ls $1", view.path("BROKEN"), check=False).returncode == 0)


def test_truncated_filesystem(daemon, loopdev):
    """An image cut short: no crash, no hang, whatever the kernel says of it."""
    disks = [loopdev(fstype, label=f"CUT-{fstype}") for fstype in ("ext4", "xfs", "btrfs")]
    for disk in disks:
        os.truncate(disk.image, 1 << 20)
    view = daemon(*disks)
    for disk in disks:
        disk.plug()
    until("all of them are known",
          lambda: {d.kname for d in disks} <= {m["device"].removeprefix("/dev/")
                                               for m in view.list("--all")})
    for name in view.names():
        with pytest.raises(OSError):
            os.listdir(view.path(name))
    assert view.list("--all")


def test_read_only_device(daemon, loopdev):
    """A write-protected disk is mounted read-only, and the reason is shown."""
    disk = loopdev(label="LOCKED")
    view = daemon(disk)
    disk.plug(read_only=True)
    view.wait_for("LOCKED")
    assert os.listdir(view.path("LOCKED")) == ["lost+found"]
    assert view.medium("LOCKED")["read_only"] is True
    with pytest.raises(OSError) as failure:
        os.mkdir(view.path("LOCKED", "new"))
    assert failure.value.errno == errno.EROFS
    holds("what was refused is nothing to be written",
          lambda: view.medium("LOCKED")["state"] == "clean", 1)


def test_no_driver(daemon, loopdev, hotplugfs):
    """A type that this kernel has no driver for: the kernel might load a module, so the disk is shown;
    the first access fails with the reason, as doctor says that it will."""
    if "vfat" in kernel.filesystems() \
            or subprocess.run(["modprobe", "-qn", "vfat"], check=False).returncode == 0:
        pytest.skip("this machine cannot: its kernel has vfat")
    checks = json.loads(hotplugfs("doctor", "--json", timeout=60).stdout)
    doctor = next(check for check in checks if check["check"] == "filesystems")
    assert "vfat" in doctor["found"] and "the first access fails (ENODEV)" in doctor["meaning"]
    view = daemon(loopdev("vfat", label="STICK", size=64 << 20).plug()).wait_for("STICK")
    with pytest.raises(OSError) as failure:
        os.listdir(view.path("STICK"))
    assert failure.value.errno == errno.ENODEV
    medium = view.medium("STICK")
    assert medium["state"] == "failed" and "no driver for it (ENODEV)" in medium["reason"]
