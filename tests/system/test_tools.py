"""The tools that people use, on every kernel filesystem here: copies equal their source."""

import os
import subprocess

import pytest

from harness.disks import KERNEL_FILESYSTEMS
from harness.people import as_user, sh
from harness.trees import contents, make_tree, manifest
from harness.wait import until

pytestmark = pytest.mark.data


@pytest.fixture(params=KERNEL_FILESYSTEMS)
def target(request, daemon, loopdev):
    """The directory of a fresh, big enough medium of each filesystem."""
    disk = loopdev(request.param, label="STICK", size=512 << 20)
    view = daemon(disk)
    disk.plug()
    view.wait_for("STICK")
    return view.path("STICK")


@pytest.fixture
def source(work):
    directory = os.path.join(work, "source")
    os.mkdir(directory)
    return make_tree(directory)


COPIES = {
    "cp -a": 'cp -a "$1" "$2/copy"',
    "rsync -aHAX": 'rsync -aHAX "$1/" "$2/copy"',
    "rsync -aHAXS": 'rsync -aHAXS "$1/" "$2/copy"',
    "tar": 'mkdir "$2/copy"; tar --xattrs -C "$1" -cf - . | tar --xattrs -C "$2/copy" -xpf -',
    "mv": 'cp -a "$1" "$1.moved"; mv "$1.moved" "$2/copy"',
}


@pytest.mark.parametrize("how", COPIES)
def test_copy_in(source, target, how):
    """`cp -a`, `rsync -aHAX`, `tar`: trees and checksums identical to the source."""
    sh(COPIES[how], source, target)
    copy = os.path.join(target, "copy")
    assert manifest(copy) == manifest(source)
    if how in ("cp -a", "rsync -aHAXS"):
        assert os.stat(os.path.join(copy, "sparse")).st_blocks * 512 < 1 << 20


@pytest.mark.parametrize("how", ["cp -a", "rsync -aHAX", "tar"])
def test_copy_out(source, target, work, how):
    """... and back to the container's own disk."""
    sh('cp -a "$1" "$2/original"', source, target)
    out = os.path.join(work, "out")
    os.mkdir(out)
    sh(COPIES[how], os.path.join(target, "original"), out)
    assert manifest(os.path.join(out, "copy")) == manifest(source)


def test_copy_survives_replug(source, daemon, loopdev):
    """What was copied is there after eject and replug, seen through the view and natively."""
    disk = loopdev(label="STICK", size=256 << 20)
    view = daemon(disk)
    disk.plug()
    view.wait_for("STICK")
    sh('cp -a "$1" "$2/copy"', source, view.path("STICK"))
    view.eject("STICK")
    disk.unplug()
    disk.wait_unplugged()
    with disk.native() as tree:
        assert manifest(os.path.join(tree, "copy")) == manifest(source)
    view.wait_for()  # it was there for that look, too
    disk.plug()
    view.wait_for("STICK")
    assert manifest(view.path("STICK", "copy")) == manifest(source)


def test_git(target, work):
    """`git clone` from and to a medium, with commits made on it."""
    script = """
        export HOME=$2 GIT_CONFIG_NOSYSTEM=1 GIT_AUTHOR_NAME=a GIT_AUTHOR_EMAIL=a@b
        export GIT_COMMITTER_NAME=a GIT_COMMITTER_EMAIL=a@b
        git init -q $2/origin; cd $2/origin
        for i in 1 2 3 4 5 6 7 8; do seq $((i*1000)) >f$i; git add .; git commit -qm $i; done
        git clone -q file://$2/origin $1/clone; cd $1/clone; git fsck --strict
        seq 9 >mine; git add mine; git commit -qm mine; git gc -q; git fsck --strict
        git clone -q file://$1/clone $2/back; cd $2/back; git fsck --strict
        git -C $1/clone rev-parse HEAD; git rev-parse HEAD
    """
    heads = sh(script, target, work).split()
    assert len(heads) == 2 and heads[0] == heads[1]
    assert contents(os.path.join(work, "back"))["mine"] == \
        contents(os.path.join(target, "clone"))["mine"]


def test_sqlite(target):
    """SQLite in WAL mode, two writers at a time."""
    database = os.path.join(target, "db")
    sh("sqlite3 $1 'PRAGMA journal_mode=WAL; CREATE TABLE t (i INTEGER PRIMARY KEY, w, b);'", database)
    writers = [subprocess.Popen(
        ["sqlite3", database], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
        for _ in range(2)]
    for number, writer in enumerate(writers):
        writer.stdin.write(".bail on\n.timeout 30000\n" + "".join(
            f"INSERT INTO t (w, b) VALUES ({number}, randomblob(500));\n" for _ in range(300)))
        writer.stdin.close()
    assert [writer.wait(timeout=60) for writer in writers] == [0, 0]
    told = sh("sqlite3 $1 'PRAGMA integrity_check; SELECT count(*) FROM t; PRAGMA journal_mode;"
              "PRAGMA wal_checkpoint(TRUNCATE);'", database)
    assert told.split() == ["ok", "600", "wal", "0|0|0"]


@pytest.mark.parametrize("engine", ["psync", "mmap", "libaio"])
def test_fio(target, engine):
    """`fio --verify`: what is written at random is read back the same."""
    direct = ["--direct=1", "--iodepth=8"] if engine == "libaio" else []
    result = subprocess.run(
        ["fio", "--name=t", f"--directory={target}", "--size=8m", "--bs=4k-64k", "--rw=randrw",
         "--verify=crc32c", "--verify_fatal=1", "--do_verify=1", "--numjobs=2", "--fsync=32",
         f"--ioengine={engine}", "--group_reporting", "--output-format=terse", *direct],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=120, check=False)
    assert result.returncode == 0, result.stdout
    assert "verify" not in result.stdout.lower().replace("verify=", "")


def test_dd_direct(target, work):
    """`dd` direct, in and out."""
    sh("""head -c 20M /dev/urandom >$2/a
          dd if=$2/a of=$1/b bs=1M oflag=direct status=none
          dd if=$1/b of=$2/c bs=64k iflag=direct status=none
          cmp $2/a $1/b; cmp $2/a $2/c""", target, work)


def test_workload_copies(target, work):
    """The workload itself, unprivileged, copies a tree with ordinary tools."""
    os.chmod(target, 0o1777)
    tree = os.path.join(work, "mine")
    sh("mkdir -p $1/a/b; for i in 1 2 3; do seq 1000 >$1/a/b/$i; done; chown -R 1000:1000 $1", tree)
    as_user(1000, 1000, "cp", "-r", tree, target, check=True)
    assert contents(os.path.join(target, "mine")) == contents(tree)


@pytest.mark.parametrize("fstype", ["squashfs", "erofs"])
def test_read_side(source, daemon, loopdev, work, fstype):
    """squashfs and erofs: what was packed is read."""
    for name in os.listdir(source):
        if name == "fifo":
            os.unlink(os.path.join(source, name))
    disk = loopdev(fstype=None).pack(fstype, source).plug()
    view = daemon(disk)
    name = until("it is shown", view.names).pop()
    assert contents(view.path(name)) == contents(source)
    sh('rsync -a "$1/" "$2/copy"', view.path(name), work)
    assert contents(os.path.join(work, "copy")) == contents(source)
