"""The daemon as a service of a container whose process 1 is systemd."""

import os
import time

import pytest

from harness import processes
from harness.people import sh
from harness.wait import until

pytestmark = [pytest.mark.deadline(120)]
SYSTEMD = "/usr/lib/systemd/systemd"
PHOTOS = """#!/bin/sh
# Writes down what it finds, and copies to each disk.
stat -f -c "found %T" "$1"
ls "$1" | sed 's/^/there: /'
seen=-
trap 'echo "stopped with" "$1"/*; exit 0' TERM  # its children are killed at the same time
while :; do
    now=$(ls "$1")
    [ "$now" = "$seen" ] || echo "names: $now."
    seen=$now
    for disk in "$1"/*/; do
        [ -d "$disk" ] && [ ! -e "$disk/copy" ] &&
            cp -r /etc/systemd "$disk/copy" && echo "copied to $(basename "$disk")"
    done
    sleep 0.05
done
"""


class System:
    """Such a container, with the examples as units."""

    def __init__(self, engine, checkout, work, name, disks):
        self.engine, self.name = engine, name
        self.units = os.path.join(work, "units")
        self.accounts = os.path.join(work, "passwd")
        os.makedirs(os.path.join(self.units, "hotplugfs.service.d"))
        os.makedirs(os.path.join(self.units, "multi-user.target.wants"))
        os.symlink("/lib/systemd/system/multi-user.target",
                   os.path.join(self.units, "default.target"))
        includes = " ".join(f"--include {disk.kname}" for disk in disks)
        for source, target, changes in (
                ("hotplugfs.service", "hotplugfs.service", {}),
                ("systemd-container/hotplugfs.conf", "hotplugfs.service.d/container.conf",
                 {"hotplugfs mount": f"hotplugfs mount {includes}"}),
                ("systemd-container/photos.service", "photos.service",
                 {"/usr/local/bin/photos": "/etc/systemd/system/photos.sh",
                  "User=1000": "User=1000\nStandardOutput=append:/run/photos.out"})):
            with open(os.path.join(checkout, "examples", source), encoding="utf-8") as file:
                text = file.read()
            for old, new in {"/usr/local/sbin/hotplugfs": "/opt/hotplugfs", **changes}.items():
                text = text.replace(old, new)
            with open(os.path.join(self.units, target), "w", encoding="utf-8") as file:
                file.write(text)
        for unit in ("hotplugfs", "photos"):
            os.symlink(f"../{unit}.service",
                       os.path.join(self.units, f"multi-user.target.wants/{unit}.service"))
        script = os.path.join(self.units, "photos.sh")
        with open(script, "w", encoding="utf-8") as file:
            file.write(PHOTOS)
        os.chmod(script, 0o755)
        with open(self.accounts, "w", encoding="utf-8") as file:
            file.write("root:x:0:0::/root:/bin/sh\nphotos:x:1000:1000::/:/usr/sbin/nologin\n")

    def start(self, *flags):
        self.engine.call(*self.engine.run(
            "--detach", "--name", self.name, "--systemd=always", "--stop-signal", "SIGRTMIN+3",
            *self.engine.rights, "-v", f"{self.units}:/etc/systemd/system:ro", "--read-only",
            "-v", f"{self.accounts}:/etc/passwd:ro", "--env", "SYSTEMD_LOG_LEVEL=info", *flags)[len(self.engine.command):], SYSTEMD)
        return self

    def exec(self, *words, check=True):
        return self.engine.call("exec", self.name, *words, check=check).stdout

    def journal(self):
        return self.exec("systemctl", "--no-pager", "--full", "status", "hotplugfs", "photos",
                         check=False) + self.engine.call("logs", self.name, check=False).stdout

    def out(self):
        return self.exec("cat", "/run/photos.out", check=False)

    def wait_out(self, text, deadline_s=60.0):
        until(lambda: f"{text!r} in {self.out()}\n{self.journal()}", lambda: text in self.out(),
              deadline_s)
        return self

    def pid(self):
        return int(self.engine.call("inspect", "--format", "{{.State.Pid}}", self.name).stdout)

    def stop(self):
        """As `podman stop`, which sends SIGRTMIN+3; returns the seconds that it took."""
        start = time.monotonic()
        self.engine.call("stop", "--time", "60", self.name)
        return time.monotonic() - start

    def clean_up(self):
        self.engine.call("rm", "--force", "--time", "0", "--ignore", self.name)


@pytest.fixture
def system(engine, checkout, work):
    """system(disk, ...): a container with systemd, not yet started."""
    if not os.path.exists(SYSTEMD):
        pytest.skip("systemd is not installed")
    made = []

    def factory(*disks):
        name = f"hotplugfs-systemd-{os.getpid()}-{len(made)}"
        made.append(System(engine, checkout, os.path.join(work, name), name, disks))
        return made[-1]

    yield factory
    for one in made:
        one.clean_up()


def test_service(system, loopdev):
    """The units of the examples, on a read-only root, with a read-only /sys and without udevd: the
    one that uses the disks starts when the view is ready and has what was plugged in, sees
    plugging, copies, and is stopped before the view goes."""
    first = loopdev(label="FIRST").plug()
    second = loopdev(label="SECOND")
    one = system(first, second).start()
    one.wait_out("copied to FIRST")
    assert one.out().startswith("found fuseblk\nthere: FIRST\n"), one.out()
    second.plug()
    one.wait_out("copied to SECOND", 15)
    second.unplug()
    until("it has gone", lambda: one.out().rstrip().endswith("names: FIRST."), 15)
    second.wait_unplugged()
    assert one.exec("systemctl", "is-active", "hotplugfs", "photos") == "active\nactive\n"
    assert "systemd-udevd" not in one.exec("ps", "-e", "-o", "comm")
    status = processes.status(photos_pid(one))
    assert int(status["CapEff"], 16) == 0 and int(status["CapBnd"], 16) == 0
    assert status["NoNewPrivs"] == "1" and status["Uid"].split() == ["1000"] * 4
    assert one.exec("sh", "-c", "ls /dev/loop* 2>&1; touch /x /sys/x 2>&1 || true").count(
        "Read-only") == 2
    one.exec("systemctl", "restart", "hotplugfs")
    one.wait_out("stopped with /run/hotplugfs/media/FIRST\n", 30)
    until("it runs again", lambda: one.out().count("found fuseblk") == 2, 30)
    print(f"SIGRTMIN+3 to the end: {one.stop():.2f} s")
    until("the disk is free", lambda: not first.held())
    sh("e2fsck -fn $1", first.image)
    with first.native() as native:
        assert os.path.isdir(f"{native}/copy")


def photos_pid(one):
    """Its process id here."""
    return next(pid for pid in processes.tree(one.pid())
                if "photos.sh" in processes.command_line(pid))
