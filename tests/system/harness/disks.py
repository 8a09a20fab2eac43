"""
Disks that can be plugged and pulled: loop devices over images, and zram devices.

A disk has its device number before it is plugged, so that a daemon can be told by --include to
look at this one and no other.
"""

import contextlib
import errno
import fcntl
import os
import random
import struct
import subprocess
import sys
import tempfile

from . import kernel
from .wait import until

LOOP_CONFIGURE = 0x4C0A
LOOP_CLR_FD = 0x4C01
LOOP_SET_STATUS64 = 0x4C04
LOOP_SET_CAPACITY = 0x4C07
LOOP_CTL_ADD = 0x4C80
LOOP_CTL_REMOVE = 0x4C81
LOOP_READ_ONLY = 1

MIB = 1 << 20
SMALLEST = {"ntfs": 16 * MIB, "ext4": 64 * MIB, "ext2": 16 * MIB, "xfs": 300 * MIB, "btrfs": 128 * MIB}
KERNEL_FILESYSTEMS = ("ext4", "xfs", "btrfs")


def mkfs_command(fstype, label, uuid):
    """The command without the device, or a label None for a filesystem without one."""
    command = {
        "ext2": ["mkfs.ext2", "-q", "-F"],
        "ext4": ["mkfs.ext4", "-q", "-F"],
        "xfs": ["mkfs.xfs", "-q", "-f"],
        "btrfs": ["mkfs.btrfs", "-q", "-f"],
        "vfat": ["mkfs.vfat"],
        "ntfs": ["mkntfs", "-q", "-F", "-f"],
    }[fstype]
    if label is not None:
        command = command + ["-n" if fstype == "vfat" else "-L", label]
    if uuid:
        flag = {"xfs": ["-m", f"uuid={uuid}"], "vfat": ["-i", uuid]}.get(fstype, ["-U", uuid])
        command = command + flag
    return command


def data_segments(descriptor):
    """The parts of a sparse file that are not holes."""
    end = 0
    while True:
        try:
            start = os.lseek(descriptor, end, os.SEEK_DATA)
        except OSError:
            return
        end = os.lseek(descriptor, start, os.SEEK_HOLE)
        yield start, end


def run_quietly(command):
    result = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=120)
    assert result.returncode == 0, f"{command}: {result.stdout.decode(errors='replace')}"


def pack_image(fstype, tree, image, label=None):
    """Makes a read-only image (squashfs, erofs) of a directory tree."""
    if fstype == "squashfs":
        run_quietly(["mksquashfs", tree, image, "-quiet", "-no-progress", "-noappend"])
    else:
        run_quietly(["mkfs.erofs", "--quiet", image, tree] if not label else
                    ["mkfs.erofs", "--quiet", "-L", label, image, tree])


MADE = []
"""Every disk of this process, for the case that its own removal is what a signal interrupted."""


def remove_forgotten():
    for disk in MADE:
        try:
            if os.path.exists(f"/sys/block/{disk.kname}"):
                disk.remove()
        except (AssertionError, OSError) as error:
            print(f"{disk.kname} stays: {error}", file=sys.stderr)


class Disk:
    """What loop and zram have in common: the kernel's view of a block device."""

    kname = None

    @property
    def device(self):
        return f"/dev/{self.kname}"

    def sysfs(self, name):
        with open(f"/sys/block/{self.kname}/{name}", encoding="ascii") as attribute:
            return attribute.read().strip()

    def size(self):
        return int(self.sysfs("size")) * 512

    def reads(self):
        """Read requests that reached the device so far."""
        return int(self.sysfs("stat").split()[0])

    def writes(self):
        return int(self.sysfs("stat").split()[4])

    def mounted(self):
        """Whether a kernel filesystem lives on it, in whatever mount namespace."""
        for fstype in ("ext4", "xfs", "erofs"):
            if os.path.exists(f"/sys/fs/{fstype}/{self.kname}"):
                return True
        with contextlib.suppress(FileNotFoundError):
            for fsid in os.listdir("/sys/fs/btrfs"):
                if os.path.exists(f"/sys/fs/btrfs/{fsid}/devices/{self.kname}"):
                    return True
        return False

    def held(self):
        """Whether somebody has it open exclusively (a mount). Do not use while a mount begins."""
        try:
            os.close(os.open(self.device, os.O_RDONLY | os.O_EXCL | os.O_CLOEXEC))
            return False
        except OSError:
            return True

    def announce(self):
        """What udevd does when somebody has written to a disk: a `change` event for everybody."""
        with open(f"/sys/block/{self.kname}/uevent", "w", encoding="ascii") as uevent:
            uevent.write("change")
        return self

    def _mounted_at(self, point):
        """Mounts it; False when somebody has it open exclusively, as the daemon for a moment."""
        try:
            kernel.mount(self.device, point, self.fstype, flags=kernel.MS_NOSUID | kernel.MS_NODEV)
            return True
        except OSError as error:
            if error.errno != errno.EBUSY:
                raise
            return False

    @contextlib.contextmanager
    def native(self):
        """Mounted by us for a moment: for content from before the daemon, or a second look."""
        plugged = self.plugged()
        if not plugged:
            self.plug()
        point = tempfile.mkdtemp(dir=self.directory)
        until("nobody looks at it", lambda: self._mounted_at(point))
        try:
            yield point
        finally:
            kernel.umount(point)
            os.rmdir(point)
            if not plugged:
                self.unplug()


class LoopDisk(Disk):
    """An image file on a loop device with a number of its own."""

    def __init__(self, directory, image=None, fstype=None):
        self.directory = directory
        self.image = image or os.path.join(directory, f"{random.getrandbits(48):012x}.img")
        self.fstype = fstype
        self.control = os.open("/dev/loop-control", os.O_RDWR | os.O_CLOEXEC)
        self.number = self._reserve()
        self.kname = f"loop{self.number}"
        MADE.append(self)
        until(f"{self.device} exists", lambda: os.path.exists(self.device))

    def _reserve(self):
        while True:
            try:
                return fcntl.ioctl(self.control, LOOP_CTL_ADD, random.randrange(1000, 1 << 20))
            except FileExistsError:
                continue

    def format(self, fstype="ext4", label=None, uuid=None, size=None, options=()):
        self.fstype = fstype
        with open(self.image, "wb") as image:
            image.truncate(size or SMALLEST[fstype])
        run_quietly(mkfs_command(fstype, label, uuid) + list(options) + [self.image])
        return self

    def copy_of(self, other):
        """Becomes what `dd` would make of the other disk: same label, same UUID."""
        self.fstype = other.fstype
        subprocess.run(["cp", "--sparse=always", other.image, self.image], check=True, timeout=60)
        return self

    def pack(self, fstype, tree, label=None):
        self.fstype = fstype
        pack_image(fstype, tree, self.image, label)
        size = os.stat(self.image).st_size
        os.truncate(self.image, (size + 4095) // 4096 * 4096)
        return self

    def _status(self, flags=0, size_limit=0):
        name = os.fsencode(os.path.basename(self.image))[:63]
        return struct.pack("<5Q4I64s64s32s2Q", 0, 0, 0, 0, size_limit, 0, 0, 0, flags,
                           name, b"", b"", 0, 0)

    def _ioctl(self, request, argument=0):
        descriptor = os.open(self.device, os.O_RDWR | os.O_CLOEXEC)
        try:
            fcntl.ioctl(descriptor, request, argument)
        finally:
            os.close(descriptor)

    def plug(self, read_only=False):
        """Attaches the image: the kernel announces a disk that has become big."""
        flags = LOOP_READ_ONLY if read_only else 0
        mode = os.O_RDONLY if read_only else os.O_RDWR
        backing = os.open(self.image, mode | os.O_CLOEXEC)

        def attached():
            # detached before while a probe had it open: it is let go of a moment later
            try:
                config = struct.pack("<II", backing, 0) + self._status(flags) + bytes(64)
                self._ioctl(LOOP_CONFIGURE, config)
            except OSError as error:
                if error.errno != errno.EBUSY:
                    raise
                return False
            return True

        try:
            until(lambda: f"{self.kname} is free; it has {self.backing_file() or 'no file'}, "
                  "perhaps of somebody else's losetup -f", attached)
        finally:
            os.close(backing)
        return self

    def backing_file(self):
        """Of whoever attached it; None while nobody has."""
        with contextlib.suppress(OSError):
            return self.sysfs("loop/backing_file").strip()

    def plugged(self):
        return os.path.exists(f"/sys/block/{self.kname}/loop/backing_file")

    def unplug(self):
        """Detaches it. A loop device that is mounted would stay, so that is pulled first."""
        if self.mounted():
            self.pull()
        if self.plugged():
            self._ioctl(LOOP_CLR_FD)
        return self

    def pull(self):
        """
        Takes it away under a mounted filesystem: the capacity drops to zero, as when a stick is
        pulled, and every request from now on fails with EIO. The image keeps what was written.
        (A limit below one sector rounds down to nothing.)
        """
        self._ioctl(LOOP_SET_STATUS64, self._status(size_limit=1))
        return self

    def wait_unplugged(self, deadline_s=5.0):
        until(f"{self.kname} is let go of", lambda: not self.plugged(), deadline_s)
        return self

    def content(self):
        """The file that is the disk."""
        return self.image

    def image_contains(self, needle):
        """Whether bytes are on the disk itself, whatever caches lie above it."""
        with open(self.content(), "rb") as image:
            return any(needle in os.pread(image.fileno(), end - start, start)
                       for start, end in data_segments(image.fileno()))

    def remove(self):
        """The end of it. Fails when somebody still holds it: a leaked mount."""
        self.unplug()
        self.wait_unplugged(10)

        def gone():
            try:
                fcntl.ioctl(self.control, LOOP_CTL_REMOVE, self.number)
            except FileNotFoundError:
                pass
            except OSError:
                return False
            return True

        try:
            until(f"{self.kname} can be removed", gone, 10)
        finally:
            os.close(self.control)
            with contextlib.suppress(FileNotFoundError):
                os.unlink(self.image)


class ZramDisk(Disk):
    """A compressed RAM disk: hot_add and hot_remove give real add and remove events."""

    CONTROL = "/sys/class/zram-control"

    def __init__(self, directory, fstype="ext4", size=64 * MIB):
        self.directory = directory
        self.fstype = fstype
        self.bytes = size
        self.number = self._hot_add()
        self.kname = f"zram{self.number}"
        self.present = True
        MADE.append(self)

    def _hot_add(self):
        with open(f"{self.CONTROL}/hot_add", encoding="ascii") as control:
            return int(control.read())

    def _hot_remove(self, number):
        with open(f"{self.CONTROL}/hot_remove", "w", encoding="ascii") as control:
            control.write(str(number))

    def format(self, label=None, uuid=None):
        """A zram disk forgets everything when it is unplugged, so this is also its plug."""
        with open(f"/sys/block/{self.kname}/disksize", "w", encoding="ascii") as disksize:
            disksize.write(str(self.bytes))
        run_quietly(mkfs_command(self.fstype, label, uuid) + [self.device])
        return self.announce()

    def plugged(self):
        return self.present and self.size() > 0

    def plug(self):
        """Comes back as the same kernel device, empty."""
        def same_number():
            number = self._hot_add()
            if number == self.number:
                return True
            self._hot_remove(number)
            return False

        until(f"{self.kname} is free again", same_number)
        self.present = True
        return self

    def unplug(self):
        def removed():
            try:
                self._hot_remove(self.number)
            except OSError:
                return False
            return True

        until(f"{self.kname} is let go of", removed, 10)
        self.present = False
        return self

    def remove(self):
        if self.present:
            self.unplug()


def pid_namespace():
    """A short name for it: podman allows no long paths."""
    return f"{os.stat('/proc/self/ns/pid').st_ino & 0xffff:x}"


def work_directory(prefix):
    """
    A new directory for a run, named after its process, which means something only among those
    that see the same processes.
    """
    return tempfile.mkdtemp(prefix=f"{prefix}{os.getpid()}-{pid_namespace()}-")


def remove_leftovers(prefix):
    """Detaches the loop devices of earlier runs that were killed; prefix as for work_directory."""
    for kname in os.listdir("/sys/block"):
        try:
            with open(f"/sys/block/{kname}/loop/backing_file", encoding="utf-8",
                      errors="surrogateescape") as attribute:
                backing = attribute.read()
        except OSError:
            continue
        owner, _, rest = backing.removeprefix(prefix).partition("-")
        ours = backing.startswith(prefix) and rest.startswith(pid_namespace() + "-")
        if ours and not os.path.exists(f"/proc/{owner}"):
            subprocess.run(["losetup", "-d", f"/dev/{kname}"], check=False, timeout=30)
