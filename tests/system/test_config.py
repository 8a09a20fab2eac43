"""The configuration file, its match sections, and what SIGHUP does."""

import mmap
import os
import signal
import subprocess

import pytest

from harness.daemon import run_to_end
from harness.wait import holds, until

UUID = "c0ffee11-5d5c-4f0e-9a57-2f4b3f0c8a14"


@pytest.fixture
def configured(daemon, work):
    """configured(text, disk...): a daemon with a configuration file; .rewrite(text) reloads it."""
    path = os.path.join(work, "hotplugfs.conf")

    def write(text):
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)

    def factory(text, *disks, **options):
        write(text)
        view = daemon(*disks, options=["--config", path], **options)

        def rewrite(new):
            write(new)
            view.send(signal.SIGHUP)
            return view

        view.rewrite = rewrite
        view.config = path
        return view

    return factory


MATCHES = {
    "label": "label = STICK*",
    "uuid": f"uuid = {UUID}",
    "fstype": "fstype = ext4",
    "kernel": "kernel = {kname}",
    "two": "label = STICK*\nfstype = ext?",
}


@pytest.mark.parametrize("condition", MATCHES)
def test_match_and_name(configured, loopdev, condition):
    """Sections that match by label, UUID, filesystem type, kernel name, and set name."""
    disk = loopdev(label="STICK1", uuid=UUID).plug()
    other = loopdev("xfs", label="OTHER").plug()
    text = f"[match mine]\n{MATCHES[condition].format(kname=disk.kname)}\nname = Backups\n"
    configured(text, disk, other).wait_for("Backups", "OTHER")


def test_all_conditions_must_hold(configured, loopdev):
    """All its conditions must hold."""
    disk = loopdev(label="STICK").plug()
    configured("[match a]\nlabel = STICK\nfstype = xfs\nname = Wrong\n", disk).wait_for("STICK")


def test_global_settings(configured, loopdev):
    """The same settings as on the command line; the command line wins."""
    one, two = loopdev(label="ONE").plug(), loopdev(label="TWO").plug()
    view = configured(f"[hotplugfs]\ninclude = {one.kname}, {two.kname}\nread-only = yes\n"
                      "idle-timeout = 200ms\n").wait_for("ONE", "TWO")
    with pytest.raises(OSError):
        os.mkdir(view.path("ONE", "new"))
    until("idle", lambda: not one.mounted())


def test_rule_settings(configured, loopdev):
    """... and set name, mount options, owner, read-only, hidden."""
    locked, owned = loopdev(label="LOCKED").plug(), loopdev(label="OWNED").plug()
    hidden, options = loopdev(label="HIDDEN").plug(), loopdev(label="OPTIONS").plug()
    view = configured(
        "[match a]\nlabel = LOCKED\nread-only = yes\n"
        "[match b]\nlabel = OWNED\nowner = 1000:1001\n"
        "[match c]\nlabel = HIDDEN\nhidden = yes\n"
        "[match d]\nlabel = OPTIONS\noptions = commit=7\n",
        locked, owned, hidden, options).wait_for("LOCKED", "OWNED", "OPTIONS")
    with pytest.raises(OSError):
        os.mkdir(view.path("LOCKED", "new"))
    with open(view.path("OWNED", "file"), "wb") as file:
        assert (os.fstat(file.fileno()).st_uid, os.fstat(file.fileno()).st_gid) == (1000, 1001)
    os.listdir(view.path("OPTIONS"))
    assert "commit=7" in view.medium("OPTIONS")["options"]
    assert os.getxattr(view.path("OPTIONS"), "user.hotplugfs.options").count(b"commit=7") == 1
    reason = [m["reason"] for m in view.list("--all") if m["device"].endswith(hidden.kname)]
    assert len(reason) == 1 and "hidden" in reason[0]


@pytest.mark.data
def test_passthrough_is_switched_off(configured, loopdev):
    """What is open goes on as it was, also for who opens it now; what is opened from then on goes
    through the daemon, which finds what was written through a mapping."""
    disk = loopdev(label="STICK").plug()
    view = configured("", disk).wait_for("STICK")
    old, new = view.path("STICK", "old"), view.path("STICK", "new")
    with open(old, "w+b", buffering=0) as first:
        first.write(b"content")
        view.rewrite("passthrough = no\n")
        until("it is off", lambda: not view.medium("STICK")["passthrough"])
        with open(old, "r+b", buffering=0) as second:
            second.write(b"C")
            assert os.pread(first.fileno(), 7, 0) == b"Content"
    with open(new, "w+b") as file:
        file.truncate(1 << 20)
        with mmap.mmap(file.fileno(), 0) as mapping:
            mapping[1 << 19] = 1
            assert os.lseek(file.fileno(), 0, os.SEEK_DATA) <= 1 << 19


def test_option_of_another_filesystem(configured, loopdev):
    """Options that are not for this filesystem are refused, and the reason names them."""
    disk = loopdev(label="STICK").plug()
    text = "[match a]\nlabel = STICK\noptions = commit=7,flush\n"
    view = configured(text, disk).wait_for("STICK")
    with pytest.raises(OSError):
        os.listdir(view.path("STICK"))
    assert view.medium("STICK")["state"] == "failed" and "flush" in view.medium("STICK")["reason"]


@pytest.mark.log_errors("not allowed for any filesystem")
def test_forbidden_option_on_reload(configured, loopdev):
    """An option that is for no filesystem makes the whole file a bad one."""
    disk = loopdev(label="STICK").plug()
    view = configured("[match a]\nlabel = STICK\nname = Mine\n", disk).wait_for("Mine")
    view.rewrite("[match a]\nlabel = STICK\nname = Other\noptions = noatime\n")
    until("it is told", lambda: f'{view.config}:4: options: "noatime" is not' in view.log())
    holds("nothing changed", lambda: view.names() == {"Mine"}, 0.5)


def test_hidden_no_shows(configured, loopdev):
    """A rule with hidden = no shows what is not removable."""
    disk = loopdev(label="SHOWN").plug()
    configured(f"[match a]\nkernel = {disk.kname}\nhidden = no\n").wait_for("SHOWN")


BROKEN = {
    "unknown key": ("[hotplugfs]\ncolour = blue\n", 2, "colour"),
    "unknown section": ("[nonsense]\n", 1, "section"),
    "bad value": ("[hotplugfs]\n\nidle-timeout = soon\n", 3, "soon"),
    "bad owner": ("[match a]\nlabel = x\nowner = no-such-user\n", 3, "no-such-user"),
    "no equals sign": ("[hotplugfs]\nread-only\n", 2, ""),
    "repeated": ("[hotplugfs]\nread-only = yes\nread-only = no\n", 3, "read-only"),
    "not closed": ("[hotplugfs\n", 1, ""),
    "forbidden option": ("[match a]\nlabel = x\n\noptions = commit=7,suid\nname = y\n", 4, "suid"),
}


@pytest.mark.parametrize("what", BROKEN)
def test_broken_at_the_start(daemon, work, what):
    """A broken file is refused with `file:line: what`."""
    text, line, word = BROKEN[what]
    path = os.path.join(work, "broken.conf")
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)
    view = daemon(options=["--config", path], start=False)
    result = run_to_end(view.command)
    told = result.stderr.splitlines()
    assert result.returncode == 1 and len(told) == 1, result
    assert f"{path}:{line}: " in told[0] and word in told[0]
    assert not os.path.exists(view.socket) and not os.path.ismount(view.media)


def test_missing_file(daemon):
    """--config with a file that is not there: one clear line."""
    view = daemon(options=["--config", "/does/not/exist"], start=False)
    result = subprocess.run(view.command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
                            text=True, timeout=30, check=False)
    assert result.returncode == 1 and "/does/not/exist" in result.stderr


@pytest.mark.log_errors("broken|nonsense|colour|hotplugfs.conf")
def test_broken_on_reload(configured, loopdev):
    """... and changes nothing."""
    disk = loopdev(label="STICK").plug()
    view = configured("idle-timeout = 100ms\n[match a]\nlabel = STICK\nname = Backups\n",
                      disk).wait_for("Backups")
    with open(view.path("Backups", "file"), "wb", buffering=0) as file:
        view.rewrite("[match a]\nlabel = STICK\n\nname = Other\ncolour = blue\n")
        until("it is told", lambda: f"{view.config}:5: " in view.log())
        file.write(b"goes on")
    holds("nothing changed", lambda: view.names() == {"Backups"}, 0.5)
    until("idle", lambda: not disk.mounted())
    view.rewrite("[match a]\nlabel = STICK\nname = Other\n").wait_for("Other")


def test_reload_shows_and_hides(configured, loopdev):
    """SIGHUP reloads: media appear and disappear as the new file says; the rest is not touched."""
    one, two, three = (loopdev(label=f"S{number}").plug() for number in range(3))
    view = configured(f"include = {one.kname}, {two.kname}\n").wait_for("S0", "S1")
    with open(view.path("S0", "file"), "wb", buffering=0) as file:
        view.rewrite(f"include = {one.kname}, {three.kname}\n").wait_for("S0", "S2")
        file.write(b"still open")
    everything = ", ".join(disk.kname for disk in (one, two, three))
    view.rewrite(f"include = {everything}\nexclude = {one.kname}\n"
                 "[match a]\nlabel = S2\nhidden = yes\n"
                 f"[match b]\nkernel = {two.kname}\nname = Second\n").wait_for("Second")


def test_reload_idle_timeout(configured, loopdev):
    """idle-timeout takes effect."""
    disk = loopdev(label="STICK").plug()
    view = configured("idle-timeout = 1h\n", disk).wait_for("STICK")
    os.listdir(view.path("STICK"))
    holds("mounted", disk.mounted, 0.5)
    view.rewrite("idle-timeout = 200ms\n")
    until("unmounted", lambda: not disk.mounted())
    os.listdir(view.path("STICK"))
    until("unmounted again", lambda: not disk.mounted())


def test_example_file(configured, loopdev):
    """The commented example configuration is a good one."""
    example = os.path.join(os.path.dirname(__file__), "..", "..", "examples",
                           "hotplugfs.conf")
    with open(example, encoding="utf-8") as file:
        text = file.read()
    disk = loopdev(label="STICK").plug()
    configured(text, disk).wait_for("STICK")
