"""`eject --power-off`: the device is switched off, with all that is on it, or nothing is."""

import pytest

DISKS = "ls /sys/block | grep '^sd' || true"
PARTS = (("vfat", "SECOND"),)


@pytest.fixture
def two(vm, stick, daemon):
    """A stick with two partitions that are shown."""
    def factory(bus="bot", hub=None, options=(), names=("FIRST", "SECOND"), sysfs=True):
        daemon(*options, sysfs=sysfs)
        disk = stick("ext4", "FIRST", "gpt", bus=bus, hub=hub, others=PARTS).plug()
        vm.call("wait_names", *names)
        return disk
    return factory


def power_off(vm, name, *options):
    return vm.call("client", "eject", "--power-off", *options, name)


def assert_off(vm, answer, name="FIRST"):
    assert answer == [0, f"{name} is switched off and can be unplugged\n"]
    assert vm.call("shell", DISKS)[1] == ""
    vm.call("wait_names")


@pytest.mark.sample
@pytest.mark.parametrize("bus,hub", (("bot", None), ("uas", None), ("bot", "hub")))
def test_switched_off(vm, two, bus, hub):
    """Every disk on it is written out and ejected, and the device is gone; a hub before it stays.
    Plugged in anew all is there."""
    disk = two(bus, hub)
    vm.call("write", "FIRST/photo", "a beach")
    vm.call("write", "SECOND/film", "the sea")
    devices = vm.call("shell", "ls -d /sys/bus/usb/devices/*/idVendor")[1].splitlines()
    assert_off(vm, power_off(vm, "FIRST"))
    left = vm.call("shell", "ls -d /sys/bus/usb/devices/*/idVendor")[1].splitlines()
    assert len(left) == len(devices) - 1
    disk.pull()
    vm.call("shell", "sleep 1")  # a hand is slower, too: else the kernel sees nothing of it
    disk.plug()
    vm.call("wait_names", "FIRST", "SECOND")
    assert vm.call("read", "FIRST/photo") == "a beach"
    assert vm.call("read", "SECOND/film") == "the sea"


def test_its_caches_are_emptied_and_it_is_stopped(vm, two):
    """What the device is told before it is switched off: SYNCHRONIZE CACHE, START STOP UNIT."""
    two()
    vm.call("write", "FIRST/photo", "a beach")
    trace = "/sys/kernel/tracing/events/scsi/scsi_dispatch_cmd_start/enable"
    vm.call("shell", "mount -t tracefs none /sys/kernel/tracing 2>/dev/null; "
            f"echo >/sys/kernel/tracing/trace; echo 1 >{trace}")
    try:
        assert_off(vm, power_off(vm, "FIRST"))
    finally:
        vm.call("shell", f"echo 0 >{trace}")
    commands = vm.call("shell", "cat /sys/kernel/tracing/trace")[1]
    flushed, stopped = commands.find("SYNCHRONIZE_CACHE"), commands.rfind("START_STOP")
    assert -1 < flushed < stopped, commands[-2000:]


def test_busy(vm, two):
    """While a file is open on any disk of it, it stays on, and who has the file goes on; --force
    cuts."""
    two()
    job = vm.call("start_job", "exec 3>SECOND/file; echo open; "
                  "while echo more >&3; do sleep 0.2; done; echo failed")
    vm.call("wait_state", "SECOND", "busy")
    status, told = power_off(vm, "FIRST")
    assert status == 1 and "not switched off: sda2: 1 file is open" in told, told
    vm.call("wait_names", "SECOND")
    assert vm.call("listing", "SECOND") == ["file"]
    assert vm.call("shell", DISKS)[1] == "sda\n"
    assert vm.call("jobs_ended") == []
    status, told = power_off(vm, "SECOND", "--force")
    assert status == 1 and "still" in told, told  # vfat cannot be cut off from who has it open
    vm.call("end_job", job)
    assert_off(vm, power_off(vm, "FIRST"))


def test_in_use_by_the_host(vm, two):
    """A disk of the same device that the host has mounted: nothing is ejected."""
    two(options=("--exclude", "sda2"), names=("FIRST",))
    vm.call("shell", "mkdir /run/vm/host; mount /dev/sda2 /run/vm/host")
    status, told = power_off(vm, "FIRST")
    assert status == 1 and "in use by this system" in told, told
    vm.call("wait_names", "FIRST")
    vm.call("shell", "umount /run/vm/host")
    vm.call("shell", "sleep 1.2")
    assert_off(vm, power_off(vm, "FIRST"))


def test_in_use_by_another(vm, two):
    """One that is mounted where the daemon cannot see it: found out before the device goes, and said
    that it is ejected only."""
    two(options=("--exclude", "sda2"), names=("FIRST",))
    job = vm.call("start_job", "unshare -m sh -c 'mkdir -p /run/vm/other; "
                  "mount /dev/sda2 /run/vm/other && touch /run/vm/mounted && exec sleep 1000'")
    vm.call("shell", "until test -e /run/vm/mounted; do sleep 0.1; done")
    status, told = power_off(vm, "FIRST")
    assert status == 1 and "ejected, but not switched off" in told and "in use" in told, told
    assert vm.call("shell", DISKS)[1] == "sda\n"
    vm.call("end_job", job)
    assert_off(vm, power_off(vm, "FIRST"))


def test_pulled_meanwhile(vm, two):
    """A stick that is pulled while it is being written out: told, and the next one is served."""
    disk = two()
    vm.call("shell", "cd /run/vm/daemon*/media && dd if=/dev/zero of=FIRST/big bs=1M count=40")
    vm.call("start_job", "sleep 0.2; exec $(tr '\\0' '\\n' </proc/$(pgrep -o hotplugfs)/cmdline | "
            "head -n 1) eject --power-off FIRST --socket $PWD/../control.sock")
    disk.pull()
    vm.call("wait_names")
    vm.call("wait_jobs")
    disk.plug()
    vm.call("wait_names", "FIRST", "SECOND")
    assert_off(vm, power_off(vm, "SECOND"), "SECOND")


def test_reader(vm, daemon, reader, card):
    """A card reader goes as a whole."""
    daemon()
    reader.plug()
    reader.insert(card("vfat", "ONE", "dos"))
    vm.call("wait_names", "ONE")
    assert_off(vm, power_off(vm, "ONE"), "ONE")


def test_slot_has_no_switch(vm, daemon, sd_slot, card):
    """A slot that is no USB device: refused before anything is ejected."""
    daemon()
    sd_slot.insert(card("vfat", "ONE", size=128 << 20))
    vm.call("wait_names", "ONE")
    status, told = power_off(vm, "ONE")
    assert status == 1 and "mmcblk0 has no switch" in told, told
    vm.call("wait_names", "ONE")
    assert vm.call("client", "eject", "ONE")[0] == 0


def test_without_rights(vm, two):
    """Where /sys cannot be written: the same, with the reason."""
    two(sysfs=False)
    status, told = power_off(vm, "FIRST")
    assert status == 1 and "Read-only file system" in told, told
    vm.call("wait_names", "FIRST", "SECOND")


@pytest.fixture
def scsi_disk(vm):
    """A removable disk of the kernel's own, on no USB device."""
    if vm.call("shell", "modprobe scsi_debug dev_size_mb=32 removable=1", check=False)[0]:
        pytest.skip(f"this machine cannot: Linux {vm.release} has no scsi_debug")
    vm.call("shell", "until test -b /dev/sda; do sleep 0.1; done; mkfs.ext4 -q -F -L FIRST /dev/sda")
    yield
    vm.call("shell", "rmmod scsi_debug")


def test_scsi(vm, scsi_disk, daemon):
    """A SCSI disk is taken from its bus."""
    daemon()
    vm.call("wait_names", "FIRST")
    assert_off(vm, power_off(vm, "FIRST"))
