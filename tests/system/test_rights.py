"""What the daemon's container needs, and that `hotplugfs doctor` names what is missing of it."""

import json
import os
import re

import pytest

from harness.deployments import Contained
from harness.guests import Podman
from harness.podman import RIGHTS
from harness.wait import until

pytestmark = pytest.mark.slow

LEAST = {"SYS_ADMIN": ["--cap-add", "SYS_ADMIN"],
         "/dev/fuse": ["--device", "/dev/fuse"],
         "device rule": ["--device-cgroup-rule", "b 7:* rw"],
         "/dev": ["-v", "/dev:/host/dev:ro"]}
"""All that media are shown with, beside --cap-drop=all."""
NAMED = {"SYS_ADMIN": ("capabilities", "--cap-add SYS_ADMIN"),
         "/dev/fuse": ("fuse-device", "--device /dev/fuse"),
         "device rule": ("device-nodes", "--device-cgroup-rule"),
         "/dev": ("device-nodes", "-v /dev:/host/dev")}
"""The check of doctor that fails without it, and what it says."""
OTHERS = sorted(set(",".join(RIGHTS[index + 1] for index, word in enumerate(RIGHTS)
                             if word == "--cap-add").split(",")) - {"SYS_ADMIN"})
"""Capabilities that are used for files of all users."""


def flags(items):
    return ["--cap-drop=all", *(word for name in items for word in LEAST[name])]


@pytest.fixture
def doctor(engine, work, loopdev):
    """doctor(flags): it, or another script, in such a container, with a disk that is to be shown."""
    disk = loopdev(label="STICK").plug()
    path = os.path.join(work, "hotplugfs.conf")
    with open(path, "w", encoding="ascii") as file:
        file.write(f"[hotplugfs]\ndev = /host/dev\ninclude = {disk.kname}\n")

    def run(words, script="exec /opt/hotplugfs doctor --json", check=True):
        command = [*engine.run("--rm", *words, "-v", f"{path}:/etc/hotplugfs.conf:ro"),
                   "/bin/sh", "-euc", script]
        result = engine.call(*command[len(engine.command):], check=False)
        assert not check or result.returncode in (0, 1), result.stderr
        return result
    return run


def test_least(doctor):
    """With all four doctor finds nothing that fails; so each of these checks could."""
    findings = json.loads(doctor(flags(LEAST)).stdout)
    assert [one for one in findings if one["verdict"] == "fail"] == []
    assert {one["check"] for one in findings} >= {check for check, _ in NAMED.values()}


@pytest.mark.deadline(120)
def test_least_is_enough(engine, shared, guest, loopdev, hotplugfs, request):
    """With these four things and nothing else disks come and go, and a workload reads and writes
    them; the daemon can be stopped, killed and started under it."""
    disk, name = loopdev(label="STICK"), f"hotplugfs-least-{os.getpid()}"
    early = guest(Podman, "-v", f"{shared}:/disks:rslave")
    request.addfinalizer(lambda: engine.call("rm", "--force", "--time", "0", "--ignore", name))
    os.mkdir(os.path.join(shared, "media"))
    command = engine.run("--detach", "--name", name, "--read-only", *flags(LEAST),
                         "-v", f"{shared}:/run/hotplugfs:rshared")
    engine.call(*command[len(engine.command):], "/opt/hotplugfs", "mount", "--dev", "/host/dev",
                "--include", disk.kname, "--owner", "1000:1000", "/run/hotplugfs/media")
    daemon = Contained(engine, name, hotplugfs, shared).wait_ready()
    late = guest(Podman, "-v", f"{shared}:/disks:rslave")
    for end in (daemon.stop, daemon.kill, daemon.stop):
        disk.plug()
        for one in (early, late):
            until("STICK is seen", lambda one=one: one.names("/disks/media") == {"STICK"}, 20)
            one.out('cp /bin/cat "/disks/media/STICK/$1" && sync /disks/media/STICK && '
                    'cmp /bin/cat "/disks/media/STICK/$1"', one.name)
        disk.unplug()
        for one in (early, late):
            until("STICK is gone", lambda one=one: one.names("/disks/media") == set(), 20)
        disk.wait_unplugged(20)
        end()
        daemon.start()
    with disk.native() as tree:
        assert set(os.listdir(tree)) == {"lost+found", early.name, late.name}


@pytest.mark.parametrize("item", LEAST)
def test_missing(doctor, item):
    """Without one of them doctor fails, names it, and says what to do."""
    result = doctor(flags(name for name in LEAST if name != item))
    failed = {one["check"]: one["advice"] for one in json.loads(result.stdout)
              if one["verdict"] == "fail"}
    check, advice = NAMED[item]
    assert result.returncode == 1 and advice in failed.get(check, ""), result.stdout


def test_missing_capability(doctor):
    """Without one of the other capabilities doctor warns, names it, and says what it is for."""
    script = """for capability; do echo "$capability"
                setpriv --bounding-set="-$capability" /opt/hotplugfs doctor | grep ' capabilities '
                done"""
    result = doctor(RIGHTS, f"set -- {' '.join(OTHERS).lower()}\n{script}")
    lines = result.stdout.splitlines()
    assert len(lines) == 2 * len(OTHERS), result.stdout + result.stderr
    for capability, told in zip(lines[::2], lines[1::2]):
        assert re.match(rf"warn +capabilities +missing: {capability} \([^()]+\)$", told), told
