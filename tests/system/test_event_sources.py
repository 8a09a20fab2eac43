"""Events in every kind of container, each by the best source that it has."""

import fcntl
import json
import os
import socket

import pytest

from harness.container import WATCH
from harness.daemon import die_with_parent
from harness.disks import LOOP_CTL_ADD, LOOP_CTL_REMOVE
from harness.people import crowd
from harness.relay import Relay
from harness.wait import took, until

NETLINK_KOBJECT_UEVENT = 15
USERNS = ["--uidmap", "0:100000:65536", "--gidmap", "0:100000:65536",
          "--tmpfs", "/var/lib:notmpcopyup"]
"""What --userns=auto does for an image; its root does not own the root filesystem."""


@pytest.fixture
def relay(request, work):
    """relay(options...): `hotplugfs relay`."""
    made = []

    def factory(*options, **parameters):
        made.append(Relay(request.config.option.hotplugfs, work, *options, **parameters))
        return made[-1]

    yield factory
    for one in made:
        one.clean_up()


@pytest.fixture
def place(request, container, loopdev):
    """place("rootful", ...): a container of that kind which watches its view, and its disk, not
    yet plugged."""
    def factory(kind, *options, flags=(), disk=None, **parameters):
        disk = disk or loopdev(label="STICK")
        flags = [*flags, "--tmpfs", "/run:notmpcopyup"]  # it is killed, and would leave a socket
        if kind == "rootless":
            os.chmod(disk.device, 0o666)
            parameters["engine"] = request.getfixturevalue("rootless_engine")
        elif kind == "userns":
            # the engine gives it no rule for devices, so this one by name
            os.chmod(disk.device, 0o666)
            flags = [*flags, *USERNS, "--device", disk.device]
        one = container("sh", "-c", WATCH, disks=[disk], flags=flags,
                        options=["--log-level", "debug", *options], **parameters)
        one.wait_out("names: .", 60)
        return one, disk

    return factory


def plug_and_unplug(one, disk, times=2):
    for count in range(1, times + 1):
        disk.plug()
        seconds = took(lambda: until(
            f"STICK is seen:\n{one.err()}", lambda: one.out().count("names: STICK .") == count))
        print(f"{rung_of(one)}: seen after {seconds:.2f} s")
        disk.unplug()
        until(f"STICK is gone:\n{one.err()}", lambda: one.out().count("names: .") == count + 1)
        disk.wait_unplugged()


def rung_of(one):
    return one.err().partition("events: ")[2].split()[0]


ROWS = [
    ("rootful", "none", "kernel"),
    ("rootful", "host", "kernel"),
    ("userns", "none", "inotify"),
    ("userns", "host", "kernel"),
    ("rootless", "none", "inotify"),
    ("rootless", "host", "kernel"),
]


@pytest.mark.parametrize("kind, network, rung", ROWS,
                         ids=[f"{kind}-{network}" for kind, network, _ in ROWS])
def test_chosen(place, kind, network, rung):
    """Nothing but the container is given: the best source of events is found, and works; doctor
    says the same and why."""
    one, disk = place(kind, network=network)
    plug_and_unplug(one, disk)
    assert rung_of(one) == rung
    result = one.engine.call("exec", one.name, "/opt/hotplugfs", "doctor", "--json", "--dev",
                             "/host/dev", check=False)
    finding = {check["check"]: check for check in json.loads(result.stdout)}["events"]
    assert finding["found"].startswith(rung)
    assert finding["verdict"] == ("warn" if rung == "inotify" else "ok")
    assert rung == "kernel" or "relay" in finding["advice"]


def uevent_socket():
    one = socket.socket(socket.AF_NETLINK, socket.SOCK_DGRAM, NETLINK_KOBJECT_UEVENT)
    one.bind((0, 1))
    return one


def hand_over(descriptor):
    """For preexec_fn: the descriptor becomes number 3 of the new process."""
    def prepare():
        die_with_parent()
        os.dup2(descriptor, 3, inheritable=True)
    return prepare


@pytest.mark.parametrize("kind", ["userns", "rootless"])
def test_preserved(place, kind):
    """podman --preserve-fds with a socket that was opened on the host."""
    with uevent_socket() as one:
        view, disk = place(kind, "--events", "fd:3", flags=["--preserve-fds", "1"],
                           preexec_fn=hand_over(one.fileno()), pass_fds=[3])
        plug_and_unplug(view, disk)
        assert rung_of(view) == "fd"


@pytest.mark.parametrize("kind", ["userns", "rootless"])
def test_relay_into_namespace(place, relay, kind):
    """`hotplugfs relay --pid`, run by root for a container of root, by the user for one of the
    user: the kernel of that network namespace tells the events."""
    view, disk = place(kind, "--events", "kernel")
    prefix = view.engine.prefix if kind == "rootless" else []
    one = relay("--pid", str(view.pid()), prefix=prefix)
    plug_and_unplug(view, disk)
    assert f"an event of {disk.kname}" in one.log()
    view.podman("rm", "--force", "--time", "0")
    assert one.process.wait(20) == 0 and "has ended" in one.log()


def test_relay_that_cannot_start(hotplugfs, work):
    """It leaves none of the directories that it made for its socket."""
    away = os.path.relpath("/proc/none", os.path.join(work, "a/b"))
    for path, more in (("a/b/socket", ["--pid", "4194304"]), (f"a/b/{away}/socket", [])):
        result = hotplugfs("relay", "--listen", os.path.join(work, path), *more)
        assert result.returncode == 1 and result.stderr.count("\n") == 1, result.stderr
        assert os.listdir(work) == []


@pytest.mark.parametrize("kind", ["userns", "rootless"])
def test_relay_by_socket(place, relay, work, kind):
    """`hotplugfs relay` behind a unix socket, found in the place where it is looked for; one that
    is started again is found again, with what has happened meanwhile."""
    directory = os.path.join(work, "relay")
    path = os.path.join(directory, "events.sock")
    first = relay("--listen", path)
    view, disk = place(kind, flags=["-v", f"{directory}:/run/hotplugfs/relay"])
    assert rung_of(view) == "unix"
    plug_and_unplug(view, disk, 1)
    first.stop()
    assert not os.path.exists(path)
    until("it is missed", lambda: "the relay is gone" in view.err())
    disk.plug()
    relay("--listen", path)
    until("STICK is seen", lambda: view.out().count("names: STICK .") == 2)
    disk.unplug()
    until("STICK is gone", lambda: view.out().count("names: .") == 3)


def test_new_node(place, loopdev):
    """inotify on the host's device directory: a device goes and comes again with its node."""
    disk = loopdev(label="STICK")
    one, _ = place("rootless", "--events", "inotify", disk=disk)
    plug_and_unplug(one, disk, 1)
    fcntl.ioctl(disk.control, LOOP_CTL_REMOVE, disk.number)
    until("it is missed", lambda: one.err().count(f"{disk.kname}: gone") >= 3)
    fcntl.ioctl(disk.control, LOOP_CTL_ADD, disk.number)
    until("it has a node", lambda: os.path.exists(disk.device))
    os.chmod(disk.device, 0o666)
    disk.plug()
    until("STICK is seen", lambda: one.out().count("names: STICK .") == 2)
    disk.unplug()
    until("STICK is gone", lambda: one.out().count("names: .") == 3)


def test_crowd_at_a_relay(relay, work):
    """A user who takes all the room there is for daemons does not keep one of root away."""
    path = os.path.join(work, "relay.sock")
    os.chmod(work, 0o755)
    one = relay("--listen", path)
    with crowd(1000, path, 100, socket.SOCK_SEQPACKET), \
            socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as daemon:
        until("the others were turned away", lambda: one.log().count("too many daemons") == 52)
        daemon.connect(path)
        until("the daemon was let in", lambda: one.log().count("a daemon has come") == 49)
    one.stop()
