"""podman of a user who is not root, with a range of ids for user namespaces."""

import contextlib
import os
import signal
import subprocess

from . import kernel, processes
from .podman import Engine
from .wait import until

USER, UID, SUBUID = "hotplugfs-user", 1_000_000 + os.getpid(), 100_000
FILES = {
    "passwd": f"{USER}:x:{UID}:{UID}::{{home}}:/bin/sh\n",
    "group": f"{USER}:x:{UID}:\n",
    "subuid": f"{USER}:{SUBUID}:65536\n",
    "subgid": f"{USER}:{SUBUID}:65536\n",
}


class Ids:
    """Puts the user and the ranges into /etc, as this mount namespace sees it."""

    def __init__(self, directory):
        self.bound = []
        for name, lines in FILES.items():
            path, target = os.path.join(directory, name), os.path.join("/etc", name)
            if not os.path.exists(target):
                continue
            with open(target, encoding="utf-8") as old, open(path, "w", encoding="utf-8") as new:
                new.write(old.read() + lines.format(home=os.path.join(directory, "home")))
            kernel.mount(path, target, "none", flags=kernel.MS_BIND)
            self.bound.append(target)

    def remove(self):
        for target in self.bound:
            kernel.umount(target, kernel.MNT_DETACH)


class RootlessEngine(Engine):
    """As Engine; the container's root is the user."""

    rights = ["--cap-add", "SYS_ADMIN", "--device", "/dev/fuse", "-v", "/dev:/host/dev:ro,dev"]

    def __init__(self, directory, binary):
        super().__init__(directory, binary)
        for name in ("", "home", "xdg", "rootfs"):
            path = os.path.join(directory, name)
            os.makedirs(path, exist_ok=True)
            os.chown(path, UID, UID)
            os.chmod(path, 0o700 if name == "xdg" else 0o755)
        subprocess.run(["find", self.rootfs, "-path", f"{self.rootfs}/usr", "-prune", "-o", "-exec",
                        "chown", "-h", f"{UID}:{UID}", "{}", "+"], check=True)
        self.xdg = os.path.join(directory, "xdg")
        self.prefix = ["setpriv", f"--reuid={UID}", f"--regid={UID}", "--clear-groups", "env",
                       f"HOME={directory}/home", f"XDG_RUNTIME_DIR={self.xdg}", f"USER={USER}",
                       "--chdir=/"]
        self.command = [*self.prefix, *self.command]

    def remove(self):
        """podman leaves a process that keeps the user namespace, and has children."""
        for pid in processes.of_user(UID):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        until("all processes of the user have ended", lambda: not processes.of_user(UID))
        with contextlib.suppress(FileNotFoundError):
            os.unlink(f"/dev/shm/libpod_rootless_lock_{UID}")
        super().remove()
