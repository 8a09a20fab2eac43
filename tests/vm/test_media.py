"""Sticks with the filesystems that there are in the field: plugged, used, pulled, plugged again."""

import shutil

import pytest

from vm.images import FORMATS

TABLES = {"vfat": ("dos", None), "exfat": ("gpt", None), "ntfs": ("dos",), "ext4": ("gpt", None),
          "btrfs": (None,), "xfs": ("gpt",), "f2fs": (None,), "iso9660": (None,), "udf": (None,),
          "hfsplus": ("gpt", None)}
SHAPES = [pytest.param(fstype, table, id=f"{fstype}-{table or 'superfloppy'}")
          for fstype in FORMATS for table in TABLES[fstype]]


def kernel_has_filesystem(vm, fstype):
    return vm.call("has_filesystem", *(FORMATS[fstype].kernel_types or (fstype,)))


def has_filesystem(vm, fstype):
    """Whether it can be mounted there: the guest has this machine's programs."""
    program = FORMATS[fstype].program
    return bool(kernel_has_filesystem(vm, fstype) or program and shutil.which(program))


def need_filesystem(vm, fstype):
    if not has_filesystem(vm, fstype):
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


@pytest.mark.sample
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


def test_writers_are_not_starved(vm, stick, daemon):
    """Where the daemon bounds what is not yet written to a stick, that stick is left something also
    while another one is written all the time. Else a writer would wait, on f2fs for ever."""
    daemon()
    for fstype, label in (("ext4", "BUSY"), ("f2fs", "QUIET")):
        stick(fstype, label, "dos").plug()
    vm.call("wait_names", "BUSY", "QUIET")
    vm.call("write", "QUIET/first", "one")
    job = vm.call("start_job",
                  "while dd if=/dev/zero of=BUSY/x bs=1M count=8 conv=fsync; do :; done")
    vm.call("wait_state", "QUIET", "clean")
    vm.call("shell", "cd /run/vm/daemon*/media/QUIET && mkdir d && "
            "for i in $(seq 50); do echo $i >d/$i; done")
    bounds = vm.call("shell", "for bdi in /sys/class/bdi/8:*; do "
                     "if grep -q 1 $bdi/strict_limit; then cat $bdi/min_bytes; fi; done",
                     check=False)[1].split()
    assert "0" not in bounds, bounds
    vm.call("end_job", job)
