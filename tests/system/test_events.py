"""Events that are forged, repeated, lost, out of order or too many: the view is what the devices
are."""

import os
import signal
import socket
import struct
import subprocess

import pytest

from harness.container import WATCH
from harness.daemon import die_with_parent
from harness.relay import FakeRelay, message
from harness.wait import holds, took, until

NETLINK_KOBJECT_UEVENT = 15
NLMSG_MIN_TYPE, NLM_F_REQUEST = 16, 1
BURST = int(os.environ.get("TEST_UEVENTS", "20000"))
"""100000 in the full run."""


def devpath(disk):
    return f"/devices/virtual/block/{disk.kname}"


def send_again(*messages):
    """Lets the kernel broadcast these as if they were its own, which only root can."""
    with socket.socket(socket.AF_NETLINK, socket.SOCK_DGRAM, NETLINK_KOBJECT_UEVENT) as one:
        one.connect((0, 0))
        for body in messages:
            body = body.replace(b"SEQNUM=1\0", b"")
            one.send(struct.pack("=IHHII", 16 + len(body), NLMSG_MIN_TYPE, NLM_F_REQUEST, 0, 0) +
                     body)


def multicast(*messages):
    """Sends them to the group ourselves, as udevd does to its own."""
    with socket.socket(socket.AF_NETLINK, socket.SOCK_DGRAM, NETLINK_KOBJECT_UEVENT) as one:
        for body in messages:
            one.sendto(body, (0, 1))


@pytest.mark.parametrize("send", [send_again, multicast])
def test_forged(daemon, loopdev, send):
    """What a process sends as if it were the kernel is not even looked at."""
    disk = loopdev(label="STICK").plug()
    view = daemon(disk, options=["--events", "kernel"]).wait_for("STICK")
    before = view.log().count("the kernel did not send")
    send(message("remove", devpath(disk)), message("change", devpath(disk)))
    until("they have come", lambda: view.log().count("the kernel did not send") >= before + 2)
    probes = view.log().count(f"{disk.kname}: probing")
    assert (view.names(), probes) == ({"STICK"}, 1)
    disk.unplug()
    view.wait_for()


def test_false(daemon, loopdev):
    """The kernel says "remove" of a device that is there, because somebody told it to: it stays."""
    disk, other = loopdev(label="STICK").plug(), loopdev(label="OTHER").plug()
    view = daemon(disk, other).wait_for("STICK", "OTHER")
    with open(view.path("STICK", "file"), "w", encoding="ascii") as file:
        file.write("data")
        for action in ("remove", "add", "remove", "offline"):
            with open(f"/sys/block/{disk.kname}/uevent", "w", encoding="ascii") as uevent:
                uevent.write(action)
        other.unplug()  # its events come after those
        view.wait_for("STICK")
        file.write("more")
    with open(view.path("STICK", "file"), encoding="ascii") as file:
        assert file.read() == "datamore"


@pytest.fixture
def fake_relay(work):
    one = FakeRelay(os.path.join(work, "events.sock"))
    yield one
    one.close()


def test_whatever_is_said(daemon, loopdev, fake_relay):
    """Events are hints: false, repeated, damaged and in any order they end in what is true."""
    disks = [loopdev(label=f"S{number}") for number in range(3)]
    last = loopdev(label="LAST")
    view = daemon(*disks, last, options=["--events", f"unix:{fake_relay.path}"])
    fake_relay.accept()
    for action in ("add", "change", "remove"):
        fake_relay.say(*(message(action, devpath(disk)) for disk in disks))
    fake_relay.say(b"\0", b"add@", b"x" * 9000, os.urandom(2000), message("add", "/devices/x"),
                   message("remove", "/devices/virtual/block/.."))
    last.plug()
    fake_relay.say(message("change", devpath(last)))
    view.wait_for("LAST")  # so all before it has been read
    for disk in disks:
        disk.plug()
    fake_relay.say(message("remove", devpath(disks[0])), message("remove", devpath(disks[1])),
                   *[message("add", devpath(disks[1]))] * 50)
    view.wait_for("LAST", "S0", "S1")
    holds("nobody has told of the third", lambda: "S2" not in view.names(), 0.3)
    for disk in disks:
        disk.unplug()
    fake_relay.say(*(message("add", devpath(disk)) for disk in reversed(disks)))
    view.wait_for("LAST")


def test_lost(daemon, loopdev, fake_relay):
    """A relay that has lost events, or that has gone and come again: all devices are looked at."""
    disks = [loopdev(label=f"S{number}").plug() for number in range(2)]
    view = daemon(*disks, options=["--events", f"unix:{fake_relay.path}"]).wait_for("S0", "S1")
    fake_relay.accept()
    disks[0].unplug()
    fake_relay.say(message("change", "/hotplugfs", SUBSYSTEM="hotplugfs"))
    view.wait_for("S1")
    disks[1].unplug()
    fake_relay.close()
    fake_relay.listen()
    view.wait_for(deadline_s=15)
    fake_relay.accept()
    disks[0].wait_unplugged().plug()
    fake_relay.say(message("change", devpath(disks[0])))
    view.wait_for("S0")


@pytest.mark.log_errors("no relay")
def test_relay_comes_later(daemon, loopdev, fake_relay):
    """A daemon may be started before its relay."""
    disk = loopdev(label="STICK")
    fake_relay.close()
    view = daemon(disk, options=["--events", f"unix:{fake_relay.path}"])
    disk.plug()
    fake_relay.listen()
    view.wait_for("STICK", deadline_s=15)


def write_events(disk, count):
    """That many "change" events of a disk that has no medium."""
    descriptor = os.open(f"/sys/block/{disk.kname}/uevent", os.O_WRONLY)
    for _ in range(count):
        os.write(descriptor, b"change")
    os.close(descriptor)


def dropped(port):
    """How many messages the kernel could not put into the queue of the netlink socket of a port,
    which is the process id."""
    with open("/proc/net/netlink", encoding="ascii") as table:
        rows = [line.split() for line in table]
    return sum(int(row[8]) for row in rows if row[1:3] == [str(NETLINK_KOBJECT_UEVENT), str(port)])


@pytest.mark.deadline(180)
def test_burst(daemon, loopdev):
    """More events than fit into the queue of the socket, while the daemon cannot read them; disks
    come, go and change meanwhile: then the view equals the devices."""
    noise, stays, goes, comes, swapped = (
        loopdev(label=label) for label in ("NOISE", "STAYS", "GOES", "COMES", "OLD"))
    for disk in (stays, goes, swapped):
        disk.plug()
    view = daemon(noise, stays, goes, comes, swapped).wait_for("STAYS", "GOES", "OLD")
    view.send(signal.SIGSTOP)
    try:
        written = 0
        while written < BURST or dropped(view.process.pid) == 0:
            write_events(noise, 5000)
            written += 5000
        goes.unplug()
        comes.plug()
        swapped.unplug()
        swapped.wait_unplugged().format(label="NEW").plug()
    finally:
        view.send(signal.SIGCONT)
    seconds = took(lambda: view.wait_for("STAYS", "COMES", "NEW", deadline_s=60))
    print(f"{written} events: the view was right after {seconds:.2f} s")
    assert view.log().count("uevents were lost") == 1
    noise.plug()
    view.wait_for("STAYS", "COMES", "NEW", "NOISE")


@pytest.mark.deadline(120)
def test_burst_while_reading(daemon, loopdev):
    """The same while the daemon reads as fast as it can."""
    noise, disk = loopdev(label="NOISE"), loopdev(label="STICK")
    view = daemon(noise, disk)
    for _ in range(3):
        write_events(noise, BURST // 10)
        disk.plug()
        write_events(noise, BURST // 10)
        view.wait_for("STICK", deadline_s=30)
        disk.unplug()
        view.wait_for(deadline_s=30)
        disk.wait_unplugged()


def test_handed_over(loopdev, request, work):
    """A socket of the service manager (ListenNetlink=kobject-uevent 1) is found and used."""
    disk = loopdev(label="STICK")
    with socket.socket(socket.AF_NETLINK, socket.SOCK_DGRAM, NETLINK_KOBJECT_UEVENT) as one:
        one.bind((0, 1))
        media = os.path.join(work, "media")
        os.mkdir(media)
        log_path = os.path.join(work, "log")

        def prepare():
            die_with_parent()
            os.dup2(one.fileno(), 3, inheritable=True)

        with open(log_path, "wb") as log:
            process = subprocess.Popen(
                ["sh", "-c", 'LISTEN_PID=$$ LISTEN_FDS=1 exec "$@"', "sh",
                 request.config.option.hotplugfs, "run", "--include", disk.kname,
                 "--log-level", "info", "--socket", os.path.join(work, "control.sock"),
                 "--state-dir", os.path.join(work, "state"), media, "--", "sh", "-c",
                 'echo "listen: $LISTEN_FDS"; until [ -d "$0/STICK" ]; do sleep 0.05; done', media],
                stdout=log, stderr=log, preexec_fn=prepare, pass_fds=[3])
        try:
            def text():
                with open(log_path, encoding="utf-8") as log:
                    return log.read()

            until("started", lambda: "listen: \n" in text())
            assert "events: fd" in text()
            disk.plug()
            assert process.wait(20) == 0, text()
        finally:
            process.kill()
            process.wait()


@pytest.mark.parametrize("source, reason", [
    ("fd:99", "Bad file descriptor"), ("fd:9", "not a netlink socket"), ("udev", "udevd"),
    ("fd:1", "fd:N"), ("fd:x", "fd:N"), ("unix:relative", "absolute"), ("other", "inotify")])
def test_refused(hotplugfs, work, source, reason):
    """A source that cannot be had is an error that says why."""
    if source == "udev" and os.path.exists("/run/udev/control"):
        pytest.skip("this machine cannot: it has a udevd")
    media = os.path.join(work, "media")
    os.mkdir(media)
    result = hotplugfs("mount", "--events", source, "--socket", os.path.join(work, "s"), media,
                       preexec_fn=lambda: os.dup2(2, 9, inheritable=True), pass_fds=[9])
    assert result.returncode in (1, 2) and reason in result.stderr


UDEVD = r"""
mount -t tmpfs tmpfs /run
mount -t tmpfs tmpfs /dev
mount -t tmpfs tmpfs /etc/udev
mknod /dev/null c 1 3
mknod /dev/fuse c 10 229
mknod /dev/$1 b 7 $2
mknod /dev/$3 b 7 $4
mkdir -p /etc/udev/rules.d /run/udev/data
ln -s /dev/null /etc/udev/rules.d/80-net-setup-link.rules
ln -s /dev/null /etc/udev/rules.d/80-drivers.rules
echo "KERNEL==\"$3\", ENV{UDISKS_IGNORE}=\"1\"" >/etc/udev/rules.d/99-ignore.rules
exec /lib/systemd/systemd-udevd
"""
"""A udevd that nobody else hears or sees, with the nodes of two disks."""


@pytest.fixture
def udevd(loopdev, work):
    """A udevd in namespaces of its own, a disk, and one that its rules say is to be ignored."""
    if not os.path.exists("/lib/systemd/systemd-udevd"):
        pytest.skip("systemd-udevd is not installed")
    disk, ignored = loopdev(label="STICK"), loopdev(label="IGNORED")
    with open(os.path.join(work, "udevd.log"), "wb") as log:
        process = subprocess.Popen(
            ["unshare", "--mount", "--net", "--propagation", "private", "sh", "-euc", UDEVD, "sh",
             disk.kname, str(disk.number), ignored.kname, str(ignored.number)],
            stdout=log, stderr=log, preexec_fn=die_with_parent, start_new_session=True)
    try:
        until("udevd is ready", lambda: os.path.exists(f"/proc/{process.pid}/root/run/udev/control"),
              20)
        yield process.pid, disk, ignored
    finally:
        process.terminate()
        process.wait(20)


@pytest.mark.parametrize("namespaces, rung", ids=["same", "another"], argvalues=[(["--net"], "udev"), (["unshare", "--net"], "kernel")])
def test_udevd(run, udevd, namespaces, rung):
    """With udevd in the same network namespace its group is listened to; in another one, its
    database is watched. What its rules put aside is never shown."""
    pid, disk, ignored = udevd
    one = run("sh", "-c", WATCH, disks=[disk, ignored], options=["--log-level", "debug"],
              before=["nsenter", "-t", str(pid), "--mount", *namespaces, "--"])
    one.wait_out("names: .", 20)
    ignored.plug()
    until("it was put aside", lambda: f"{ignored.kname} is not shown: udev" in one.err(), 15)
    disk.plug()
    print(f"{rung}: seen after {took(lambda: one.wait_out('names: STICK .')):.2f} s")
    disk.unplug()
    until("it is gone", lambda: one.out().count("names: .") == 2)
    one.send(signal.SIGTERM)
    assert one.wait() == 128 + signal.SIGTERM
    assert "IGNORED" not in one.out()
    assert one.err().partition("events: ")[2].split()[0] == rung
