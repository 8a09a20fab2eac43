"""Power cuts: what was promised is there, on disks that forget what they were not told to flush."""

import collections
import json
import os
import random
import tempfile
import time

import pytest

from test_media import has_filesystem, kernel_has_filesystem
from vm import images
from vm.machine import TOP
from vm.power import CachedDisk, CutMachine

GUEST = os.path.join(TOP, "tests", "vm", "guest")
FSTYPES = os.environ.get("TEST_FSTYPES", "ext4,vfat,exfat,ntfs,xfs,btrfs,f2fs").split(",")
"""Each on a stick of its own, all cut at once."""

WITH_JOURNAL = ("ext4", "xfs", "btrfs", "f2fs")
NEW = ("fsync", "fdatasync", "new-o_sync", "rename", "unlink", "sync-file")
OLD = ("o_sync", "o_dsync", "o_direct", "rwf_dsync", "overwrite", "msync", "append")
WHOLE = ("sync-medium", "sync")
NATIVE = os.environ.get("TEST_NATIVE")
"""The same on the kernel's own mounts, without the daemon: to tell whose fault a loss is."""

NOT_BY_KERNEL = {("vfat", "sync"), ("exfat", "sync"), ("ntfs", "sync"), ("ntfs", "all")}
"""Where the kernel's own mounts lose something, too. sync(2), which the daemon does not hear of,
leaves what it wrote in the disk's cache; with all at once ntfs3 loses synced files: README.md."""

NOT_BY_PROGRAM = {("ntfs", "few", "some"), ("ntfs", "all", "some")}
"""ntfs-3g has no journal: where some of what it wrote last is on the disk, a directory may be lost."""

NATIVE_OPTIONS = {"VFAT": "-o utf8,shortname=mixed,flush", "NTFS": "-t ntfs3"}
SLOW = 600


class Power:
    """One machine at a time; after a cut the next one."""

    def __init__(self, running, directory, binary):
        self.running = running  # what other tests use
        self.directory = directory
        self.binary = binary
        self.media = None
        self.disks = []
        self.in_order = True  # nothing is plugged or runs

    def vm(self):
        machine = self.running.machine
        if not isinstance(machine, CutMachine) or not machine.usable:
            self.running.stop()
            directory = tempfile.mkdtemp(dir=self.directory)
            self.running.machine = CutMachine(self.running.kernel, directory)
        return self.running.machine

    def cut(self):
        """Returns the name of the file with what was told."""
        self.vm().cut()
        return self.running.machine.told

    def start_daemon(self, *options, passthrough=True):
        self.in_order = False
        if NATIVE:
            self.media = "/run/native"
        else:
            patient = ("--mount-timeout", "10min", *options)  # the processor is emulated
            self.media = self.vm().call("start_daemon", self.binary, patient,
                                        passthrough=passthrough)

    def stop_daemon(self):
        if not NATIVE:
            self.vm().call("stop_daemon", timeout=300)
        self.in_order = True

    def wait_names(self, names):
        if not NATIVE:
            return self.vm().call("wait_names", *names)
        for name in names:
            what = f"{NATIVE_OPTIONS.get(name, '')} LABEL={name} {self.media}/{name}"
            self.vm().call("shell", f"until findfs LABEL={name}; do sleep 0.1; done; mkdir -p "
                                    f"{self.media}/{name}; mount {what} || mount -r {what}")
        return None

    def use(self, names):
        """A disk is usable after a cut; without a journal the kernel may let it only be read."""
        names = " ".join(name for name in names if name.lower() in WITH_JOURNAL)
        self.vm().call("shell", f"cd {self.media}; seq 9999 >/tmp/seq; for name in {names}; do "
                                "cp /tmp/seq $name/after && sync $name/after && "
                                "cmp /tmp/seq $name/after || exit; done")

    def eject(self, names):
        command = f"umount {self.media}/$name" if NATIVE else \
            f"{self.binary} eject --socket {self.media}/../control.sock $name"
        self.vm().call("shell", f"for name in {' '.join(names)}; do {command} || exit; done")

    def plug(self, base, fstype, bus):
        disk = CachedDisk(self.directory, f"{fstype}{os.urandom(4).hex()}", base.path)
        self.disks.append(disk)
        self.vm().plug_cached(disk, bus)
        return disk

    def forget_disks(self):
        while self.disks:
            self.disks.pop().remove()

    def stop(self):
        if not self.in_order:
            self.running.stop()
        self.forget_disks()


@pytest.fixture
def power(machine, session_directory, request):
    one = Power(machine, session_directory, request.config.option.hotplugfs)
    yield one
    one.stop()


@pytest.fixture(scope="session")
def bases(session_directory):
    """bases(fstype): an image with that filesystem, made once."""
    made = {}

    def factory(fstype):
        if fstype not in made:
            made[fstype] = images.Image(session_directory, fstype, fstype.upper())
        return made[fstype]

    yield factory
    for image in made.values():
        image.remove()


def plug_all(power, bases, moments):
    """Returns the disks by their names in the view."""
    vm = power.vm()
    disks = {one.upper(): power.plug(bases(one), one, moments.choice(("bot", "uas")))
             for one in FSTYPES if has_filesystem(vm, one)}
    power.wait_names(disks)
    caches = vm.call("shell", "sort -u /sys/block/sd*/queue/write_cache")[1]
    assert caches.strip() == "write back", "the kernel would flush nothing"
    return disks


def writers(power, ways, seed):
    """The command; ways: those of each disk."""
    words = " ".join(f"{power.media}/{name}:{','.join(all_its)}" for name, all_its in ways.items())
    return f"exec /usr/bin/python3 {GUEST}/promise.py /dev/vport*p2 {seed} {words}"


def wait_until_all_told(power, ways):
    """Waits until each writer has told of something."""
    awaited = {(name, how) for name, its_ways in ways.items() for how in its_ways}
    end = time.monotonic() + SLOW
    while missing := awaited - {(one["disk"], one["how"]) for one in power.vm().lines()}:
        assert power.vm().call("jobs_ended") == []
        assert time.monotonic() < end, f"nothing told: {missing}"
        time.sleep(0.2)


def check(power, images_by_name, told):
    """Plugs what a cut has left and compares it with what was told; returns the reports."""
    vm = power.vm()
    for name, path in images_by_name.items():
        vm.plug(f"after{name}", path)
    power.wait_names(images_by_name)
    printed = vm.call("shell", f"/usr/bin/python3 {GUEST}/promised.py {told} {power.media} "
                               f"{' '.join(images_by_name)}", True, SLOW, timeout=SLOW + 10)[1]
    power.use(images_by_name)
    power.eject(images_by_name)
    for name in images_by_name:
        vm.pull(f"after{name}")
    return json.loads(printed.splitlines()[-1])


def fault(name, path):
    """What the filesystem's checker finds."""
    status, text = images.run(images.FORMATS[name.lower()].check.format(image=path), check=False)
    return None if status == 0 else text


def cut(power):
    assert power.vm().call("jobs_ended") == [], "a writer failed"
    return power.cut()


def check_after_cut(power, disks, told, title, moments=None):
    """Returns what was promised and is not there: of what the disk had in its cache nothing was
    written or, with moments, some. And how much of what was not promised is missing."""
    power.start_daemon()
    broken, missing = {}, 0
    for kept, choose in (("flushed", None), ("some", moments))[:2 if moments else 1]:
        after = {name: disk.after_cut(choose) for name, disk in disks.items()}
        for name, report in check(power, after, told).items():
            show(title, name, kept, report)
            missing += report["missing"]
            if name.lower() in WITH_JOURNAL:
                assert fault(name, after[name]) is None
            if report["broken"]:
                broken[name, kept] = report["broken"]
    power.stop_daemon()
    power.forget_disks()
    return broken, missing


def show(title, name, kept, report):
    ways = collections.Counter(how for how, _, _ in report["broken"])
    print(f"\nCUT {title} {name} {kept}: {sum(report['promises'].values())} promises, "
          f"{len(report['broken'])} broken {dict(ways)}; {report['missing']} of "
          f"{report['unpromised']} others missing {report['promises']} {report['broken'][:2]}",
          end="")


def files_ways(name):
    """Without a journal, a name can be lost in the middle of a rename."""
    return (("replace",) if name.lower() in WITH_JOURNAL else ()) + NEW + OLD


def rotated(number, disks):
    """Two ways for each disk, others for the next disk and the next number."""
    found = {}
    for place, name in enumerate(disks):
        ways, first = files_ways(name), 2 * (place + number)
        found[name] = [ways[at % len(ways)] for at in (first, first + 1)] + ["none"]
    return found


SETS = {
    "all": lambda number, disks: {name: files_ways(name) + WHOLE + ("none",) for name in disks},
    "few": rotated,
    "sync": lambda number, disks: {name: ("sync", "none") for name in disks},
    "sync-medium": lambda number, disks: {name: ("sync-medium", "none") for name in disks},
    "close": lambda number, disks: {name: ("close", "none") for name in disks},
}
"""What runs together. Whoever flushes the disk does it for all others, too."""


def excused(vm, name, kept, which):
    """Whether a loss is not the daemon's fault."""
    fstype = name.lower()
    return (fstype, which) in NOT_BY_KERNEL or \
        (fstype, which, kept) in NOT_BY_PROGRAM and not kernel_has_filesystem(vm, fstype)


@pytest.mark.parametrize("which", SETS)
def test_promises_are_kept(power, bases, which, request):
    """The power is cut while programs write: all that was acknowledged is there."""
    for number in range(request.config.option.rounds):
        seed = f"{os.environ.get('TEST_SEED', '1')} {which} {number}"
        moments = random.Random(seed)
        passthrough = (list(SETS).index(which) + number) % 2 == 0
        durability = "strict" if which == "close" else moments.choice(("close", "lazy"))
        power.start_daemon("--durability", durability, passthrough=passthrough)
        disks = plug_all(power, bases, moments)
        ways = SETS[which](number, disks)
        title = f"{power.vm().release} {which} {number} {passthrough} {durability}"
        power.vm().call("start_job", writers(power, ways, moments.randrange(1 << 30)))
        wait_until_all_told(power, ways)
        time.sleep(moments.uniform(1, 5))
        broken, missing = check_after_cut(power, disks, cut(power), title,
                                          moments if which in ("all", "few") else None)
        assert not [one for one in broken if not excused(power.vm(), *one, which)] or NATIVE
        assert missing or which == "all", "nothing was lost"


def test_close_alone_is_no_promise(power, bases):
    """These tests can fail: taken for a promise, close(2) is broken on each of the disks."""
    moments = random.Random(os.environ.get("TEST_SEED", "1"))
    power.start_daemon("--durability", "lazy")
    disks = plug_all(power, bases, moments)
    ways = {name: ("close",) for name in disks}
    title = f"{power.vm().release} control"
    power.vm().call("start_job", writers(power, ways, 1))
    wait_until_all_told(power, ways)
    broken, _ = check_after_cut(power, disks, cut(power), title)
    assert {name for name, _ in broken} == set(disks)


def test_cache_is_lost(power, bases):
    """A disk of these tests forgets what it was sent and not told to flush, and nothing else."""
    power.start_daemon("--durability", "lazy")
    disk = power.plug(bases("vfat"), "vfat", "bot")
    power.wait_names(["VFAT"])
    file = f"{power.media}/VFAT/file"
    write = "yes {} | dd bs=4k count=16 iflag=fullblock oflag=direct conv=notrunc of=" + file
    power.vm().call("shell", f"{write.format('flushed')} && sync {file}")
    power.vm().call("shell", write.format("cached"))
    power.cut()
    assert contains(disk.path, b"cached\n" * 9000) and not contains(disk.path, b"flushed\n" * 99)
    after = disk.after_cut()
    assert contains(after, b"flushed\n" * 8000) and not contains(after, b"cached\n" * 9)


def contains(path, needle):
    with open(path, "rb") as image:
        return needle in image.read()


def wait_clean(power, names):
    for name in names:
        power.vm().call("wait_state", name, "clean")


def wait_idle(power, names):
    for name in names:
        power.vm().call("wait_state", name, "idle")


SHOWN = {"ejected": Power.eject, "clean": wait_clean, "idle": wait_idle}


@pytest.mark.parametrize("state", SHOWN)
def test_what_is_shown_is_true(power, bases, state, request):
    """Nothing is lost of a disk that was ejected, or shown clean or idle, when the power is cut."""
    for number in range(request.config.option.rounds):
        moments = random.Random(f"{os.environ.get('TEST_SEED', '1')} {state} {number}")
        power.start_daemon("--idle-timeout", "3s" if state == "idle" else "1h",
                           passthrough=number % 2 == 0)
        disks = plug_all(power, bases, moments)
        title = f"{power.vm().release} {state} {number}"
        power.vm().call("shell", writers(power, {name: ["once"] for name in disks}, number))
        SHOWN[state](power, disks)
        told = power.cut()
        if state != "clean":
            found = {name: fault(name, disk.after_cut()) for name, disk in disks.items()}
            assert not any(found.values()), found
        broken, _ = check_after_cut(power, disks, told, title)
        assert not broken
