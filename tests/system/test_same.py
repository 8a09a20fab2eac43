"""
Inside a medium every operation behaves as on the real filesystem, down to what the filesystems do
differently: each test does the same natively and through the view, and compares.
"""

import errno
import fcntl
import itertools
import mmap
import os
import stat
import subprocess
import sys
import time

import pytest

from harness.disks import KERNEL_FILESYSTEMS
from harness.wait import holds, until

pytestmark = pytest.mark.data

FSGETXATTR, FSSETXATTR = 0x801C581F, 0x401C5820
GETFLAGS, SETFLAGS, APPEND_FLAG = 0x80086601, 0x40086602, 0x20
OLD = 1_000_000_000
CLOCK_REALTIME_COARSE = 5
OWNER, GROUPS = 1000, [1000, 2000]


@pytest.fixture(params=KERNEL_FILESYSTEMS)
def same(request, daemon, loopdev):
    """Calls a function with a native directory and with one in the view; results must agree."""
    reference, disk = (loopdev(request.param, label=label) for label in ("NATIVE", "STICK"))
    view = daemon(disk, options=["--exec"])
    disk.plug()
    view.wait_for("STICK")

    def run(function):
        results = []
        for top in (native, view.path("STICK")):
            os.makedirs(os.path.join(top, "t"), exist_ok=True)
            os.chmod(os.path.join(top, "t"), 0o777)
            results.append(function(os.path.join(top, "t", "file")))
        assert results[0] == results[1], f"native {results[0]}, view {results[1]}"
        return results[0]

    with reference.native() as native:
        yield run


def make(path, content=b"content", mode=0o666, owner=0):
    with open(path, "wb") as file:
        file.write(content)
    os.chown(path, owner, owner)
    os.chmod(path, mode)
    return path


def mode(path):
    return stat.S_IMODE(os.stat(path).st_mode)


def by_owner(code, path):
    """Python code run by an ordinary user, who is a member of two groups."""
    subprocess.run([sys.executable, "-c", f"import fcntl, os, sys; path = sys.argv[1]; {code}", path],
                   user=OWNER, group=GROUPS[0], extra_groups=GROUPS, check=True, timeout=60)


def test_chown_by_the_owner(same):
    """The setgid bit stays or goes with the caller's membership in the old and the new group."""
    for bits, group in itertools.product([0o2666, 0o6666, 0o6777], GROUPS + [-1]):
        def action(path, bits=bits, group=group):
            make(path, mode=bits, owner=OWNER)
            by_owner(f"os.chown(path, {OWNER}, {group})", path)
            return mode(path)

        assert same(action) & stat.S_ISUID == 0


def make_kind(path, kind, bits):
    if kind == "link":
        os.symlink("x", path)
        return path
    {"file": make, "directory": os.mkdir, "fifo": os.mkfifo}[kind](path)
    os.chmod(path, bits)
    return path


CHOWN_NOTHING = """
import os, sys
for path in sys.argv[1:]:
    try:
        os.lchown(path, -1, -1)
        print(0)
    except OSError as error:
        print(error.errno)
"""


WITHOUT_FSETID = ["setpriv", "--bounding-set=-fsetid", "--inh-caps=-fsetid", "--"]


@pytest.mark.parametrize("user, group, before", [(0, 0, []), (OWNER, OWNER, []), (OWNER, 0, []),
                                                 (0, OWNER, WITHOUT_FSETID)])
def test_chown_of_nothing(same, user, group, before):
    """chown(-1, -1) takes set-id bits away, if the caller may, and changes the ctime. Without group
    execution setgid stays, for a member of the group and for who has CAP_FSETID."""
    kinds = list(itertools.product(["file", "directory", "fifo", "link"],
                                   [0o755, 0o6777, 0o2644]))

    def action(path):
        paths = [make_kind(f"{path}.{n}", *kind) for n, kind in enumerate(kinds)]
        writer = os.open(paths[0], os.O_WRONLY)  # a write begins with the same request
        changed = [os.lstat(each).st_ctime_ns for each in paths]
        until("the filesystem's clock has gone on",
              lambda: time.clock_gettime_ns(CLOCK_REALTIME_COARSE) > max(changed))
        told = subprocess.run([*before, sys.executable, "-c", CHOWN_NOTHING, *paths], user=user,
                              group=group, extra_groups=[], stdout=subprocess.PIPE, check=True,
                              timeout=60).stdout
        os.close(writer)
        after = [os.lstat(each) for each in paths]
        return [(*kind, int(error), stat.S_IMODE(st.st_mode), st.st_ctime_ns > time_before)
                for kind, error, st, time_before in zip(kinds, told.split(), after, changed)]

    for _, _, error, _, changed in same(action):
        assert changed == (error == 0)


CHANGES = {
    "write": "fd = os.open(path, os.O_WRONLY); os.write(fd, b'x')",
    "allocate": "fd = os.open(path, os.O_WRONLY); os.posix_fallocate(fd, 0, 100)",
    "truncate": "os.truncate(path, 3)",
    "open with O_TRUNC": "os.open(path, os.O_WRONLY | os.O_TRUNC)",
    "chown": "os.chown(path, 0, 2000)",
}


def test_changes_by_root_without_fsetid(same):
    """Root without CAP_FSETID loses a file's set-id bits by changing it, as a user does."""
    for bits, change in itertools.product([0o2666, 0o6777], CHANGES):
        def action(path, bits=bits, change=change):
            make(path, mode=bits, owner=OWNER)
            subprocess.run([*WITHOUT_FSETID, sys.executable, "-c",
                            f"import os, sys; path = sys.argv[1]; {CHANGES[change]}", path],
                           check=True, timeout=60)
            return change, mode(path)

        assert same(action)[1] & stat.S_ISUID == 0


def test_flags_set_by_the_owner(same):
    """Some filesystems take set-id bits away when the owner sets flags of a file."""
    def action(path):
        make(path, mode=0o6777, owner=OWNER)
        by_owner(f"fd = os.open(path, os.O_RDONLY); data = bytearray(28);"
                 f"fcntl.ioctl(fd, {FSGETXATTR}, data); fcntl.ioctl(fd, {FSSETXATTR}, data)", path)
        return mode(path)

    same(action)


TRUNCATIONS = ("os.truncate(path, 0)", "os.ftruncate(os.open(path, os.O_WRONLY), 0)",
               "os.open(path, os.O_WRONLY | os.O_TRUNC)", "os.open(path, os.O_RDONLY | os.O_TRUNC)")


def test_truncation(same):
    """Truncating a file that is empty already: the same set-id bits are lost, or none."""
    for content, code in itertools.product([b"", b"content"], TRUNCATIONS):
        def action(path, content=content, code=code):
            make(path, content=content, mode=0o6777)
            os.utime(path, (OLD, OLD))
            by_owner(code, path)
            return mode(path), os.stat(path).st_mtime == OLD

        assert same(action)[0] == 0o777 or not content


def test_link_after_a_truncation(same):
    """Who may link to a file depends on set-id bits (protected_hardlinks), which the kernel must not
    go on believing in when a truncation has taken them."""
    for code in TRUNCATIONS:
        def action(path, code=code):
            make(path, content=b"content", mode=0o6777)
            assert mode(path) == 0o6777
            by_owner(code, path)
            return subprocess.run(["ln", "-f", path, path + ".link"], user=OWNER + 1, group=OWNER + 1,
                                  extra_groups=[], stderr=subprocess.DEVNULL, check=False,
                                  timeout=60).returncode

        assert same(action) == 0


def test_blocks_after_a_close(same):
    """xfs gives blocks back when a file is closed that it had allocated ahead."""
    def action(path):
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT)
        for _ in range(40):
            os.write(descriptor, bytes(65536))
            os.fstat(descriptor)
        os.close(descriptor)
        until("no more than it needs", lambda: os.stat(path).st_blocks * 512 < 44 * 65536)

    same(action)


def test_refused_direct_write(same):
    """An unaligned O_DIRECT write that is refused changes the times only where it does natively."""
    def action(path):
        make(path)
        os.utime(path, (OLD, OLD))
        descriptor = os.open(path, os.O_WRONLY | os.O_DIRECT)
        with mmap.mmap(-1, 16384) as memory:
            try:
                result = os.pwritev(descriptor, [memoryview(memory)[:9999]], 0)
            except OSError as error:
                result = error.errno
        os.close(descriptor)
        return result, os.stat(path).st_mtime == OLD

    assert same(action)[0] in (errno.EINVAL, 9999)


def test_ftruncate_to_the_same_size(same):
    """After a refused O_DIRECT write too, ftruncate() to the size it has is a change."""
    def action(path):
        make(path, content=bytes(4096))
        descriptor = os.open(path, os.O_WRONLY | os.O_DIRECT)
        with mmap.mmap(-1, 16384) as memory:
            try:
                os.pwritev(descriptor, [memoryview(memory)[:9999]], 0)
            except OSError:
                pass
        os.utime(path, (OLD, OLD))
        os.ftruncate(descriptor, os.stat(path).st_size)
        os.close(descriptor)
        return os.stat(path).st_mtime == OLD

    assert same(action) is False


def set_append_only(path, on):
    descriptor = os.open(path, os.O_RDONLY)
    flags = bytearray(8)
    fcntl.ioctl(descriptor, GETFLAGS, flags)
    value = int.from_bytes(flags, sys.byteorder)
    value = value | APPEND_FLAG if on else value & ~APPEND_FLAG
    fcntl.ioctl(descriptor, SETFLAGS, value.to_bytes(8, sys.byteorder))
    os.close(descriptor)


CAPABILITY = bytes.fromhex("0100000200200000000000000000000000000000")


def removed(path):
    try:
        os.removexattr(path, "security.capability")
    except OSError as error:
        return error.errno
    return 0


def capability(path):
    try:
        return os.getxattr(path, "security.capability")
    except OSError as error:
        return error.errno


def test_capabilities_of_an_append_only_file(same):
    """A write takes them away, removexattr(2) does not: not even while the file is being written."""
    def action(path):
        make(path)
        os.setxattr(path, "security.capability", CAPABILITY)
        set_append_only(path, True)
        with open(path, "ab", buffering=0) as file:
            results = [removed(path), removed(path), capability(path)]
            results += [file.write(b"more"), capability(path), removed(path)]
        set_append_only(path, False)
        os.setxattr(path, "security.capability", CAPABILITY)
        return results + [removed(path), capability(path)]

    assert same(action) == [errno.EPERM, errno.EPERM, CAPABILITY, 4, errno.ENODATA, errno.EPERM,
                            0, errno.ENODATA]


def test_mapping_of_what_was_append_only(same):
    """A file opened while it was append-only: later a mapping of it writes where it should."""
    def action(path):
        make(path, content=b"x" * 2000)
        set_append_only(path, True)
        descriptor = os.open(path, os.O_RDWR | os.O_APPEND)
        set_append_only(path, False)
        with mmap.mmap(descriptor, 2000) as memory:
            memory[:5] = b"hello"
            memory.flush()
        os.write(descriptor, b"end")
        os.close(descriptor)
        with open(path, "rb") as file:
            return file.read()

    assert same(action) == b"hello" + b"x" * 1995 + b"end"


def test_deleted_file_after_its_last_close(same):
    """An O_PATH descriptor of a deleted file shows what was done to it until it was closed."""
    def action(path):
        make(path)
        path_only = os.open(path, os.O_PATH)
        descriptor = os.open(path, os.O_RDWR)
        os.unlink(path)
        os.fchmod(descriptor, 0o640)
        os.write(descriptor, b"x" * 9000)
        os.close(descriptor)
        holds("the size is the last one", lambda: os.fstat(path_only).st_size == 9000, 0.2)
        facts = os.fstat(path_only)
        birth = subprocess.run(["stat", "-L", "-c", "%W", f"/proc/self/fd/{path_only}"],
                               pass_fds=[path_only], stdout=subprocess.PIPE, check=True, timeout=60)
        os.close(path_only)
        return facts.st_nlink, stat.S_IMODE(facts.st_mode), int(birth.stdout) > 0

    assert same(action) == (0, 0o640, True)
