"""What the kernel answers by itself, without asking the server."""

import mmap
import os
import subprocess
import time

import pytest


def reads_of(pid):
    """How often a process has called read(2); the server does so once for each request."""
    with open(f"/proc/{pid}/io", encoding="ascii") as file:
        return int(dict(line.split(": ") for line in file)["syscr"])


@pytest.fixture
def many(daemon, loopdev):
    """A view of a disk with a directory of 2,000 files, whose attributes the kernel knows."""
    disk = loopdev(label="STICK")
    with disk.native() as tree:
        os.mkdir(os.path.join(tree, "d"))
        for number in range(2000):
            with open(os.path.join(tree, "d", f"{number:04}"), "wb") as file:
                file.write(b"x")
    disk.plug()
    view = daemon(disk).wait_for("STICK")
    for _ in range(2):
        ls(view)
    return view


def ls(view):
    subprocess.run(["ls", "-l", view.path("STICK", "d")], stdout=subprocess.DEVNULL, check=True)


@pytest.mark.parametrize("what", ["ls", "stat", "absent"])
def test_known_is_free(many, what):
    """Names and attributes of known files, names that are not there, and every directory on the
    way to them, the view's own included, cost no request."""
    view = many
    names = [view.path("STICK", "d", f"{number:04}") for number in range(2000)]
    absent = [name + "-" for name in names]
    for name in absent:
        assert not os.path.exists(name)
    server = view.server_pid()
    before = reads_of(server)
    if what == "ls":
        ls(view)
    elif what == "stat":
        for name in names:
            assert os.stat(name).st_size == 1
    else:
        for name in absent:
            assert not os.path.exists(name)
    assert reads_of(server) - before < 100


def test_readahead_without_passthrough(daemon, loopdev):
    """Where the data goes through the server, the kernel asks for much at a time."""
    disk = loopdev(label="STICK").plug()
    view = daemon(disk, options=["--no-passthrough"]).wait_for("STICK")
    with open(view.path("STICK", "file"), "wb") as file:
        file.write(bytes(8 << 20))
    device = os.stat(view.media).st_dev
    with open(f"/sys/class/bdi/{os.major(device)}:{os.minor(device)}/read_ahead_kb",
              encoding="ascii") as file:
        assert int(file.read()) == 512
    fd = os.open(view.path("STICK", "file"), os.O_RDONLY)
    try:
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
        before = reads_of(view.server_pid())
        while os.read(fd, 1 << 20):
            pass
        assert reads_of(view.server_pid()) - before < 40
    finally:
        os.close(fd)


def test_after_a_mapping(daemon, loopdev):
    """While a file is mapped its times change with every store, and each stat shows that; when
    the last mapping is gone the kernel knows its attributes again."""
    disk = loopdev(label="STICK").plug()
    view = daemon(disk).wait_for("STICK")
    path = view.path("STICK", "file")
    fd = os.open(path, os.O_RDWR | os.O_CREAT)
    os.write(fd, bytes(8192))
    with mmap.mmap(fd, 0) as mapping:
        os.close(fd)
        for number in range(1, 6):
            before = os.stat(path).st_mtime_ns
            time.sleep(0.02)  # longer than a tick, the clock of the times
            mapping[0] = number
            mapping.flush()
            assert os.stat(path).st_mtime_ns > before
    requests = reads_of(view.server_pid())
    for _ in range(500):
        assert os.stat(path).st_size == 8192
    assert reads_of(view.server_pid()) - requests < 100


def test_new_file_is_known(daemon, loopdev):
    """What the kernel was told of a new file it is not told again before that is written."""
    disk = loopdev(label="STICK").plug()
    view = daemon(disk).wait_for("STICK")
    fd = os.open(view.path("STICK", "file"), os.O_RDWR | os.O_CREAT | os.O_EXCL)
    try:
        requests = reads_of(view.server_pid())
        for _ in range(500):
            assert os.fstat(fd).st_size == 0
        assert reads_of(view.server_pid()) - requests < 100
        os.write(fd, b"x")
        assert os.fstat(fd).st_size == 1
        os.truncate(view.path("STICK", "file"), 4096)
        assert os.fstat(fd).st_size == 4096
    finally:
        os.close(fd)
