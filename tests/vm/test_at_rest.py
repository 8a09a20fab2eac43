"""What the list says is true: a stick shown idle or clean and then pulled has lost nothing."""

import re

from figures import record
from test_media import has_filesystem
from vm.images import MIB

FSTYPES = ("vfat", "exfat", "ntfs", "ext4", "btrfs", "xfs", "f2fs", "hfsplus")
MARKED = ("vfat", "exfat", "ntfs", "hfsplus")
"""Without a journal that is replayed when they are mounted the next time."""
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


class Sticks:
    """One with each filesystem that this kernel has, all in use at the same time."""

    def __init__(self, vm, stick):
        self.vm = vm
        self.disks = {fstype: stick(fstype, fstype.upper(), "dos") for fstype in FSTYPES
                      if has_filesystem(vm, fstype)}
        self.labels = [disk.image.label for disk in self.disks.values()]

    def plug(self):
        for disk in self.disks.values():
            disk.plug()
        self.vm.call("wait_names", *self.labels)

    def remove(self):
        for disk in self.disks.values():
            disk.remove()

    def write(self):
        for label in self.labels:
            self.vm.call("shell", f"cd /run/vm/daemon*/media/{label} && mkdir -p a/b && "
                         "for i in $(seq 20); do echo $i >a/b/$i; done && rm a/b/7 && mv a/b/8 a/8")
            self.vm.call("write_durably", f"{label}/file", SIZE, 7)

    def wait(self, state):
        for label in self.labels:
            self.vm.call("wait_state", label, state)

    def pull(self):
        """Returns what the checkers find."""
        for disk in self.disks.values():
            disk.pull()
        self.vm.call("wait_names")
        faults = {fstype: disk.image.fault() for fstype, disk in self.disks.items()}
        return {fstype: fault for fstype, fault in faults.items() if fault is not None}


def test_pulled_while_idle(vm, stick, daemon, request):
    """Pulled while they are shown idle, the filesystems' checkers find nothing at all."""
    sticks = Sticks(vm, stick)
    daemon("--idle-timeout", "1s")
    for _ in range(request.config.option.rounds):
        sticks.plug()
        sticks.write()
        sticks.wait("idle")
        assert sticks.pull() == {}
        for fstype in sticks.disks:
            record("pulled while idle", kernel=vm.release, kind=fstype)


def test_pulled_while_clean(vm, stick, daemon, request):
    """Pulled while they are shown clean, everything is there, and the checkers find nothing but the
    mark of having been mounted; or, with a journal, nothing at all once that has been replayed."""
    daemon("--idle-timeout", "10min")
    for number in range(request.config.option.rounds):
        sticks = Sticks(vm, stick)
        sticks.plug()
        sticks.write()
        sticks.wait("clean")
        faults = sticks.pull()
        for fstype in MARKED:
            assert only_marked(fstype, faults.get(fstype)), faults[fstype]
        sticks.plug()
        for label in sticks.labels:
            assert vm.call("is_intact", f"{label}/file", SIZE, 7), f"{label} in round {number}"
            vm.call("eject", label)
        for fstype, fault in sticks.pull().items():
            assert only_marked(fstype, fault), fault  # which nobody but a checker takes away
        for fstype in sticks.disks:
            record("pulled while clean", kernel=vm.release, kind=fstype,
                   marked=fstype in MARKED and fstype in faults)
        sticks.remove()


def only_marked(fstype, fault):
    if fault is None or fstype == "hfsplus" and fault == "it is marked as mounted":
        return True
    return fstype == "vfat" and MARK_OF_VFAT.fullmatch(fault.strip())
