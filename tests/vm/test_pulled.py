"""Sticks that are pulled while they are used, at any moment."""

import os
import random

import pytest

from test_media import need_filesystem
from vm.images import MIB

FSTYPES = ("vfat", "exfat", "ntfs", "ext4", "btrfs", "xfs", "f2fs")
MIX = {
    "cp": "while cp -r {0}/tree {0}/copy$((i++)); do :; done",
    "fio": "exec fio --name=pulled --directory={0} --size=24m --rw=randrw --bs=16k --fsync=64"
           " --time_based --runtime=600 --ioengine=psync --output-format=terse",
    "mmap": "exec fio --name=mapped --directory={0} --size=8m --rw=randwrite --bs=4k"
            " --time_based --runtime=600 --ioengine=mmap --output-format=terse",
    "ls": "while ls -R {0} >/dev/null; do :; done",
    "shell": "cd {0} && while ls >/dev/null && test . -ef $PWD; do sleep 0.05; done",
}
"""Each goes on until something fails."""

NOT_WRITTEN = "written data could not be put on the disk"
NOT_DETACHED = "could not be detached"
SIZE = 1 * MIB


def prepare(vm):
    """A tree to copy, and a file that must never be lost."""
    vm.call("shell", 'cd "$(ls -d /run/vm/daemon*/media/STICK)" && mkdir tree && '
            "for i in 1 2 3 4; do head -c 2M /dev/urandom >tree/$i; done")
    vm.call("write_durably", "STICK/kept", SIZE, 1)


@pytest.mark.log_errors(NOT_WRITTEN)
@pytest.mark.parametrize("fstype", FSTYPES)
def test_pulled_in_use(vm, stick, daemon, request, fstype):
    """A stick is pulled while everything goes on at once: its name goes, every call returns, no
    process stays, it is back under its name when it is plugged again, with all that was synced."""
    need_filesystem(vm, fstype)
    moments = random.Random(f"{os.environ.get('TEST_SEED', '1')} {fstype}")
    daemon()
    for number in range(request.config.option.rounds):
        disk = stick(fstype, "STICK", moments.choice((None, "dos", "gpt")),
                     size=600 * MIB if fstype == "xfs" else 300 * MIB)
        disk.plug()
        vm.call("wait_names", "STICK")
        prepare(vm)
        for work in MIX.values():
            vm.call("start_job", work.format("STICK"))
        vm.call("shell", f"sleep {moments.uniform(0.5, 4):.2f}")
        assert vm.call("jobs_ended") == []
        pull_and_time(vm, disk, number)
        vm.call("wait_nothing_blocked")
        disk.plug()
        vm.call("wait_names", "STICK")
        assert vm.call("is_intact", "STICK/kept", SIZE, 1), f"round {number}"
        disk.pull()
        vm.call("wait_names")


def pull_and_time(vm, disk, number):
    """Nothing is expected of the times, on a processor that is emulated."""
    vm.call("records")
    disk.pull()
    told, unlisted, gone = vm.call("wait_gone")
    ended = vm.call("wait_jobs")
    print(f"\n{vm.release} {disk.image.fstype} {number}: from the kernel's event the name was listed "
          f"for {(unlisted - told) * 1000:.0f} ms, inotify told after {(gone - told) * 1000:.0f} ms, "
          f"the last call returned after {(ended - told) * 1000:.0f} ms", end="")
