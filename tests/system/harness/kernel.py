"""System calls that Python has no function for, and facts about this kernel."""

import ctypes
import os
import struct
import tempfile

LIBC = ctypes.CDLL(None, use_errno=True)

CLONE_NEWNS = 0x00020000
MS_RDONLY = 1
MS_NOSUID = 2
MS_NODEV = 4
MS_REMOUNT = 32
MS_BIND = 0x1000
MS_REC = 0x4000
MS_PRIVATE = 1 << 18
MS_SHARED = 1 << 20
MNT_DETACH = 2
OVERLAYFS_MAGIC = 0x794C7630


def call(name, *args):
    """A libc function that returns -1 and errno; raises OSError."""
    result = getattr(LIBC, name)(*args)
    if result == -1:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error), name)
    return result


def private_mounts():
    """Puts this process into a mount namespace of its own that shares nothing with the rest."""
    call("unshare", CLONE_NEWNS)
    call("mount", b"none", b"/", None, MS_REC | MS_PRIVATE, None)


def mount(source, target, fstype, options="", flags=0):
    call("mount", os.fsencode(source), os.fsencode(target), os.fsencode(fstype),
         ctypes.c_ulong(flags), os.fsencode(options))


def cover(directory, work):
    """Lets this mount namespace write in a directory of the machine without changing it."""
    for name in ("upper", "work"):
        os.makedirs(os.path.join(work, name))
    mount("overlay", directory, "overlay",
          f"lowerdir={directory},upperdir={work}/upper,workdir={work}/work")


def umount(target, flags=0):
    call("umount2", os.fsencode(target), flags)


def abort_fuse(directory):
    """Ends the connection of a FUSE mount: what waits for it in the kernel cannot be killed."""
    with open("/proc/self/mountinfo", encoding="utf-8") as table:
        numbers = [line.split()[2] for line in table if line.split()[4] == directory]
    with tempfile.TemporaryDirectory() as where:
        mount("none", where, "fusectl")
        try:
            for number in numbers:
                with open(f"{where}/{number.partition(':')[2]}/abort", "w", encoding="ascii") as file:
                    file.write("1")
        finally:
            umount(where)


def mounts_under(path):
    """Mount points at or below a path in this process' namespace."""
    points = []
    with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as table:
        for line in table:
            point = line.split(" ")[4].encode("utf-8", "surrogateescape")
            point = os.fsdecode(point.decode("unicode_escape").encode("latin-1"))
            if point == path or point.startswith(path + "/"):
                points.append(point)
    return points


def filesystems():
    """The filesystem types of this kernel."""
    with open("/proc/filesystems", encoding="ascii") as table:
        return {line.split()[-1] for line in table}


def statfs_magic(path):
    """f_type of statfs(2), which tells filesystems apart."""
    buffer = ctypes.create_string_buffer(256)
    call("statfs", os.fsencode(path), buffer)
    return ctypes.c_long.from_buffer(buffer).value


def sync_filesystem(descriptor):
    call("syncfs", descriptor)


FUSE_HAS_RESEND = 1 << 39


def fuse_flags(directory):
    """What this kernel's FUSE offers to a server, FUSE_* of <linux/fuse.h>: asked on an empty
    directory, by a mount that nobody serves."""
    connection = os.open("/dev/fuse", os.O_RDWR | os.O_CLOEXEC)
    try:
        mount("probe", directory, "fuse", f"fd={connection},rootmode=40000,user_id=0,group_id=0")
        init = os.read(connection, 1 << 17)
        umount(directory, MNT_DETACH)
    finally:
        os.close(connection)
    low, high = struct.unpack_from("II", init, 40 + 12)
    return low | high << 32
