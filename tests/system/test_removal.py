"""A medium that is pulled while it is in use."""

import errno
import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from harness.people import sh
from harness.programs import serving
from harness.tracing import hold
from harness.wait import holds, took, until

pytestmark = pytest.mark.data

GONE = (errno.EIO, errno.ENODEV)


@pytest.fixture(params=["ext4", "xfs", "btrfs"])
def stick(request, daemon, loopdev):
    """A mounted disk, a second place to plug it in again, and the daemon."""
    disk = loopdev(request.param, label="STICK")
    place = loopdev(fstype=None, image=disk.image)
    place.fstype = request.param
    view = daemon(disk, place)
    disk.plug()
    view.wait_for("STICK")
    with open(view.path("STICK", "durable"), "wb", buffering=0) as file:
        file.write(b"safe")
        os.fsync(file.fileno())
    return view, disk, place


def test_image_renamed(stick):
    """A loop device whose image gets another name is the same disk, and is not cut off."""
    view, disk, _ = stick
    image, other = disk.image, disk.image + ".renamed"
    with open(view.path("STICK", "file"), "wb", buffering=0) as file:
        os.rename(image, other)
        try:
            with open(f"/sys/block/{disk.kname}/uevent", "w", encoding="ascii") as uevent:
                uevent.write("change")
            holds("it is there", lambda: view.names() == {"STICK"}, 1)
            file.write(b"written")
            os.fsync(file.fileno())
        finally:
            os.rename(other, image)


def errors_of(function, *args):
    """The errno of a call that has to fail, and quickly."""
    failure = []

    def attempt():
        try:
            function(*args)
        except OSError as error:
            failure.append(error.errno)

    assert took(attempt) < 2, "it hung"
    return failure[0] if failure else 0


def test_name_is_gone_at_once(stick):
    """A medium that is pulled: its name is gone from the listing at once."""
    view, disk, _ = stick
    disk.pull()
    view.wait_for(deadline_s=1)
    until("ENOENT", lambda: errors_of(os.stat, view.path("STICK")) == errno.ENOENT, 1)
    assert errors_of(os.stat, view.path("STICK", "durable")) == errno.ENOENT


def test_name_stays_away(stick):
    """A name that is gone for one is gone for all, also while the directory is being removed. For
    the kernel that is a lookup and a removal, which strace draws apart."""
    view, disk, _ = stick
    path = view.path("STICK")
    answers = []

    def ask():
        began, error = time.monotonic(), 0
        try:
            os.stat(path)
        except OSError as failure:
            error = failure.errno
        answers.append((began, error))

    strace = hold(serving(view), "writev", "delay_enter=100000")
    try:
        disk.pull()
        with ThreadPoolExecutor(50) as pool:
            for _ in range(50):  # who had asked before waits for the removal
                pool.submit(ask)
                time.sleep(0.02)
    finally:
        strace.terminate()
        strace.communicate()
    told = [error for _, error in sorted(answers)]
    assert set(told[told.index(errno.ENOENT):]) == {errno.ENOENT}, told


def test_old_handles_fail(stick):
    """File operations on old handles fail with EIO or ENODEV promptly, nothing hangs."""
    view, disk, _ = stick
    path = view.path("STICK", "durable")
    directory = os.open(view.path("STICK"), os.O_RDONLY)
    with open(path, "r+b", buffering=0) as file:
        os.chdir(view.path("STICK"))
        try:
            disk.pull()
            view.wait_for(deadline_s=1)
            number = file.fileno()
            assert errors_of(os.fsync, number) in GONE
            assert errors_of(os.ftruncate, number, 0) in GONE
            assert errors_of(os.fchmod, number, 0o600) in GONE
            assert errors_of(os.getxattr, number, "user.x") in GONE
            assert errors_of(os.pread, number, 10, 1 << 20) in (0, *GONE)
            assert errors_of(lambda: os.open("new", os.O_CREAT | os.O_WRONLY)) in \
                (*GONE, errno.ENOENT)
            assert errors_of(lambda: os.mkdir("new", dir_fd=directory)) in (*GONE, errno.ENOENT)
            assert errors_of(os.listdir, directory) in GONE
            assert errors_of(os.fsync, directory) in GONE
        finally:
            os.chdir("/")
            os.close(directory)


def test_writers_are_told(stick):
    """Surprise removal while writing: no write is accepted and lost in silence for ever."""
    view, disk, _ = stick
    results = []

    def writer(number):
        try:
            with open(view.path("STICK", f"w{number}"), "wb", buffering=0) as file:
                while True:
                    file.write(os.urandom(65536))
                    os.fsync(file.fileno())
        except OSError as error:
            results.append(error.errno)

    threads = [threading.Thread(target=writer, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    until("all of them write", lambda: len(os.listdir(view.path("STICK"))) >= 5)
    disk.pull()
    view.wait_for(deadline_s=1)
    for thread in threads:
        thread.join(5)
    assert not any(thread.is_alive() for thread in threads)
    assert len(results) == 4 and all(code in (*GONE, errno.EROFS, errno.ENOENT)
                                     for code in results), results


def test_plugged_back_in(stick):
    """Plugged back in, it works under the same name without restarting anything. What was durable
    before stays intact."""
    view, disk, place = stick
    with open(view.path("STICK", "lost"), "wb") as file:
        file.write(bytes(100_000))
        disk.pull()
        view.wait_for(deadline_s=1)
    disk.unplug()
    disk.wait_unplugged()
    place.plug()
    view.wait_for("STICK")
    with open(view.path("STICK", "durable"), encoding="ascii") as file:
        assert file.read() == "safe"
    with open(view.path("STICK", "new"), "w", encoding="ascii") as file:
        file.write("works")


def test_many_times(stick):
    """The same device, pulled in use and plugged again, ten times."""
    view, disk, _ = stick
    for turn in range(10):
        with open(view.path("STICK", f"file{turn}"), "wb") as file:
            file.write(os.urandom(10_000))
            disk.pull()
            view.wait_for(deadline_s=1)
            try:
                file.flush()
            except OSError as error:
                assert error.errno in GONE
            finally:
                try:
                    file.close()
                except OSError:
                    pass
        disk.unplug()
        disk.wait_unplugged()
        disk.plug()
        view.wait_for("STICK")
    with open(view.path("STICK", "durable"), encoding="ascii") as file:
        assert file.read() == "safe"


def test_others_go_on(daemon, loopdev):
    """Other media are not disturbed: a copy there runs through while this one is pulled."""
    gone, stays = loopdev(label="GONE"), loopdev(label="STAYS", size=128 << 20)
    view = daemon(gone, stays)
    gone.plug()
    stays.plug()
    view.wait_for("GONE", "STAYS")
    with open(view.path("GONE", "file"), "wb") as file:
        file.write(b"x")
    with open(view.path("STAYS", "file"), "wb") as file:
        for step in range(50):
            file.write(os.urandom(1 << 20))
            if step == 10:
                gone.pull()
    view.wait_for("STAYS", deadline_s=1)
    assert os.stat(view.path("STAYS", "file")).st_size == 50 << 20
    sh("sync $1/STAYS/file", view.media)


def test_synthetic_remove_is_verified(stick):
    """A `remove` event for a device that is still there (anybody with sysfs can make one) does not
    take the medium away."""
    view, disk, _ = stick
    with open(view.path("STICK", "durable"), encoding="ascii") as file:
        sh("echo remove >/sys/block/$1/uevent", disk.kname)
        view.client("list")
        assert file.read() == "safe"
        assert view.names() == {"STICK"}
    assert os.listdir(view.path("STICK"))


def test_change_event_in_use(stick):
    """A `change` event without a change does not disturb who reads and writes."""
    view, disk, _ = stick
    with open(view.path("STICK", "file"), "wb", buffering=0) as file:
        for _ in range(50):
            sh("echo change >/sys/block/$1/uevent", disk.kname)
            file.write(b"x" * 4096)
        assert view.names() == {"STICK"}
        os.fsync(file.fileno())
    assert os.stat(view.path("STICK", "file")).st_size == 50 * 4096
