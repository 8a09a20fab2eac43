"""Fixtures of the tests in virtual machines; README.md tells what they need."""

import os
import shutil
import sys
import tempfile

import pytest

sys.path.insert(0, os.path.dirname(__file__))
pytest.register_assert_rewrite("vm")

from vm import images  # noqa: E402  (after the path is set)
from vm.kernels import SUITES, Kernel  # noqa: E402
from vm.machine import TOP, Machine  # noqa: E402


def pytest_addoption(parser):
    group = parser.getgroup("hotplugfs")
    group.addoption("--hotplugfs", metavar="PATH", default=os.environ.get("HOTPLUGFS"),
                    help="the binary under test (default: $HOTPLUGFS)")
    group.addoption("--kernels", metavar="SUITE,...", default=",".join(SUITES),
                    help="Debian suites whose kernels are booted")
    group.addoption("--rounds", metavar="N", type=int, default=1,
                    help="how often what depends on the moment is repeated")
    group.addoption("--sticks", metavar="N", type=int, default=3,
                    help="how many are in use at a time where several can be")
    group.addoption("--icount", metavar="SHIFT", type=int,
                    help="the guest's time is that of a processor that does an instruction in "
                         "2**SHIFT ns")


def pytest_configure(config):
    # Once: pytest takes a parameter that is equal, but not the same, for another one, and would
    # boot again.
    config.option.kernels = config.option.kernels.split(",")
    if config.option.collectonly:
        return
    if not config.option.hotplugfs:
        pytest.exit("which binary? --hotplugfs PATH", 3)
    config.option.hotplugfs = os.path.abspath(config.option.hotplugfs)


def pytest_generate_tests(metafunc):
    if "machine" in metafunc.fixturenames:
        suites = metafunc.config.option.kernels
        metafunc.parametrize("machine", suites, indirect=True, scope="session")


@pytest.fixture(scope="session")
def session_directory():
    directory = tempfile.mkdtemp(prefix="hotplugfs-vm-")
    yield directory
    shutil.rmtree(directory)


class Running:
    """The machine of the kernel that the tests are at; one that hangs is replaced."""

    def __init__(self, suite, directory, icount):
        self.icount = icount
        self.kernel = Kernel(os.path.join(TOP, "build-vm"), suite)
        self.directory = directory
        self.machine = None

    def get(self):
        if self.machine and not self.machine.usable:
            self.stop()
        if not self.machine:
            directory = tempfile.mkdtemp(dir=self.directory)
            self.machine = Machine(self.kernel, directory, icount=self.icount)
            print(f"\nLinux {self.machine.release}: up after {self.machine.boot_s:.1f} s")
        return self.machine

    def stop(self):
        if self.machine:
            self.machine.stop()
        self.machine = None


@pytest.fixture(scope="session")
def machine(request, session_directory):
    running = Running(request.param, session_directory, request.config.option.icount)
    yield running
    running.stop()


@pytest.fixture
def vm(machine):
    """The virtual machine, with nothing of an earlier test in it."""
    one = machine.get()
    yield one
    if one.usable:
        try:
            one.call("clean_up")
        except (AssertionError, OSError):
            one.usable = False
            raise


@pytest.fixture
def stick(vm, session_directory):
    """stick(fstype, label, table=, bus=, hub=): a stick, not yet plugged."""
    made = []

    def factory(fstype, label, table=None, bus="bot", size=None, hub=None, others=()):
        if images.tool_missing(fstype):
            pytest.skip(f"no {images.TOOLS[fstype]} to make {fstype}")
        image = images.Image(session_directory, fstype, label, table, size, others)
        made.append(Stick(vm, f"stick{os.urandom(4).hex()}", image, bus, hub))
        return made[-1]

    yield factory
    for one in made:
        one.remove()


class Stick:
    """hub: None, or behind a hub: which of the two is pulled first, "hub" or "stick"."""

    def __init__(self, vm, name, image, bus, hub):
        self.vm, self.name, self.image, self.bus, self.hub = vm, name, image, bus, hub
        self.plugged = False

    def plug(self):
        self.vm.plug(self.name, self.image.path, self.bus, bool(self.hub))
        self.plugged = True
        return self

    def pull(self):
        self.vm.pull(self.name, self.hub)
        self.plugged = False
        return self

    def remove(self):
        if self.plugged and self.vm.usable:
            self.pull()
        self.image.remove()


@pytest.fixture
def reader(vm):
    """A card reader with an empty slot."""
    one = Reader(vm)
    yield one
    one.remove()


class Reader:
    def __init__(self, vm):
        self.vm = vm
        self.slot = None

    def plug(self):
        self.slot = self.vm.plug_reader()
        return self

    def insert(self, image):
        self.vm.insert(self.slot, image.path)

    def take_out(self):
        self.vm.take_out(self.slot)

    def remove(self):
        if self.slot and self.vm.usable:
            self.vm.pull_reader(self.slot)


@pytest.fixture
def sd_slot(vm):
    """The slot for SD cards that is no USB device."""
    one = Reader(vm)
    one.slot = "sd0"
    yield one
    if vm.usable:
        one.take_out()


@pytest.fixture
def card(vm, session_directory):
    """card(fstype, label, table=): the image of a card."""
    made = []

    def factory(fstype, label, table=None, size=None):
        made.append(images.Image(session_directory, fstype, label, table, size))
        return made[-1]

    yield factory
    for one in made:
        one.remove()


@pytest.fixture
def daemon(vm, request):
    """daemon(options...): the daemon in the guest; it must end in order after the test."""
    started = []

    def factory(*options, **parameters):
        started.append(vm.call("start_daemon", request.config.option.hotplugfs, options,
                               **parameters))
        return started[-1]

    yield factory
    if started and vm.usable:
        marker = request.node.get_closest_marker("log_errors")
        vm.call("stop_daemon", list(marker.args) if marker else [], timeout=300)
