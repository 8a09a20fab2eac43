"""What the list says is true: a stick shown idle or clean and then pulled has lost nothing."""

import re

import pytest

from test_media import need_filesystem
from vm.images import MIB

FSTYPES = ("vfat", "exfat", "ntfs", "ext4", "btrfs", "xfs", "f2fs")
SIZE = 2 * MIB

MARK_OF_VFAT = re.compile(r"""fsck\.fat .*
There are differences between boot sector and its backup\.
This is mostly harmless\. Differences: .*
  65:01/00
  Not automatically fixing this\.
Dirty bit is set\. .*
 Automatically removing dirty bit\.

Leaving filesystem unchanged\.
.*: \d+ files, .*""")
"""All that its checker says of one that was mounted when it was pulled."""


def plug_and_write(vm, disk):
    disk.plug()
    vm.call("wait_names", "STICK")
    vm.call("shell", "cd /run/vm/daemon*/media/STICK && mkdir -p a/b && "
            "for i in $(seq 20); do echo $i >a/b/$i; done && rm a/b/7 && mv a/b/8 a/8")
    vm.call("write_durably", "STICK/file", SIZE, 7)


@pytest.mark.parametrize("fstype", FSTYPES)
def test_pulled_while_idle(vm, stick, daemon, fstype, request):
    """Pulled while it is shown idle, the filesystem's checker finds nothing at all."""
    need_filesystem(vm, fstype)
    disk = stick(fstype, "STICK", "dos")
    daemon("--idle-timeout", "1s")
    for _ in range(request.config.option.rounds):
        plug_and_write(vm, disk)
        vm.call("wait_state", "STICK", "idle")
        disk.pull()
        vm.call("wait_names")
        assert disk.image.fault() is None


@pytest.mark.parametrize("fstype", FSTYPES)
def test_pulled_while_clean(vm, stick, daemon, fstype, request):
    """Pulled while it is shown clean, everything is there, and the checker finds nothing but the
    mark of having been mounted; or, with a journal, nothing at all once that has been replayed."""
    need_filesystem(vm, fstype)
    disk = stick(fstype, "STICK", "dos")
    daemon("--idle-timeout", "3s")
    for number in range(request.config.option.rounds):
        plug_and_write(vm, disk)
        vm.call("wait_state", "STICK", "clean")
        disk.pull()
        vm.call("wait_names")
        fault = disk.image.fault()
        if fstype in ("vfat", "exfat", "ntfs"):
            assert fault is None or fstype == "vfat" and MARK_OF_VFAT.fullmatch(fault.strip())
        disk.plug()
        vm.call("wait_names", "STICK")
        assert vm.call("is_intact", "STICK/file", SIZE, 7), f"round {number}"
        vm.call("wait_state", "STICK", "idle")
        disk.pull()
        vm.call("wait_names")
        assert disk.image.fault() is None or fstype == "vfat"
