"""Cards: put into a reader, taken out, exchanged, also in the middle of writing."""

import time

import pytest

from figures import record

UDEVD = [pytest.param(False, id="alone"), pytest.param(True, id="udevd")]
WRITERS = {
    "slow": "exec 3>{0}/file; while head -c 16k /dev/zero >&3; do sleep 0.1; done",
    "fast": "while dd if=/dev/zero of={0}/file$((i++)) bs=64k count=64 2>/dev/null; do :; done",
}
"""The slow one leaves what it wrote in memory for seconds, and sees no error of the drive."""
EXCHANGES = [pytest.param(*values, id="-".join(map(str, values)))
             for values in (("vfat", "dos", "slow"), ("vfat", None, "slow"), ("vfat", "dos", "fast"),
                            ("exfat", "dos", "slow"), ("ext4", "dos", "slow"))]
"""The card that is taken out, its table, what is written to it."""
CARD_SIZE = 300 << 20
CUT_OFF = "the drive is cut off"
NOT_WRITTEN = "written data could not be put on the disk"


def start(vm, daemon, udevd):
    if udevd:
        vm.call("start_udevd", timeout=200)
    daemon()


@pytest.mark.parametrize("table", (None, "dos"))
@pytest.mark.parametrize("udevd", UDEVD)
def test_card_is_seen(vm, daemon, reader, card, request, table, udevd):
    """A card appears after it was put in, its name goes when it is taken out, and the next card in
    the same slot is another medium."""
    start(vm, daemon, udevd)
    plug_reader(vm, reader)
    one, other = card("vfat", "ONE", table), card("ext4", "OTHER", table)
    for image in (one, other, one) * request.config.option.rounds:
        shown_ms = milliseconds(lambda image=image: show(vm, reader, image))
        gone_ms = milliseconds(lambda: take_out(vm, reader))
        record("card seen", kernel=vm.release, kind="udevd" if udevd else "alone",
               shown_ms=shown_ms, gone_ms=gone_ms)
        print(f"\n{image.label} shown after {shown_ms} ms, gone after {gone_ms} ms", end="")


def plug_reader(vm, reader):
    """The kernel's driver lets a reader settle for a second before it looks at it (delay_use)."""
    reader.plug()
    vm.call("shell", "until test -e /dev/sda; do sleep 0.1; done")


def milliseconds(function):
    before = time.monotonic()
    function()
    return round((time.monotonic() - before) * 1000)


def show(vm, reader, image):
    reader.insert(image)
    vm.call("wait_names", image.label)


def take_out(vm, reader):
    reader.take_out()
    vm.call("wait_names")


def test_card_is_seen_without_rights(vm, daemon, reader, card):
    """Where /sys cannot be written, the daemon itself looks for cards."""
    daemon(sysfs=False)
    reader.plug()
    one, other = card("vfat", "ONE"), card("ext4", "OTHER", "dos")
    for image in (one, other, one):
        show(vm, reader, image)
        take_out(vm, reader)


@pytest.mark.log_errors(NOT_WRITTEN)
def test_sd_slot(vm, daemon, sd_slot, card):
    """A card in a slot of its own is a device that comes and goes, also while it is written."""
    daemon()
    one, other = card("vfat", "ONE", size=128 << 20), card("ext4", "OTHER", size=128 << 20)
    sd_slot.insert(one)
    vm.call("wait_names", "ONE")
    vm.call("start_job", WRITERS["fast"].format("ONE"))
    vm.call("wait_state", "ONE", "busy", "dirty")
    sd_slot.take_out()
    vm.call("wait_names")
    vm.call("wait_jobs")
    untouched = other.copy()
    sd_slot.insert(other)
    vm.call("wait_names", "OTHER")
    vm.call("shell", "sync")
    sd_slot.take_out()
    vm.call("wait_names")
    assert not changed_blocks(other.path, untouched)


def test_card_is_there_at_the_start(vm, daemon, reader, card):
    """A reader with a card that the kernel has not yet looked at is shown from the start."""
    plug_reader(vm, reader)
    reader.insert(card("vfat", "ONE", "dos"))
    daemon()
    vm.call("wait_names", "ONE")


def test_nobody_asks_without_a_reader(vm, daemon, stick):
    """The kernel is told to ask the drive as long as the daemon runs and shows it, and no longer."""
    interval = "cat /sys/block/sda/events_poll_msecs"
    daemon()
    stick("vfat", "STICK").plug()
    vm.call("wait_names", "STICK")
    assert int(vm.call("shell", interval)[1]) > 0
    vm.call("stop_daemon")
    assert int(vm.call("shell", interval)[1]) == -1
    daemon("--exclude", "sd*")
    vm.call("wait_names")
    assert int(vm.call("shell", interval)[1]) == -1


@pytest.mark.sample
@pytest.mark.log_errors(NOT_WRITTEN)
def test_exchanged(vm, daemon, reader, card):
    """What is done in all ways below, in one."""
    daemon()
    reader.plug()
    one, other = card("vfat", "ONE", None, CARD_SIZE), card("vfat", "OTHER", None, CARD_SIZE)
    exchange(vm, reader, WRITERS["slow"].format("ONE"), one, other)


@pytest.mark.log_errors(NOT_WRITTEN)
@pytest.mark.parametrize("fstype,table,writer", EXCHANGES)
@pytest.mark.parametrize("udevd", UDEVD)
def test_exchanged_while_written(vm, daemon, reader, card, request, fstype, table, writer, udevd):
    """A card is taken out while it is written, and another put in a second later: nothing of the
    first reaches the second, which appears under its own name."""
    start(vm, daemon, udevd)
    reader.plug()
    for _ in range(request.config.option.rounds):
        one, other = card(fstype, "ONE", table, CARD_SIZE), card("vfat", "OTHER", table, CARD_SIZE)
        shown_ms = exchange(vm, reader, WRITERS[writer].format("ONE"), one, other)
        record("card exchanged", kernel=vm.release, kind="udevd" if udevd else "alone",
               shape=f"{fstype} {table} {writer}", shown_ms=shown_ms)
        one.remove()
        other.remove()


def exchange(vm, reader, work, one, other):
    """Returns after how many milliseconds the second card was shown."""
    untouched = other.copy()
    show(vm, reader, one)
    vm.call("start_job", work)
    vm.call("wait_state", "ONE", "busy", "dirty")
    cut_off_before = vm.call("logged", CUT_OFF)
    time.sleep(1)
    reader.take_out()
    time.sleep(1)
    shown_ms = milliseconds(lambda: show(vm, reader, other))
    vm.call("wait_jobs")
    vm.call("shell", "sync")  # not looked into: being mounted for writing leaves a mark
    assert vm.call("logged", CUT_OFF) > cut_off_before
    take_out(vm, reader)
    vm.call("wait_nothing_blocked")
    changed = changed_blocks(other.path, untouched)
    assert not changed, f"{len(changed)} blocks of the second card differ: {changed[:8]}"
    return shown_ms


def changed_blocks(one, other):
    with open(one, "rb") as first, open(other, "rb") as second:
        number, found = 0, []
        while True:
            blocks = first.read(4096), second.read(4096)
            if not any(blocks):
                return found
            if blocks[0] != blocks[1]:
                found.append(number)
            number += 1
