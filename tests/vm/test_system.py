"""The system tests on a kernel as it is shipped: without passthrough, the other data path."""

import os
import time

from vm.machine import TOP

FILES = ("test_presence.py", "test_removal.py", "test_sync.py", "test_idle.py",
         "test_owner.py::test_vfat", "test_owner.py::test_vfat_case",
         "test_killed.py::test_not_answered[mkdir]", "test_killed.py::test_files_without_a_name",
         "test_killed.py::test_done_but_not_noted[link]")
"""A choice: the emulated processor needs a minute for what takes a second elsewhere."""
PATIENCE_S = 900


def test_system_tests(vm, request):
    """What the system tests promise holds on this kernel."""
    system = os.path.join(TOP, "tests", "system")
    files = " ".join(f"'{os.path.join(system, name)}'" for name in FILES)
    vm.call("shell", "modprobe -a zram loop ext4 xfs btrfs squashfs vfat", check=False)
    vm.call("start_job", f"cd {TOP} && MUST_RUN=1 TEST_SLOWNESS=10 TEST_DENTRIES=2000 "
                         f"/usr/bin/python3 -m pytest -q -rs --tb=short --color=no "
                         f"--hotplugfs={request.config.option.hotplugfs} "
                         f"-m 'not slow' {files}")
    end = time.monotonic() + PATIENCE_S
    while not (printed := vm.call("jobs_ended")) and time.monotonic() < end:
        time.sleep(2)
    assert printed, f"not within {PATIENCE_S} s"
    lines = printed[0].splitlines()
    print("\n".join([line for line in lines if line.startswith("SKIPPED")] + lines[-1:]))
    assert vm.call("status_of_jobs") == [0], printed[0][-20000:]
