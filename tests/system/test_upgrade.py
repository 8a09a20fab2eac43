"""The daemon's program is replaced while it runs: nobody may notice, and nothing may be lost."""

import json
import os
import random
import re
import shutil
import signal
import socket
import subprocess
import sys
import time

import pytest

from harness import kernel, processes
from harness.every_state import EveryState
from harness.programs import at_work, serving
from harness.wait import SLOWNESS, until

UPGRADES = int(os.environ.get("TEST_UPGRADES", "6"))
both = pytest.mark.parametrize("pid1", [False, True], ids=["child", "pid1"])


@pytest.fixture
def installed(work, request):
    """A program that can be replaced."""
    path = os.path.join(work, "bin", "hotplugfs")
    os.mkdir(os.path.dirname(path))
    shutil.copy(request.config.option.hotplugfs, path)
    return path


def install(path, script):
    """Something else in its place; $real: the program that was there."""
    shutil.copy(path, path + ".real")
    with open(path + ".new", "w", encoding="utf-8") as file:
        file.write(f"#!/bin/sh\nreal={path}.real\n{script}\n")
    os.chmod(path + ".new", 0o755)
    os.rename(path + ".new", path)


@pytest.fixture
def stick(daemon, loopdev, installed):
    """A daemon with a disk, and its program in a place of its own."""
    disk = loopdev(label="STICK").plug()
    view = daemon(disk, start=False)
    view.binary = view.command[0] = installed
    return view.start().wait_for("STICK"), disk


def upgrade(view):
    result = view.client("upgrade")
    assert "has taken over" in result.stdout
    return view


def programs_of(view):
    """Its processes, by what they are for."""
    return {"broker": view.process.pid, "server": view.server_pid(),
            "keeper": [pid for pid in view.pids()
                       if os.readlink(f"/proc/{pid}/ns/mnt") != os.readlink("/proc/self/ns/mnt")]}


def mount_id(path):
    with open("/proc/self/mountinfo", encoding="utf-8") as mounts:
        return [line.split()[0] for line in mounts if line.split()[4] == path]


@pytest.mark.data
@pytest.mark.parametrize("how", ["command", "signal"])
def test_goes_on(stick, how):
    """The same process, mount, disk and open files, deleted ones too, with another server."""
    view, disk = stick
    before, mount = programs_of(view), mount_id(view.media)
    os.mkdir(view.path("STICK", "d"))
    with open(view.path("STICK", "d", "f"), "w+b", buffering=0) as file, \
            open(view.path("STICK", "gone"), "w+b", buffering=0) as deleted:
        os.unlink(view.path("STICK", "gone"))
        directory = os.open(view.path("STICK", "d"), os.O_RDONLY)
        file.write(b"old ")
        for turn in range(3):
            old = view.server_pid()
            if how == "command":
                upgrade(view)
            else:
                view.send(signal.SIGUSR2)
                until(lambda: f"it goes on; log:\n{view.log()[-3000:]}", lambda count=turn + 1:
                      view.log().count("goes on where") == count, 15)
            file.write(b"new ")
            deleted.write(b"x")
            serving(view, old)
        assert os.pread(file.fileno(), 99, 0) == b"old new new new "
        assert os.pread(deleted.fileno(), 9, 0) == b"xxx"
        assert os.listdir(directory) == ["f"]
        os.close(directory)
    after = programs_of(view)
    assert (after["broker"], after["keeper"]) == (before["broker"], before["keeper"])
    assert mount_id(view.media) == mount and disk.mounted()
    assert view.medium("STICK")["state"] in ("clean", "dirty", "busy")
    view.eject_soon("STICK")
    disk.unplug()
    view.wait_for()
    disk.wait_unplugged()


def test_media_in_every_state(daemon, loopdev, installed):
    """Names, states and what was ejected stay; what was pulled or plugged meanwhile is noticed."""
    scene = EveryState(loopdev)
    view = daemon(*scene.all(), start=False, options=["--idle-timeout", "1h"])
    view.binary = view.command[0] = installed
    scene.enter(view.start())
    upgrade(view)
    assert view.names() == scene.names
    scene.check(view)
    scene.change()
    scene.wait_changed(view)
    upgrade(view)
    scene.check_ejected(view)


def connect(view, **request):
    """A client that has sent a request, as a file."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
        sock.connect(view.socket)
        sock.settimeout(30 * SLOWNESS)
        sock.sendall(json.dumps(request).encode() + b"\n")
        return sock.makefile("rw")


def test_clients_stay_connected(stick):
    """Who waits or monitors gets the answer from the program that has taken over; a request that is
    half sent is not lost."""
    view, disk = stick
    with connect(view, command="monitor") as monitor, \
            connect(view, command="wait", name="OTHER") as waiting, \
            connect(view, command="list") as half:
        assert json.loads(monitor.readline()) == {"ok": True}
        assert json.loads(half.readline())["media"][0]["name"] == "STICK"
        half.write('{"command":')
        half.flush()
        upgrade(view)
        half.write('"list"}\n')
        half.flush()
        assert json.loads(half.readline())["media"][0]["name"] == "STICK"
        disk.unplug()
        view.wait_for()
        disk.format("ext4", label="OTHER").plug()
        assert json.loads(waiting.readline())["medium"]["name"] == "OTHER"
        events = [json.loads(monitor.readline()) for _ in range(2)]
        assert [(event["event"], event["medium"]["label"]) for event in events] == [
            ("removed", "STICK"), ("appeared", "OTHER")]


def test_only_by_root(stick):
    view, _ = stick
    result = subprocess.run(["setpriv", "--reuid", "1000", "--clear-groups", view.binary,
                             "upgrade", "--socket", view.socket], stderr=subprocess.PIPE,
                            text=True, check=False, timeout=30)
    assert result.returncode == 1 and "only root" in result.stderr


# what is installed, and what the command says then
WRONG = {
    "missing": (None, "cannot be executed: No such file"),
    "not a program": ("", "cannot be executed: Exec format error"),
    "fails": ("exit 1", "without a word"),
    "crashes": ("kill -SEGV $$", "it crashes"),
    "knows nothing of it": ("echo 'hotplugfs: unknown option' >&2; exit 2", "unknown option"),
    "ends well": ("exit 0", "does not know how"),
    "knows another format": ("sed 's/^hotplugfs-handover [0-9]*/hotplugfs-handover 99/' </proc/self/fd/3 >$0.record;"
                             "exec $real --takeover 3 \"$3\" 3<$0.record",
                             "unknown format of the record: 99"),
    "has another table": ("sed 's/\"state\":\"[0-9]:/\"state\":\"9:/' </proc/self/fd/3 >$0.record;"
                          "exec $real --takeover 3 \"$3\" 3<$0.record",
                          "open files has another layout: 9:"),
    "reads half": ("head -c 300 </proc/self/fd/3 >$0.record; exec $real --takeover 3 \"$3\" 3<$0.record",
                   "the record is cut off"),
    "goes away": ("rm $0; exec $real \"$@\"", "cannot execute"),
    "other settings": ("shift 2; exec $real --takeover 3 \"$@\" --no-such-option",
                       "unknown option"),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_refused(stick, wrong):
    """A program that cannot take over is not even begun with: the old one goes on."""
    view, disk = stick
    script, told = WRONG[wrong]
    server = view.server_pid()
    if script is None:
        os.unlink(view.binary)
    elif script == "":
        with open(view.binary + ".new", "wb") as file:
            file.write(b"\x7fNOT")
        os.chmod(view.binary + ".new", 0o755)
        os.rename(view.binary + ".new", view.binary)
    else:
        install(view.binary, script)
    view.binary = processes_exe = f"/proc/{view.process.pid}/exe"
    result = view.client("upgrade", check=False)
    assert result.returncode == 1
    assert "not upgraded" in result.stderr and told in result.stderr, result.stderr
    assert view.server_pid() == server and os.path.exists(processes_exe)
    with open(view.path("STICK", "f"), "wb") as file:
        file.write(b"x")
    view.eject_soon("STICK")
    disk.unplug()
    view.wait_for()


@pytest.mark.log_errors("could not take over|unknown level")
def test_returns(stick):
    """One that could, and then cannot, executes the old program again, which goes on."""
    view, disk = stick
    with open(view.path("STICK", "f"), "wb", buffering=0) as file:
        install(view.binary, "[ $1 = --takeover ] && exec $real \"$@\";"
                             "shift; exec $real mount --log-level no-such \"$@\"")
        view.binary = f"/proc/{view.process.pid}/exe"
        for _ in range(2):
            server = view.server_pid()
            result = view.client("upgrade", check=False)
            assert result.returncode == 1 and "could not take over" in result.stderr, view.log()
            assert "the one before goes on" in view.log()
            serving(view, server)
            file.write(b"x")
    view.eject_soon("STICK")
    disk.unplug()
    view.wait_for()


def test_what_is_on_its_way_arrives(daemon, dying, installed):
    """A mount that takes its time is not cut off; the upgrade comes after it."""
    disk = dying("ext4", label="SLOW").plug()
    view = daemon(disk, start=False)
    view.binary = view.command[0] = installed
    view.start().wait_for("SLOW")
    disk.stall()
    with subprocess.Popen(["ls", view.path("SLOW")], stdout=subprocess.PIPE) as listing:
        until("it is being mounted", lambda: "idle -> mounting" in view.log())
        with subprocess.Popen([view.binary, "upgrade", "--socket", view.socket]) as command:
            until("it can be executed", lambda: "can take over" in view.log(), 15)
            assert command.poll() is None and "executing" not in view.log()
            disk.work()
            assert listing.wait(30) == 0 and command.wait(30) == 0
    view.eject_soon("SLOW")


@pytest.mark.log_errors("STUCK", "I/O error")
def test_what_nobody_waits_for(daemon, dying, installed):
    """A mount that has hung too long, and succeeds under the next program, is undone by that."""
    disk = dying("ext4", label="STUCK").plug()
    view = daemon(disk, start=False, options=["--mount-timeout", "1s"])
    view.binary = view.command[0] = installed
    view.start().wait_for("STUCK")
    disk.stall()
    assert subprocess.run(["ls", view.path("STUCK")], check=False, timeout=30,
                          stderr=subprocess.DEVNULL).returncode != 0
    view.wait_state("STUCK", "failed")
    upgrade(view)
    disk.work()
    until("it can be used again", lambda: subprocess.run(
        ["ls", view.path("STUCK")], check=False, timeout=30, stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL).returncode == 0, 15)
    view.eject_soon("STUCK")
    until("no child is left", lambda: not disk.mounted())


INHERITED = """
import os, socket, sys
events = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 15)
events.bind((0, 1))
os.dup2(events.fileno(), 9)
os.execv(sys.argv[1], sys.argv[1:])
"""


def test_inherited_events(daemon, loopdev, installed):
    """A socket of events that the daemon was given is still there for the next program."""
    disk = loopdev(label="STICK")
    view = daemon(disk, start=False, options=["--events", "fd:9"])
    view.command = [sys.executable, "-Ic", INHERITED, installed, *view.command[1:]]
    view.start()
    view.binary = installed
    for _ in range(2):
        upgrade(view)
    disk.plug()
    view.wait_for("STICK")


def test_a_request_hangs(daemon, loopdev, dying, installed):
    """
    While a request hangs on its disk the server could not be killed, and nobody would serve the
    others: the upgrade waits, they do not.
    """
    bad, good = dying("ext4", label="STUCK").plug(), loopdev(label="GOOD").plug()
    view = daemon(bad, good, start=False)
    view.binary = view.command[0] = installed
    view.start().wait_for("STUCK", "GOOD")
    os.mkdir(view.path("STUCK", "d"))
    view.wait_state("STUCK", "clean")
    os.mkdir(view.path("STUCK", "e"))
    bad.stall()
    with subprocess.Popen(["sync", view.path("STUCK", "e")]) as stuck:
        until("it hangs", lambda: any(
            processes.waits(view.server_pid(), task)
            for task in os.listdir(f"/proc/{view.server_pid()}/task")))
        with subprocess.Popen([view.binary, "upgrade", "--socket", view.socket]) as command:
            until("it can be executed", lambda: "can take over" in view.log(), 15)
            os.mkdir(view.path("GOOD", "d"))
            assert command.poll() is None and "executing" not in view.log()
            bad.work()
            assert stuck.wait(30) == 0 and command.wait(30) == 0
    view.eject_soon("STUCK")


@both
def test_run(run, loopdev, installed, pid1):
    """`hotplugfs run`, also as process 1: COMMAND goes on, has its signals and exit status."""
    disk = loopdev(label="STICK").plug()
    script = ("trap 'echo usr2' USR2; exec 9>$MEDIA/STICK/f; echo started;"
              "while ! [ -e $MEDIA/STICK/end ]; do sleep 0.1; done; echo x >&9; exit 7")
    one = run("sh", "-c", script, disks=[disk], options=["--user", "0"], pid1=pid1,
              before=[], start=False)
    one.command[one.command.index(one.binary)] = installed
    one.start().wait_out("started")
    address = os.path.join(one.work, "control.sock")
    for _ in range(3):
        command = subprocess.run([installed, "upgrade", "--socket", address], text=True,
                                 stderr=subprocess.PIPE, check=False, timeout=60)
        assert command.returncode == 0, command.stderr + one.err()
    one.send(signal.SIGUSR2)
    one.wait_out("usr2")
    with open(os.path.join(one.media, "STICK", "end"), "wb") if not pid1 else \
            open(f"/proc/{one.broker()}/root{one.media}/STICK/end", "wb"):
        pass
    assert one.wait() == 7
    with disk.native() as tree:
        with open(os.path.join(tree, "f"), encoding="ascii") as file:
            assert file.read() == "x\n"


class Usage:
    """What a daemon uses: all of it is to be as it was."""

    def __init__(self, view):
        self.pids = len(view.pids())
        self.files = sorted(re.sub(r"\d+", "N", file)
                            for file in processes.open_files(view.process.pid))
        self.mounts = len(kernel.mounts_under(view.media))
        self.memory = processes.private_memory(view.process.pid)


def settled(view):
    """What it uses, once the processes have ended that were for something that is done."""
    looks = []

    def same():
        looks.append(view.pids())
        return len(looks) > 50 and all(look == looks[-1] for look in looks[-50:])
    until(lambda: f"no process comes or ends: {view.processes()}", same, 15)
    return Usage(view)


def longest_answer(view, upgrades):
    """Milliseconds that the view does not answer until it has been upgraded so often. The kernel
    cannot know that there is no such name."""
    longest = 0.0
    while view.log().count("the server is ready") < upgrades + 1:
        start = time.monotonic()
        assert not os.path.lexists(view.path(f"none-{start}"))
        longest = max(longest, time.monotonic() - start)
        assert "not upgraded" not in view.log(), view.log()[-2000:]
    return longest * 1000


@pytest.mark.data
@pytest.mark.deadline(120 + UPGRADES * 4)
def test_programs_do_not_notice(stick, work):
    """
    Programs at work while one program of the daemon follows the other; TEST_UPGRADES sets how many.
    Nothing is left of them. It prints (-rP) how long the view does not answer.
    """
    view, disk = stick
    rng = random.Random(UPGRADES)
    upgrade(view)  # the first start is not like the others
    os.listdir(view.path("STICK"))
    before, gaps = settled(view), []
    with at_work(view.path("STICK"), work) as programs:
        for number in range(UPGRADES):
            time.sleep(rng.random() / 2)
            view.send(signal.SIGUSR2)
            gaps.append(longest_answer(view, number + 2))
            programs.check()
    gaps.sort()
    print(f"longest wait for an answer in each of {UPGRADES} upgrades: median "
          f"{gaps[len(gaps) // 2]:.0f} ms, longest {gaps[-1]:.0f} ms")
    until(lambda: f"as many processes as before, {before.pids}: {view.processes()}",
          lambda: Usage(view).pids == before.pids, 15)
    until(lambda: f"as many files are open as before: {before.files}, {Usage(view).files}",
          lambda: Usage(view).files == before.files, 15)
    after = Usage(view)
    assert after.mounts == before.mounts
    if SLOWNESS == 1:
        assert after.memory - before.memory < 1 << 20, (before.memory, after.memory)
    view.eject_soon("STICK")
    disk.unplug()
    view.wait_for()
