"""`hotplugfs run`: one container, the daemon and a command without rights."""

import os
import resource
import signal

import pytest

from harness import kernel, processes
from harness.people import NOBODY, sh
from harness.wait import until

both = pytest.mark.parametrize("pid1", [False, True], ids=["child", "pid1"])

PRINT_SIGNALS = """
import signal, sys
wanted = set(range(1, 65)) - {9, 19, 32, 33}
signal.pthread_sigmask(signal.SIG_BLOCK, wanted)
print("ready", flush=True)
while True:
    name = signal.Signals(signal.sigwait(wanted)).name
    print(name, flush=True)
    if name == sys.argv[1]:
        sys.exit(5)
"""


def print_signals(last):
    """A command that prints each signal that it gets, and ends with 5 after the last."""
    return ["/usr/bin/python3", "-Ic", PRINT_SIGNALS, last]


def facts(text):
    return dict(map(str.strip, line.split(":", 1)) for line in text.splitlines() if ":" in line)


@both
def test_privileges(run, pid1):
    """COMMAND has no capability in any set, no_new_privs, and nothing of root's ids."""
    one = run("cat", "/proc/self/status", pid1=pid1)
    assert one.wait() == 0, one.err()
    status = facts(one.out())
    sets = {name: int(status[name], 16) for name in status if name.startswith("Cap")}
    assert len(sets) == 5 and not any(sets.values()), sets
    assert status["NoNewPrivs"] == "1"
    assert set(status["Uid"].split() + status["Gid"].split()) == {str(NOBODY)}
    assert status["Groups"] == str(NOBODY)
    assert int(status["SigBlk"], 16) == 0 and int(status["SigIgn"], 16) == 0


@both
def test_no_descriptors(run, pid1):
    """COMMAND has the descriptors 0 to 2 and no others, whatever the daemon was given."""
    with open("/etc/passwd", encoding="utf-8") as extra:
        one = run("sh", "-c", "ls /proc/$$/fd", pid1=pid1, pass_fds=[extra.fileno()])
        assert one.wait() == 0
    assert one.out().split() == ["0", "1", "2"]


@pytest.mark.parametrize("user, expected", [
    ("4241:1001", "4241 1001 1001 /"),
    ("4242", "4242 4242 4242 /"),
    ("0", "0 0 0 keep"),
    ("mail", "8 8 8 /var/mail"),
    ("crowd", "777 777 777 778 779 /crowd"),
    ("777", "777 777 777 778 779 /crowd"),
    ("crowd:779", "777 779 779 /crowd"),
])
def test_user(run, user, expected, work):
    """--user: names and numbers, the groups of a user unless one is given, and a home."""
    passwd, group = os.path.join(work, "passwd"), os.path.join(work, "group")
    sh("""cp /etc/passwd $1; echo crowd:x:777:777::/crowd:/bin/sh >>$1
          cp /etc/group $2; printf 'crowd:x:777:\nc1:x:778:crowd\nc2:x:779:crowd\n' >>$2""",
       passwd, group)
    script = 'mount --bind "$1" /etc/passwd; mount --bind "$2" /etc/group; shift 2; exec "$@"'
    one = run("sh", "-c", "echo $(id -u) $(id -g) $(id -G) $HOME", options=["--user", user],
              before=["unshare", "--mount", "--", "sh", "-euc", script, "sh", passwd, group],
              env={**os.environ, "HOME": "keep"})
    assert one.process.wait(30) == 0, one.err()
    assert one.out().strip() == expected


@both
def test_inherits(run, pid1):
    """Umask, limits and ignored signals are those of the caller, not the daemon's own; of the
    environment only what concerns the daemon is gone."""
    def prepare():
        os.umask(0o027)
        resource.setrlimit(resource.RLIMIT_NOFILE, (123, 4096))
        signal.signal(signal.SIGHUP, signal.SIG_IGN)

    environment = {"PATH": os.environ["PATH"], "HOME": "/root", "MINE": "1", "NOTIFY_SOCKET": "@x"}
    script = "umask; ulimit -Sn; ulimit -Hn; pwd; env; cat /proc/self/status"
    one = run("sh", "-c", script, pid1=pid1, preexec_fn=prepare, cwd="/usr", env=environment)
    assert one.wait() == 0, one.err()
    lines = one.out().splitlines()
    assert lines[:4] == ["0027", "123", "4096", "/usr"]
    assert "MINE=1" in lines and "HOME=/nonexistent" in lines and "USER=nobody" in lines
    assert not any(line.startswith("NOTIFY_SOCKET") for line in lines)
    assert int(facts(one.out())["SigIgn"], 16) == 1 << signal.SIGHUP - 1


@both
@pytest.mark.parametrize("command, status", [
    (["sh", "-c", "exit 0"], 0),
    (["sh", "-c", "exit 7"], 7),
    (["sh", "-c", "exit 255"], 255),
    (["sh", "-c", "kill -TERM $$"], 143),
    (["sh", "-c", "kill -KILL $$"], 137),
    (["hotplugfs-no-such-command"], 127),
    (["/hotplugfs/no/such"], 127),
    (["/etc/passwd"], 126),
    (["/"], 126),
])
def test_exit_status(run, command, status, pid1):
    """Exits with COMMAND's status: 128+N for a signal; 127 not found, 126 not executable."""
    one = run(*command, pid1=pid1)
    assert one.wait() == status
    assert one.err().count("\n") == (1 if status in (126, 127) else 0), one.err()
    if status in (126, 127):
        assert f'cannot run "{command[0]}": ' in one.err()


def test_not_found_beside_locked_directories(run, work):
    """Not found is 127 also where PATH has directories that COMMAND's user may not search."""
    os.mkdir(os.path.join(work, "locked"), 0o700)
    path = os.path.join(work, "locked") + ":" + os.environ["PATH"]
    one = run("hotplugfs-no-such-command", env={**os.environ, "PATH": path})
    assert one.wait() == 127


def test_view_cannot_be_served(run, hotplugfs, work):
    """When the view cannot be served COMMAND is not started: one line, exit status 1."""
    one = run("echo", "started", options=["--dev", "/no/such/directory"])
    assert one.wait() == 1
    assert one.out() == "" and one.err().count("\n") == 1
    result = hotplugfs("run", os.path.join(work, "missing"), "--", "echo", "started")
    assert (result.returncode, result.stdout) == (1, "")
    assert result.stderr.count("\n") == 1


@pytest.mark.parametrize("words", [
    [], ["--"], ["/media"], ["/media", "--"], ["/media", "/mnt", "--", "true"],
    ["/media", "ls", "-l"], ["--user", "--", "true"], ["--user", "no-such-user", "--", "true"],
    ["--user", "0:no-such-group", "--", "true"], ["--idle-timeout", "x", "--", "true"],
    ["--nonsense", "--", "true"], ["", "--", "true"],
])
def test_bad_usage(hotplugfs, words):
    """A wrong command line is exit status 2 and one line."""
    result = hotplugfs("run", *words)
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr.count("\n") == 1 and result.stderr.startswith("hotplugfs run: ")


@both
@pytest.mark.data
def test_one_container(run, loopdev, pid1):
    """A disk that is there is in the view when COMMAND starts; it is used without rights, and when
    COMMAND has ended everything is unmounted and on the disk."""
    disk = loopdev(label="STICK").plug()
    script = """ls "$MEDIA"; cp -r /etc/alternatives "$MEDIA/STICK/copy"
                ls "$MEDIA/STICK/copy" | wc -l"""
    one = run("sh", "-euc", script, disks=[disk], pid1=pid1,
              options=["--user", "1000", "--owner", "1000"])
    assert one.wait() == 0, one.err()
    count = len(os.listdir("/etc/alternatives"))
    assert one.out().split() == ["STICK", str(count)]
    until("the disk is free", lambda: not disk.held())
    sh("e2fsck -fn $1", disk.image)
    with disk.native() as tree:
        assert len(os.listdir(os.path.join(tree, "copy"))) == count


@both
def test_plug_and_unplug(run, loopdev, pid1):
    """COMMAND sees disks come and go."""
    disk = loopdev(label="STICK")
    script = """cd "$MEDIA"; echo ready; until [ -d STICK ]; do sleep 0.05; done; echo came
                while [ -d STICK ]; do sleep 0.05; done; echo gone"""
    one = run("sh", "-euc", script, disks=[disk], pid1=pid1).wait_out("ready")
    disk.plug()
    one.wait_out("came")
    disk.unplug()
    assert one.wait() == 0, one.err()
    assert one.out().split() == ["ready", "came", "gone"]


@both
def test_signals_are_forwarded(run, pid1):
    """COMMAND gets what is sent to process 1, and what it makes of it is its own affair."""
    one = run(*print_signals("SIGTERM"), pid1=pid1).wait_out("ready")
    names = ["SIGHUP", "SIGINT", "SIGQUIT", "SIGUSR1", "SIGUSR2", "SIGWINCH", "SIGALRM", "SIGCONT",
             "SIGRTMAX", "SIGTERM"]
    for name in names:
        one.send(getattr(signal, name))
        one.wait_out(name)
    assert one.wait() == 5
    assert one.out().split() == ["ready", *names]


@both
@pytest.mark.parametrize("number, status", [
    (signal.SIGTERM, 143), (signal.SIGINT, 130), (signal.SIGHUP, 129), (signal.SIGQUIT, 131),
    (signal.SIGRTMIN + 3, 143)])
def test_stop(run, loopdev, number, status, pid1):
    """docker stop, Ctrl-C, a hangup, and what systemd stops containers with: COMMAND ends, what it
    has written is on the disk, the exit status tells the signal."""
    disk = loopdev(label="STICK").plug()
    script = 'echo written >"$MEDIA/STICK/file"; echo ready; exec sleep 1000'
    one = run("sh", "-euc", script, disks=[disk], pid1=pid1, options=["--owner", str(NOBODY)])
    one.wait_out("ready").send(number)
    assert one.wait() == status
    until("the disk is free", lambda: not disk.held())
    with disk.native() as tree:
        with open(os.path.join(tree, "file"), encoding="ascii") as file:
            assert file.read() == "written\n"


@both
def test_halt(run, pid1):
    """SIGRTMIN+3 asks COMMAND to end by SIGTERM, also if it is suspended; a second one kills it."""
    one = run(*print_signals("SIGINT"), pid1=pid1).wait_out("ready")
    one.send(signal.SIGRTMIN + 3)
    one.wait_out("SIGTERM").send(signal.SIGRTMIN + 3)
    assert one.wait() == 137
    one = run("sh", "-c", "echo ready; kill -STOP $$", pid1=pid1).wait_out("ready")
    command = until("COMMAND is there", lambda: command_of(one))
    until("it is suspended", lambda: processes.status(command)["State"].startswith("T"))
    one.send(signal.SIGRTMIN + 3)
    assert one.wait() == 143


def command_of(one):
    """The process id of COMMAND: the broker's child with no_new_privs, a user and no filter."""
    for pid in processes.children(one.broker()):
        status = processes.status(pid)
        if status["NoNewPrivs"] == "1" and status["Uid"].split()[0] == str(NOBODY):
            return pid
    return None


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGRTMIN + 3])
def test_stop_before_the_start(run, number):
    """A signal that ends it before the view is ready: COMMAND is not started."""
    def prepare():  # it is pending when the program starts
        signal.pthread_sigmask(signal.SIG_BLOCK, [number])
        os.kill(os.getpid(), number)

    one = run("echo", "started", preexec_fn=prepare)
    assert one.wait() == (143 if number == signal.SIGRTMIN + 3 else 128 + number)
    assert one.out() == ""


LEAVE_ORPHANS = """
import os, time
init, orphans = os.getppid(), []
for _ in range(5):
    reader, writer = os.pipe()
    if os.fork() == 0:
        orphan = os.fork()
        if orphan == 0:
            while os.getppid() != init:
                time.sleep(0.01)
            os._exit(0)
        os.write(writer, str(orphan).encode())
        os._exit(0)
    os.wait()
    orphans.append(int(os.read(reader, 20)))
for orphan in orphans:
    while os.path.exists(f"/proc/{orphan}"):
        time.sleep(0.01)
print("reaped")
"""


@both
def test_orphans_are_reaped(run, pid1):
    """Orphans become children of hotplugfs, and none of them stays a zombie."""
    one = run("/usr/bin/python3", "-Ic", LEAVE_ORPHANS, pid1=pid1)
    assert one.wait() == 0, one.err()
    assert one.out() == "reaped\n"


def test_killed(run, loopdev):
    """When hotplugfs is killed, everything of it ends, also a COMMAND that ignores SIGTERM, and the
    mount goes: nobody else is left with a dead one."""
    disk = loopdev(label="STICK").plug()
    one = run(*print_signals("SIGINT"), disks=[disk]).wait_out("ready")
    assert os.listdir(one.media) == ["STICK"] and os.listdir(os.path.join(one.media, "STICK"))
    command = until("COMMAND is there", lambda: command_of(one))
    one.send(signal.SIGTERM)
    one.wait_out("SIGTERM").send(signal.SIGKILL)
    one.process.wait()
    until("COMMAND has ended", lambda: not os.path.exists(f"/proc/{command}"))
    until("the mount has gone", lambda: kernel.mounts_under(one.media) == [])
    until("all its processes have ended", lambda: not one.pids())
    until("the disk is free", lambda: not disk.held())


def test_killed_container(run, loopdev, work):
    """The same for process 1, which takes all its processes along: its mount has never been seen
    outside, although the mount point was shared with others."""
    shared = os.path.join(work, "shared")
    os.mkdir(shared)
    kernel.mount("tmpfs", shared, "tmpfs", "mode=755")
    kernel.call("mount", None, os.fsencode(shared), None, kernel.MS_SHARED, None)
    try:
        disk = loopdev(label="STICK").plug()
        script = """mount -t tmpfs propagates "$1"/test; mkdir "$1"/media; shift; exec "$@" """
        os.mkdir(os.path.join(shared, "test"))
        one = run("sh", "-c", "echo $(ls $MEDIA); trap '' TERM; while sleep 1; do :; done",
                  disks=[disk], mountpoint=os.path.join(shared, "media"),
                  before=["unshare", "--pid", "--fork", "--kill-child", "--mount-proc",
                          "--propagation", "unchanged", "sh", "-euc", script, "sh", shared])
        one.wait_out("STICK")
        broker = processes.children(one.process.pid)[0]
        assert processes.command_line(broker).split()[1] == "run"
        assert kernel.mounts_under(shared) == [shared, os.path.join(shared, "test")]
        os.kill(broker, signal.SIGKILL)
        one.process.wait()
        assert kernel.mounts_under(shared) == [shared, os.path.join(shared, "test")]
        until("the disk is free", lambda: not disk.held())
    finally:
        kernel.umount(shared, kernel.MNT_DETACH)


@pytest.mark.parametrize("stops", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_view_is_lost(run, stops):
    """Without the view COMMAND is of no use: it is told to end, and at last made to."""
    command = ["sh", "-c", "echo ready; sleep 1000"] if stops else print_signals("SIGINT")
    one = run(*command).wait_out("ready")
    kernel.umount(one.media)
    assert one.process.wait(30) == 1
    assert "unmounted by somebody else" in one.err()
    assert stops or one.out().split()[:2] == ["ready", "SIGTERM"]


def test_few_capabilities(run):
    """Without CAP_KILL it can signal its own user all the same; without CAP_SETPCAP the bounding
    set stays, and COMMAND still has no capability."""
    one = run("sh", "-c", "cat /proc/self/status; sleep 1000",
              before=["setpriv", "--bounding-set=-kill,-setpcap", "--"])
    one.wait_out("Seccomp").send(signal.SIGTERM)
    assert one.wait() == 143
    status = facts(one.out())
    assert int(status["CapBnd"], 16) != 0 and status["NoNewPrivs"] == "1"
    assert {int(status[name], 16) for name in ("CapInh", "CapPrm", "CapEff", "CapAmb")} == {0}


def test_without_setuid(run):
    """Where it may not change the user, COMMAND stays root without capabilities, and that is told;
    a user that was asked for is refused."""
    before = ["setpriv", "--bounding-set=-setuid,-setgid", "--"]
    one = run("cat", "/proc/self/status", before=before)
    assert one.wait() == 0
    status = facts(one.out())
    assert status["Uid"].split() == ["0"] * 4 and int(status["CapPrm"], 16) == 0
    assert one.err().count("\n") == 1 and "runs as root" in one.err()
    one = run("echo", "started", before=before, options=["--user", "1000"])
    assert one.wait() == 1
    assert one.out() == "" and one.err().count("\n") == 1


@both
def test_file_left_open(run, loopdev, pid1):
    """A process that COMMAND leaves behind keeps neither hotplugfs nor the mount."""
    disk = loopdev(label="STICK").plug()
    script = 'exec 3>"$MEDIA/STICK/file"; echo data >&3; sleep 1000 & echo $!; exit 4'
    one = run("sh", "-c", script, disks=[disk], pid1=pid1, options=["--owner", str(NOBODY)])
    try:
        assert one.wait() == 4, one.err()
    finally:
        if not pid1:
            os.kill(int(one.out()), signal.SIGKILL)
    until("the disk is free", lambda: not disk.held())
    sh("e2fsck -fn $1", disk.image)
