"""Sticks that are pulled while they are used, at any moment."""

import os
import random

import pytest

from figures import record
from test_media import has_filesystem
from vm.images import FORMATS, MIB

FIO = "fio --thread --output-format=terse"
"""As threads: fio waits for ever for a process of its own that SIGBUS has ended as it began, on any
filesystem (on ext4 that was shut down a second after fio's start in 7 of 60 cases). The mapped one
syncs: once all of its file is in memory it needs nothing of the disk, and goes on (natively in 4 of
4 cases; synced, in none)."""

WRITERS = {
    "cp": "while cp -r {0}/tree {0}/copy$((i++)); do :; done",
    "fio": f"exec {FIO} --directory={{0}} --time_based --runtime=600"
           " --name=pulled --size=24m --rw=randrw --bs=16k --fsync=64 --ioengine=psync",
    "mmap": f"exec {FIO} --directory={{0}} --time_based --runtime=600"
            " --name=mapped --size=8m --rw=randwrite --bs=4k --fsync=64 --ioengine=mmap",
}
READERS = {
    "cp": "while cp -r {0}/tree /dev/shm/{0} && rm -r /dev/shm/{0}; do :; done",
    "fio": f"while {FIO} --readonly --rw=randread"
           " --name=read --filename={0}/tree/1 --bs=16k --ioengine=psync; do :; done",
    "mmap": f"while {FIO} --readonly --rw=randread"
            " --name=mapped --filename={0}/tree/2 --bs=4k --ioengine=mmap; do :; done",
}
LOOKERS = {
    "ls": "while ls -R {0} >/dev/null; do :; done",
    "shell": "cd {0} && while ls >/dev/null && test . -ef $PWD; do sleep 0.05; done",
}
BESIDE = "while date >{0}/date && ls -R {0} >/dev/null; do :; done"
"""Each goes on until something fails."""

NAMES_OF_CHARACTERS = ("nls_cp437", "nls_ascii", "nls_iso8859-1", "nls_utf8")
"""With the filesystems they are what the first mount of each would load: that keeps the only CPU for
135 ms, unpacking a module, during which these kernels let nobody else run, whatever his priority."""

NOT_WRITTEN = "written data could not be put on the disk"
SIZE = MIB
ROOM = {"iso9660": None, "udf": None, "xfs": 600 * MIB}


def choose(moments, fstype):
    """What kind of a stick it is, and how it is plugged. Partitions behind the one that all goes on
    in are written, too."""
    label = fstype.upper()
    tables = (None, "dos", "gpt") if FORMATS[fstype].writable else (None,)
    shape = {"table": moments.choice(tables), "hub": moments.choice((None, None, "hub", "stick"))}
    shape["bus"] = "bot" if shape["hub"] else moments.choice(("bot", "uas"))
    others = (("vfat", f"{label}2"), ("ext4", f"{label}3"))
    shape["others"] = others[:moments.randrange(3)] if shape["table"] else ()
    return shape


def groups(moments, vm, number):
    """All filesystems that this kernel has, as many together as that."""
    fstypes = [fstype for fstype in FORMATS if has_filesystem(vm, fstype)]
    moments.shuffle(fstypes)
    return [fstypes[start:start + number] for start in range(0, len(fstypes), number)]


class Used:
    """A stick on which everything goes on at once."""

    def __init__(self, vm, stick, moments, fstype):
        self.vm, self.fstype, self.label = vm, fstype, fstype.upper()
        self.shape = choose(moments, fstype)
        self.disk = stick(fstype, self.label, size=ROOM.get(fstype, 300 * MIB), **self.shape)
        self.writable = self.disk.image.format.writable
        self.jobs = []

    def fill(self):
        """What the view only reads is written to by the kernel's own mount of it."""
        if self.writable or self.disk.image.format.full:
            return
        self.disk.plug()
        self.vm.call("fill_natively", self.label, self.fstype)
        self.disk.pull()

    def prepare(self):
        """A tree to copy, and two files that must never be lost."""
        if not self.writable:
            return
        self.vm.call("shell", f"cd /run/vm/daemon*/media/{self.label} && mkdir tree && "
                     "for i in 1 2 3 4; do head -c 256k /dev/urandom >tree/$i; done")
        self.vm.call("write_pattern", f"{self.label}/settled", SIZE, 2)
        self.vm.call("wait_state", self.label, "clean")
        self.vm.call("write_durably", f"{self.label}/kept", SIZE, 1)

    def work(self):
        mix = {**(WRITERS if self.writable else READERS), **LOOKERS}
        commands = [work.format(self.label) for work in mix.values()]
        commands += [BESIDE.format(label) for label in self.disk.image.labels[1:]]
        self.jobs = [self.vm.call("start_job", command) for command in commands]

    def pull(self):
        """
        Returns, from the kernel's event on: until the names were not listed any more, until inotify
        told, until the last call that was under way returned, how long the longest of all calls
        took, until the last program ended.
        """
        vm = self.vm
        vm.call("watch_going", self.disk.image.labels, self.jobs)
        self.disk.pull()
        gone = vm.call("wait_gone").values()
        ended = vm.call("wait_jobs", self.jobs)
        told = min(times[0] for times in gone)
        calls, longest = vm.call("calls_returned", told)
        return {"listed_ms": max(listed - event for event, listed, _ in gone) / 1000,
                "watcher_ms": max(seen - event for event, _, seen in gone) / 1000,
                "call_ms": max(calls, default=0) / 1000, "calls": len(calls),
                "longest_ms": longest[0] / 1000, "longest": longest,
                "program_ms": (ended - told) / 1000}

    def check(self):
        """What had been synced, or shown clean, is there. Returns how many of these the kernel's own
        way of writing has lost."""
        lost = 0
        for name, seed in (("kept", 1), ("settled", 2))[:2 if self.writable else 1]:
            path = f"{self.label}/{name}"
            if self.vm.call("is_intact", path, SIZE, seed):
                continue
            assert self.disk.image.has_lost(name), f"{path} {self.shape} on {self.vm.release}: " \
                f"{self.disk.image.fault()}, {self.vm.call('why', self.label)}"
            lost += 1
        return lost

    def facts(self):
        return {"kernel": self.vm.release, "kind": self.fstype, "icount": self.vm.icount,
                **self.shape, "others": len(self.shape["others"])}


def random_moments(vm):
    return random.Random(f"{os.environ.get('TEST_SEED', '1')} {vm.release}")


def prepare(vm, daemon):
    vm.call("load_modules", *(f"fs-{fstype}" for fstype in FORMATS), *NAMES_OF_CHARACTERS)
    daemon()


@pytest.mark.sample
@pytest.mark.log_errors(NOT_WRITTEN)
def test_the_usual_pulled(vm, stick, daemon):
    """What is done to all below, with two filesystems."""
    moments = random_moments(vm)
    prepare(vm, daemon)
    use_and_pull(vm, moments, [Used(vm, stick, moments, fstype)
                               for fstype in ("vfat", "ext4")])


@pytest.mark.log_errors(NOT_WRITTEN)
def test_pulled_in_use(vm, stick, daemon, request):
    """Sticks are pulled while everything goes on at once on them: their names go, every call
    returns, no process stays, what goes on on other sticks goes on; they are back under their names
    when they are plugged again, with all that was synced or shown clean."""
    moments = random_moments(vm)
    prepare(vm, daemon)
    failed = []
    for _ in range(request.config.option.rounds):
        for fstypes in groups(moments, vm, request.config.option.sticks):
            used = [Used(vm, stick, moments, fstype) for fstype in fstypes]
            try:
                use_and_pull(vm, moments, used)
            except AssertionError as error:  # the others are pulled nevertheless
                failed.append(error)
                print(f"\nFAILED: {error}")
                give_up(vm, used)
    assert not failed, f"{len(failed)} failed, the first: {failed[0]}"


def use_and_pull(vm, moments, used):
    labels = [label for one in used for label in one.disk.image.labels]
    for one in used:
        one.fill()
    vm.call("wait_names")
    plug(vm, used, labels)
    for act in (Used.prepare, Used.work):
        for one in used:
            act(one)
    vm.call("shell", f"sleep {moments.uniform(0.2, 2 if vm.icount is None else 0.5):.2f}")
    times = []
    for one in used:
        assert vm.call("jobs_ended") == []
        times.append(one.pull())
        print(f"\n{one.facts()}: {times[-1]}", end="")
    vm.call("wait_nothing_blocked")
    plug(vm, used, labels)
    for one, seen in zip(used, times):
        assert vm.icount is None or in_time(seen), f"{one.facts()}: {seen}"
        lost = one.check()
        one.disk.remove()
        record("pulled in use", **one.facts(), together=len(used), hidden=lost, **seen)
    vm.call("wait_names")


def in_time(seen):
    """On a clock that counts instructions; the time of an emulated processor says nothing."""
    return seen["listed_ms"] < 100 and max(seen["call_ms"], seen["longest_ms"]) < 1000


def give_up(vm, used):
    vm.call("end_jobs")
    for one in used:
        one.disk.remove()
    vm.call("wait_names")


def plug(vm, used, labels):
    for one in used:
        one.disk.plug()
    vm.call("wait_names", *labels)
