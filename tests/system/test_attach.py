"""attach and detach: the view in containers that run already."""

import os
import subprocess

import pytest

from harness import kernel
from harness.guests import KINDS, Bubblewrap, Namespaces, Podman, UserNamespaces
from harness.people import sh



@pytest.fixture
def attach(hotplugfs):
    """attach(guest, view, words...): the command, or another verb; fails unless it succeeds."""
    def run(one, view, *words, verb="attach", check=True):
        result = hotplugfs(verb, *one.whose(), "--view", view.media, *words)
        assert not check or result.returncode == 0, result.stderr
        return result
    return run


@pytest.mark.slow
@pytest.mark.deadline(120)
@pytest.mark.parametrize("kind", KINDS)
def test_workload(shared, daemon, loopdev, guest, attach, kind):
    """A running container without any right gets the view: it sees plugging and unplugging, copies
    with cp, and finds the view of the next daemon at the same place."""
    disk = loopdev(label="STICK")
    one = guest(KINDS[kind])
    assert one.names() == set()
    view = daemon(disk, where=shared, options=["--owner", f"{one.uid}:{one.uid}"])
    assert attach(one, view).stderr == "" and one.names() == set()
    disk.plug()
    view.wait_for("STICK")
    assert one.names() == {"STICK"}
    one.out("cp /etc/group /media/STICK/copy 2>/dev/null || cp /bin/busybox /media/STICK/copy")
    copied = one.out("cat /media/STICK/copy | wc -c 2>/dev/null || stat -c %s /media/STICK/copy")
    assert os.path.getsize(view.path("STICK", "copy")) == int(copied) > 0
    assert one.out("ls -ln /media/STICK/copy").split()[2] == ("0" if kind == "rootless" else "1000")
    view.wait_state("STICK", "clean", "idle")
    disk.unplug()
    view.wait_for()
    assert one.names() == set()
    disk.wait_unplugged().plug()
    view.wait_for("STICK")
    view.stop()
    assert one.names() == set() and one.exec("touch /media/file").returncode != 0
    view.start().wait_for("STICK")
    assert one.names("/media/STICK") >= {"copy"}
    attach(one, view, verb="detach")
    assert one.names() == set()
    assert "no view" in attach(one, view, verb="detach", check=False).stderr


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["userns", "rootless"])
def test_owners_without_owner(shared, daemon, loopdev, guest, attach, kind):
    """Owners as stored mean nobody to a container with other numbers: its user reads what everybody
    may read, and writes nothing. --owner is there for that."""
    disk = loopdev(label="STICK")
    with disk.native() as directory:
        os.mkdir(os.path.join(directory, "home"))
        os.chown(os.path.join(directory, "home"), 1000, 1000)
    disk.plug()
    view = daemon(disk, where=shared).wait_for("STICK")
    one = guest(KINDS[kind])
    attach(one, view)
    assert one.out("ls -ldn /media/STICK/home").split()[2:4] == ["65534", "65534"]
    assert "denied" in one.exec("touch /media/STICK/home/file").stderr


@pytest.mark.parametrize("kind", [Namespaces, UserNamespaces])
def test_flags_hold(shared, daemon, loopdev, guest, attach, kind):
    """A container that may mount cannot take nodev and nosuid from the view, nor make a read-only
    one writable, when its user namespace is not the host's. (Where it is, it can do anything.)"""
    disk = loopdev(label="STICK").plug()
    view = daemon(disk, where=shared).wait_for("STICK")
    one = guest(kind)
    target = os.path.join(one.root, "media")
    for words in ((), ("--read-only",)):
        attach(one, view, *words, target)
        assert one.names(target) == {"STICK"}
        write = one.exec('echo >"$1/STICK/file"', target)
        assert ("Read-only" in write.stderr) == bool(words)
        for flags in ("dev,nosuid,noexec", "nodev,suid,noexec", "nodev,nosuid,exec"):
            result = one.exec(f'mount -o remount,bind,{flags} "$1"', target)
            assert (result.returncode == 0) == (kind is Namespaces), result.stderr
        if words:
            remount = one.exec('mount -o remount,bind,rw,nodev,nosuid,noexec "$1"', target)
            assert (remount.returncode == 0) == (kind is Namespaces), remount.stderr
        attach(one, view, target, verb="detach")


def test_read_only(shared, daemon, loopdev, guest, attach):
    """A view attached read-only never turns writable: it ends with its daemon, and can be attached
    again over what is left."""
    disk = loopdev(label="STICK").plug()
    view = daemon(disk, where=shared).wait_for("STICK")
    one = guest(Namespaces)
    target = os.path.join(one.root, "media")
    attach(one, view, "--read-only", target)
    view.stop()
    view.start().wait_for("STICK")
    assert "not connected" in one.exec('ls "$1"', target).stderr
    attach(one, view, "--read-only", target)
    assert one.names(target) == {"STICK"}
    assert "Read-only" in one.exec('echo >"$1/STICK/file"', target).stderr
    assert len(one.mounts(target)) == 2
    attach(one, view, target, verb="detach")
    assert one.mounts(target) == []


def test_not_shared(daemon, loopdev, guest, attach):
    """A view on a mount that does not propagate is attached for this daemon only, and attach says
    so."""
    view = daemon(loopdev(label="STICK").plug()).wait_for("STICK")
    one = guest(UserNamespaces)
    target = os.path.join(one.root, "media")
    assert "attach again" in attach(one, view, target).stderr
    assert one.names(target) == {"STICK"}
    view.stop()
    assert "not connected" in one.exec('ls "$1"', target).stderr
    refused = attach(one, view, target, check=False)
    assert refused.returncode == 1 and "there is no view" in refused.stderr
    view.start().wait_for("STICK")
    attach(one, view, target)
    assert one.names(target) == {"STICK"}


def test_killed_daemon(shared, daemon, guest, attach):
    """The view of a daemon that was killed is not attached; that of the next one arrives."""
    view = daemon(where=shared)
    one = guest(Namespaces)
    target = os.path.join(one.root, "media")
    attach(one, view, target)
    view.kill()
    other = guest(Namespaces)
    refused = attach(other, view, os.path.join(other.root, "media"), check=False)
    assert refused.returncode == 1 and "is dead" in refused.stderr
    view.start()
    assert one.names(target) == set() and len(one.mounts(target)) == 2


@pytest.mark.parametrize("view_is_first", [True, False])
def test_target_is_made(shared, daemon, guest, attach, view_is_first):
    """A target that is missing is made, but not what is above it; one that has a view is left."""
    view = daemon(where=shared)
    one = guest(Namespaces)
    target = os.path.join(one.root, "new")
    refused = attach(one, view, f"{target}/er", check=False)
    assert refused.returncode == 1 and "made only in a directory that is there" in refused.stderr
    assert not os.path.exists(target)
    attach(one, view, target)
    again = attach(one, view, *["--read-only"][view_is_first:], target, check=False)
    assert again.returncode == 1 and "there is a view already" in again.stderr
    assert len(one.mounts(target)) == 2


def test_hostile_links(shared, daemon, guest, attach, work):
    """Links in the container lead to places in it, never outside of it; links of /proc nowhere."""
    view = daemon(where=shared)
    one = guest(Bubblewrap)
    outside = os.path.join(work, "outside")
    os.mkdir(outside)
    links = {"absolute": "/media", "up": "../../../../../media", "out": outside,
             "root": "/proc/1/root/media", "slash": "/"}
    for name, to in links.items():
        os.symlink(to, os.path.join(one.data, name))
    for name in ("absolute", "up"):
        attach(one, view, f"/opt/{name}")
        assert len(one.mounts("/media")) == 2
        attach(one, view, f"/opt/{name}", verb="detach")
        assert one.mounts("/media") == []
    for name, reason in {"out": "is missing", "root": "symbolic links", "slash": "root directory",
                         "file": "directory"}.items():
        with open(os.path.join(one.data, "file"), "wb"):
            pass
        refused = attach(one, view, f"/opt/{name}", check=False)
        assert refused.returncode == 1 and reason in refused.stderr
    assert kernel.mounts_under(outside) == [] and kernel.mounts_under("/media") == []


def test_other_mounts_stay(shared, daemon, guest, attach):
    """detach takes nothing that attach did not put there, whatever it is asked for."""
    view = daemon(where=shared)
    one = guest(Namespaces)
    one.out('mount -t tmpfs -o ro,nosuid,nodev,noexec other "$1"', f"{one.root}/media")
    before = one.mounts()
    for target in (f"{one.root}/media", one.root, "/proc", "/"):
        refused = attach(one, view, target, verb="detach", check=False)
        assert refused.returncode == 1 and refused.stderr
        assert one.mounts() == before
    attach(one, view, f"{one.root}/media")
    attach(one, view, f"{one.root}/media", verb="detach")
    assert len(one.mounts(f"{one.root}/media")) == 1


@pytest.mark.parametrize("how", ["volume", "bind"])
def test_view_of_the_engine_stays(shared, daemon, guest, attach, how):
    """detach leaves a view that the container was started with, and says so."""
    view = daemon(where=shared)
    if how == "volume":
        one, target = guest(Podman, "--volume", f"{view.media}:/media"), "/media"
    else:
        one = guest(Namespaces)
        target = f"{one.root}/media"
        one.out('mount --bind "$1" "$2"', view.media, target)
    before = one.mounts()
    refused = attach(one, view, target, verb="detach", check=False)
    assert refused.returncode == 1 and "not put there by attach" in refused.stderr
    assert one.mounts() == before


def test_which_process(shared, daemon, hotplugfs):
    """A number that is no process, and a process in no container."""
    view = daemon(where=shared)
    here = hotplugfs("attach", "--view", view.media, "--pid", os.getpid())
    assert here.returncode == 1 and "is in no container" in here.stderr
    with subprocess.Popen(["true"]) as ended:
        ended.wait()
        gone = hotplugfs("attach", "--view", view.media, "--pid", ended.pid)
    assert gone.returncode == 1 and "No such process" in gone.stderr
    assert kernel.mounts_under("/media") == []


ENGINE = """#!/bin/sh
printf '%s\\n' "$#" "$@" >>"$0.log"
set -- $(cat "$0.pids")
[ -n "$*" ] || exit 125
echo "$1"; shift
echo "$*" >"$0.pids"
"""


@pytest.mark.parametrize("answers, message", [
    ("", "no engine knows"), ("0 0", "is not running"), ("PID 0", "is not running"),
    ("PID 1", "is not running"), ("x", "Bad message"), ("-1", "Bad message"), ("PID PID", "")])
def test_engine(shared, daemon, guest, hotplugfs, work, answers, message):
    """An engine is asked by words, not through a shell, and once more when the process is held: a
    container that ended meanwhile, whose number another process may have, is not taken."""
    view = daemon(where=shared)
    one = guest(Namespaces)
    name = "--x; touch $(pwd)/hacked"
    engine = os.path.join(work, "engine")
    for path, text in ((engine, ENGINE), (f"{engine}.pids", answers.replace("PID", str(one.pid)))):
        with open(path, "w", encoding="ascii") as file:
            file.write(text)
    os.chmod(engine, 0o755)
    result = hotplugfs("attach", "--engine", engine, f"--container={name}", "--view", view.media,
                       f"{one.root}/media", cwd=work)
    assert (result.returncode == 0) == (not message) and message in result.stderr
    assert len(one.mounts(f"{one.root}/media")) == (0 if message else 2)
    with open(f"{engine}.log", encoding="ascii") as log:
        words = log.read().splitlines()
    assert words[:8] == ["7", "inspect", "--type", "container", "--format", "{{.State.Pid}}",
                         "--", name]
    assert "hacked" not in os.listdir(work)


def test_no_engine(hotplugfs, work):
    """Without podman and docker --container says so; an engine that is not there is named."""
    nothing = hotplugfs("attach", "--container", "x", env={"PATH": work})
    assert nothing.returncode == 1 and "neither podman nor docker" in nothing.stderr
    named = hotplugfs("attach", "--container", "x", "--engine", "no-such-engine")
    assert named.returncode == 1 and '"no-such-engine"' in named.stderr


def test_usage(hotplugfs):
    """Which container must be said once."""
    for words in ((), ("--pid", "1", "--container", "x"), ("--pid", "0"), ("--pid", "-1"),
                  ("--pid", "1x"), ("--pid", ""), ("--pid", "99999999999")):
        for verb in ("attach", "detach"):
            assert hotplugfs(verb, *words).returncode == 2


def test_without_rights(shared, daemon, guest, request):
    """A user without rights is told which are missing."""
    view = daemon(where=shared)
    one = guest(Namespaces)
    result = sh('setpriv --reuid=1000 --regid=1000 --clear-groups -- "$@"',
                request.config.option.hotplugfs, "attach", "--view", view.media, "--pid",
                one.pid, check=False)
    assert result.returncode == 1 and "CAP_SYS_" in result.stderr
