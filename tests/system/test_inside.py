"""Inside a medium every operation behaves as on the real filesystem."""

import ctypes
import errno
import fcntl
import mmap
import os
import stat
import struct

import pytest

from harness import kernel
from harness.disks import KERNEL_FILESYSTEMS
from harness.people import as_user, sh
from harness.wait import until

pytestmark = pytest.mark.data

RENAME_NOREPLACE, RENAME_EXCHANGE = 1, 2
AT_FDCWD, AT_SYMLINK_FOLLOW = -100, 0x400


@pytest.fixture(params=KERNEL_FILESYSTEMS)
def inside(request, daemon, loopdev):
    """A directory in a fresh medium of each filesystem; noexec is the only difference."""
    disk = loopdev(request.param, label="STICK")
    view = daemon(disk, options=["--exec"])
    disk.plug()
    view.wait_for("STICK")
    directory = view.path("STICK", "t")
    os.mkdir(directory)
    os.chmod(directory, 0o777)
    return directory


def in_dir(directory, name="file"):
    return os.path.join(directory, name)


def put(path, content=b"content"):
    with open(path, "wb") as file:
        file.write(content)
    return path


def get(path):
    with open(path, "rb") as file:
        return file.read()


def rename2(old, new, flags):
    kernel.call("renameat2", AT_FDCWD, os.fsencode(old), AT_FDCWD, os.fsencode(new), flags)


def fails(expected, function, *args):
    with pytest.raises(OSError) as failure:
        function(*args)
    assert failure.value.errno == expected, failure.value


def test_hard_links(inside):
    """Hard links: one file under two names; the count falls when one goes."""
    first = put(in_dir(inside, "first"))
    os.mkdir(in_dir(inside, "d"))
    second = in_dir(inside, "d/second")
    os.link(first, second)
    assert os.path.samefile(first, second) and os.stat(first).st_nlink == 2
    put(second, b"changed")
    assert get(first) == b"changed"
    os.unlink(first)
    assert os.stat(second).st_nlink == 1 and get(second) == b"changed"


def test_rename_flags(inside):
    """Rename flags: NOREPLACE, EXCHANGE."""
    one, two = put(in_dir(inside, "1"), b"1"), put(in_dir(inside, "2"), b"2")
    fails(errno.EEXIST, rename2, one, two, RENAME_NOREPLACE)
    rename2(one, two, RENAME_EXCHANGE)
    assert (get(one), get(two)) == (b"2", b"1")
    rename2(one, in_dir(inside, "3"), RENAME_NOREPLACE)
    assert sorted(os.listdir(inside)) == ["2", "3"]
    fails(errno.EINVAL, rename2, two, in_dir(inside, "3"), RENAME_NOREPLACE | RENAME_EXCHANGE)


def test_rename_of_a_tree_with_open_files(inside):
    """A directory is renamed; what is open or cached below it goes on under the new path."""
    os.makedirs(in_dir(inside, "a/b/c"))
    path = put(in_dir(inside, "a/b/c/file"))
    with open(path, "r+b") as file:
        os.rename(in_dir(inside, "a"), in_dir(inside, "z"))
        assert file.read() == b"content"
        file.write(b"+")
    assert get(in_dir(inside, "z/b/c/file")) == b"content+"
    fails(errno.ENOENT, os.stat, path)
    fails(errno.EINVAL, os.rename, in_dir(inside, "z"), in_dir(inside, "z/b/y"))


def test_sparse(inside):
    """Sparse files: SEEK_HOLE and SEEK_DATA tell the holes, and they cost no space."""
    path = in_dir(inside)
    with open(path, "wb") as file:
        file.truncate(16 << 20)
        os.pwrite(file.fileno(), b"x" * 65536, 8 << 20)
        os.fsync(file.fileno())
        assert os.lseek(file.fileno(), 0, os.SEEK_DATA) == 8 << 20
        assert os.lseek(file.fileno(), 8 << 20, os.SEEK_HOLE) == (8 << 20) + 65536
        fails(errno.ENXIO, os.lseek, file.fileno(), 9 << 20, os.SEEK_DATA)
    assert os.stat(path).st_blocks * 512 < 1 << 20


def test_xattrs(inside):
    """Extended attributes: set, listed, replaced, removed, refused as on the real one."""
    path = put(in_dir(inside))
    os.setxattr(path, "user.one", b"\0binary\xff")
    assert os.getxattr(path, "user.one") == b"\0binary\xff" and os.listxattr(path) == ["user.one"]
    fails(errno.EEXIST, lambda: os.setxattr(path, "user.one", b"", os.XATTR_CREATE))
    fails(errno.ENODATA, lambda: os.setxattr(path, "user.two", b"", os.XATTR_REPLACE))
    os.removexattr(path, "user.one")
    fails(errno.ENODATA, os.getxattr, path, "user.one")
    fails(errno.EOPNOTSUPP, os.setxattr, path, "nonsense.one", b"1")
    os.setxattr(path, "trusted.mine", b"root only")
    user = as_user(1000, 1000, "getfattr", "-d", "-m", "-", path, check=True)
    assert "trusted" not in user.stdout
    contained = sh("setpriv --bounding-set=-all --inh-caps=-all getfattr -d -m - $1", path)
    assert "trusted" not in contained and "trusted" in sh("getfattr -d -m - $1", path)


def test_acls(inside):
    """ACLs are kept, inherited and obeyed."""
    sh("setfacl -m u:1234:r,d:u:1234:rwx $1 && echo secret >$1/f && chmod 640 $1/f"
       " && setfacl -m u:1234:r $1/f", inside)
    assert "user:1234:r--" in sh("getfacl -np $1/f", inside)
    assert "default:user:1234:rwx" in sh("getfacl -np $1", inside)
    sh("chmod 755 $1 && setfacl -m u:1234:rx $1 && mkdir $1/sub", inside)
    assert "user:1234:rwx" in sh("getfacl -np $1/sub", inside)
    assert as_user(1234, 1234, "cat", in_dir(inside, "f")).stdout == "secret\n"
    assert as_user(1235, 1235, "cat", in_dir(inside, "f")).returncode != 0


def test_mmap(inside):
    """Shared mappings: what is written in one is seen in another, in read() and on the disk."""
    path = put(in_dir(inside), bytes(1 << 20))
    with open(path, "r+b") as one, open(path, "r+b") as two:
        with mmap.mmap(one.fileno(), 0) as writer, mmap.mmap(two.fileno(), 0) as reader:
            writer[500_000:500_005] = b"hello"
            assert reader[500_000:500_005] == b"hello"
            assert os.pread(two.fileno(), 5, 500_000) == b"hello"
            os.pwrite(two.fileno(), b"there", 600_000)
            assert writer[600_000:600_005] == b"there"
            writer.flush()
    assert get(path)[500_000:500_005] == b"hello"


def test_posix_locks(inside):
    """fcntl locks exclude other processes and go with the descriptor."""
    path = put(in_dir(inside))
    taken = "flock -n $1 true"
    with open(path, "r+b") as file:
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB, 10, 0)
        probe = ["/usr/bin/python3", "-c",
                 "import fcntl,sys\nf=open(sys.argv[1],'r+b')\n"
                 "fcntl.lockf(f, fcntl.LOCK_EX|fcntl.LOCK_NB, 10, int(sys.argv[2]))"]
        assert as_user(0, 0, *probe, path, "0").returncode != 0
        assert as_user(0, 0, *probe, path, "10").returncode == 0
    assert as_user(0, 0, *probe, path, "0").returncode == 0
    with open(path, "rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        assert sh(taken, path, check=False).returncode == 1
    assert sh(taken, path, check=False).returncode == 0


def test_open_flags(inside):
    """O_EXCL, O_APPEND, O_TRUNC, O_NOFOLLOW, O_DIRECTORY."""
    path = put(in_dir(inside))
    fails(errno.EEXIST, os.open, path, os.O_CREAT | os.O_EXCL)
    fails(errno.ENOTDIR, os.open, path, os.O_DIRECTORY)
    os.symlink("file", in_dir(inside, "link"))
    fails(errno.ELOOP, os.open, in_dir(inside, "link"), os.O_NOFOLLOW)
    one, two = (os.open(path, os.O_WRONLY | os.O_APPEND) for _ in range(2))
    for descriptor in (one, two, one):
        os.write(descriptor, b"+")
    os.close(one)
    os.close(two)
    assert get(path) == b"content+++"
    os.close(os.open(path, os.O_WRONLY | os.O_TRUNC))
    assert get(path) == b""


def test_tmpfile(inside):
    """O_TMPFILE: a file without a name, that can be given one."""
    descriptor = os.open(inside, os.O_TMPFILE | os.O_RDWR, 0o600)
    os.write(descriptor, b"unnamed")
    assert os.listdir(inside) == [] and os.fstat(descriptor).st_nlink == 0
    kernel.call("linkat", AT_FDCWD, b"/proc/self/fd/%d" % descriptor, AT_FDCWD,
                os.fsencode(in_dir(inside)), AT_SYMLINK_FOLLOW)
    os.close(descriptor)
    assert get(in_dir(inside)) == b"unnamed"


def test_direct_io(inside):
    """O_DIRECT: aligned works, and what is written is there; unaligned is EINVAL."""
    path = in_dir(inside)
    with mmap.mmap(-1, 65536) as buffer:
        buffer[:] = bytes(range(256)) * 256
        descriptor = os.open(path, os.O_CREAT | os.O_RDWR | os.O_DIRECT)
        assert os.pwritev(descriptor, [buffer], 0) == 65536
        again = mmap.mmap(-1, 65536)
        assert os.preadv(descriptor, [again], 0) == 65536
        assert again[:] == buffer[:]
        again.close()
        os.close(descriptor)
    assert get(path) == bytes(range(256)) * 256


def fallocate(descriptor, mode, offset, length):
    kernel.call("fallocate", descriptor, mode, ctypes.c_long(offset), ctypes.c_long(length))


def test_fallocate(inside):
    """fallocate: allocate, keep size, punch a hole, zero a range."""
    keep_size, punch, zero = 1, 2, 16
    path = put(in_dir(inside), b"x" * 65536)
    with open(path, "r+b") as file:
        fallocate(file.fileno(), keep_size, 0, 1 << 20)
        assert os.stat(path).st_size == 65536
        fallocate(file.fileno(), 0, 0, 1 << 20)
        assert os.stat(path).st_size == 1 << 20 and os.stat(path).st_blocks * 512 >= 1 << 20
        fallocate(file.fileno(), punch | keep_size, 4096, 8192)
        fallocate(file.fileno(), zero, 20480, 4096)
    content = get(path)
    assert content[:4096] == b"x" * 4096 and content[4096:12288] == bytes(8192)
    assert content[12288:20480] == b"x" * 8192 and content[20480:24576] == bytes(4096)


def test_copy_file_range(inside):
    """copy_file_range inside a medium, also between overlapping parts of two files."""
    source, target = put(in_dir(inside, "a"), os.urandom(300_000)), in_dir(inside, "b")
    os.utime(source, (1, 1))
    with open(source, "rb") as one, open(target, "wb") as two:
        assert os.stat(source).st_atime == 1
        copied = 0
        while copied < 300_000:
            copied += os.copy_file_range(one.fileno(), two.fileno(), 300_000 - copied)
        told = os.stat(source).st_atime  # a reflink reads nothing
        assert int(told) == int(sh("stat --cached=never --format=%X $1", source))
    assert get(source) == get(target)


def test_unlinked_but_open(inside):
    """Unlinked but open files: read, written, extended, stat'ed and gone at the end."""
    path = put(in_dir(inside))
    free = os.statvfs(inside).f_ffree
    with open(path, "r+b") as file:
        os.unlink(path)
        put(path, b"another file of this name")
        file.seek(0, os.SEEK_END)
        file.write(b" and more")
        file.flush()
        assert os.fstat(file.fileno()).st_nlink == 0
        assert os.fstat(file.fileno()).st_size == 16
        os.fchmod(file.fileno(), 0o600)
        os.ftruncate(file.fileno(), 3)
        assert os.pread(file.fileno(), 100, 0) == b"con"
        assert stat.S_IMODE(os.fstat(file.fileno()).st_mode) == 0o600
        assert get(path) == b"another file of this name"
    os.unlink(path)
    if free:
        until("the inode is free again", lambda: os.statvfs(inside).f_ffree >= free)


def test_removed_directory(inside):
    """A directory that was removed while somebody was in it."""
    os.mkdir(in_dir(inside, "d"))
    descriptor = os.open(in_dir(inside, "d"), os.O_RDONLY)
    os.rmdir(in_dir(inside, "d"))
    assert os.listdir(descriptor) == []
    fails(errno.ENOENT, lambda: os.open("new", os.O_CREAT | os.O_WRONLY, dir_fd=descriptor))
    os.close(descriptor)


def test_special_files(inside):
    """A fifo works between processes, a socket can be bound, a device node does not open (nodev)."""
    fifo = in_dir(inside, "fifo")
    os.mkfifo(fifo)
    assert sh('echo through >"$1" & cat "$1"', fifo) == "through\n"
    os.mknod(in_dir(inside, "null"), stat.S_IFCHR | 0o666, os.makedev(1, 3))
    assert os.stat(in_dir(inside, "null")).st_rdev == os.makedev(1, 3)
    fails(errno.EACCES, os.open, in_dir(inside, "null"), os.O_RDONLY)


def test_times(inside):
    """Timestamps with nanoseconds, before 1970, and kept by reads of others."""
    path = put(in_dir(inside))
    os.utime(path, ns=(1_234_567_890_123_456_789, -86_400_000_000_001))
    facts = os.stat(path)
    assert (facts.st_atime_ns, facts.st_mtime_ns) == (1_234_567_890_123_456_789,
                                                      -86_400_000_000_001)
    before = os.stat(path).st_ctime_ns
    os.chmod(path, 0o600)
    assert os.stat(path).st_ctime_ns >= before


def test_set_id_bits_are_taken_away(inside):
    """A write by somebody else takes the set-id bits away."""
    path = put(in_dir(inside))
    os.chmod(path, 0o6777)
    as_user(1000, 1000, "sh", "-c", 'echo x >>"$1"', "sh", path, check=True)
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o777
    os.chmod(path, 0o6777)
    os.chown(path, 5, 5)
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o777


def test_permissions(inside):
    """Permissions of the real files hold: sticky directories, setgid directories, modes."""
    secret = put(in_dir(inside, "secret"))
    os.chmod(secret, 0o600)
    assert as_user(1000, 1000, "cat", secret).returncode != 0
    os.chmod(inside, 0o1777)
    assert as_user(1000, 1000, "rm", "-f", secret).returncode != 0
    shared = in_dir(inside, "shared")
    os.mkdir(shared)
    os.chown(shared, 0, 77)
    os.chmod(shared, 0o2777)
    as_user(1000, 1000, "sh", "-c", 'umask 027; mkdir "$1/d"; echo >"$1/f"', "sh", shared, check=True)
    directory, file = os.stat(in_dir(shared, "d")), os.stat(in_dir(shared, "f"))
    assert (directory.st_uid, directory.st_gid, stat.S_IMODE(directory.st_mode)) == \
        (1000, 77, 0o2750)
    assert (file.st_uid, file.st_gid, stat.S_IMODE(file.st_mode)) == (1000, 77, 0o640)


def test_long_names(inside):
    """A name of 255 bytes works, one of 256 is ENAMETOOLONG; paths deeper than PATH_MAX too."""
    put(in_dir(inside, "n" * 255))
    assert os.listdir(inside) == ["n" * 255]
    fails(errno.ENAMETOOLONG, os.stat, in_dir(inside, "n" * 256))
    descriptor = os.open(inside, os.O_RDONLY)
    for _ in range(20):
        os.mkdir("d" * 250, dir_fd=descriptor)
        deeper = os.open("d" * 250, os.O_RDONLY, dir_fd=descriptor)
        os.close(descriptor)
        descriptor = deeper
    file = os.open("deep", os.O_CREAT | os.O_RDWR, dir_fd=descriptor)
    os.write(file, b"deep")
    assert os.pread(file, 9, 0) == b"deep"
    assert os.fstat(file).st_ino == os.stat("deep", dir_fd=descriptor).st_ino
    os.close(file)
    os.close(descriptor)
    sh("rm -r $1/ddd*", inside)


def test_big_directory(inside):
    """A directory with many entries is listed completely, also when it changes meanwhile."""
    for number in range(3000):
        os.mknod(in_dir(inside, f"{number:05}"))
    assert len(os.listdir(inside)) == 3000
    with os.scandir(inside) as entries:
        seen = {next(entries).name for _ in range(10)}
        for number in range(2000, 3000):
            os.unlink(in_dir(inside, f"{number:05}"))
        seen |= {entry.name for entry in entries}
    assert {f"{number:05}" for number in range(2000)} <= seen
    assert len(os.listdir(inside)) == 2000


def test_full_disk(inside):
    """ENOSPC reaches the writer, and the disk works again after a deletion."""
    path = in_dir(inside)
    chunk = bytes(1 << 20)
    with pytest.raises(OSError) as failure:
        with open(path, "wb", buffering=0) as file:
            for _ in range(400):
                file.write(os.urandom(4096) + chunk[4096:])
                os.fsync(file.fileno())
    assert failure.value.errno == errno.ENOSPC
    os.unlink(path)
    until("there is room again", lambda: sh("head -c 2M /dev/urandom >$1 && sync $1", path,
                                            check=False).returncode == 0)


def test_inode_flags(inside):
    """chattr +i and +a are the real filesystem's."""
    path = put(in_dir(inside))
    if sh("chattr +i $1", path, check=False).returncode:
        return
    try:
        assert "i" in sh("lsattr $1", path).split()[0]
        fails(errno.EPERM, os.unlink, path)
    finally:
        sh("chattr -i $1", path)


def test_pipe_and_sendfile(inside):
    """splice and sendfile in and out."""
    source = put(in_dir(inside, "a"), os.urandom(200_000))
    sh('cat "$1" | cat >"$1.copy"; cmp "$1" "$1.copy"', source)
    with open(source, "rb") as one, open(in_dir(inside, "b"), "wb") as two:
        done = 0
        while done < 200_000:
            done += os.sendfile(two.fileno(), one.fileno(), done, 200_000 - done)
    assert get(in_dir(inside, "b")) == get(source)


def test_execution(inside):
    """With --exec a program on the medium can be run."""
    sh("cp /bin/true $1/program; $1/program", inside)


def test_statfs(daemon, loopdev):
    """statfs of that filesystem."""
    disk = loopdev(label="STICK")
    with disk.native() as tree:
        native = os.statvfs(tree)
    view = daemon(disk)
    disk.plug()
    view.wait_for("STICK")
    early = os.statvfs(view.path("STICK"))
    assert early.f_blocks * early.f_frsize == pytest.approx(native.f_blocks * native.f_frsize,
                                                           rel=0.05)
    os.listdir(view.path("STICK"))
    seen = os.statvfs(view.path("STICK"))
    fields = ("f_bsize", "f_frsize", "f_blocks", "f_bfree", "f_bavail", "f_files", "f_ffree",
              "f_namemax")
    assert {name: getattr(seen, name) for name in fields} == \
        {name: getattr(native, name) for name in fields}


def test_exdev(daemon, loopdev):
    """Across media: EXDEV."""
    disks = [loopdev(label="ONE"), loopdev("xfs", label="TWO")]
    view = daemon(*disks)
    for disk in disks:
        disk.plug()
    view.wait_for("ONE", "TWO")
    path = put(view.path("ONE", "file"))
    fails(errno.EXDEV, os.rename, path, view.path("TWO", "file"))
    fails(errno.EXDEV, os.link, path, view.path("TWO", "file"))
    fails(errno.EXDEV, rename2, path, put(view.path("TWO", "other")), RENAME_EXCHANGE)
    sh("mv $1 $2 && test ! -e $1 && test -e $2/file", path, view.path("TWO"))


def test_noexec_by_default(daemon, loopdev):
    """`noexec` by default for the view, always `nosuid,nodev`."""
    disk = loopdev(label="STICK").plug()
    view = daemon(disk).wait_for("STICK")
    assert sh("cp /bin/true $1/p; $1/p", view.path("STICK"), check=False).returncode == 126
    flags = os.statvfs(view.media).f_flag
    assert flags & os.ST_NOSUID and flags & os.ST_NODEV and flags & os.ST_NOEXEC


def test_ioctl_that_fuse_has_not(inside):
    """FIEMAP and other ioctls the kernel does not hand to a FUSE server fail; they do not hang."""
    with open(put(in_dir(inside)), "rb") as file:
        with pytest.raises(OSError):
            fcntl.ioctl(file, 0xC020660B, struct.pack("<QQIIII", 0, 1 << 20, 0, 0, 0, 0))
