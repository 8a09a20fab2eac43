"""Sticks with the filesystems that there are in the field: plugged, used, pulled, plugged again."""

import pytest

from vm.images import FORMATS

TABLES = {"vfat": ("dos", None), "exfat": ("gpt", None), "ntfs": ("dos",), "ext4": ("gpt", None),
          "btrfs": (None,), "xfs": ("gpt",), "f2fs": (None,), "iso9660": (None,), "udf": (None,)}
SHAPES = [pytest.param(fstype, table, id=f"{fstype}-{table or 'superfloppy'}")
          for fstype in FORMATS for table in TABLES[fstype]]


def need_filesystem(vm, fstype):
    types = FORMATS[fstype].kernel_types or (fstype,)
    if not vm.call("has_filesystem", *types):
        pytest.skip(f"this machine cannot: Linux {vm.release} has no driver for {fstype}")


@pytest.mark.parametrize("fstype,table", SHAPES)
def test_appears_under_its_label(vm, stick, daemon, fstype, table):
    """It appears under its label, is read and written; pulled, its name goes; plugged again, it is
    back under the same name with all that was written."""
    need_filesystem(vm, fstype)
    disk = stick(fstype, "HOLIDAY", table)
    daemon()
    disk.plug()
    vm.call("wait_names", "HOLIDAY")
    if disk.image.format.writable:
        vm.call("write", "HOLIDAY/photo", "a beach")
        vm.call("wait_state", "HOLIDAY", "clean")
    before = vm.call("listing", "HOLIDAY")
    disk.pull()
    vm.call("wait_names")
    disk.plug()
    vm.call("wait_names", "HOLIDAY")
    assert vm.call("listing", "HOLIDAY") == before
    if disk.image.format.writable:
        assert vm.call("read", "HOLIDAY/photo") == "a beach"


def test_little_may_be_unwritten(vm, stick, daemon):
    """The kernel keeps at most 64 MiB that are still to be written to a stick, whoever wrote them."""
    def limit(name):
        status, text = vm.call("shell", "cat /sys/class/bdi/$(cat /sys/block/sd?/dev)/" + name,
                               check=False)
        if status:
            pytest.skip(f"this machine cannot: Linux {vm.release} has no limit in bytes")
        return int(text)

    daemon()
    stick("ext4", "HOLIDAY").plug()
    vm.call("wait_names", "HOLIDAY")
    before = limit("max_bytes")
    vm.call("write", "HOLIDAY/photo", "a beach")
    assert limit("max_bytes") <= 65 << 20 < before  # it is kept as a share of the memory
    assert limit("strict_limit") == 1


@pytest.mark.parametrize("bus", ("bot", "uas"))
def test_bus(vm, stick, daemon, bus):
    """Sticks of both protocols are media on USB."""
    daemon()
    disk = stick("ext4", "HOLIDAY", bus=bus).plug()
    vm.call("wait_names", "HOLIDAY")
    vm.call("write", "HOLIDAY/photo", "a beach")
    vm.call("wait_state", "HOLIDAY", "clean")
    disk.pull()
    vm.call("wait_names")
