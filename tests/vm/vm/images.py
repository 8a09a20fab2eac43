"""Images of sticks and cards, made and looked at on this machine, with no mount and no device."""

import os
import shutil
import subprocess
import tempfile

MIB = 1 << 20
START = MIB
"""Where the partition of a partitioned image begins."""

TYPES = {"dos": {"vfat": "c", "exfat": "7", "ntfs": "7"}, "gpt": {}}
"""Partition types of sfdisk where they are not the one for Linux filesystems."""


class Format:
    """How a filesystem is made and checked; {label} and {image} are filled in."""

    def __init__(self, size, make, check=None, clean=0, writable=True, kernel_types=None):
        self.size = size
        self.make = make
        self.check = check
        self.clean = clean
        self.writable = writable
        self.kernel_types = kernel_types


FORMATS = {
    "vfat": Format(96 * MIB, "mkfs.vfat -F 32 -n {label} {image}", "fsck.vfat -n {image}"),
    "exfat": Format(96 * MIB, "mkfs.exfat -L {label} {image}", "fsck.exfat -n {image}"),
    "ntfs": Format(96 * MIB, "mkntfs -q -F -f -L {label} {image}", "ntfsfix -n {image}",
                   kernel_types=("ntfs3", "ntfs")),
    "ext4": Format(96 * MIB, "mkfs.ext4 -q -F -L {label} {image}", "e2fsck -f -n {image}"),
    "btrfs": Format(128 * MIB, "mkfs.btrfs -q -L {label} {image}", "btrfs check -q {image}"),
    "xfs": Format(300 * MIB, "mkfs.xfs -q -L {label} {image}", "xfs_repair -n {image}"),
    "f2fs": Format(128 * MIB, "mkfs.f2fs -q -l {label} {image}", "fsck.f2fs --dry-run {image}"),
    "iso9660": Format(0, "xorriso -as mkisofs -quiet -V {label} -o {image} {tree}",
                      writable=False, kernel_types=("isofs", "iso9660")),
    "udf": Format(96 * MIB, "mkudffs -b 512 --label={label} {image}", writable=False),
}
TOOLS = {name: form.make.split()[0] for name, form in FORMATS.items()}


def run(command, check=True):
    result = subprocess.run(command, shell=isinstance(command, str), stdout=subprocess.PIPE,
                            stderr=subprocess.STDOUT, text=True, errors="replace", check=False,
                            stdin=subprocess.DEVNULL)
    assert not check or result.returncode == 0, f"{command}: {result.stdout}"
    return result.returncode, result.stdout


class Image:
    """An image file with one filesystem; table: None (superfloppy), "dos" or "gpt"."""

    def __init__(self, directory, fstype, label, table=None, size=None):
        self.fstype = fstype
        self.label = label
        self.table = table
        self.format = FORMATS[fstype]
        self.length = 0  # of the partition, whole MiB
        handle, self.path = tempfile.mkstemp(dir=directory, suffix=f".{fstype}")
        os.close(handle)
        with tempfile.TemporaryDirectory(dir=directory) as work:
            self._make(work, size or self.format.size)

    def _make(self, work, size):
        part = os.path.join(work, "part") if self.table else self.path
        tree = os.path.join(work, "tree")
        os.mkdir(tree)
        with open(os.path.join(tree, "hello"), "w", encoding="ascii") as hello:
            hello.write("hello\n")
        with open(part, "wb") as file:
            file.truncate(size)
        run(self.format.make.format(label=self.label, image=part, tree=tree))
        if self.table:
            self._partition(part)

    def _partition(self, part):
        kind = TYPES[self.table].get(self.fstype)
        self.length = os.stat(part).st_size
        with open(self.path, "wb") as file:
            file.truncate(START + self.length + MIB)
        line = f"start={START // 512}, size={self.length // 512}" + (f", type={kind}" if kind else "")
        run(f"printf 'label: {self.table}\\n{line}\\n' | sfdisk -q {self.path}")
        run(["dd", f"if={part}", f"of={self.path}", "bs=1M", "seek=1", "conv=sparse,notrunc",
             "status=none"])

    def fault(self):
        """What the filesystem's own checker, which changes nothing, finds; None if all is well."""
        with tempfile.TemporaryDirectory(dir=os.path.dirname(self.path)) as work:
            part = self.path
            if self.table:
                part = os.path.join(work, "part")
                run(["dd", f"if={self.path}", f"of={part}", "bs=1M", "skip=1", "conv=sparse",
                     f"count={self.length // MIB}", "status=none"])
            status, text = run(self.format.check.format(image=part), check=False)
        return None if status == 0 else text

    def copy(self):
        other = f"{self.path}.copy"
        run(["cp", "--sparse=always", self.path, other])
        return other

    def remove(self):
        os.unlink(self.path)


def tool_missing(fstype):
    return shutil.which(TOOLS[fstype], path=f"{os.environ['PATH']}:/usr/sbin:/sbin") is None
