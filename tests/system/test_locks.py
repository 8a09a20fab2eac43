"""The kernel's locks: whoever holds one while he waits for the server must get his answer."""

import os
import subprocess
import sys

import pytest

from harness.people import NOBODY, workload_command
from harness.wait import SLOWNESS

pytestmark = pytest.mark.data

WORK = r"""
import os, sys, threading, time
os.chdir(sys.argv[1])
end = time.monotonic() + float(sys.argv[2])
def repeat(act, number):
    while time.monotonic() < end:
        act(number)
def at_once(acts):
    for act, count in acts:
        for number in range(count):
            threading.Thread(target=repeat, args=(act, number)).start()
"""

SET_ID = WORK + r"""
def truncate(number):
    name = f"s{number}"
    os.close(os.open(name, os.O_WRONLY | os.O_CREAT, 0o755))
    os.chmod(name, 0o4755)
    os.close(os.open(name, os.O_WRONLY | os.O_TRUNC))
    assert not os.stat(name).st_mode & 0o4000
def create(number):
    os.close(os.open(f"c{number}", os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o755))
    os.unlink(f"c{number}")
at_once([(truncate, 40), (create, 8)])
"""

SEEK = WORK + r"""
files = [os.open(f"f{number}", os.O_RDWR | os.O_CREAT) for number in range(48)]
for file in files:
    os.write(file, bytes(1 << 20))
    os.fsync(file)
def seek(number):
    os.lseek(files[number], 0, os.SEEK_DATA)
def read(number):
    os.posix_fadvise(files[number], 0, 0, os.POSIX_FADV_DONTNEED)
    os.pread(files[number], 1 << 20, 0)
at_once([(seek, len(files)), (read, len(files))])
"""


@pytest.fixture
def at_work(daemon, loopdev):
    """at_work(program): a user's threads on a disk for some seconds; fails when they do not end. What
    hangs then is freed by the end of the server."""
    disk = loopdev(label="STICK", size=128 << 20).plug()
    view = daemon(disk).wait_for("STICK")
    directory = view.path("STICK", "d")
    os.mkdir(directory)
    os.chmod(directory, 0o777)

    def run(program):
        threads = subprocess.Popen(workload_command(NOBODY, NOBODY, sys.executable, "-c", program,
                                                    directory, "3"), stderr=subprocess.PIPE,
                                   text=True)
        try:
            _, errors = threads.communicate(timeout=25 * SLOWNESS)
        except subprocess.TimeoutExpired:
            os.kill(view.server_pid(), 9)
            threads.kill()
            threads.communicate(timeout=20 * SLOWNESS)
            pytest.fail("they wait for each other")
        assert threads.returncode == 0 and not errors, errors

    return run


def test_truncation_of_set_id_files(at_work):
    """Files that lose set-id bits by O_TRUNC, and others that are made in the same directory."""
    at_work(SET_ID)


def test_seeks_and_reads(at_work):
    """SEEK_DATA in files of which others read what is in no cache."""
    at_work(SEEK)
