"""Images of sticks and cards, made and looked at on this machine, with no mount and no device."""

import contextlib
import os
import shutil
import subprocess
import tempfile

from . import hfsplus

MIB = 1 << 20
START = MIB
"""Where the partition of a partitioned image begins."""

TYPES = {"dos": {"vfat": "c", "exfat": "7", "ntfs": "7", "hfsplus": "af"}, "gpt": {}}
"""Partition types of sfdisk where they are not the one for Linux filesystems."""


class Format:
    """
    How a filesystem is made and checked: a command, in which {label} and {image} are filled in, or a
    function of these two. full: it is made with what is in it. program: a driver where the kernel
    has none.
    """

    def __init__(self, size, make, check=None, writable=True, kernel_types=None,
                 full=False, program=None):
        self.size = size
        self.make = make
        self.check = check
        self.full = full
        self.writable = writable
        self.kernel_types = kernel_types
        self.program = program


def make_hfsplus(label, image):
    hfsplus.make(image, label, os.urandom(8))


def check_hfsplus(image):
    return "\n".join(hfsplus.faults(image)) or None


FORMATS = {
    "vfat": Format(96 * MIB, "mkfs.vfat -F 32 -n {label} {image}", "fsck.vfat -n {image}"),
    "exfat": Format(96 * MIB, "mkfs.exfat -L {label} {image}", "fsck.exfat -n {image}"),
    "ntfs": Format(96 * MIB, "mkntfs -q -F -f -L {label} {image}", "ntfsfix -n {image}",
                   kernel_types=("ntfs3", "ntfs"), program="ntfs-3g"),
    "ext4": Format(96 * MIB, "mkfs.ext4 -q -F -L {label} {image}", "e2fsck -f -n {image}"),
    "btrfs": Format(128 * MIB, "mkfs.btrfs -q -L {label} {image}", "btrfs check -q {image}"),
    "xfs": Format(300 * MIB, "mkfs.xfs -q -L {label} {image}", "xfs_repair -n {image}"),
    "f2fs": Format(128 * MIB, "mkfs.f2fs -q -l {label} {image}", "fsck.f2fs --dry-run {image}"),
    "iso9660": Format(0, "xorriso -as mkisofs -quiet -V {label} -o {image} {tree}",
                      writable=False, kernel_types=("isofs", "iso9660"), full=True),
    "udf": Format(96 * MIB, "mkudffs -b 512 --label={label} {image}", writable=False),
    "hfsplus": Format(96 * MIB, make_hfsplus, check_hfsplus),
}
TOOLS = {name: form.make.split()[0] for name, form in FORMATS.items() if isinstance(form.make, str)}
CONTENT = {f"tree/{number}": 2 * MIB for number in range(1, 5)} | {"kept": MIB}
"""Of what is made with what is in it: files and their sizes."""


def pattern(size, seed):
    """Bytes that differ in every block and for every seed."""
    return b"".join(b"%015d\n" % (seed * 1000003 + number) for number in range(size // 16))


def run(command, check=True, text=None):
    """text: what it reads."""
    result = subprocess.run(command, shell=isinstance(command, str), stdout=subprocess.PIPE,
                            stderr=subprocess.STDOUT, text=True, errors="replace", check=False,
                            input=text or "")
    assert not check or result.returncode == 0, f"{command}: {result.stdout}"
    return result.returncode, result.stdout


def fill(directory):
    for name, size in CONTENT.items():
        path = os.path.join(directory, name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "wb") as file:
            file.write(pattern(size, 1))


class Image:
    """
    An image file with one filesystem; table: None (superfloppy), "dos" or "gpt". others: further
    partitions, a filesystem and a label for each.
    """

    def __init__(self, directory, fstype, label, table=None, size=None, others=()):
        self.fstype = fstype
        self.label = label
        self.labels = [label] + [name for _, name in others]
        self.table = table
        self.format = FORMATS[fstype]
        self.length = 0  # of the first partition, whole MiB
        handle, self.path = tempfile.mkstemp(dir=directory, suffix=f".{fstype}")
        os.close(handle)
        with tempfile.TemporaryDirectory(dir=directory) as work:
            parts = [self._make(work, fstype, label, size)]
            parts += [self._make(work, *other, None) for other in others]
            if table:
                self._partition(parts)
            else:
                os.rename(parts[0][1], self.path)

    @staticmethod
    def _make(work, fstype, label, size):
        """Returns the filesystem's type, and the file that it is in."""
        form = FORMATS[fstype]
        part, tree = os.path.join(work, label), os.path.join(work, f"{label}-tree")
        with open(part, "wb") as file:
            file.truncate(size or form.size)
        if form.full:
            fill(tree)
        if callable(form.make):
            form.make(label, part)
        else:
            run(form.make.format(label=label, image=part, tree=tree))
        return fstype, part

    def _partition(self, parts):
        lines, start = [f"label: {self.table}"], START
        self.length = os.stat(parts[0][1]).st_size
        with open(self.path, "wb") as file:
            file.truncate(START + sum(os.stat(part).st_size for _, part in parts) + MIB)
        for fstype, part in parts:
            length, kind = os.stat(part).st_size, TYPES[self.table].get(fstype)
            lines.append(f"start={start // 512}, size={length // 512}" +
                         (f", type={kind}" if kind else ""))
            run(["dd", f"if={part}", f"of={self.path}", "bs=1M", f"seek={start // MIB}",
                 "conv=sparse,notrunc", "status=none"])
            start += length
        run(["sfdisk", "--no-tell-kernel", "-q", self.path], text="\n".join(lines))

    @contextlib.contextmanager
    def filesystem(self):
        """A file with the filesystem alone."""
        with tempfile.TemporaryDirectory(dir=os.path.dirname(self.path)) as work:
            part = self.path
            if self.table:
                part = os.path.join(work, "part")
                run(["dd", f"if={self.path}", f"of={part}", "bs=1M", "skip=1", "conv=sparse",
                     f"count={self.length // MIB}", "status=none"])
            yield part

    def fault(self):
        """What the filesystem's own checker, which changes nothing, finds; None if all is well."""
        with self.filesystem() as part:
            if callable(self.format.check):
                return self.format.check(part)
            status, text = run(self.format.check.format(image=part), check=False)
        return None if status == 0 else text

    def has_lost(self, name):
        """Whether the kernel's own way of writing has lost a name in the root directory: it does not
        write in an order that is safe, and this can be told from the image."""
        if self.fstype != "hfsplus":
            return False
        with self.filesystem() as part:
            return hfsplus.lost(part, name)

    def copy(self):
        other = f"{self.path}.copy"
        run(["cp", "--sparse=always", self.path, other])
        return other

    def remove(self):
        """May be called again."""
        for path in (self.path, f"{self.path}.copy"):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(path)


def tool_missing(fstype):
    path = f"{os.environ['PATH']}:/usr/sbin:/sbin"
    return fstype in TOOLS and shutil.which(TOOLS[fstype], path=path) is None
