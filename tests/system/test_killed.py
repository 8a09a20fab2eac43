"""
A server that is killed at the worst moments: when a request has been carried out but not noted, and
when it is about to answer. strace holds the server there. The kernel sends the
request again to the next server, and the caller must not notice.
"""

import contextlib
import os
import random
import re
import select
import signal
import subprocess
import sys
import time

import pytest

from harness import kernel, processes
from harness.failing import failing
from harness.programs import at_work, serving
from harness.tracing import hold as hold_by_strace
from harness.wait import SLOWNESS, until

pytestmark = pytest.mark.data

SETUP = r"""
import ctypes, fcntl, os, struct, sys
libc = ctypes.CDLL(None, use_errno=True)
def renameat2(old, new, flags):
    if libc.renameat2(-100, old.encode(), -100, new.encode(), flags) < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
def put(name, text):
    with open(name, "w") as file: file.write(text)
def get(name):
    with open(name) as file: return file.read()
def gone(name):
    return not os.path.lexists(name)
def capable(name):
    os.setxattr(name, "security.capability", struct.pack("<5I", 0x2000001, 8, 0, 0, 0))
def append_only(name):
    with open(name) as file:
        flags, = struct.unpack("i4x", fcntl.ioctl(file, 0x80086601, bytes(8)))
        fcntl.ioctl(file, 0x40086602, struct.pack("l", flags | 0x20))
def know():  # so that what follows needs no request before its own
    for name in ["a", "b", "d", "e", "f", "n", "p", "s", "t", "d/b", "t/d"]: os.path.lexists(name)
    os.stat(".")
os.chdir(sys.argv[1])
"""

# what: the server's system call, what the caller prepares, does, and then finds
CASES = {
    "mkdir": ("mkdirat", "", "os.mkdir('d')", "os.listdir('d') == []"),
    "symlink": ("symlinkat", "", "os.symlink('x', 's')", "os.readlink('s') == 'x'"),
    "mknod": ("mknodat", "", "os.mkfifo('p')", "os.stat('p').st_nlink == 1"),
    "link": ("linkat", "put('a', 'A')", "os.link('a', 'b')",
             "os.stat('a').st_nlink == 2 and os.path.samefile('a', 'b')"),
    "create": ("openat", "", "fd = os.open('f', os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o444);"
               "os.write(fd, b'new'); os.close(fd)", "get('f') == 'new'"),
    "unlink": ("unlinkat", "put('a', 'A'); os.stat('a')", "os.unlink('a'); put('n', 'N')",
               "gone('a') and get('n') == 'N'"),
    "unlink open": ("unlinkat", "put('a', 'A'); f = open('a', 'r+')",
                    "os.unlink('a'); put('n', 'N'); f.write('B'); f.flush()",
                    "os.fstat(f.fileno()).st_nlink == 0 and os.pread(f.fileno(), 9, 0) == b'B'"
                    " and get('n') == 'N'"),
    "rmdir": ("unlinkat", "os.mkdir('d'); os.stat('d')", "os.rmdir('d'); os.mkdir('e')",
              "gone('d') and os.listdir('e') == []"),
    "rename": ("renameat,renameat2", "put('a', 'A'); os.mkdir('d')", "os.rename('a', 'd/b')",
               "gone('a') and get('d/b') == 'A'"),
    "rename over": ("renameat,renameat2", "put('a', 'A'); put('b', 'B'); f = open('b')",
                    "os.rename('a', 'b'); put('n', 'N')",
                    "gone('a') and get('b') == 'A' and get('n') == 'N' and f.read() == 'B'"),
    "rename directory": ("renameat,renameat2",
                         "os.makedirs('d/e'); put('d/e/f', 'F'); os.mkdir('t')",
                         "os.rename('d', 't/d')", "get('t/d/e/f') == 'F' and gone('d')"),
    "exchange": ("renameat,renameat2", "put('a', 'A'); put('b', 'B')", "renameat2('a', 'b', 2)",
                 "get('a') == 'B' and get('b') == 'A'"),
    "exchange directories": ("renameat,renameat2", "os.makedirs('a/x'); os.makedirs('b/y')",
                             "renameat2('a', 'b', 2)",
                             "os.listdir('a') == ['y'] and os.listdir('b') == ['x']"),
    "whiteout": ("renameat,renameat2", "put('a', 'A')", "renameat2('a', 'b', 4)",
                 "get('b') == 'A' and os.stat('a').st_rdev == 0"),
    "setxattr": ("setxattr,lsetxattr", "put('a', 'A')",
                 "os.setxattr('a', 'user.x', b'1', os.XATTR_CREATE)",
                 "os.getxattr('a', 'user.x') == b'1'"),
    "removexattr": ("removexattr,lremovexattr", "put('a', 'A'); os.setxattr('a', 'user.x', b'1')",
                    "os.removexattr('a', 'user.x')", "os.listxattr('a') == []"),
    "capabilities": ("removexattr,lremovexattr",  # which a write takes away
                     "put('a', 'A'); capable('a'); append_only('a'); f = open('a', 'ab', 0)",
                     "f.write(b'B')", "get('a') == 'AB' and os.listxattr('a') == []"),
    "truncate": ("truncate,ftruncate", "put('a', 'A')", "os.truncate('a', 5)",
                 "os.stat('a').st_size == 5"),
    "open": ("openat", "put('a', 'A')", "f = open('a')", "f.read() == 'A'"),
}


def in_view(view, prepare, act, check):
    """A process that prepares, says so, acts when it is told to, and checks."""
    code = f"{SETUP}\n{prepare}\nknow()\nprint(flush=True)\ninput()\n{act}\nassert {check}\n"
    return subprocess.Popen([sys.executable, "-c", code, view.path("STICK")], text=True,
                            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def hold(pid, what):
    """strace that lets every thread of the process stop for a while at such a call's end or, before
    a reply, at its beginning."""
    delay = "delay_enter" if what == "writev" else "delay_exit"
    return hold_by_strace(pid, what, f"{delay}=20000000")


def stopped(pid):
    """The threads that a tracer has stopped."""
    found = set()
    for task in os.listdir(f"/proc/{pid}/task"):
        with open(f"/proc/{pid}/task/{task}/stat", encoding="ascii") as stat:
            if stat.read().rpartition(")")[2].split()[0] == "t":
                found.add(task)
    return found


def held(pid):
    """Whether one has stopped for long: strace looks at the others' calls only for a moment."""
    tasks = stopped(pid)
    for _ in range(5):
        time.sleep(0.02)
        tasks &= stopped(pid)
    return tasks


def killed_in(view, what, case):
    """Does it with a server that is killed in that call of its own."""
    worker = in_view(view, *case)
    assert worker.stdout.readline(), worker.communicate(timeout=40)[1]
    server = serving(view)
    strace = hold(server, what)
    try:
        worker.stdin.write("\n")
        worker.stdin.flush()
        until(f"the server is in {what}", lambda: held(server))
        os.kill(server, signal.SIGKILL)
        strace.kill()  # it would hold the threads at their exit, too
        _, told = worker.communicate(timeout=40)
        assert worker.returncode == 0, told
    finally:
        worker.kill()
        strace.kill()
        worker.wait()
        strace.wait()


@pytest.fixture
def resends(work):
    if not kernel.fuse_flags(work) & kernel.FUSE_HAS_RESEND:
        pytest.skip("this machine cannot: its kernel does not send requests again to another server")


@pytest.fixture
def stick(daemon, loopdev, resends):
    disk = loopdev(label="STICK").plug()
    return daemon(disk).wait_for("STICK"), disk


def left_nothing(view, disk):
    """No file is left open: it can be ejected, and the filesystem is whole."""
    view.eject_soon("STICK")
    disk.unplug()
    view.wait_for()
    disk.wait_unplugged()


def so_on_disk(disk, check):
    """The kernel's cache of names could hide that it is not."""
    if "f." not in check:  # not about an open file
        with disk.native() as tree:
            subprocess.run([sys.executable, "-c", f"{SETUP}\nassert {check}", tree], check=True,
                           timeout=60)


@pytest.mark.parametrize("name", CASES)
def test_done_but_not_noted(stick, name):
    view, disk = stick
    call, *case = CASES[name]
    killed_in(view, call, case)
    left_nothing(view, disk)
    so_on_disk(disk, case[-1])


@pytest.mark.parametrize("name", CASES)
def test_not_answered(stick, name):
    """The caller knows all names and attributes before, so the first reply is the call's own."""
    view, disk = stick
    _, *case = CASES[name]
    killed_in(view, "writev", case)
    left_nothing(view, disk)
    so_on_disk(disk, case[-1])


OPEN_ROOT = r"""
import os, sys
input()
os.close(os.open(sys.argv[1], os.O_RDONLY | os.O_DIRECTORY))
"""


def test_root_that_is_not_mounted(daemon, loopdev, resends):
    """The same of a medium's directory, which is opened without its filesystem."""
    disk = loopdev(label="IDLE").plug()
    view = daemon(disk, options=["--idle-timeout", "300ms"]).wait_for("IDLE")
    os.listdir(view.path("IDLE"))
    until("it is idle", lambda: not disk.mounted())
    os.stat(view.path("IDLE"))  # so that opening it needs no request but its own
    worker = subprocess.Popen([sys.executable, "-c", OPEN_ROOT, view.path("IDLE")], text=True,
                              stdin=subprocess.PIPE)
    server = serving(view)
    strace = hold(server, "writev")
    try:
        worker.stdin.write("\n")
        worker.stdin.flush()
        until("the server answers", lambda: held(server))
        os.kill(server, signal.SIGKILL)
        strace.kill()
        assert worker.wait(timeout=40) == 0
    finally:
        worker.kill()
        strace.kill()
        worker.communicate()
        strace.communicate()
    view.eject_soon("IDLE")


def test_files_without_a_name(stick):
    """Deleted files, O_TMPFILE and a deleted directory go on in the next server."""
    view, disk = stick
    os.mkdir(view.path("STICK", "d"))
    with open(view.path("STICK", "f"), "w+b", buffering=0) as file:
        nameless = os.open(view.path("STICK"), os.O_TMPFILE | os.O_RDWR)
        directory = os.open(view.path("STICK", "d"), os.O_RDONLY)
        os.unlink(view.path("STICK", "f"))
        os.rmdir(view.path("STICK", "d"))
        server = 0
        for turn in range(3):
            server = serving(view, server)
            os.kill(server, signal.SIGKILL)
            assert file.write(b"0123456789") == 10
            assert os.pwrite(nameless, b"abc", turn) == 3
            assert os.fstat(file.fileno()).st_nlink == 0
            assert os.fstat(directory).st_nlink == 0
            assert os.listdir(directory) == []
        assert os.pread(nameless, 9, 0) == b"aaabc"
        os.link(f"/proc/self/fd/{nameless}", view.path("STICK", "named"),
                src_dir_fd=directory)  # else Python does not follow the link
        os.close(nameless)
        os.close(directory)
        assert os.pread(file.fileno(), 40, 0) == b"0123456789" * 3
    with open(view.path("STICK", "named"), "rb") as file:
        assert file.read() == b"aaabc"
    left_nothing(view, disk)


def test_unwritten_is_not_forgotten(stick):
    """What the dead server changed without telling is written out before the medium is clean."""
    view, _ = stick
    os.mkdir(view.path("STICK", "d"))
    view.wait_state("STICK", "clean", "idle")
    os.kill(serving(view), signal.SIGKILL)
    os.listdir(view.path("STICK", "d"))
    until("it was dirty, and was written out",
          lambda: "dirty -> clean" in view.log().split("starting another one")[-1])


def test_killed_as_soon_as_it_is_there(stick):
    """Who kills every server at once, as the kernel does when memory is short, ends no daemon."""
    view, _ = stick
    os.mkdir(view.path("STICK", "d"))
    server = serving(view)
    for _ in range(15):
        os.kill(server, signal.SIGKILL)
        server = serving(view, server)
    assert os.listdir(view.path("STICK")) and view.process.poll() is None


def test_pulled_before_the_next_server(stick):
    """
    The next server hears of the disk and of its removal at once. A client's LOOKUP has the root's
    inode lock until somebody reads it; the server must not wait for that lock before it reads.
    """
    view, disk = stick
    server = serving(view)
    view.send(signal.SIGSTOP)
    try:
        disk.pull()
        os.kill(server, signal.SIGKILL)
        client = subprocess.Popen(["stat", view.path("none")], stderr=subprocess.PIPE)
        until("it asks", lambda: processes.sleeps_in(client.pid) == "request_wait_answer")
    finally:
        view.send(signal.SIGCONT)
    with client:
        assert b"No such file" in client.communicate(timeout=20 * SLOWNESS)[1]
    view.wait_for()
    disk.unplug().wait_unplugged()


def lifeline(pid):
    """The thread by which the broker hears of the end: it keeps hardly any descriptors open."""
    return min(map(int, os.listdir(f"/proc/{pid}/task")),
               key=lambda task: len(os.listdir(f"/proc/{pid}/task/{task}/fd")))


@contextlib.contextmanager
def kept_from_ending(pid):
    """A program with real-time priority has a CPU for all but a twentieth of each second. The threads
    of the process may run on that one only; its lifeline runs elsewhere, so that it is not slow."""
    other, cpu = sorted(os.sched_getaffinity(0))[-2:]
    program = ("import os, signal; signal.alarm(30);"
               f"os.sched_setaffinity(0, {{{cpu}}});"
               "os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1));"
               "print(flush=True)\nwhile True: pass")
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE) as busy:
        try:
            assert busy.stdout.readline(), "no real-time priority"
            for task in map(int, os.listdir(f"/proc/{pid}/task")):
                os.sched_setaffinity(task, {cpu})
            os.sched_setaffinity(lifeline(pid), {other})
            yield
        finally:
            busy.kill()


def killed_and_slow(view):
    """Whether a killed server took long to end, as it was meant to. There was no other before."""
    server = serving(view)
    known = set(view.pids())
    killed = os.pidfd_open(server)
    try:
        with kept_from_ending(server):
            os.kill(server, signal.SIGKILL)
            slow = not select.select([killed], [], [], 0.15)[0]
            until("there is another one", lambda: set(view.pids()) - known)
            assert select.select([killed], [], [], 0)[0], "two servers"
    finally:
        os.close(killed)
    serving(view, server)
    return slow


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="this machine cannot: it has one CPU")
def test_killed_and_slow_to_end(stick):
    """
    The next server does not begin before the threads of a killed one have ended that only have to
    wait for a CPU: one that is still in the kernel may take a request, which nobody would answer.
    """
    view, disk = stick
    assert any(killed_and_slow(view) for _ in range(5))
    left_nothing(view, disk)


def test_killed_after_it_was_pulled(stick):
    """
    Of a disk that is gone the next server knows nothing but the files that are still open. When
    these are closed nothing holds the disk's filesystem any more, so that it can be plugged again.
    """
    view, disk = stick
    with open(view.path("STICK", "file"), "wb", buffering=0) as file, \
            open(view.path("STICK", "other"), "w+b", buffering=0), \
            contextlib.suppress(OSError):
        directory = os.open(view.path("STICK"), os.O_RDONLY)
        server = serving(view)
        disk.pull()
        view.wait_for()
        os.kill(server, signal.SIGKILL)
        serving(view, server)
        with pytest.raises(OSError):
            os.listdir(directory)
        os.close(directory)
        os.fsync(file.fileno())
    disk.unplug().wait_unplugged()
    disk.plug()
    view.wait_for("STICK")
    assert os.path.isdir(view.path("STICK", "lost+found"))


@pytest.mark.slow  # a sanitizer starts threads of its own
def test_no_threads(daemon, loopdev, work, request):
    """A close that is sent again to the next server, while that can start no thread for it, is done as
    soon as there is one: nothing stays open."""
    control, environment = failing(work, request.config.option.hotplugfs)
    disk = loopdev(label="STICK").plug()
    view = daemon(disk, **environment).wait_for("STICK")
    server = serving(view)
    file = os.open(view.path("STICK", "file"), os.O_RDWR | os.O_CREAT)
    control.threads(5)  # with which it starts
    strace = hold(server, "ioctl")  # which closes the backing, before the file's record goes
    try:
        os.close(file)
        until("the server is closing it", lambda: held(server))
        os.kill(server, signal.SIGKILL)
    finally:
        strace.kill()
        strace.wait()
    failed = control.threads_failed()
    server = serving(view, server)
    until("there was no thread for it", lambda: control.threads_failed() > failed, 15)
    control.threads(0)
    view.eject_soon("STICK")
    assert view.server_pid() == server


def whole_buffers(pid):
    """How many mappings have the memory for a write of the largest size, all of it."""
    with open(f"/proc/{pid}/smaps", encoding="ascii") as file:
        sizes = re.findall(r" 0 +\nSize: .*\n.*\n.*\nRss: +(\d+) kB", file.read())
    return sum(int(resident) >= 1028 for resident in sizes)


def test_memory_for_writes(daemon, loopdev, work):
    """
    Where writes come to the server, the memory for them is there before: a killed server cannot get
    any, and a write that it was reading would fail instead of being sent again.
    """
    path = os.path.join(work, "hotplugfs.conf")
    with open(path, "w", encoding="ascii") as config:
        disk = loopdev(label="STICK").plug()
        view = daemon(disk, options=["--config", path]).wait_for("STICK")
        config.write("passthrough = no\n")
    view.send(signal.SIGHUP)  # the disk has none any more, the connection has
    until("it is off", lambda: not view.medium("STICK")["passthrough"])
    server = serving(view)

    def memory_after_open():
        with open(view.path("STICK", "file"), "wb"):
            return whole_buffers(server) > 0

    until("the server knows, and has it", memory_after_open)
    with open(view.path("STICK", "file"), "wb"):
        os.kill(server, signal.SIGKILL)
        until("the next one has it, too", lambda: whole_buffers(serving(view, server)) > 0)


KILLS = int(os.environ.get("TEST_KILLS", "15"))


def answered(view, number):
    """Milliseconds until the view answers; the kernel cannot know that there is no such name."""
    start = time.monotonic()
    assert not os.path.lexists(view.path(f"none-{number}"))
    return (time.monotonic() - start) * 1000


@pytest.mark.deadline(120 + KILLS * 2)
def test_programs_do_not_notice(stick, work):
    """
    Programs at work while one server after the other is killed; TEST_KILLS sets how many. It prints
    (-rP) how long the view does not answer.
    """
    view, disk = stick
    rng = random.Random(KILLS)
    server, gaps = 0, []
    with at_work(view.path("STICK"), work) as programs:
        for number in range(KILLS):
            server = serving(view, server)
            time.sleep(0.3 + rng.random() / 4)  # one that dies too soon counts as unable to work
            os.kill(server, signal.SIGKILL)
            gaps.append(answered(view, number))
            programs.check()
    gaps.sort()
    print(f"answers again after a kill: median {gaps[len(gaps) // 2]:.0f} ms, "
          f"95 of 100 within {gaps[len(gaps) * 95 // 100]:.0f} ms, longest {gaps[-1]:.0f} ms")
    left_nothing(view, disk)
