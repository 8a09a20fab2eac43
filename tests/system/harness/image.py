"""A small image of this machine's own programs, in place of the one of examples/container."""

import os
import re
import shutil
import subprocess

from .disks import run_quietly

IMAGE = "localhost/hotplugfs:latest"
PROGRAMS = ("cat", "cmp", "cp", "find", "getent", "inotifywait", "ls", "mkdir", "setpriv", "sh",
            "sleep", "sync", "touch")
CHANGES = ["ENV PATH=/usr/sbin:/usr/bin", 'CMD ["sh"]',
           'ENTRYPOINT ["hotplugfs", "run", "--user", "user", "--"]']
"""What examples/container/Containerfile says, too."""


def copy_program(program, root, name=None):
    """Copies a program to /usr/bin, or to name, and the libraries that it needs to their places."""
    path = shutil.which(program)
    listed = subprocess.run(["ldd", path], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
                            text=True, check=False).stdout
    copy_file(path, root + (name or f"/usr/bin/{program}"))
    for library in re.findall(r"(/\S+) \(0x", listed):
        copy_file(library, root + library)


def copy_file(path, target):
    os.makedirs(os.path.dirname(target), exist_ok=True)
    if not os.path.exists(target):
        shutil.copy(os.path.realpath(path), target)


def make_tree(root, binary, configuration):
    """A root filesystem as the Containerfile makes it; configuration: /etc/hotplugfs.conf."""
    for name in ("usr/bin", "usr/sbin", "usr/lib", "usr/lib64", "etc", "dev", "proc", "sys", "run",
                 "tmp", "media", "host/dev", "disks", "var/lib"):
        os.makedirs(os.path.join(root, name))
    for name in ("bin", "sbin", "lib", "lib64"):
        os.symlink(f"usr/{name}", os.path.join(root, name))
    for program in PROGRAMS:
        copy_program(program, root)
    copy_program(binary, root, "/usr/sbin/hotplugfs")
    for name, text in {"passwd": "root:x:0:0::/:/bin/sh\nuser:x:1000:1000::/:/bin/sh\n",
                       "group": "root:x:0:\nuser:x:1000:\n",
                       "hotplugfs.conf": configuration}.items():
        with open(os.path.join(root, "etc", name), "w", encoding="utf-8") as file:
            file.write(text)


def import_image(engine, work, binary, configuration):
    """Puts it into an engine's store, in place of the one that was there."""
    root, archive = os.path.join(work, "image"), os.path.join(work, "image.tar")
    make_tree(root, binary, configuration)
    run_quietly(["tar", "-C", root, "-cf", archive, "."])
    shutil.rmtree(root)
    changes = [word for change in CHANGES for word in ("--change", change)]
    engine.call("import", "--quiet", *changes, archive, IMAGE)
    os.unlink(archive)
