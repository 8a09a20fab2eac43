"""A disk that is on its way out, while something else happens to it: eject and list say what is true."""

import os
import signal
import subprocess
import threading

import pytest

from harness.service import Service
from harness.wait import holds, until

pytestmark = [pytest.mark.log_errors("STUCK", "I/O error", "Input/output error")]


class Scene:
    """A disk that can stall, its daemon, and the daemon's configuration."""

    def __init__(self, view, disk, config):
        self.view, self.disk, self.config = view, disk, config

    def hide(self):
        """The configuration does not show it any more."""
        with open(self.config, "w", encoding="ascii") as file:
            file.write(f"exclude = {self.disk.kname}\n")

    def show(self):
        with open(self.config, "w", encoding="ascii"):
            pass

    def reload(self):
        told = "configuration loaded again"
        before = self.view.log().count(told)
        self.view.send(signal.SIGHUP)
        until("read again", lambda: self.view.log().count(told) > before)

    def read_again(self):
        """What is asked of the device itself is not in memory any more."""
        subprocess.run(["blockdev", "--flushbufs", self.disk.device], check=True)

    def write(self, size=4096):
        with open(self.view.path("STUCK", "file"), "wb") as file:
            file.write(os.urandom(size))
            os.fsync(file.fileno())
        self.view.wait_state("STUCK", "clean")

    def hide_while_unmounted(self):
        """It stalls while it is unmounted since it is idle, and is hidden meanwhile."""
        self.write()
        self.disk.stall()
        until("being unmounted", lambda: "-> unmounting" in self.view.log(), 10)
        self.hide()
        self.reload()

    def eject(self, *options):
        return self.view.eject("STUCK", *options, check=False)


@pytest.fixture
def stuck(daemon, work, dying):
    disk = dying("ext4", label="STUCK")
    config = os.path.join(work, "hotplugfs.conf")

    def start(*options, kind=None):
        with open(config, "w", encoding="ascii"):
            pass
        more = {"kind": kind} if kind else {}
        view = daemon(disk, options=["--mount-timeout", "3s", "--probe-timeout", "4s",
                                     "--config", config, *options], **more)
        disk.plug()
        view.wait_for("STUCK")
        return Scene(view, disk, config)

    return start


def test_hidden_while_it_is_mounted(stuck):
    """The configuration hides a disk while its mount is on its way: then it is unmounted again."""
    scene = stuck()
    scene.disk.stall()
    scene.read_again()
    looker = subprocess.Popen(["ls", scene.view.path("STUCK")], stderr=subprocess.DEVNULL)
    until("being mounted", lambda: "-> mounting" in scene.view.log())
    scene.hide()
    scene.reload()
    scene.disk.work()
    until("hidden", lambda: scene.view.names() == set())
    looker.wait(20)
    until("unmounted", lambda: not scene.disk.held())


def test_hidden_while_it_is_unmounted(stuck):
    scene = stuck("--idle-timeout", "4s")
    scene.hide_while_unmounted()
    scene.disk.work()
    until("hidden", lambda: scene.view.names() == set(), 10)


@pytest.mark.parametrize("how", ["restart", "crash"])
def test_hidden_by_a_restart(stuck, how):
    """The next daemon has another configuration than the one whose disks it takes over."""
    scene = stuck(kind=Service)
    os.listdir(scene.view.path("STUCK"))
    scene.hide()
    getattr(scene.view, how)()
    until("hidden", lambda: scene.view.names() == set())


def test_ejected_while_it_is_probed(stuck):
    scene = stuck()
    scene.disk.stall()
    scene.read_again()
    scene.disk.announce()
    until("probed again", lambda: scene.view.log().count("probing") >= 2)
    assert scene.eject().returncode == 0
    scene.disk.work()
    until("the probe has ended", lambda: scene.view.log().count("probed,") >= 2, 10)
    holds("it stays out", lambda: scene.view.names() == set(), 0.5)


def test_ejected_while_it_is_hidden(stuck):
    """The configuration hides a disk that is being ejected: who waits for that is told."""
    scene = stuck()
    scene.write()
    scene.disk.stall()
    results = []
    ejecting = threading.Thread(target=lambda: results.append(scene.eject()))
    ejecting.start()
    scene.view.wait_state("STUCK", "ejecting")
    scene.hide()
    scene.reload()
    ejecting.join(20)
    scene.disk.work()
    assert not ejecting.is_alive() and results[0].returncode == 1, results


@pytest.mark.slow
def test_stalls_when_it_is_ejected(stuck):
    """It cannot be unmounted: no later eject says that it can be pulled while it may still be
    written to, nor is it shown as idle, whatever happens; when it works again it can."""
    scene = stuck()
    scene.write()
    scene.disk.stall()
    for _ in range(2):
        refused = scene.eject()
        assert refused.returncode == 1 and "does not answer" in refused.stderr, refused
    assert scene.view.medium("STUCK")["state"] == "failed"
    scene.disk.announce()
    scene.disk.work()
    until("unmounted in the end", lambda: not scene.disk.held())
    assert scene.view.medium("STUCK")["state"] == "failed"
    assert os.listdir(scene.view.path("STUCK"))
    assert scene.view.medium("STUCK")["state"] == "clean"
    assert scene.eject().returncode == 0


@pytest.mark.slow
def test_stalls_when_it_is_ejected_by_force(stuck):
    """Out it goes, but nobody is told that all is well with it."""
    scene = stuck()
    with open(scene.view.path("STUCK", "file"), "wb") as file:
        file.write(os.urandom(1 << 20))
        scene.disk.stall()
    told = scene.eject("--force")
    assert told.returncode == 1 and "ejected, but the device does not answer" in told.stderr, told
    until("it is out", lambda: scene.view.names() == set())


@pytest.mark.parametrize("again", [False, True], ids=["at once", "after another write"])
def test_what_could_not_be_written(stuck, again):
    """Written data that did not get to the disk: eject tells, also when later ones did."""
    scene = stuck()
    scene.write()
    with open(scene.view.path("STUCK", "lost"), "wb") as file:
        file.write(os.urandom(1 << 20))
        scene.disk.fail()
    if again:
        until("it is known", lambda: "could not be put on the disk" in scene.view.log())
        scene.disk.work()
    told = scene.eject()
    assert told.returncode == 1 and "could not be put on it" in told.stderr, told


def test_hidden_while_it_cannot_be_unmounted(stuck):
    """Hidden by the configuration while its unmount stalls, until that is given up."""
    scene = stuck("--idle-timeout", "4s")
    scene.hide_while_unmounted()
    until("given up", lambda: "unmounting -> failed" in scene.view.log(), 10)
    scene.disk.work()
    until("hidden", lambda: scene.view.names() == set(), 10)


def test_shown_while_it_cannot_be_unmounted(stuck):
    """Hidden, and shown again before it answers: list says what is wrong with it, not why it was not
    shown."""
    scene = stuck("--idle-timeout", "4s")
    scene.hide_while_unmounted()
    until("hidden", lambda: scene.view.names() == set(), 20)
    scene.show()
    scene.reload()
    scene.view.wait_for("STUCK")
    shown = scene.view.medium("STUCK")
    assert shown["state"] == "failed" and "could not be unmounted" in shown["reason"], shown


def test_second_eject_of_what_could_not_be_written(stuck):
    """Who ejects it again, while its name vanishes or after that, is told the same."""
    scene = stuck()
    scene.write()
    with open(scene.view.path("STUCK", "lost"), "wb") as file:
        file.write(os.urandom(1 << 20))
        scene.disk.fail()
    until("it is known", lambda: "could not be put on the disk" in scene.view.log())
    scene.disk.work()
    for _ in range(3):
        told = scene.eject()
        assert told.returncode == 1 and "could not be put on it" in told.stderr, told


@pytest.mark.slow
@pytest.mark.parametrize("how", [signal.SIGUSR1, signal.SIGKILL], ids=["restart", "crash"])
def test_ejected_after_a_restart(stuck, how):
    """An unmount that hangs goes on after its daemon: the next one does not call the disk safe."""
    scene = stuck(kind=Service)
    scene.write()
    scene.disk.stall()
    assert scene.eject().returncode == 1
    scene.view.replace(how)
    assert scene.eject().returncode == 1
    scene.disk.work()
    until("unmounted in the end", lambda: not scene.disk.held(), 10)
    assert scene.eject().returncode == 0
