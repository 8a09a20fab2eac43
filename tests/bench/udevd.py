"""
The recipe that people use: systemd-udevd with a rule that asks blkid, makes a directory and mounts.

It runs in namespaces of its own: what it mounts is seen by nobody else, what it says of devices is
heard by nobody else, and of the devices it has only the node of our disk.
"""

import contextlib
import os
import subprocess

import columns
from harness.wait import until

SETTING = r"""
mount -t tmpfs tmpfs /run
mount -t tmpfs tmpfs /dev
mount -t tmpfs tmpfs /etc/udev
mknod /dev/null c 1 3
mknod /dev/$1 b 7 $2
mkdir /etc/udev/rules.d
ln -s /dev/null /etc/udev/rules.d/80-net-setup-link.rules
ln -s /dev/null /etc/udev/rules.d/80-drivers.rules
cat >/etc/udev/rules.d/99-mount.rules <<EOF
ACTION!="remove", KERNEL=="$1", IMPORT{builtin}="blkid"
ACTION!="remove", KERNEL=="$1", ENV{ID_FS_TYPE}=="ext4", \
  RUN+="/bin/mkdir -p /run/media/DISK", \
  RUN+="/bin/mount -o nosuid,nodev /dev/$1 /run/media/DISK"
EOF
exec /lib/systemd/systemd-udevd
"""


class Udevd:
    def __init__(self, process):
        self.process = process
        self.root = f"/proc/{process.pid}/root"

    def path(self, name):
        return f"{self.root}/run/media/DISK/{name}"

    def unmount(self):
        """The second of two events may be handled still: nothing may mount it again."""
        inside = ["nsenter", "-t", str(self.process.pid), "-m", "--"]
        subprocess.run(["nsenter", "-t", str(self.process.pid), "-m", "-n", "--", "udevadm",
                        "settle"], check=False, timeout=30)
        until("unmounted", lambda: subprocess.run(
            [*inside, "umount", "/run/media/DISK"], check=False, stderr=subprocess.DEVNULL,
            timeout=30).returncode == 0)


@contextlib.contextmanager
def running(run, disk):
    with run.directory() as work, open(os.path.join(work, "log"), "wb") as log:
        process = columns.start_server(
            ["unshare", "--mount", "--net", "--propagation", "private", "sh", "-euc", SETTING,
             "sh", disk.kname, str(disk.number)], stdout=log, stderr=log)
        try:
            one = Udevd(process)
            until("udevd is ready", lambda: process.poll() is not None or
                  os.path.exists(f"{one.root}/run/udev/control"), 10)
            assert process.poll() is None, "systemd-udevd ended"
            yield one
        finally:
            columns.end_server(process)
