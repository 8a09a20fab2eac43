"""Starting, ending, dying and starting again."""

import errno
import os
import signal
import socket
import subprocess
import threading
import time

import pytest

from harness import kernel, processes
from harness.people import as_user, sh
from harness.programs import serving
from harness.wait import took, until

pytestmark = pytest.mark.data


class Writers:
    """Threads that write and sync until they are told to stop; what failed is kept."""

    def __init__(self, view, names, count=4):
        self.stopping = False
        self.errors = []
        self.written = 0
        self.threads = [threading.Thread(target=self._write, daemon=True,
                                         args=(view.path(names[n % len(names)], f"w{n}"),))
                        for n in range(count)]
        for thread in self.threads:
            thread.start()
        until("they write", lambda: self.written > 10)

    def _write(self, path):
        try:
            with open(path, "wb", buffering=0) as file:
                while not self.stopping:
                    if file.write(os.urandom(32768)) != 32768:
                        raise OSError(errno.EIO, "short write")
                    if file.tell() > 4 << 20:
                        file.seek(0)
                    os.stat(path)
                    self.written += 1
        except OSError as error:
            self.errors.append(error)

    def stop(self):
        self.stopping = True
        for thread in self.threads:
            thread.join(20)
        assert not any(thread.is_alive() for thread in self.threads), "a writer hangs"
        return self.errors


@pytest.fixture
def stick(daemon, loopdev):
    disk = loopdev(label="STICK", size=128 << 20)
    view = daemon(disk)
    disk.plug()
    return view.wait_for("STICK"), disk


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGRTMIN + 3])
def test_clean_end(stick, number):
    """Clean end on SIGTERM, SIGINT and SIGRTMIN+3 (sync, unmount, no stale mount left)."""
    view, disk = stick
    with open(view.path("STICK", "file"), "wb") as file:
        file.write(b"x" * 100_000)
    view.stop(number)
    until("the disk is free", lambda: not disk.held())
    sh("e2fsck -fn $1", disk.image)
    with disk.native() as tree:
        assert os.stat(os.path.join(tree, "file")).st_size == 100_000


def test_end_under_load(stick):
    """SIGTERM while busy: it ends all the same, and soon; writers get errors, the disk is clean."""
    view, disk = stick
    writers = Writers(view, ["STICK"])
    assert took(view.stop) < 10
    assert len(writers.stop()) == 4
    until("the disk is free", lambda: not disk.held())
    sh("e2fsck -fn $1", disk.image)


def test_end_with_somebody_inside(stick):
    """... also with a working directory and an open file in the view. (A file that the kernel
    reads without us holds the disk until it is closed.)"""
    view, disk = stick
    inside = subprocess.Popen(["sh", "-c", 'cd "$1" && exec 3>file && echo in && exec sleep 100',
                               "sh", view.path("STICK")], stdout=subprocess.PIPE, text=True)
    try:
        assert inside.stdout.readline() == "in\n"
        view.stop()
    finally:
        inside.kill()
        inside.wait()
        inside.stdout.close()
    until("the disk is free", lambda: not disk.held())
    sh("e2fsck -fn $1", disk.image)


def test_start_after_start(stick):
    """It can be started again in the same place, many times."""
    view, _ = stick
    for _ in range(5):
        view.stop()
        view.start()
        view.wait_for("STICK")


def test_stale_mount(stick):
    """A second start over a stale mount cleans it up."""
    view, disk = stick
    os.listdir(view.path("STICK"))
    view.kill()
    # a request that was on its way when the connection ended is ECONNABORTED
    with pytest.raises(OSError) as failure:
        os.listdir(view.media)
    assert failure.value.errno in (errno.ENOTCONN, errno.ECONNABORTED)
    until("the disk is free", lambda: not disk.held())
    view.start()
    view.wait_for("STICK")
    assert os.listdir(view.path("STICK")) == ["lost+found"]
    assert kernel.mounts_under(view.media) == [view.media]


@pytest.mark.parametrize("times", [1, 4])
def test_server_killed(stick, times):
    """A server that dies is restarted by the broker; the mount, its fd and the node table outlive
    it: open files, working directories and the copy that runs go on."""
    view, disk = stick
    os.makedirs(view.path("STICK", "a", "b"))
    inode = os.stat(view.path("STICK", "a", "b")).st_ino
    os.chdir(view.path("STICK", "a"))
    writers = Writers(view, ["STICK"])
    try:
        with open("b/open", "w+b", buffering=0) as file:
            file.write(b"before")
            for _ in range(times):
                server, before = view.server_pid(), writers.written
                os.kill(server, signal.SIGKILL)
                until("a new server", lambda server=server: server not in view.pids()
                      and any(pid != view.process.pid for pid in view.pids()))
                until("the writers go on", lambda before=before: writers.written > before + 20
                      or writers.errors)
                assert not writers.errors, view.log()[-2000:]
                until("it has a server", lambda: took(lambda: os.stat("b")) < 5)
            file.write(b" and after")
            assert os.pread(file.fileno(), 100, 0) == b"before and after"
        assert os.stat("b").st_ino == inode
        assert os.stat(view.path("STICK", "a", "b")).st_ino == inode
        assert view.names() == {"STICK"}
    finally:
        os.chdir("/")
        errors = writers.stop()
    assert not errors, f"{errors}\n{view.log()[-2000:]}"
    assert kernel.mounts_under(view.media) == [view.media]
    disk.unplug()
    view.wait_for()
    disk.wait_unplugged()


def test_killed_server_keeps_no_disk(stick):
    """What a dead server had open is closed by the next one: the disk can be ejected, or pulled
    and plugged in again."""
    view, disk = stick
    for turn in range(3):
        with open(view.path("STICK", f"file{turn}"), "wb", buffering=0) as file:
            file.write(b"x")
            server = view.server_pid()
            os.kill(server, signal.SIGKILL)
            until("a new server", lambda server=server: server not in view.pids())
            file.write(b"y")
        if turn == 0:
            view.eject_soon("STICK")
            assert not disk.mounted()
        disk.unplug()
        view.wait_for()
        disk.wait_unplugged()
        disk.plug()
        view.wait_for("STICK")
        assert os.stat(view.path("STICK", "file0")).st_size == 2


def test_copy_through_a_kill(stick, work):
    """A copy that runs while the server is killed arrives whole."""
    view, _ = stick
    source = os.path.join(work, "source")
    sh("mkdir $1; for i in $(seq 60); do head -c 500000 /dev/urandom >$1/$i; done", source)
    copy = subprocess.Popen(["cp", "-a", source, view.path("STICK", "copy")])
    until("it began", lambda: os.path.exists(view.path("STICK", "copy", "10"))
          or copy.poll() is not None)
    os.kill(view.server_pid(), signal.SIGKILL)
    assert copy.wait(timeout=40) == 0
    sh("diff -r $1 $2", source, view.path("STICK", "copy"))


def test_children_ignored(daemon, loopdev):
    """Who starts it may ignore SIGCHLD: a server that was killed is followed by another all the same."""
    view = daemon(loopdev(label="STICK").plug(), start=False)
    view.command = ["env", "--ignore-signal=CHLD", *view.command]
    view.start().wait_for("STICK")
    server = view.server_pid()
    os.kill(server, signal.SIGKILL)
    assert serving(view, dead=server)
    assert os.listdir(view.path("STICK")) == ["lost+found"]


@pytest.mark.slow  # and a sanitizer has a thread that wakes up
def test_nothing_runs_when_idle(stick):
    """With nothing to do it sleeps: no periodic wake-up."""
    view, _ = stick
    until("idle", lambda: view.medium("STICK")["state"] == "idle")

    def switches():
        total = 0
        for pid in view.pids():
            for task in os.listdir(f"/proc/{pid}/task"):
                with open(f"/proc/{pid}/task/{task}/status", encoding="ascii") as status:
                    total += sum(int(line.split()[1]) for line in status
                                 if "ctxt_switches" in line)
        return total

    def switches_in_a_second():
        before = switches()
        time.sleep(1)
        return switches() - before

    # Other people's devices may wake it up now and then.
    until("a second in which nothing runs", lambda: switches_in_a_second() <= 2)


def test_rights_of_the_server(stick):
    """Keeps only the capabilities the proxy needs, under a seccomp filter."""
    view, _ = stick
    with open(f"/proc/{view.server_pid()}/status", encoding="ascii") as status:
        facts = dict(line.split(":\t", 1) for line in status)
    assert facts["NoNewPrivs"].strip() == "1" and facts["Seccomp"].strip() == "2"
    effective = int(facts["CapEff"], 16)
    unneeded = {"net_admin": 12, "net_raw": 13, "sys_module": 16, "sys_rawio": 17,
                "sys_ptrace": 19, "sys_boot": 22, "sys_time": 25, "kill": 5}
    assert [name for name, bit in unneeded.items() if effective >> bit & 1] == []


def test_no_descriptor_leaks_to_children(stick):
    """Every fd is close-on-exec or belongs to its process: the server has no netlink socket, no
    control socket and no device."""
    view, disk = stick
    os.listdir(view.path("STICK"))
    files = processes.open_files(view.server_pid())
    assert not any(disk.device in name or "loop-control" in name for name in files), files
    assert sum("/dev/fuse" in name for name in files) >= 1


def test_view_is_seen_in_a_later_namespace(stick):
    """A workload that starts later sees the same view."""
    view, _ = stick
    user = as_user(1000, 1000, "sh", "-c", 'ls "$1"; grep -c "$1" /proc/self/mountinfo', "sh",
                   view.media, check=True)
    assert user.stdout.split() == ["STICK", "1"]


def test_many_readers_and_writers(stick):
    """Twelve processes at once on one medium: no deadlock, nothing mixed up."""
    view, _ = stick
    script = """
        cd "$1"; mkdir -p p$2; for i in $(seq 25); do
          echo "$2 $i" >p$2/$i; mv p$2/$i p$2/m$i; ln p$2/m$i p$2/l$i; cat p$2/l$i
          ls p$2 >/dev/null; rm p$2/l$i
        done"""
    workers = [subprocess.Popen(["sh", "-euc", script, "sh", view.path("STICK"), str(number)],
                                stdout=subprocess.PIPE, text=True) for number in range(12)]
    for number, worker in enumerate(workers):
        output = worker.communicate(timeout=50)[0]
        assert worker.returncode == 0
        assert output.split("\n")[:-1] == [f"{number} {i}" for i in range(1, 26)]


def fill(path, text):
    """Sends to a datagram socket until nothing more fits; how often."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as one:
        one.setblocking(False)
        for count in range(100_000):
            try:
                one.sendto(text, path)
            except BlockingIOError:
                return count
    raise AssertionError("there is always room")


def test_manager_does_not_read(daemon, loopdev, work):
    """A service manager that is busy holds nobody; READY=1 comes once it reads."""
    disk = loopdev(label="STICK").plug()
    path = os.path.join(work, "manager.sock")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(path)
        manager.settimeout(10)
        view = daemon(disk, start=False, NOTIFY_SOCKET=path)
        unread = fill(path, b"X=1")
        view.start(ready=False)
        until("it serves", lambda: "serving" in view.log())
        assert view.client("wait", "STICK", timeout=5).returncode == 0
        for _ in range(unread):
            assert manager.recv(64) == b"X=1"
        assert manager.recv(64) == b"READY=1"
        fill(path, b"X=1")
        view.stop()
