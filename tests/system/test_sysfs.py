"""Where /sys is missing or cannot be written, what is left is used, and what is missing is told."""

import json

import pytest

from harness.container import WATCH
from harness.people import sh
from harness.wait import until

COVERED = ["unshare", "--mount", "--propagation=private", "--", "sh", "-euc",
           'mount -t tmpfs none /sys; exec "$@"', "sh"]
READ_ONLY = ["unshare", "--mount", "--propagation=private", "--", "sh", "-euc",
             'mount -o remount,bind,ro /sys; exec "$@"', "sh"]
SCRIPT = f"""
( {WATCH} ) &
until [ -d "$MEDIA/STICK" ]; do sleep 0.02; done
cp -r /etc/systemd "$MEDIA/STICK/copy" && sync "$MEDIA/STICK" && echo copied
wait
"""


@pytest.mark.parametrize("before, told", [(COVERED, "there is no sysfs"), (READ_ONLY, "")],
                         ids=["missing", "read-only"])
def test_served(run, loopdev, before, told):
    """Plugged, written, unplugged, plugged again: all is seen."""
    disk = loopdev("ext4", label="STICK")
    one = run("sh", "-uc", SCRIPT, disks=[disk], before=before,
              options=["--owner", "65534", "--log-level", "info"])
    one.wait_out("names: .")
    assert told in one.err()
    disk.plug()
    one.wait_out("copied")
    disk.unplug()
    until("it is gone", lambda: one.out().count("names: .") == 2, 15)
    disk.wait_unplugged().plug()
    until("it is back", lambda: one.out().count("names: STICK .") == 2, 15)
    one.process.terminate()
    assert one.wait() == 143, one.err()
    until("the disk is free", lambda: not disk.held())
    sh("e2fsck -fn $1", disk.image)


def test_rules_without_sysfs(run, loopdev):
    """Without sysfs a disk is shown only by its name: nothing says that it is removable, or that it
    is not the host's. doctor warns, and probe knows the device."""
    disk = loopdev("ext4", label="STICK").plug()
    one = run("sh", "-uc", 'ls "$MEDIA"; echo end', before=COVERED)
    assert one.wait() == 0 and one.out() == "end\n"
    binary = one.command[one.command.index("run") - 1]
    checks = json.loads(sh('"$@" || true', *COVERED, binary, "doctor", "--json"))
    (finding,) = [check for check in checks if check["check"] == "sysfs"]
    assert finding["verdict"] == "warn" and "no sysfs" in finding["found"]
    found = json.loads(sh('"$@"', *COVERED, binary, "probe", "--json", disk.kname))
    assert found["label"] == "STICK" and not found["shown"]
    found = json.loads(sh('"$@"', *COVERED, binary, "probe", "--json", "--include", disk.kname,
                          disk.kname))
    assert found["shown"]


def test_host_disk_without_sysfs(run, loopdev):
    """A disk on which the daemon's own mount namespace has a mount is not shown, whatever is
    included."""
    disk = loopdev("ext4", label="STICK")
    with disk.native():
        one = run("sh", "-uc", 'ls "$MEDIA"; echo end', disks=[disk], before=COVERED)
        assert one.wait() == 0 and one.out() == "end\n"
