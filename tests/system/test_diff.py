"""The differential test: the same system calls on a native mount and through the view."""

import os
import subprocess

import pytest

from harness.disks import KERNEL_FILESYSTEMS
from harness.wait import SLOWNESS

pytestmark = [pytest.mark.data, pytest.mark.deadline(400)]

CALLS = int(os.environ.get("TEST_CALLS", "20000"))
SEEDS = {"ext4": (2, 23), "xfs": (2, 24), "btrfs": (1, 4)}
RUNS = [(fstype, seed) for fstype in KERNEL_FILESYSTEMS
        for seed in (map(int, os.environ["TEST_SEEDS"].split()) if "TEST_SEEDS" in os.environ
                     else SEEDS[fstype])]
MKFS = {"ext4": ["-E", "hash_seed=0b6b7d4e-5d5c-4f0e-9a57-2f4b3f0c8a11"], "xfs": [], "btrfs": []}


@pytest.fixture
def difftest(request):
    """The tester, built beside the daemon."""
    path = os.environ.get("DIFFTEST") or os.path.join(
        os.path.dirname(request.config.option.hotplugfs), "tests", "diff", "difftest")
    assert os.access(path, os.X_OK), f"{path} is not built"
    return path


@pytest.mark.parametrize("fstype,seed", RUNS)
def test_no_difference(daemon, loopdev, difftest, fstype, seed):
    """Inside a medium every operation behaves as on the real filesystem: return value, errno and
    the resulting tree identical."""
    reference = loopdev(fstype, label="NATIVE", size=512 << 20, options=MKFS[fstype])
    disk = loopdev(fstype, label="STICK", size=512 << 20, options=MKFS[fstype])
    view = daemon(disk, options=["--exec", "--idle-timeout", "1h"])
    disk.plug()
    view.wait_for("STICK")
    with reference.native() as native:
        result = subprocess.run(
            [difftest, "--seed", str(seed), "--calls", str(int(CALLS / SLOWNESS)), native,
             view.path("STICK")],
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="backslashreplace",
            timeout=350, check=False)
        assert result.returncode == 0, result.stdout[-6000:]
    print(result.stdout[-300:])


def test_the_check_can_fail(daemon, loopdev, difftest):
    """Between two filesystems that do differ, it tells differences."""
    reference = loopdev("btrfs", label="NATIVE")
    disk = loopdev("ext4", label="STICK")
    view = daemon(disk)
    disk.plug()
    view.wait_for("STICK")
    with reference.native() as native:
        result = subprocess.run([difftest, "--seed", "1", "--calls", "3000", native,
                                 view.path("STICK")], stdout=subprocess.PIPE,
                                stderr=subprocess.STDOUT, timeout=120, check=False)
    assert result.returncode != 0
