"""list, wait, monitor, eject, probe and doctor, as a person or a script uses them."""

import concurrent.futures
import contextlib
import datetime
import json
import os
import signal
import socket
import subprocess
import time

import pytest

from harness import processes
from harness.people import as_user, crowd, sh
from harness.wait import took, until

FIELDS = {"name", "shown", "state", "reason", "fstype", "label", "uuid", "device", "vendor",
          "model", "bus", "size_bytes", "used_bytes", "driver", "options", "read_only",
          "passthrough"}
UUID = "7a0c8a11-5d5c-4f0e-9a57-2f4b3f0c8a13"


@pytest.fixture
def stick(daemon, loopdev):
    disk = loopdev(label="STICK", uuid=UUID)
    view = daemon(disk, options=["--idle-timeout", "1h"])
    disk.plug()
    return view.wait_for("STICK"), disk


def test_list_json(stick):
    """`list --json` is an array of objects with at least these members."""
    view, disk = stick
    medium = view.medium("STICK")
    assert FIELDS <= set(medium)
    assert (medium["state"], medium["shown"], medium["reason"]) == ("idle", True, "")
    assert (medium["fstype"], medium["label"], medium["uuid"]) == ("ext4", "STICK", UUID)
    assert medium["device"].endswith(disk.kname) and medium["bus"] == "virtual"
    assert medium["size_bytes"] == disk.size() and medium["used_bytes"] is None
    assert medium["read_only"] is False
    with open(view.path("STICK", "file"), "wb") as file:
        file.write(bytes(5 << 20))
    until("used_bytes is up to date", lambda: view.medium("STICK")["used_bytes"] >= 5 << 20)
    medium = view.medium("STICK")
    assert medium["driver"] == "ext4" and medium["used_bytes"] < medium["size_bytes"]


def test_passthrough_is_told(stick, request):
    """`passthrough` says whether reads and writes go straight to the filesystem."""
    view, _ = stick
    os.listdir(view.path("STICK"))
    assert view.medium("STICK")["passthrough"] is not request.config.option.no_passthrough


def test_list_for_people(stick):
    """A table: one line for each medium, aligned, nothing when there is none."""
    view, disk = stick
    lines = view.client("list").stdout.splitlines()
    assert [line for line in lines if line.startswith("STICK ") and " idle " in line]
    disk.unplug()
    view.wait_for()
    assert "STICK" not in view.client("list").stdout


def test_list_is_sorted(daemon, loopdev):
    """By name, for people and for programs; what has no name comes last, by device."""
    disks = [loopdev(label=label) for label in ("B", "b", "C", "A")]
    loopdev(label="HIDDEN").plug()
    view = daemon(*disks)
    for number, disk in enumerate(disks, 1):
        disk.plug()
        view.wait_for(*("B", "b", "C", "A")[:number])
    assert [medium["name"] for medium in view.list()] == ["A", "B", "C", "b"]
    lines = view.client("list").stdout.splitlines()[1:]
    assert [line.split()[0] for line in lines] == ["A", "B", "C", "b"]
    everything = view.list("--all")
    assert [medium["name"] for medium in everything[:4]] == ["A", "B", "C", "b"]
    assert len(everything) > 4 and not any(medium["name"] for medium in everything[4:])


def test_list_all(daemon, loopdev):
    """What is not shown is still listed by `list --all`, with the reason."""
    shown, hidden = loopdev(label="SHOWN").plug(), loopdev(label="HIDDEN").plug()
    view = daemon(shown).wait_for("SHOWN")
    assert not [m for m in view.list() if m["device"].endswith(hidden.kname)]
    mine = [m for m in view.list("--all") if m["device"].endswith(hidden.kname)]
    assert len(mine) == 1 and mine[0]["shown"] is False and "--include" in mine[0]["reason"]


def write_to(stdout, *command):
    return subprocess.run(command, stdout=stdout, stderr=subprocess.PIPE, text=True, timeout=60,
                          check=False)


def test_list_onto_a_full_disk(stick):
    """Output that cannot be written is a failure, not a success, and why is told: also of output
    that is more than a buffer."""
    view, _ = stick
    with open("/dev/full", "w", encoding="ascii") as full:
        for command in (["list", "--socket", view.socket], ["doctor"], ["doctor", "--json"]):
            result = write_to(full, view.binary, *command)
            assert result.returncode == 1 and len(result.stderr.splitlines()) == 1
            assert "No space left" in result.stderr, command


@pytest.mark.parametrize("command", ["list", "monitor"])
def test_closed_pipe(stick, command):
    """Who closes the pipe has what he wanted: no message, but no success either."""
    view, _ = stick
    reader, writer = os.pipe()
    os.close(reader)
    result = write_to(writer, view.binary, command, "--socket", view.socket)
    os.close(writer)
    assert (result.returncode, result.stderr) == (1, "")


def test_wait(daemon, loopdev):
    """`wait NAME`: exit 0 as soon as the name is there, 1 after the timeout."""
    disk = loopdev(label="STICK")
    view = daemon(disk)
    result = view.client("wait", "STICK", "--timeout", "300ms", check=False)
    assert result.returncode == 1 and len(result.stderr.splitlines()) == 1
    waiting = subprocess.Popen([view.binary, "wait", "--socket", view.socket, "STICK"])
    until("it waits", lambda: waiting.poll() is None)
    disk.plug()
    assert waiting.wait(timeout=10) == 0
    assert "STICK" in view.names()
    assert took(lambda: view.client("wait", "STICK")) < 2


def test_name_with_a_slash(stick):
    """The slash that a shell's completion puts after a directory is no part of the name."""
    view, disk = stick
    view.client("wait", "STICK/", "--timeout", "0")
    view.client("wait", "STICK/", "--timeout", "5")
    assert view.client("wait", "OTHER/", "--timeout", "0", check=False).returncode == 1
    assert view.eject("STICK/").stdout.startswith("STICK can")
    assert view.names() == set() and not disk.held()


class Monitor:
    """`monitor` in the background."""

    def __init__(self, view, *options):
        self.process = subprocess.Popen([view.binary, "monitor", "--socket", view.socket, *options],
                                        stdout=subprocess.PIPE, text=True)
        os.set_blocking(self.process.stdout.fileno(), False)
        self.lines = []
        until("monitor is connected", lambda: any(
            "socket" in name for name in processes.open_files(self.process.pid)))
        view.list()

    def read(self):
        while line := self.process.stdout.readline():
            self.lines.append(line)
        return self.lines

    def events(self):
        return [json.loads(line)["event"] for line in self.read()]

    def close(self):
        self.process.terminate()
        self.process.wait()
        self.process.stdout.close()


def test_monitor(daemon, loopdev):
    """`monitor`: one line per event: appeared, mounted, idle, ejected, removed, failed."""
    disk = loopdev(label="STICK")
    view = daemon(disk, options=["--idle-timeout", "200ms"])
    with contextlib.closing(Monitor(view, "--json")) as monitor, \
            contextlib.closing(Monitor(view)) as people:
        disk.plug()
        view.wait_for("STICK")
        os.listdir(view.path("STICK"))
        until("idle", lambda: "idle" in monitor.events())
        view.eject("STICK")
        until("ejected", lambda: "ejected" in monitor.events())
        disk.unplug()
        disk.wait_unplugged()
        disk.plug()
        view.wait_for("STICK")
        disk.unplug()
        until("removed", lambda: monitor.events()[-1] == "removed")
        events = monitor.events()
        assert events[:4] == ["appeared", "mounted", "idle", "ejected"]
        assert events[-2:] == ["appeared", "removed"]
        first = json.loads(monitor.lines[0])
        assert first["medium"]["name"] == "STICK"
        datetime.datetime.fromisoformat(first["time"].replace("Z", "+00:00"))
        assert len(people.read()) == len(events)
        assert all("STICK" in line for line in people.lines)


def test_monitor_failed(daemon, loopdev):
    """A medium that cannot be mounted is told as failed, with the reason."""
    disk = loopdev(label="BROKEN")
    sh("dd if=/dev/urandom of=$1 bs=1024 seek=2 count=1 conv=notrunc status=none", disk.image)
    view = daemon(disk)
    with contextlib.closing(Monitor(view, "--json")) as monitor:
        disk.plug()
        view.wait_for("BROKEN")
        with pytest.raises(OSError):
            os.listdir(view.path("BROKEN"))
        until("failed", lambda: "failed" in monitor.events())
        assert json.loads(monitor.lines[-1])["medium"]["reason"]
    assert view.medium("BROKEN")["state"] == "failed"


def test_eject(stick):
    """`eject NAME`: after it the disk is clean, nobody has it, its name is gone until replugged."""
    view, disk = stick
    with open(view.path("STICK", "file"), "wb") as file:
        file.write(b"x" * 100_000)
    view.eject("STICK")
    assert view.names() == set() and not disk.mounted() and not disk.held()
    sh("e2fsck -fn $1", disk.image)
    mine = [m for m in view.list("--all") if m["device"].endswith(disk.kname)]
    assert mine and "eject" in mine[0]["reason"]
    disk.unplug()
    disk.wait_unplugged()
    disk.plug()
    view.wait_for("STICK")
    assert os.stat(view.path("STICK", "file")).st_size == 100_000


def test_eject_twice(stick):
    """A disk that was ejected and is still plugged in can be pulled: said again, not refused."""
    view, disk = stick
    first = view.eject("STICK").stdout
    assert view.eject("STICK").stdout == first and view.names() == set()
    disk.unplug()
    disk.wait_unplugged()
    until("it is forgotten", lambda: "no medium" in view.eject("STICK", check=False).stderr)


def test_eject_of_an_unmounted_disk(stick):
    """An idle disk can be ejected too, without mounting it."""
    view, disk = stick
    before = disk.reads()
    view.eject("STICK")
    assert view.names() == set() and disk.reads() == before


@contextlib.contextmanager
def held_elsewhere(view, disk):
    """Somebody has mounted the disk where the daemon does not see it."""
    script = 'mkdir -p "$1" && mount "$2" "$1" && echo mounted && exec sleep 1000'
    other = subprocess.Popen(["unshare", "--mount", "sh", "-c", script, "sh",
                              f"{view.media}-other", disk.device],
                             stdout=subprocess.PIPE, text=True)
    try:
        assert other.stdout.readline() == "mounted\n"
        yield
    finally:
        other.kill()
        other.wait()
        other.stdout.close()
    until("it is free", lambda: not disk.held())


def test_eject_of_what_another_has_mounted(stick):
    """A disk that is idle for the daemon, and mounted by somebody else, is not called safe to pull;
    with `--force` neither, until that one has unmounted it."""
    view, disk = stick
    with held_elsewhere(view, disk):
        result = view.eject("STICK", check=False)
        assert result.returncode == 1 and "another mount" in result.stderr, result
        assert view.names() == {"STICK"}
        result = view.eject("STICK", "--force", check=False)
        assert result.returncode == 1 and "another mount" in result.stderr, result
        assert view.names() == set()
        assert view.eject("STICK", check=False).returncode == 1
    assert view.eject("STICK").stdout == "STICK can be unplugged now\n"


def test_eject_after_another_had_it(stick):
    """Once the other one has unmounted it, it is mounted, and then ejected as any."""
    view, disk = stick
    with held_elsewhere(view, disk):
        assert view.eject("STICK", check=False).returncode == 1
    os.listdir(view.path("STICK"))
    assert view.eject("STICK").stdout == "STICK can be unplugged now\n"


def test_eject_busy(stick):
    """Busy is reported, and nothing is disturbed by the attempt."""
    view, disk = stick
    with open(view.path("STICK", "file"), "wb", buffering=0) as file:
        result = view.eject("STICK", check=False)
        assert result.returncode == 1 and len(result.stderr.splitlines()) == 1
        assert "open" in result.stderr or "busy" in result.stderr
        file.write(b"goes on")
        assert view.names() == {"STICK"} and disk.mounted()
        os.mkdir(view.path("STICK", "new"))
    view.eject("STICK")
    assert not disk.mounted()


def test_eject_after_close(stick):
    """The server hears of a close only a little later: that is waited for."""
    view, _ = stick
    files = [open(view.path("STICK", f"file{number}"), "wb") for number in range(300)]
    server = view.server_pid()
    os.kill(server, signal.SIGSTOP)
    try:
        for file in files:
            file.close()
        with concurrent.futures.ThreadPoolExecutor() as pool:
            eject = pool.submit(view.eject, "STICK", check=False)
            view.wait_state("STICK", "ejecting")
            os.kill(server, signal.SIGCONT)
            assert eject.result().returncode == 0, eject.result().stderr
    finally:
        os.kill(server, signal.SIGCONT)


def test_eject_force(stick):
    """`--force` cuts: who has files open gets errors, and the disk is free."""
    view, disk = stick
    with open(view.path("STICK", "file"), "wb", buffering=0) as file:
        file.write(b"before")
        view.eject("STICK", "--force")
        assert view.names() == set()
        with pytest.raises(OSError):
            os.fsync(file.fileno())
    until("nobody has it", lambda: not disk.mounted(), 10)


def test_eject_what_has_no_switch(stick):
    """`--power-off` of what cannot be switched off: refused before it is ejected, with what to do."""
    view, disk = stick
    with open(view.path("STICK", "file"), "wb") as file:
        result = view.eject("STICK", "--power-off", "--force", check=False)
        assert result.returncode == 1 and f"{disk.kname} has no switch" in result.stderr
        assert "without --power-off" in result.stderr and len(result.stderr.splitlines()) == 1
        file.write(b"goes on")
    assert view.names() == {"STICK"}
    assert "no medium" in view.eject("OTHER", "--power-off", check=False).stderr


def test_eject_unknown(stick):
    """A name that is not there: one clear line, exit 1."""
    view, _ = stick
    for name in ("OTHER", "", "..", "a/b", "x" * 300):
        result = view.eject(name, check=False)
        assert result.returncode in (1, 2) and result.stderr.count("\n") <= 2, name
    assert view.names() == {"STICK"}


def test_eject_is_not_for_everybody(stick):
    """Anybody may list, wait and monitor; eject is for root and the user that runs the daemon."""
    view, _ = stick
    sh("chmod 755 $1", view.work)
    user = as_user(1000, 1000, view.binary, "list", "--json", "--socket", view.socket, check=True)
    assert json.loads(user.stdout)[0]["name"] == "STICK"
    as_user(1000, 1000, view.binary, "wait", "--socket", view.socket, "STICK", check=True)
    user = as_user(1000, 1000, view.binary, "eject", "--socket", view.socket, "STICK")
    assert user.returncode == 1 and view.names() == {"STICK"}


def test_no_daemon(hotplugfs, work):
    """No daemon on the socket: one clear line that names it, exit 1."""
    address = os.path.join(work, "nobody.sock")
    for command in (["list"], ["wait", "X"], ["eject", "X"], ["monitor"], ["upgrade"]):
        result = hotplugfs(*command, "--socket", address)
        assert result.returncode == 1 and address in result.stderr
        assert len(result.stderr.splitlines()) == 1 and result.stdout == ""


def test_socket_by_environment(stick):
    """HOTPLUGFS_SOCKET does what --socket does."""
    view, _ = stick
    result = subprocess.run([view.binary, "list"], env={"HOTPLUGFS_SOCKET": view.socket},
                            stdout=subprocess.PIPE, text=True, timeout=30, check=True)
    assert "STICK" in result.stdout


def test_probe(hotplugfs, loopdev):
    """`probe DEVICE`: what it is, what name it would get, shown or not and by which rule; needs
    no daemon."""
    disk = loopdev("xfs", label="PROBED").plug()
    result = hotplugfs("probe", "--json", "--include", disk.kname, disk.device)
    assert result.returncode == 0, result.stderr
    told = json.loads(result.stdout)
    assert (told["name"], told["shown"], told["fstype"]) == ("PROBED", True, "xfs")
    result = hotplugfs("probe", disk.device)
    assert result.returncode == 0 and "--include" in result.stdout and "xfs" in result.stdout
    assert not disk.mounted()


@pytest.mark.parametrize("content", ["swap", "nothing"])
def test_probe_of_what_is_never_shown(hotplugfs, loopdev, content):
    """It gets no name, and nobody is told to include what would not be shown then either."""
    disk = loopdev(label="GONE")
    sh("dd if=/dev/zero of=$1 bs=64K count=2 conv=notrunc status=none", disk.image)
    if content == "swap":
        sh("mkswap -L SWAP $1", disk.image)
    disk.plug()
    for more in ([], ["--include", disk.kname]):
        result = hotplugfs("probe", "--json", *more, disk.device)
        told = json.loads(result.stdout)
        assert (result.returncode, told["shown"], told["name"]) == (0, False, None)
        assert "--include" not in told["reason"]
        assert {"swap": "(swap)", "nothing": "not formatted"}[content] in told["reason"]


def test_probe_of_a_broken_disk(hotplugfs, dying):
    """A device that cannot be read is a failure: what it is is told, and no name is made up."""
    bad = dying("ext4", label="BAD", uuid=UUID).plug()
    bad.fail()
    result = hotplugfs("probe", "--json", bad.device)
    assert result.returncode == 1 and "cannot be read: Input/output error" in result.stderr
    told = json.loads(result.stdout)
    assert (told["outcome"], told["name"], told["shown"]) == ("cannot be read", None, False)
    assert "cannot be read (EIO)" in told["reason"]


@pytest.mark.parametrize("device", ["/dev/does-not-exist", "/dev/null", "/etc/passwd", "/"])
def test_probe_of_nonsense(hotplugfs, device):
    """What is no block device: one clear line, exit 1."""
    result = hotplugfs("probe", device)
    assert result.returncode == 1 and device in result.stderr
    assert len(result.stderr.splitlines()) == 1


def test_doctor(hotplugfs):
    """`doctor` says for each check what it means and what to do; nothing fails on this machine."""
    result = hotplugfs("doctor", "--json", timeout=60)
    checks = json.loads(result.stdout)
    assert len(checks) >= 8
    assert all(check["meaning"] and check["verdict"] in ("ok", "warn", "fail") for check in checks)
    assert all(check["advice"] for check in checks if check["verdict"] != "ok")
    failed = [check for check in checks if check["verdict"] == "fail"]
    assert (result.returncode, failed) == (0, [])


def test_doctor_finds_what_is_missing(hotplugfs):
    """Without rights it says so, and exits with 1; what it says agrees with itself."""
    result = as_user(1000, 1000, *hotplugfs("doctor", "--help").args[:1], "doctor", "--json")
    assert result.returncode == 1
    found = {check["check"]: check for check in json.loads(result.stdout)}
    assert found["capabilities"]["verdict"] == found["fuse-mount"]["verdict"] == "fail"
    assert "CAP_SYS_ADMIN" in found["capabilities"]["found"]
    assert found["fuse-mount"]["advice"] == 'see "capabilities" below'
    assert (found["sysfs"]["verdict"], found["sysfs"]["found"]) \
        == ("warn", "not writable for this user")


def test_hostile_client(stick):
    """Garbage on the control socket harms nobody."""
    view, _ = stick
    for garbage in (b"\n", b"{}\n", b"[]\n", b"{" * 5000, b"\xff\xfe\n", b'{"command":1}\n',
                    b'{"command":"eject"}\n', b'{"command":"wait","name":7}\n', b"x" * 100_000):
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(view.socket)
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                client.sendall(garbage)
                client.shutdown(socket.SHUT_WR)
                client.settimeout(5)
                while client.recv(4096):
                    pass
    assert view.medium("STICK")


@contextlib.contextmanager
def connected(view):
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(view.socket)
        yield client


def test_client_that_waits(stick):
    """One that has said all, and more than there is room for, costs no time until it is answered."""
    view, _ = stick
    with connected(view) as client:
        client.sendall(b'{"command":"wait","name":"NONE"}\n' + b"x" * (64 << 10))
        client.shutdown(socket.SHUT_WR)
        view.list()  # it has been heard
        before = processes.cpu_s(view.process.pid)
        time.sleep(1)
        assert processes.cpu_s(view.process.pid) - before < 0.5


@pytest.mark.slow  # a sanitizer keeps what is freed
def test_client_that_reads_nothing(stick):
    """Its answers are not piled up."""
    view, _ = stick
    before = processes.private_memory(view.process.pid)
    with connected(view) as client:
        client.setblocking(False)
        for _ in range(200):
            with contextlib.suppress(BlockingIOError):
                client.send(b'{"command":"list"}\n' * 100)
            view.list()
        assert processes.private_memory(view.process.pid) - before < 1 << 20


def test_crowd(stick):
    """A user who takes all the room there is for clients does not keep root from ejecting."""
    view, _ = stick
    sh("chmod 755 $1", view.work)
    with crowd(1000, view.socket, 100):
        user = as_user(1000, 1000, view.binary, "list", "--socket", view.socket)
        assert user.returncode == 1 and "too many clients" in user.stderr
        view.eject("STICK")


def test_slow_reader_is_dropped(stick):
    """A monitor that reads nothing does not stop the daemon."""
    view, disk = stick
    monitor = Monitor(view)
    monitor.process.send_signal(signal.SIGSTOP)
    try:
        for _ in range(30):
            disk.unplug()
            view.wait_for()
            disk.wait_unplugged()
            disk.plug()
            view.wait_for("STICK")
    finally:
        monitor.process.send_signal(signal.SIGCONT)
        monitor.close()
