"""README.md's table of deployments: each of its cells is what happens here."""

import os
import shutil
import socket
import subprocess

import pytest
import yaml

from harness import image, kernel, processes, unit
from harness.daemon import die_with_parent
from harness.deployments import (HOST, LOOPS, Command, Contained, Settings, Watcher,
                                 Workload, compose_podman, play)
from harness.guests import IDLE, KINDS, Refused, must_have
from harness.wait import until

pytestmark = [pytest.mark.slow, pytest.mark.deadline(180)]

CANNOT = "this machine cannot: "
COLUMNS = ["appears", "vanishes", "writes", "inotify", "survives a restart of the daemon",
           "owner right"]
TITLE = "| deployment | " + " | ".join(COLUMNS) + " |"
LIMITS = """[containers]
default_ulimits = ["nofile=4096:4096", "nproc=4096:4096"]
"""
"""Hard limits cannot be raised on every machine, and podman's own defaults are high."""
DEPLOYMENTS = {}
"""Rows of the table, and what makes such a place."""


def table(checkout):
    """{deployment: {column: cell}} of README.md."""
    with open(os.path.join(checkout, "README.md"), encoding="utf-8") as file:
        lines = file.read().partition(TITLE)[2].partition("\n\n")[0].splitlines()[2:]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return {row[0]: dict(zip(COLUMNS, row[1:])) for row in rows}


class Place:
    """A workload that has the view of a daemon in a directory. daemon: can be stopped and started,
    or None if the workload ends with it."""

    def __init__(self, workload, directory, daemon):
        self.workload, self.directory, self.daemon = workload, directory, daemon


class Tools:
    """What a deployment is made of."""

    def __init__(self, request, work, checkout, disk, cleanup):
        self.get, self.work, self.checkout = request.getfixturevalue, work, checkout
        self.binary = request.config.option.hotplugfs
        self.disk, self.cleanup = disk, cleanup

    def host_daemon(self, kind):
        """`hotplugfs mount` on the host, for a workload of this kind."""
        owner = KINDS[kind].uid
        return self.get("daemon")(self.disk, where=HOST, options=["--owner", f"{owner}:{owner}"])

    def guest(self, kind, *more):
        return self.get("guest")(KINDS[kind], *more)

    def client(self, *words):
        result = self.get("hotplugfs")(*words)
        assert result.returncode == 0, result.stderr
        return result

    def engine(self):
        """podman with the image that the examples name; all that it runs is removed at the end."""
        engine = self.get("engine")
        if not os.path.exists("/usr/libexec/podman/catatonit"):
            pytest.skip(CANNOT + "catatonit is not installed")
        limits = os.path.join(self.work, "containers.conf")
        with open(limits, "w", encoding="ascii") as file:
            file.write(LIMITS)
        self.get("monkeypatch").setenv("CONTAINERS_CONF", limits)
        with open(self.example("container/hotplugfs.conf"), encoding="utf-8") as file:
            configuration = f"{file.read()}include = {self.disk.kname}\n"
        self.cleanup.append(lambda: engine.call("rmi", "--force", image.IMAGE))
        self.cleanup.append(lambda: engine.call("pod", "rm", "--force", "--all", "--time", "0"))
        self.cleanup.append(lambda: engine.call("rm", "--force", "--all", "--time", "0"))
        image.import_image(engine, self.work, self.binary, configuration)
        return engine

    def example(self, name):
        return os.path.join(self.checkout, "examples", name)

    def contained(self, engine, name):
        return Contained(engine, name, self.get("hotplugfs")).wait_ready()


@pytest.fixture
def shared_run(machine):
    """/run/hotplugfs on a shared mount, as under systemd."""
    os.makedirs(HOST, exist_ok=True)
    kernel.mount("tmpfs", HOST, "tmpfs", "mode=755")
    kernel.call("mount", None, os.fsencode(HOST), None, kernel.MS_SHARED, None)
    yield
    for point in reversed(kernel.mounts_under(HOST)):
        kernel.umount(point, kernel.MNT_DETACH)


@pytest.fixture
def tools(shared_run, daemon, guest, container, request, work, checkout, loopdev, monkeypatch):
    """What deployments are made of. (The first fixtures end last.)"""
    monkeypatch.setenv("DISABLE_HC_SYSTEMD", "true")  # the engine's timers for health checks
    cleanup = []
    yield Tools(request, work, checkout, loopdev(label="STICK"), cleanup)
    for action in reversed(cleanup):
        action()


def deployment(name):
    def add(function):
        DEPLOYMENTS[name] = function
        return function
    return add


@deployment("`hotplugfs run`, one container")
def one_container(tools):
    container = tools.get("container")(*IDLE, disks=[tools.disk], flags=["--read-only"],
                                       options=["--user", "1000:1000", "--owner", "1000:1000"])
    return Place(Command(container), "/media", None)


@deployment("podman, `-v /run/hotplugfs/media:/media`")
def plain_bind(tools):
    daemon = tools.host_daemon("runc")
    return Place(tools.guest("runc", "-v", f"{HOST}/media:/media"), "/media", daemon)


@deployment("podman, `-v /run/hotplugfs:/disks:rslave`")
def slave_bind(tools):
    daemon = tools.host_daemon("runc")
    return Place(tools.guest("runc", "-v", f"{HOST}:/disks:rslave"), "/disks/media", daemon)


def device(tools, kind):
    tools.client("cdi", "--output", "/etc/cdi/hotplugfs.json")
    daemon = tools.host_daemon(kind)
    return Place(tools.guest(kind, "--device", "hotplugfs.io/media=all"), "/media", daemon)


@deployment("podman, `--device hotplugfs.io/media=all`")
def cdi_device(tools):
    return device(tools, "crun")


@deployment("the same with `--userns`")
def cdi_userns(tools):
    return device(tools, "userns")


@deployment("the same, rootless podman")
def cdi_rootless(tools):
    return device(tools, "rootless")


def attached(tools, kind):
    workload = tools.guest(kind)
    daemon = tools.host_daemon(kind)
    tools.client("attach", *workload.whose())
    return Place(workload, "/media", daemon)


@deployment("docker, `hotplugfs attach`")
def attach_docker(tools):
    return attached(tools, "docker")


@deployment("bubblewrap, `hotplugfs attach`")
def attach_bubblewrap(tools):
    return attached(tools, "bwrap")


@deployment("systemd-nspawn, `examples/hotplugfs.nspawn`")
def nspawn(tools):
    must_have("systemd-nspawn")
    root, name = os.path.join(tools.work, "root"), f"hotplugfs-{os.getpid()}"
    image.make_tree(root, tools.binary, "")
    os.makedirs("/etc/systemd/nspawn", exist_ok=True)
    shutil.copy(tools.example("hotplugfs.nspawn"), f"/etc/systemd/nspawn/{name}.nspawn")
    workload = Settings(root, tools.work, name)
    tools.cleanup.append(workload.stop)
    workload.start()
    return Place(workload, "/disks/media", tools.host_daemon("runc"))


@deployment("`examples/compose.yaml`")
def compose(tools):
    must_have("podman-compose")
    engine = tools.engine()
    path = tools.example("compose.yaml")
    with open(path, encoding="utf-8") as file:
        service = yaml.safe_load(file)["services"]["hotplugfs"]
    podman = compose_podman(engine, os.path.join(tools.work, "podman"),
                            service["device_cgroup_rules"])
    result = subprocess.run(["podman-compose", "--podman-path", podman, "-f", path, "up", "-d"],
                            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                            stderr=subprocess.STDOUT, text=True, timeout=120, check=False)
    assert result.returncode == 0, result.stdout

    def name(service):
        found = engine.call("ps", "--quiet", "--filter",
                            f"label=com.docker.compose.service={service}").stdout.split()
        assert len(found) == 1, result.stdout
        return found[0]
    daemon = tools.contained(engine, name("hotplugfs"))
    return Place(Workload(engine, name("lister")), "/disks/media", daemon)


@deployment("`examples/hotplugfs.container` (Quadlet)")
def quadlet(tools):
    engine = tools.engine()
    sections = unit.read(tools.example("hotplugfs.container"))
    for name in unit.words(sections["Service"], "RuntimeDirectory"):
        os.makedirs(os.path.join("/run", name), exist_ok=True)
    for name in unit.words(sections["Service"], "StateDirectory"):
        os.makedirs(os.path.join("/var/lib", name), exist_ok=True)
    address = os.path.join(tools.work, "notify.sock")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify:
        notify.bind(address)
        notify.settimeout(30)
        subprocess.run(
            [*engine.command, "run", "--name", "systemd-hotplugfs", "--detach",
             *LOOPS, *unit.command(sections["Container"])],
            env={**os.environ, "NOTIFY_SOCKET": address}, stdin=subprocess.DEVNULL, check=True,
            stdout=subprocess.DEVNULL, timeout=60, cwd="/", preexec_fn=die_with_parent)
        until("READY=1", lambda: b"READY=1" in notify.recv(4096), 30)
    daemon = tools.contained(engine, "systemd-hotplugfs")
    return Place(tools.guest("runc", "-v", f"{HOST}:/disks:rslave"), "/disks/media", daemon)


@deployment("`examples/kubernetes`")
def kubernetes(tools):
    engine = tools.engine()
    play(engine, tools.work, tools.example("kubernetes/workloads.yaml"), "Pod")
    play(engine, tools.work, tools.example("kubernetes/daemonset.yaml"), "DaemonSet")
    daemon = tools.contained(engine, "hotplugfs-daemon")
    return Place(Workload(engine, "lister-lister"), "/disks/media", daemon)


RIGHTS = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 21, 23, 27, 28, 31}
"""Numbers of the capabilities that README.md lists for the daemon's container (capability.h)."""
SYS_CHROOT = 18
"""What docker needs, too."""


def check_daemon(daemon, rights):
    """It answers its health check, and has the rights that are listed, and no way to get more."""
    daemon.engine.call("healthcheck", "run", daemon.name)
    status = processes.status(daemon.pid())
    assert status["NoNewPrivs"] == "1"
    for which in ("CapBnd", "CapPrm", "CapEff"):
        assert int(status[which], 16) == sum(1 << number for number in rights), which
    assert "Read-only" in daemon.engine.call("exec", daemon.name, "touch", "/usr/file",
                                             check=False).stderr


def check_privileges(workload, filtered, alone):
    """No capability, no way to get one, a user of its own, nothing to write to but the view, no
    device. alone: not in the daemon's container, which has some."""
    status = processes.status(workload.pid)
    assert int(status["CapEff"], 16) == 0 and status["NoNewPrivs"] == "1"
    assert status["Seccomp"] == ("2" if filtered else "0")
    assert status["Uid"].split() == [str(workload.uid)] * 4
    assert workload.out("for place in / /usr /bin /media /disks; do "
                        "touch $place/file 2>/dev/null && echo $place; done; exit 0") == ""
    if alone:
        assert workload.out("find /dev -type b; find /dev -name fuse") == ""
        assert workload.exec("ls /host/dev").stdout == ""
    else:
        disk = workload.out("find /host/dev -maxdepth 1 -type b").split()[0]
        assert "denied" in workload.exec('exec <"$1"', disk).stderr


def happens(predicate, deadline_s=15):
    try:
        until("it happens", predicate, deadline_s)
        return "yes"
    except AssertionError:
        return "no"


COPY = """
cp /bin/cat "$1/STICK/copy"; sync "$1/STICK/copy"; cmp /bin/cat "$1/STICK/copy" && echo written
[ -O "$1/STICK/copy" ] && echo "is mine"
exit 0
"""


def use(place, disk, watcher):
    """Plug, write, unplug: what the workload sees of it."""
    workload, found = place.workload, {}
    names = lambda: workload.names(place.directory)  # noqa: E731
    disk.plug()
    found["appears"] = happens(lambda: names() == {"STICK"})
    said = workload.out(COPY, place.directory)
    created = happens(lambda: watcher.saw("CREATE,ISDIR STICK"))
    disk.unplug()
    found["vanishes"] = happens(lambda: names() == set())
    deleted = happens(lambda: watcher.saw("DELETE,ISDIR STICK"))
    disk.wait_unplugged(20)
    with disk.native() as tree:
        kept = os.path.getsize(os.path.join(tree, "copy")) > 0
    found["writes"] = "yes" if kept and "written" in said else "no"
    found["inotify"] = "yes" if (created, deleted) == ("yes", "yes") else "no"
    found["owner right"] = "yes" if "is mine" in said else "no"
    return found


def restart(place, disk):
    """Whether the workload, which goes on all the while, has the view of the next daemon."""
    if not place.daemon:
        return "ends with it"
    place.daemon.stop()
    place.daemon.start()
    disk.plug()

    def sees():
        result = place.workload.exec('ls "$1"', place.directory)
        return result.stdout.split() == ["STICK"] or "not connected" in result.stderr
    until("STICK is back, or the view is lost for good", sees, 20)
    return happens(lambda: place.workload.exec('ls "$1"', place.directory).stdout == "STICK\n", 0)


@pytest.mark.parametrize("name", DEPLOYMENTS)
def test_row(tools, checkout, name):
    """A workload without any right sees what README.md says of its deployment."""
    try:
        place = DEPLOYMENTS[name](tools)
    except Refused as reason:
        pytest.skip(CANNOT + str(reason))
    workload = place.workload
    check_privileges(workload, filtered="bubblewrap" not in name, alone=place.daemon)
    if isinstance(place.daemon, Contained):
        check_daemon(place.daemon, RIGHTS | ({SYS_CHROOT} if "compose" in name else set()))
    watcher = Watcher(workload, place.directory, os.path.join(tools.work, "watcher"))
    try:
        found = use(place, tools.disk, watcher)
    finally:
        watcher.close()
    found["survives a restart of the daemon"] = restart(place, tools.disk)
    assert os.path.exists(f"/proc/{workload.pid}"), "it was restarted itself"
    assert found == table(checkout)[name]


def test_all_rows(checkout):
    """The table has these deployments and no others."""
    assert list(table(checkout)) == list(DEPLOYMENTS)
