"""
Kernels as distributions ship them, and the small first root that starts one.

They come from the archive that apt of this machine already uses, its signatures checked, with the
suite changed; apt's own state is left alone.
"""

import contextlib
import fcntl
import glob
import gzip
import lzma
import os
import re
import shutil
import subprocess

SUITES = ("bookworm", "trixie", "trixie-backports")
"""Linux 6.1 without passthrough, 6.12 with it, 7."""

FIRST_MODULES = ("virtio_pci", "virtio_console", "9p", "9pnet_virtio", "overlay")
"""What the root filesystem and the channel need; everything else is loaded from there."""

HERE = os.path.dirname(os.path.abspath(__file__))


def run(*command, **options):
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, **options).stdout


def archive():
    """The address and the keys of the archive that this machine installs from."""
    targets = run("apt-get", "indextargets", "--format", "$(REPO_URI) $(RELEASE) $(SIGNED_BY)",
                  "Created-By: Packages", "Component: main")
    release = re.search(r"^VERSION_CODENAME=(\w+)", open("/etc/os-release").read(), re.MULTILINE)[1]
    for line in targets.splitlines():
        address, suite, *_ = line.split()
        if suite == release:
            return address
    raise RuntimeError("apt has no sources")


class Apt:
    """apt-get with an own state, so that another suite leaves the machine as it is."""

    def __init__(self, directory, suite):
        self.directory = directory
        for name in ("lists/partial", "archives/partial"):
            os.makedirs(os.path.join(directory, name), exist_ok=True)
        keys = "/usr/share/keyrings/debian-archive-keyring.gpg"
        self._write("sources", f"deb [signed-by={keys}] {archive()} {suite} main\n")
        self._write("status", "")
        settings = {"Dir::State": directory, "Dir::State::Lists": f"{directory}/lists",
                    "Dir::State::status": f"{directory}/status", "Dir::Cache": directory,
                    "Dir::Etc::SourceList": f"{directory}/sources",
                    "Dir::Etc::SourceParts": "/dev/null", "APT::Sandbox::User": "root",
                    "Acquire::Languages": "none"}
        self.options = [word for key, value in settings.items() for word in ("-o", f"{key}={value}")]
        self.get("-qq", "update")

    def _write(self, name, text):
        with open(os.path.join(self.directory, name), "w", encoding="ascii") as file:
            file.write(text)

    def get(self, *arguments):
        return run("apt-get", *self.options, *arguments, cwd=self.directory, stderr=subprocess.PIPE)

    def depends(self, package, pattern):
        """The packages that this one needs, as far as their names match."""
        lines = run("apt-cache", *self.options, "depends", package).splitlines()
        found = [line.split()[-1] for line in lines if line.strip().startswith("Depends:")]
        return [name for name in found if re.fullmatch(pattern, name)]


@contextlib.contextmanager
def alone(path):
    """While another session does the same, it is waited for."""
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "w", encoding="ascii") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


class Kernel:
    """One kernel, unpacked below a directory that is kept from run to run."""

    def __init__(self, directory, suite):
        self.suite = suite
        self.directory = os.path.join(directory, suite)
        self.tree = os.path.join(self.directory, "tree")
        with alone(f"{self.directory}.lock"):
            if not os.path.exists(os.path.join(self.directory, "complete")):
                self._fetch()
        found = glob.glob(f"{self.tree}/lib/modules/*") + glob.glob(f"{self.tree}/usr/lib/modules/*")
        self.modules = found[0]
        self.version = os.path.basename(self.modules)
        places = (f"{self.tree}/boot/vmlinuz-{self.version}", f"{self.modules}/vmlinuz")
        self.image = next(path for path in places if os.path.exists(path))
        self.first_root = os.path.join(self.directory, "first-root.gz")
        self._make_first_root()

    def _fetch(self):
        shutil.rmtree(self.directory, ignore_errors=True)
        apt = Apt(os.path.join(self.directory, "apt"), self.suite)
        wanted = apt.depends("linux-image-amd64", r"linux-image-\d.*")
        wanted += apt.depends(wanted[0], r"linux-(binary|modules|base)-\d.*")  # newer ones are split
        apt.get("-qq", "download", *dict.fromkeys(wanted))
        for package in glob.glob(f"{apt.directory}/linux-*.deb"):
            run("dpkg", "-x", package, self.tree)
        modules = (glob.glob(f"{self.tree}/lib/modules/*") +
                   glob.glob(f"{self.tree}/usr/lib/modules/*"))[0]
        run("depmod", "-b", modules.partition("/lib/modules/")[0], os.path.basename(modules))
        shutil.rmtree(apt.directory)
        with open(os.path.join(self.directory, "complete"), "w", encoding="ascii"):
            pass

    def _first_modules(self):
        """Files of the modules in the order in which they can be loaded."""
        base = self.modules.partition("/lib/modules/")[0]
        files = {}
        for name in FIRST_MODULES:
            for line in run("modprobe", "-d", base, "-S", self.version, "--show-depends",
                            name).splitlines():
                kind, _, path = line.strip().partition(" ")
                if kind == "insmod":
                    files[path.split()[0]] = True
        return list(files)

    def _make_first_root(self):
        archive_file = Cpio()
        for name in ("bin", "proc", "sys", "dev", "over", "root"):
            archive_file.add_directory(name)
        with open("/bin/busybox", "rb") as busybox:
            archive_file.add("bin/busybox", busybox.read(), 0o755)
        for number, path in enumerate(self._first_modules()):
            opened = lzma.open(path) if path.endswith(".xz") else open(path, "rb")
            with opened as module:
                archive_file.add(f"{number:02d}.ko", module.read(), 0o644)
        with open(os.path.join(HERE, "..", "guest", "init.sh"), "rb") as init:
            archive_file.add("init", init.read(), 0o755)
        new = f"{self.first_root}.{os.getpid()}"
        with gzip.open(new, "wb", compresslevel=1) as out:
            out.write(archive_file.finish())
        os.replace(new, self.first_root)  # another session's machine may be reading it


class Cpio:
    """An archive in the "newc" format (the kernel's early-userspace/buffer-format.rst)."""

    def __init__(self):
        self.parts = []
        self.number = 0

    def add_directory(self, name):
        self._entry(name, b"", 0o040755)

    def add(self, name, content, mode):
        self._entry(name, content, 0o100000 | mode)

    def finish(self):
        self._entry("TRAILER!!!", b"", 0)
        return b"".join(self.parts)

    def _entry(self, name, content, mode):
        self.number += 1
        name = name.encode() + b"\0"
        fields = (self.number, mode, 0, 0, 1, 0, len(content), 0, 0, 0, 0, len(name), 0)
        head = b"070701" + b"".join(b"%08x" % field for field in fields) + name
        for part in (head, content):
            self.parts += [part, bytes(-len(part) % 4)]
