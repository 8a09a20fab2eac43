"""Many containers on one view, and daemons that come and go under them."""

import os
import signal

import pytest

from harness import processes
from harness.guests import Podman
from harness.wait import took, until

WORKLOADS, MAPPED, ROUNDS = 20, 4, 8
"""So many containers, of these so many in user namespaces, and so often a disk comes and goes."""
DISKS = "/disks/media"
USE = f"""
inotifywait -m -e create -e delete --format '%e %f' {DISKS} | while read -r event name; do
    case $event in
    CREATE*) cp /bin/cat "{DISKS}/$name/$0" && cmp /bin/cat "{DISKS}/$name/$0" && echo written ;;
    DELETE*) [ -e "{DISKS}/$name" ] || echo gone ;;
    esac
done"""
"""Writes to every disk that comes."""


class User(Podman):
    """A container that runs USE, and its log. missed: so many disks were gone before it looked."""

    missed = 0

    @property
    def command(self):
        return ["/bin/sh", "-c", USE, self.name]

    @property
    def flags(self):
        self.log_path = os.path.join(self.work, "log")
        return ["--log-driver=k8s-file", f"--log-opt=path={self.log_path}"]

    def said(self, word):
        with open(self.log_path, encoding="utf-8") as log:
            return sum(line.split()[-1:] == [word] for line in log)

    def gone(self):
        return self.said("gone")


class MappedUser(User):
    """The same in a user namespace in which only its user is who it is outside."""

    @property
    def flags(self):
        maps = ["0:200000:1000", "1000:1000:1", "1001:201001:64535"]
        return [*super().flags, *(f"--{kind}={one}" for kind in ("uidmap", "gidmap")
                                  for one in maps)]


def send(workload, number):
    for pid in processes.tree(workload.pid):
        os.kill(pid, number)


def cycle(view, disk, users):
    """Plug and unplug; returns after how many seconds these users had written to the disk."""
    count = users[0].gone() + 1
    disk.plug()
    seconds = took(lambda: until(
        "all have written",
        lambda: all(user.said("written") == count - user.missed for user in users), 60))
    view.wait_state("STICK", "clean", "idle", deadline_s=30)
    disk.unplug()
    until("all know that it is gone", lambda: all(user.gone() == count for user in users), 60)
    disk.wait_unplugged(20)
    return seconds


@pytest.mark.slow
@pytest.mark.deadline(300)
def test_many(shared, daemon, guest, loopdev):
    """Containers that watch and write on one view, some in other user namespaces: all of them see
    every disk come and go, while one of them stands still."""
    disk = loopdev(label="STICK")
    view = daemon(disk, where=shared, options=["--owner", "1000:1000"])
    users = [guest(MappedUser if number < MAPPED else User, "-v", f"{shared}:/disks:rslave")
             for number in range(WORKLOADS)]
    until("they watch", lambda: all(user.said("established.") for user in users), 30)
    for count in range(1, ROUNDS + 1):
        halted = users[count]
        going = [user for user in users if user is not halted]
        send(halted, signal.SIGSTOP)
        seconds = cycle(view, disk, going)
        print(f"{len(going)} workloads had written {seconds:.2f} s after the plug")
        send(halted, signal.SIGCONT)
        until("it has caught up", lambda: halted.gone() == count, 60)
        halted.missed += 1
    with disk.native() as tree:
        assert set(os.listdir(tree)) == {"lost+found", *(user.name for user in users)}
        sizes = {os.path.getsize(os.path.join(tree, user.name)) for user in users}
    assert sizes == {os.path.getsize("/bin/cat")}


@pytest.mark.slow
def test_restarts(shared, daemon, guest, loopdev):
    """A workload that was there before the daemon, and one that came after it, see the disks of
    every later daemon; neither is restarted."""
    disk = loopdev(label="STICK").plug()
    early = guest(Podman, "-v", f"{shared}:/disks:rslave")
    assert "No such file" in early.exec(f"ls {DISKS}").stderr
    view = daemon(disk, where=shared).wait_for("STICK")
    late = guest(Podman, "-v", f"{shared}:/disks:rslave")

    def see():
        """What they see, without the time that it takes to get a process into a container."""
        return all("STICK" in os.listdir(f"/proc/{one.pid}/root{DISKS}") for one in (early, late))

    assert see() and early.names(DISKS) == late.names(DISKS) == {"STICK"}

    def restart():
        view.stop()
        view.start()
        until("both see STICK", see)

    print(f"restarts of {', '.join(f'{took(restart):.2f}' for _ in range(5))} s")
    assert early.names(f"{DISKS}/STICK") == late.names(f"{DISKS}/STICK") == {"lost+found"}
