"""The view as a device of an engine, and by a hook: in containers that are being started."""

import json
import os
import shutil
import stat
import subprocess

import pytest

from harness.guests import KINDS, Crun, Namespaces, Podman, Rootless

PODMAN = ["runc", "crun", "userns", "rootless"]
OTHER_USERS = ["userns", "rootless"]
DEVICE = "hotplugfs.io/media"


@pytest.fixture
def device(machine, shared, hotplugfs, guest):
    """device(kind, name, words...): a container with this CDI device; words for `hotplugfs cdi`."""
    def start(kind, name, *words, view=None):
        made = hotplugfs("cdi", *words, "--view", view or os.path.join(shared, "media"),
                         "--output", "/etc/cdi/hotplugfs.json")
        assert (made.returncode, made.stdout, made.stderr) == (0, "", "")
        return guest(KINDS[kind], "--device", f"{DEVICE}={name}")
    return start


def owner(kind):
    return ["--owner", f"{KINDS[kind].uid}:{KINDS[kind].uid}"]


@pytest.mark.slow
@pytest.mark.parametrize("kind", PODMAN)
def test_device(shared, daemon, loopdev, device, kind):
    """--device hotplugfs.io/media=all is all that an ordinary container needs."""
    disk = loopdev(label="STICK")
    view = daemon(disk, where=shared, options=owner(kind))
    one = device(kind, "all")
    assert one.names() == set()
    disk.plug()
    view.wait_for("STICK")
    one.out("cp /etc/passwd /media/STICK/copy")
    with open(view.path("STICK", "copy"), encoding="utf-8") as copy:
        assert copy.read() == one.out("cat /etc/passwd")
    view.stop()
    assert one.exec("touch /media/file").returncode != 0
    view.start().wait_for("STICK")
    if kind == "rootless":  # its engine cannot reach what is under the view
        assert "not connected" in one.exec("ls /media").stderr
    else:
        assert one.names("/media/STICK") >= {"copy"}


@pytest.mark.slow
def test_before_the_daemon(shared, daemon, loopdev, device):
    """A container that is started before the daemon: the view comes when the daemon does."""
    disk = loopdev(label="STICK").plug()
    view = daemon(disk, where=shared, start=False, options=owner("userns"))
    one = device("userns", "all")
    assert one.names() == set() and one.exec("touch /media/file").returncode != 0
    view.start().wait_for("STICK")
    one.out("cp /etc/group /media/STICK/copy")
    assert "nodev" in one.mounts("/media")[-1].split()[5]


@pytest.mark.slow
@pytest.mark.parametrize("words", [(), ("--mounts",)], ids=["hook", "mounts"])
@pytest.mark.parametrize("kind", PODMAN)
def test_readonly(shared, daemon, loopdev, device, kind, words):
    """=readonly is read-only in every disk and for ever, also when another daemon is started."""
    disk = loopdev(label="STICK").plug()
    view = daemon(disk, where=shared, options=owner(kind)).wait_for("STICK")
    one = device(kind, "readonly", *words)
    assert one.names() == {"STICK"}
    assert "Read-only" in one.exec("touch /media/STICK/file").stderr
    disk.unplug()
    view.wait_for()
    disk.wait_unplugged().plug()
    view.wait_for("STICK")
    assert one.names("/media/STICK") == {"lost+found"}
    assert "Read-only" in one.exec("touch /media/STICK/file").stderr
    view.stop()
    view.start().wait_for("STICK")
    assert one.exec("touch /media/STICK/file").returncode != 0
    assert os.listdir(view.path("STICK")) == ["lost+found"]


@pytest.mark.slow
@pytest.mark.parametrize("kind", PODMAN)
def test_mounts(shared, daemon, loopdev, device, hotplugfs, kind):
    """--mounts needs no program on the host: the engine binds the view, until its daemon ends. Then
    attach gives the container that of the next one."""
    disk = loopdev(label="STICK").plug()
    view = daemon(disk, where=shared, options=owner(kind)).wait_for("STICK")
    one = device(kind, "all", "--mounts")
    one.out("cp /etc/passwd /media/STICK/copy")
    with open(view.path("STICK", "copy"), encoding="utf-8") as copy:
        assert copy.read() == one.out("cat /etc/passwd")
    view.stop()
    assert "not connected" in one.exec("ls /media").stderr
    view.start().wait_for("STICK")
    again = hotplugfs("attach", "--pid", one.pid, "--view", view.media)
    assert again.returncode == 0, again.stderr
    assert one.names("/media/STICK") >= {"copy"}


def test_output_that_is_no_file(hotplugfs, work):
    """A device, a pipe and standard output are written to, and stay what they are; behind a link the
    file is replaced."""
    text = hotplugfs("cdi", "--view", work).stdout

    def write(name):
        return hotplugfs("cdi", "--view", work, "--output", os.path.join(work, name))

    for name, minor in (("null", 3), ("full", 7)):
        os.mknod(os.path.join(work, name), 0o666 | stat.S_IFCHR, os.makedev(1, minor))
        before = os.lstat(os.path.join(work, name))
        written = write(name)
        assert written.returncode == (1 if name == "full" else 0), written.stderr
        assert ("No space left" in written.stderr) is (name == "full")
        assert os.lstat(os.path.join(work, name)).st_ino == before.st_ino
    assert write("/dev/stdout").stdout == text and os.path.islink("/dev/stdout")
    with open(os.path.join(work, "appended"), "w+", encoding="utf-8") as file:
        print("before", file=file, flush=True)
        subprocess.run([write("null").args[0], "cdi", "--view", work, "-o", "/dev/stdout"],
                       stdout=file, timeout=30, check=True)
        file.seek(0)
        assert file.read() == f"before\n{text}"
    os.symlink("behind", os.path.join(work, "link"))
    with open(os.path.join(work, "behind"), "w", encoding="utf-8") as file:
        file.write("x" * 10000)
    assert write("link").returncode == 0 and os.path.islink(os.path.join(work, "link"))
    with open(os.path.join(work, "behind"), encoding="utf-8") as file:
        assert file.read() == text
    assert "Is a directory" in write("").stderr


def test_specification(hotplugfs, work, request):
    """What is written has the members that the specification of CDI 0.4.0 asks for, and no other;
    a file is replaced as a whole, and made readable for all."""
    path = os.path.join(work, "cdi", "hotplugfs.json")
    for words, target in (((), "/media"), (("--mounts", "/mnt/x"), "/mnt/x")):
        assert hotplugfs("cdi", "--view", f"{work}/view", "-o", path, *words).returncode == 0
        assert os.stat(path).st_mode & 0o7777 == 0o644
        assert os.listdir(os.path.dirname(path)) == ["hotplugfs.json"]
        with open(path, encoding="utf-8") as file:
            text = file.read()
        assert hotplugfs("cdi", "--view", f"{work}/view", *words).stdout == text
        specification = json.loads(text)
        assert set(specification) == {"cdiVersion", "kind", "devices"}
        assert (specification["cdiVersion"], specification["kind"]) == ("0.4.0", DEVICE)
        assert [device["name"] for device in specification["devices"]] == ["all", "readonly"]
        for device in specification["devices"]:
            edits = device["containerEdits"]
            if words:
                assert set(edits) == {"mounts"}
                (mount,) = edits["mounts"]
                assert set(mount) == {"hostPath", "containerPath", "options"}
                assert (mount["hostPath"], mount["containerPath"]) == (f"{work}/view", target)
                assert ("ro" in mount["options"]) == (device["name"] == "readonly")
            else:
                assert set(edits) == {"mounts", "hooks"}
                assert edits["mounts"][0]["containerPath"] == target
                (hook,) = edits["hooks"]
                assert (hook["hookName"], hook["path"]) == (
                    "createRuntime", request.config.option.hotplugfs)
                assert ("--read-only" in hook["args"]) == (device["name"] == "readonly")
                assert hook["args"][-1] == target


def test_before_all(hotplugfs, guest, request, work):
    """It can be written before the directory of the view has ever been made; the hook then says that
    there is no view."""
    path = os.path.join(work, "not/yet")
    written = hotplugfs("cdi", "--view", path)
    assert written.returncode == 0 and path in written.stdout
    assert hotplugfs("cdi", "--view", "not/yet", cwd=work).returncode == 1
    one = guest(Namespaces)
    result = subprocess.run([request.config.option.hotplugfs, "hook", "--view", path, one.root],
                            input=state(one), stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                            text=True, timeout=30, check=False)
    assert result.returncode == 1 and "there is no view" in result.stderr


def test_specification_not_written(hotplugfs, work):
    """A file that cannot be written is an error, and leaves nothing behind."""
    directory = os.path.join(work, "cdi.json")
    os.mkdir(directory)
    failed = hotplugfs("cdi", "--view", work, "-o", directory)
    assert failed.returncode == 1 and "cdi.json" in failed.stderr
    assert os.listdir(work) == ["cdi.json"] and os.listdir(directory) == []
    assert hotplugfs("cdi", "--view", work, "relative").returncode == 2


@pytest.mark.slow
@pytest.mark.parametrize("kind", [Podman, Crun, Rootless])
@pytest.mark.parametrize("value, writable", [("all", True), ("readonly", False)])
def test_hooks_directory(machine, checkout, daemon, loopdev, guest, request, kind, value, writable):
    """examples/hooks.d as it stands: an annotation gives a container the view."""
    os.makedirs("/usr/local/sbin", exist_ok=True)
    shutil.copy(request.config.option.hotplugfs, "/usr/local/sbin/hotplugfs")
    os.makedirs("/run/hotplugfs", exist_ok=True)
    disk = loopdev(label="STICK").plug()
    daemon(disk, where="/run/hotplugfs",
           options=["--owner", f"{kind.uid}:{kind.uid}"]).wait_for("STICK")
    one = guest(kind, "--hooks-dir", os.path.join(checkout, "examples/hooks.d"), "--annotation",
                f"{DEVICE}={value}")
    assert one.names() == {"STICK"}
    assert (one.exec("touch /media/STICK/file").returncode == 0) == writable


def state(one, **members):
    return json.dumps({"ociVersion": "1.0.2", "id": "x", "status": "running", "pid": one.pid,
                       "bundle": "/nowhere", **members})


@pytest.mark.parametrize("members, message", [
    ({"pid": 0}, "Bad message"), ({"pid": -5}, "Bad message"), ({"pid": "7"}, "Bad message"),
    ({"bundle": "relative"}, "Bad message"), ({"status": None}, "Bad message"),
    ({"status": "creating"}, "/nowhere"), ({}, "")])
def test_hook_state(shared, daemon, guest, request, members, message):
    """The hook of a stage in which the root is in its place, and states that are none."""
    view = daemon(where=shared)
    one = guest(Namespaces)
    target = os.path.join(one.root, "media")
    result = subprocess.run([request.config.option.hotplugfs, "hook", "--view", view.media, target],
                            input=state(one, **members), stdout=subprocess.PIPE,
                            stderr=subprocess.PIPE, text=True, timeout=30, check=False)
    assert (result.returncode == 0) == (not message) and message in result.stderr
    assert len(one.mounts(target)) == (0 if message else 2)


@pytest.mark.parametrize("root", ["bundle/root", "/absolute"])
def test_hook_root(shared, daemon, guest, request, work, root):
    """The hook of a stage before that: the root is where the configuration says, from the bundle
    on, and what is in it is looked for inside of it."""
    view = daemon(where=shared)
    one = guest(Namespaces)
    bundle = one.root
    path = os.path.join(bundle, root.strip("/"))
    one.out('mkdir -p "$1/real"; ln -s /real "$1/media"', path)
    outside = os.path.join(work, "bundle")
    os.mkdir(outside)
    with open(os.path.join(outside, "config.json"), "w", encoding="utf-8") as file:
        json.dump({"root": {"path": path if root[0] == "/" else os.path.relpath(path, outside)}},
                  file)
    result = subprocess.run([request.config.option.hotplugfs, "hook", "--view", view.media],
                            input=state(one, status="creating", bundle=outside),
                            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=30,
                            check=False)
    assert result.returncode == 0, result.stderr
    assert len(one.mounts(os.path.join(path, "real"))) == 2
