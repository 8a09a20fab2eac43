"""Daemon and workload in one real container, started by podman with `hotplugfs run`."""

import errno
import json
import os
import re
import signal
import subprocess

import pytest

from harness import kernel
from harness.people import NOBODY, sh
from harness.terminal import JOB, SHELL, Terminal
from harness.wait import until
from test_run import facts, print_signals


@pytest.mark.data
def test_all_in_one(container, loopdev):
    """An unprivileged workload beside the daemon: it sees plugging and unplugging, copies with cp,
    and `podman stop` ends everything with the data on the disk."""
    disk = loopdev(label="STICK")
    script = """
        cat /proc/self/status; echo ready
        until [ -d "$MEDIA/STICK" ]; do sleep 0.05; done
        cp -r /etc "$MEDIA/STICK/copy" && sync "$MEDIA/STICK" && echo copied
        while [ -d "$MEDIA/STICK" ]; do sleep 0.05; done; echo unplugged
        until [ -d "$MEDIA/STICK" ]; do sleep 0.05; done
        diff -r /etc "$MEDIA/STICK/copy" && echo back
        exec sleep 1000"""
    one = container("sh", "-uc", script, disks=[disk], flags=["--read-only"],
                    options=["--user", "1000:1000", "--owner", "1000:1000", "--log-level",
                             "debug"])
    one.wait_out("ready", 60)
    status = facts(one.out())
    assert {int(status[name], 16) for name in status if name.startswith("Cap")} == {0}
    assert status["NoNewPrivs"] == "1" and status["Seccomp"] == "2"
    assert status["Uid"].split() == ["1000"] * 4 and status["Groups"] == "1000"
    disk.plug()
    one.wait_out("copied")
    disk.unplug()
    one.wait_out("unplugged")
    disk.wait_unplugged().plug()
    one.wait_out("back")
    assert one.exec("ls", "/media") == "STICK\n"
    one.podman("stop", "--time", "30")
    assert one.process.wait(30) == 143, one.err()
    until("the disk is free", lambda: not disk.held())
    sh("e2fsck -fn $1", disk.image)


@pytest.fixture
def like_docker(work):
    """Docker's seccomp profile is podman's without pivot_root(2), which is EPERM then."""
    with open("/usr/share/containers/seccomp.json", encoding="ascii") as file:
        profile = json.load(file)
    for group in profile["syscalls"]:
        group["names"] = [name for name in group["names"] if name != "pivot_root"]
    profile["syscalls"].append({"names": ["pivot_root"], "action": "SCMP_ACT_ERRNO",
                                "errnoRet": errno.EPERM})
    path = os.path.join(work, "seccomp.json")
    with open(path, "w", encoding="ascii") as file:
        json.dump(profile, file)
    return ["--security-opt", f"seccomp={path}"]


@pytest.mark.deadline(150)
def test_without_pivot_root(container, engine, loopdev, like_docker):
    """CAP_SYS_CHROOT is enough then; `doctor` tells so where it is missing."""
    doctor = subprocess.run([*engine.run("--rm", *engine.rights, *like_docker), "/opt/hotplugfs",
                             "doctor"], cwd="/", stdout=subprocess.PIPE, text=True, check=False)
    assert doctor.returncode == 1 and "docker: --cap-add SYS_CHROOT" in doctor.stdout
    one = container("sh", "-c", 'ls "$MEDIA"', disks=[loopdev(label="STICK").plug()],
                    flags=[*like_docker, "--cap-add", "SYS_CHROOT"])
    one.wait_out("STICK", 60)
    assert one.process.wait(30) == 0


def test_halt_signal(container):
    """An image whose stop signal is that of systemd: `podman stop` ends COMMAND by SIGTERM."""
    one = container(*print_signals("SIGTERM"), flags=["--stop-signal", "SIGRTMIN+3"])
    one.wait_out("ready", 60).podman("kill", "--signal", "HUP")
    one.wait_out("SIGHUP").podman("stop", "--time", "30")
    one.wait_out("SIGTERM")
    assert one.process.wait(30) == 5


def test_killed(container, loopdev, work):
    """COMMAND ignores SIGTERM until the engine kills the container: no mount is left, also not in
    a volume that propagates, and the disk is free."""
    shared = os.path.join(work, "shared")
    os.mkdir(shared)
    kernel.mount("tmpfs", shared, "tmpfs", "mode=755")
    kernel.call("mount", None, os.fsencode(shared), None, kernel.MS_SHARED, None)
    try:
        disk = loopdev(label="STICK").plug()
        one = container("sh", "-c", 'trap "" TERM; ls "$MEDIA"; while sleep 1; do :; done',
                        disks=[disk], flags=["-v", f"{shared}:/media:rshared"])
        one.wait_out("STICK", 60)
        one.podman("stop", "--time", "1")
        assert one.process.wait(30) == 137
        assert kernel.mounts_under(shared) == [shared]
        until("the disk is free", lambda: not disk.held())
    finally:
        kernel.umount(shared, kernel.MNT_DETACH)


def test_terminal(container):
    """podman run -it ... bash: a shell with job control."""
    with Terminal() as terminal:
        terminal.resize(30, 90)
        one = container("bash", "--norc", "--noprofile", "-i", **terminal.streams(),
                        flags=["-it", *(f"--env={name}={SHELL[name]}" for name in SHELL)])
        terminal.expect("prompt> ", 60)
        assert "job control" not in terminal.text
        terminal.type(f"{JOB}\n").expect("\ngoing\n").type("\x1a").expect("Stopped")
        terminal.type("fg\n").expect("\nresumed\n").type("\x03").expect("prompt> ")
        terminal.type("stty size; exit 3\n").expect("\n30 90\n")
        assert one.process.wait(30) == 3


def test_under_another_init(container, loopdev):
    """Not as process 1: it adopts orphans all the same, and unmounts before the container ends."""
    disk = loopdev(label="STICK").plug()
    script = '"$@"; echo "status $?"; grep -c fuse.hotplugfs /proc/self/mountinfo; exit 0'
    one = container("sh", "-c", 'echo data >"$MEDIA/STICK/file"; exit 6', disks=[disk],
                    options=["--owner", str(NOBODY)], inside=["sh", "-c", script, "sh"])
    assert one.process.wait(60) == 0, one.err()
    assert one.out().split("\n") == ["status 6", "0", ""]
    until("the disk is free", lambda: not disk.held())


def test_signals(container):
    """`podman kill` with some other signal reaches COMMAND."""
    one = container(*print_signals("SIGINT")).wait_out("ready", 60)
    one.podman("kill", "--signal", "USR1")
    one.wait_out("SIGUSR1").podman("kill", "--signal", str(int(signal.SIGINT)))
    assert one.process.wait(30) == 5


def test_without_run(container):
    """A root filesystem with no place for a control socket: COMMAND has its view all the same."""
    one = container("sh", "-c", 'touch /run/x || ls "$MEDIA"; exit 9',
                    flags=["--read-only", "--read-only-tmpfs=false"])
    assert one.process.wait(60) == 9
    assert "no control socket" in one.err() and "Read-only file system" in one.err()


def test_containerfile(request):
    """The image of examples/container has the libraries that the program needs, no others, and no
    compiler."""
    root = os.path.join(os.path.dirname(__file__), "../..")
    with open(os.path.join(root, "examples/container/Containerfile"), encoding="utf-8") as file:
        image = file.read().rpartition("FROM ")[2]
    installed = set(re.findall(r"\blib[\w-]+\d\b", image))
    libraries = re.findall(r"=> (\S+) \(", sh("ldd $1", request.config.option.hotplugfs))
    owners = sh("for file; do dpkg -S $(readlink -f $file) || "
                "dpkg -S ${file#/usr}; done | cut -d: -f1", *libraries)
    base = {"libc6", "libgcc-s1", "libstdc++6"}
    needed = {name for name in owners.split() if name not in base and "san" not in name}
    assert installed == needed
    assert not re.search(r"\b(gcc|clang|meson|\S+-dev)\b", image)


@pytest.mark.slow
def test_image_size(checkout, request, work):
    """What the image has more than its base is less than 5 MiB: the program, the libraries that the
    base does not have, and what apt and useradd write down, which was 1 MiB."""
    base = {"libblkid1", "libcap-ng0", "libseccomp2", "libudev1"}
    with open(os.path.join(checkout, "examples/container/Containerfile"), encoding="utf-8") as file:
        image = file.read().rpartition("FROM ")[2]
    packages = set(re.findall(r"\blib[\w-]+\d\b", image)) - base
    sizes = sh("dpkg-query -W -f '${Installed-Size}\n' \"$@\"", *packages).split()
    program = os.path.join(work, "hotplugfs")
    sh("strip -o $1 $2", program, request.config.option.hotplugfs)
    more = os.path.getsize(program) + 1024 * sum(map(int, sizes)) + (1 << 20)
    print(f"{more / (1 << 20):.2f} MiB")
    assert more <= 5 << 20
