"""Names: safe whatever the disk says, distinct, and the same after every replug and restart."""

import contextlib
import os
import random
import unicodedata
import uuid

import pytest

from harness.people import sh
from harness.wait import until


def shown(view, count, deadline_s=10):
    """Waits for so many names and returns them."""
    until(f"{count} media shown", lambda: len(view.names()) == count, deadline_s)
    return view.names()


def device_names(view):
    """Device -> name, as the daemon tells it."""
    return {medium["device"].removeprefix("/dev/"): medium["name"] for medium in view.list()}


def test_label(daemon, loopdev):
    """Decoded label"""
    disk = loopdev(label="My Photos").plug()
    daemon(disk).wait_for("My Photos")


def test_uuid_without_label(daemon, loopdev):
    """... else UUID"""
    identity = str(uuid.uuid4())
    disk = loopdev(uuid=identity).plug()
    daemon(disk).wait_for(identity)


def test_kernel_name_without_label_and_uuid(daemon, loopdev):
    """... else `usbhd-<kernel name>`."""
    disk = loopdev()
    sh("tune2fs -U clear $1", disk.image)
    disk.plug()
    daemon(disk).wait_for(f"usbhd-{disk.kname}")


@pytest.mark.parametrize("fstype", ["ext4", "xfs", "btrfs"])
def test_unicode_label(daemon, loopdev, fstype):
    """Valid UTF-8 is kept as it is, on every filesystem."""
    disk = loopdev(fstype, label="Bücher📚").plug()
    daemon(disk).wait_for("Bücher📚")


def test_same_label(daemon, loopdev):
    """Two media with one label are two names, and one of them is the label itself."""
    disks = [loopdev(label="TWIN") for _ in range(2)]
    view = daemon(*disks)
    for disk in disks:
        disk.plug()
    names = shown(view, 2)
    assert "TWIN" in names
    assert all(name.startswith("TWIN") for name in names)


def write_marks(view, disks):
    """A file on each disk that tells which disk it is."""
    for disk in disks:
        with open(view.path(device_names(view)[disk.kname], "mark"), "w", encoding="ascii") as file:
            file.write(disk.kname)


def marks(view):
    """Name in the view -> the mark that is found in it."""
    found = {}
    for name in view.names():
        with open(view.path(name, "mark"), encoding="ascii") as file:
            found[name] = file.read()
    return found


def test_name_never_drifts(daemon, loopdev):
    """A suffix derived from their identity, not from the plug order, so that a name never drifts:
    the same disk gets the same name after replug and reboot."""
    disks = [loopdev(label="TWIN") for _ in range(3)]
    view = daemon(*disks, options=["--idle-timeout", "200ms"])
    for disk in disks:
        disk.plug()
    shown(view, 3)
    write_marks(view, disks)
    expected = marks(view)
    assert len(set(expected.values())) == 3
    rng = random.Random(3)
    for turn in range(4):
        for disk in disks:
            until("idle", lambda disk=disk: not disk.mounted())
            disk.unplug()
        view.wait_for()
        if turn % 2:
            view.stop()
            view.start()
        for disk in rng.sample(disks, 3):
            disk.plug()
            until(f"{disk.kname} is shown",
                  lambda disk=disk: device_names(view).get(disk.kname) in view.names())
        assert marks(view) == expected


def test_contested_name_waits_for_its_owner(daemon, loopdev):
    """The one with the suffix keeps it also when it is alone."""
    first, second = loopdev(label="TWIN"), loopdev(label="TWIN")
    view = daemon(first, second)
    first.plug()
    view.wait_for("TWIN")
    second.plug()
    suffixed = (shown(view, 2) - {"TWIN"}).pop()
    first.unplug()
    second.unplug()
    view.wait_for()
    second.plug()
    view.wait_for(suffixed)
    first.plug()
    view.wait_for("TWIN", suffixed)


def test_same_port_is_not_the_identity(daemon, loopdev):
    """The same disk in another place has the same name."""
    disk, other = loopdev(label="TWIN"), loopdev(label="TWIN")
    place = loopdev(fstype=None, image=disk.image)
    view = daemon(disk, other, place)
    disk.plug()
    other.plug()
    shown(view, 2)
    mine = device_names(view)[disk.kname]
    disk.unplug()
    until("gone", lambda: mine not in view.names())
    disk.wait_unplugged()
    place.plug()
    shown(view, 2)
    assert device_names(view)[place.kname] == mine


@pytest.mark.parametrize("fstype", ["ext4", "xfs", "btrfs"])
def test_copy_of_a_disk(daemon, loopdev, fstype):
    """Two media with the same UUID (a `dd` copy): two names, each one its own."""
    disk = loopdev(fstype, label="ORIGINAL")
    copy = loopdev(fstype=None).copy_of(disk)
    view = daemon(disk, copy)
    disk.plug()
    view.wait_for("ORIGINAL")
    copy.plug()
    names = shown(view, 2)
    by_device = device_names(view)
    assert set(by_device.values()) == names and by_device[disk.kname] == "ORIGINAL"
    with open(view.path("ORIGINAL", "only here"), "w", encoding="ascii") as file:
        file.write("x")
    try:
        assert "only here" not in os.listdir(view.path(by_device[copy.kname]))
    except OSError:
        assert fstype == "btrfs", "only btrfs cannot mount a copy beside the original"
        assert view.medium(by_device[copy.kname])["state"] == "failed"
        assert view.medium(by_device[copy.kname])["reason"]


def hostile_labels(count):
    """Labels as bytes, at most 16: what ext4 has room for."""
    labels = [
        b".", b"..", b"...", b"/", b"//", b"/etc/passwd", b"../../etc", b"a/b", b"\\", b"a\\b",
        b" ", b"  \t ", b" lead", b"trail ", b".hidden", b"..up", b"-rf", b"--help", b"*", b"?",
        b"[a-z]", b"~", b"~root", b"$(reboot)", b"`reboot`", b"; rm -rf /", b"&& ls", b"| cat",
        b"> x", b"'", b'"', b"\"'`", b"%s%n%d", b"\n", b"a\nb", b"\r", b"\x1b[31mred", b"\x07",
        b"\x7f", b"\x01\x02\x03", b"\t", b"a\tb", b"\xff", b"\xfe\xff", b"\xc3", b"\xc3\x28",
        b"\xe2\x82", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\xc0\xaf", b"\xc0\xae\xc0\xae",
        "\u202egpj.exe".encode(), "\u200frtl".encode(), "a\u200bb".encode(),
        "\ufeffbom".encode(), " nb ".encode(), "\u3000wide".encode(), "\u2066i".encode(),
        "\U000E0041tag".encode(), "\x85nel".encode(), "é".encode(), "é".encode(),
        "👩\u200d👩".encode(), "💾💾💾💾".encode(), "日本語".encode(), "עברית".encode(),
        b"A" * 16, "ä".encode() * 8, b"CON", b"nul", b"lost+found", b"usbhd-loop0", b"#x",
    ]
    rng = random.Random(200)
    while len(labels) < count:
        labels.append(bytes(rng.choice([*range(1, 48), *range(120, 256), 65, 66])
                            for _ in range(rng.randrange(1, 17))))
    return labels


def set_raw_label(image, label):
    """Writes s_volume_name of an ext4 superblock (no checksums on this filesystem)."""
    with open(image, "r+b") as file:
        file.seek(1024 + 0x78)
        file.write(label.ljust(16, b"\0"))


def is_safe(name):
    """A directory name that can be printed and given to any tool."""
    raw = os.fsencode(name)
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return (0 < len(raw) <= 255 and not text.startswith(".") and text == text.strip()
            and not set(text) & set("/\\")
            and not any(unicodedata.category(char) in ("Cc", "Cs") for char in text)
            and not any(char in "\u200b\u200e\u200f\u202a\u202e\u2066\u2069\ufeff" for char in text))


@pytest.mark.deadline(240)
def test_hostile_labels(daemon, loopdev):
    """Labels (`..`, `/`, control characters, broken UTF-8, emoji, right-to-left marks, shell
    characters, leading dots): distinct, safe, stable names, and the log stays printable."""
    labels = hostile_labels(200)
    disk = loopdev("ext2", size=1 << 20, options=["-O", "^metadata_csum", "-m", "0"])
    places = [loopdev(fstype=None).copy_of(disk) for _ in range(20)]
    view = daemon(*places)
    seen = {}
    for start in range(0, len(labels), len(places)):
        batch = dict(zip(places, labels[start:start + len(places)]))
        for place, label in batch.items():
            set_raw_label(place.image, label)
            place.plug()
        names = shown(view, len(batch), 20)
        assert len(names) == len(batch)
        by_device = device_names(view)
        for place, label in batch.items():
            name = by_device[place.kname]
            assert name in names and is_safe(name), (label, name)
            assert os.listdir(view.path(name)) == ["lost+found"]
            seen[label] = (place, name)
        for place in batch:
            view.eject(by_device[place.kname])
            place.unplug()
        view.wait_for(deadline_s=20)
        for place in batch:
            place.wait_unplugged()
    assert all(char.isprintable() or char == "\n" for char in view.log())
    check_stable(view, seen)


def check_stable(view, seen):
    """A sample of them again, after a restart of the daemon."""
    view.stop()
    view.start()
    for label in random.Random(1).sample(sorted(seen), 20):
        place, name = seen[label]
        set_raw_label(place.image, label)
        place.plug()
        until(f"{label!r} is shown", lambda: len(view.names()) == 1)
        assert view.names() == {name}, label
        place.unplug()
        view.wait_for()
        place.wait_unplugged()


def test_long_label(daemon, loopdev):
    """At most 255 bytes, cut at a character boundary with room for the suffix."""
    label = "ä" * 126 + "xyz"
    disks = [loopdev("btrfs", label=label) for _ in range(2)]
    for disk in disks:
        disk.plug()
    names = shown(daemon(*disks), 2)
    assert all(len(os.fsencode(name)) <= 255 and is_safe(name) for name in names)
    assert all(name.startswith("ä" * 110) for name in names)


def test_suffix_cannot_be_taken(daemon, loopdev):
    """A label that looks like somebody's name with a suffix does not steal that name."""
    first, second = loopdev(label="TWIN"), loopdev(label="TWIN")
    third = loopdev()
    view = daemon(first, second, third)
    first.plug()
    view.wait_for("TWIN")
    second.plug()
    suffixed = (shown(view, 2) - {"TWIN"}).pop()
    sh("tune2fs -L $2 $1", third.image, suffixed)
    third.plug()
    assert len(shown(view, 3)) == 3
    assert device_names(view)[second.kname] == suffixed


def test_damaged_memory_of_names(daemon, loopdev, work):
    """A damaged state file is put aside and told; the media are shown all the same."""
    disks = [loopdev(label="TWIN") for _ in range(2)]
    view = daemon(*disks)
    for disk in disks:
        disk.plug()
    shown(view, 2)
    view.stop()
    state = os.path.join(view.work, "state", "names")
    with open(state, "wb") as file:
        file.write(b"\x00\xffnonsense\n" * 50)
    view.start()
    assert len(shown(view, 2)) == 2
    assert "names" in view.log()
    with contextlib.suppress(FileNotFoundError):
        assert b"nonsense" not in open(state, "rb").read()


def test_no_memory_of_names(daemon, loopdev):
    """A state directory that cannot be used is named; the media are shown all the same."""
    disk = loopdev(label="STICK").plug()
    view = daemon(disk, options=["--state-dir", "/dev/null/state"]).wait_for("STICK")
    assert view.log().count('state directory "/dev/null/state": ') == 1


def test_escaped_for_people(daemon, loopdev, hotplugfs):
    """`list` for people does not send a hostile label to the terminal."""
    disk = loopdev("ext2", options=["-O", "^metadata_csum"])
    set_raw_label(disk.image, b"\x1b[31m\nred\x07")
    disk.plug()
    view = daemon(disk)
    shown(view, 1)
    for output in (view.client("list").stdout, view.client("list", "--all").stdout,
                   hotplugfs("probe", disk.device, "--include", disk.kname).stdout):
        assert "red" in output
        assert all(char.isprintable() or char == "\n" for char in output)
