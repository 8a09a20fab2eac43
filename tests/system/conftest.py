"""Fixtures and rules of the system tests; README.md one directory up tells how to use them."""

import faulthandler
import itertools
import math
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time

import pytest

sys.path.insert(0, os.path.dirname(__file__))
pytest.register_assert_rewrite("harness")

from harness import disks, kernel, rootless  # noqa: E402  (after the path is set)
from harness.container import Run  # noqa: E402
from harness.daemon import Daemon  # noqa: E402
from harness.dying import DyingDisk  # noqa: E402
from harness.guests import Refused  # noqa: E402
from harness.podman import Container, Engine  # noqa: E402
from harness.wait import SLOWNESS  # noqa: E402

PREFIX = "/tmp/hotplugfs-tests-"
TOP = os.path.realpath(os.path.join(os.path.dirname(__file__), "..", ".."))
CANNOT = "this machine cannot: "
"""Skips that begin like this are allowed even with MUST_RUN=1; the README lists them."""
NUMBERS = itertools.count()


def pytest_addoption(parser):
    group = parser.getgroup("hotplugfs")
    group.addoption("--hotplugfs", metavar="PATH", default=os.environ.get("HOTPLUGFS"),
                    help="the binary under test (default: $HOTPLUGFS)")
    group.addoption("--no-passthrough", action="store_true",
                    help="give every daemon --no-passthrough")


interrupted = -math.inf


def interrupt(_number, _frame):
    """A signal ends the session. Others that come soon do not disturb the cleaning up; a later one
    counts, in case that the first came where Python lets nothing out."""
    global interrupted
    if time.monotonic() - interrupted > 10:
        interrupted = time.monotonic()
        raise KeyboardInterrupt


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish():
    disks.remove_forgotten()


def pytest_configure(config):
    if config.option.collectonly:
        return
    if os.geteuid() != 0:
        pytest.exit("the system tests need root: they make devices and mounts", 3)
    if not config.option.hotplugfs:
        pytest.exit("which binary? --hotplugfs PATH", 3)
    config.option.hotplugfs = os.path.realpath(config.option.hotplugfs)
    kernel.private_mounts()
    os.umask(0o022)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, interrupt)
    # a shell ignores SIGINT and SIGQUIT for what it runs in the background, and that is inherited
    signal.signal(signal.SIGQUIT, signal.SIG_DFL)


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    """A skip is a failure where everything must run, unless the machine itself is the reason."""
    outcome = yield
    report = outcome.get_result()
    if report.skipped and os.environ.get("MUST_RUN") == "1" and not hasattr(report, "wasxfail"):
        reason = report.longrepr[2].removeprefix("Skipped: ")
        if not reason.startswith(CANNOT):
            report.outcome = "failed"
            report.longrepr = f"skipped, but MUST_RUN=1: {reason}"


@pytest.fixture(scope="session")
def session_directory():
    """A tmpfs of this session's own mount namespace: it goes when the session goes."""
    disks.remove_leftovers(PREFIX)
    directory = disks.work_directory(PREFIX)
    os.chmod(directory, 0o755)
    kernel.mount("tmpfs", directory, "tmpfs", "mode=755")
    yield directory
    kernel.umount(directory, kernel.MNT_DETACH)
    os.rmdir(directory)


@pytest.fixture(scope="session", autouse=True)
def checkout(session_directory, request):
    """The checkout where everybody can go: tests work as other users, and it may be in /root."""
    place = os.path.join(session_directory, "checkout")
    os.mkdir(place)
    kernel.mount(TOP, place, "none", flags=kernel.MS_BIND)
    option = request.config.option
    if option.hotplugfs.startswith(TOP + "/"):
        option.hotplugfs = place + option.hotplugfs.removeprefix(TOP)
    os.chdir("/")
    yield place
    kernel.umount(place, kernel.MNT_DETACH)


@pytest.fixture
def work(session_directory, request):
    """An empty directory of this test, on memory."""
    directory = tempfile.mkdtemp(dir=session_directory)
    os.chmod(directory, 0o755)
    yield directory
    shutil.rmtree(directory)


@pytest.fixture
def loopdev(work):
    """loopdev(fstype, label=, uuid=, size=): a disk with a filesystem, not yet plugged."""
    made = []

    def factory(fstype="ext4", image=None, **parameters):
        disk = disks.LoopDisk(work, image=image)
        made.append(disk)
        return disk.format(fstype, **parameters) if fstype else disk

    yield factory
    remove_all(made)


@pytest.fixture
def zram(work):
    """zram(fstype): a RAM disk, formatted and plugged."""
    made = []

    def factory(fstype="ext4", **parameters):
        disk = disks.ZramDisk(work, fstype)
        made.append(disk)
        return disk.format(**parameters)

    yield factory
    remove_all(made)


@pytest.fixture
def dying(work, request):
    """dying(fstype, label=): a disk that stalls or fails on command, formatted and not yet plugged.
    At the end of the test it works again before the daemon is stopped."""
    made = []

    def factory(fstype="ext4", **parameters):
        disk = DyingDisk(work)
        made.append(disk)
        return disk.format(fstype, **parameters)

    factory.made = made
    request.node.can_hang.append(made)
    yield factory
    remove_all(made)


def remove_all(made):
    """Removes every one of them, and only then tells about the first that could not be."""
    failures = []
    for disk in made:
        try:
            disk.remove()
        except (AssertionError, OSError) as error:
            failures.append(f"{disk.kname}: {error}")
    assert not failures, failures


@pytest.fixture
def daemon(work, request, loopdev, zram, dying):
    """
    daemon(disk, ..., options=[...]): a running daemon that shows these disks. At the end of the
    test, with all disks at work, each one is ended by SIGTERM and searched for what it may have
    left. (It depends on the disk fixtures so that it ends before they do.)
    """
    made = []
    numbers = itertools.count()
    extra = ["--no-passthrough"] if request.config.option.no_passthrough else []

    def factory(*devices, options=(), start=True, where=None, ready=True, kind=Daemon,
                **environment):
        directory = where or os.path.join(work, f"daemon{next(numbers)}")
        one = kind(request.config.option.hotplugfs, directory, devices, options, extra,
                     **environment)
        marker = request.node.get_closest_marker("log_errors")
        one.allowed_errors = list(marker.args) if marker else []
        made.append(one)
        return one.start(ready) if start else one

    request.node.can_hang.append(made)
    yield factory
    try:
        for disk in dying.made:
            disk.work()
        for one in made:
            if one.process and one.process.poll() is None:
                one.stop()
        for one in made:
            if one.process:
                one.check_log()
    finally:
        for one in made:
            one.clean_up()


@pytest.fixture
def run(work, request, loopdev):
    """run(command..., disks=[...], options=[...], pid1=False): `hotplugfs run` of a command, with
    a pipeline around it if wanted; see harness/container.py."""
    made = []

    def factory(*command, disks=(), options=(), **parameters):
        extra = ["--no-passthrough"] if request.config.option.no_passthrough else []
        directory = os.path.join(work, f"run{len(made)}")
        os.makedirs(directory)
        one = Run(request.config.option.hotplugfs, directory, disks, command,
                  [*extra, *options], **parameters)
        made.append(one)
        return one

    request.node.can_hang.append(made)
    yield factory
    for one in made:
        one.clean_up()


@pytest.fixture(scope="session")
def engine(session_directory, request):
    """podman and runc, with a root filesystem."""
    directory = os.path.join(session_directory, "pod")
    os.mkdir(directory)
    one = Engine(directory, request.config.option.hotplugfs)
    try:
        reason = one.refuses()
        if reason:
            pytest.skip(CANNOT + reason)
        yield one
    finally:
        one.remove()


@pytest.fixture(scope="session")
def ids(session_directory):
    """A user with a range of ids for user namespaces."""
    directory = os.path.join(session_directory, "ids")
    os.mkdir(directory)
    one = rootless.Ids(directory)
    yield one
    one.remove()


@pytest.fixture(scope="session")
def rootless_engine(engine, ids, session_directory, request):
    """podman of that user; engine: first of all, does podman work at all?"""
    one = rootless.RootlessEngine(os.path.join(session_directory, "usr"),
                                  request.config.option.hotplugfs)
    try:
        reason = one.refuses()
        if reason:
            pytest.skip(f"{CANNOT}rootless {reason}")
        yield one
    finally:
        one.remove()


@pytest.fixture
def container(request, work, loopdev):
    """container(command..., disks=[...], options=[...], flags=[...], engine=...): `hotplugfs run` in
    a container of podman."""
    made = []

    def factory(*command, disks=(), options=(), engine=None, **parameters):
        extra = ["--no-passthrough"] if request.config.option.no_passthrough else []
        directory = os.path.join(work, f"container{len(made)}")
        os.makedirs(directory)
        engine = engine or request.getfixturevalue("engine")
        one = Container(engine, f"hotplugfs-{os.getpid()}-{next(NUMBERS)}", directory, disks,
                        command, [*extra, *options], **parameters)
        made.append(one)
        return one

    request.node.can_hang.append(made)
    yield factory
    for one in made:
        one.clean_up()


@pytest.fixture
def shared(work):
    """A directory below which mounts propagate, as on a host with systemd."""
    directory = os.path.join(work, "shared")
    os.mkdir(directory)
    kernel.mount("tmpfs", directory, "tmpfs", "mode=755")
    kernel.call("mount", None, os.fsencode(directory), None, kernel.MS_SHARED, None)
    yield directory
    kernel.umount(directory, kernel.MNT_DETACH)


@pytest.fixture
def machine(work):
    """/etc, /run, /usr/local and /var/lib as they are, to be changed for this test only."""
    covered = []
    for directory in ("/etc", "/run", "/usr/local", "/var/lib"):
        kernel.cover(directory, os.path.join(work, "machine", directory.replace("/", "-")))
        covered.append(directory)
    yield
    for directory in reversed(covered):
        kernel.umount(directory, kernel.MNT_DETACH)


@pytest.fixture
def guest(request, work):
    """guest(kind): a running container of this kind. more: for the engine."""
    made = []

    def factory(kind, *more):
        directory = os.path.join(work, f"guest{len(made)}")
        os.mkdir(directory)
        engine = request.getfixturevalue("engine") if kind.has_rootfs else None
        one = kind(engine, directory, more)
        made.append(one)
        try:
            return one.start()
        except Refused as reason:
            pytest.skip(CANNOT + str(reason))

    yield factory
    for one in made:
        one.stop()


@pytest.fixture
def hotplugfs(request):
    """hotplugfs(args...): runs the binary without a daemon; returns the CompletedProcess."""
    def run(*args, timeout=30, **options):
        return subprocess.run([request.config.option.hotplugfs, *map(str, args)],
                              stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE, text=True, errors="surrogateescape",
                              timeout=timeout * SLOWNESS, check=False, **options)
    return run


@pytest.fixture(autouse=True)
def deadline(request):
    """A test that hangs is cut off: without its daemon every request to the view fails."""
    marker = request.node.get_closest_marker("deadline")
    seconds = (marker.args[0] if marker else 60) * SLOWNESS
    expired = []
    request.node.can_hang = []  # lists that the other fixtures fill

    def cut_off():
        expired.append(seconds)
        faulthandler.dump_traceback(file=sys.__stderr__)
        for one in itertools.chain(*request.node.can_hang):
            one.cut_off()

    timer = threading.Timer(seconds, cut_off)
    timer.daemon = True
    timer.start()
    yield
    timer.cancel()
    assert not expired, f"took more than {seconds:g} s"

