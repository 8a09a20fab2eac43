"""Programs at work in the view, which must notice nothing of what is done to the daemon."""

import contextlib
import os
import subprocess

from .people import sh
from .wait import until

# Each does its work over and over until the file "stop" is there. $1: in the view, $2: beside it.
PROGRAMS = {
    "cp": "cp -a $2/source $1/cp; diff -r $2/source $1/cp; rm -r $1/cp",
    "tar": "mkdir $1/tar; tar -C $1/tar -xf $2/source.tar; diff -r $2/source $1/tar/source;"
           "rm -r $1/tar",
    "git": "git clone -q file://$2/repo $1/git; git -C $1/git fsck --strict; rm -rf $1/git",
    "sqlite": "sqlite3 -bail $1/db 'PRAGMA journal_mode=WAL; CREATE TABLE IF NOT EXISTS t (b);'"
              " >/dev/null; for i in $(seq 20); do echo 'INSERT INTO t VALUES (randomblob(900));';"
              " done | sqlite3 -bail $1/db;"
              " [ \"$(sqlite3 $1/db 'PRAGMA integrity_check')\" = ok ]",
    "fio": "fio --name=t --directory=$1 --size=2m --bs=4k-64k --rw=randrw --verify=crc32c"
           " --verify_fatal=1 --do_verify=1 --verify_state_save=0 --fsync=16 --output=/dev/null;"
           " rm $1/t.*",
}


class Programs:
    """All of them, running."""

    def __init__(self, place, work):
        self.work = work
        self.running = {name: subprocess.Popen(
            ["bash", "-euc", f"until [ -e $2/stop ]; do {script}; done", name, place, work],
            stderr=subprocess.PIPE, text=True) for name, script in PROGRAMS.items()}

    def check(self):
        """None has ended: each ends at its first error."""
        for name, program in self.running.items():
            assert program.poll() is None, f"{name}: {program.stderr.read()}"

    def finish(self):
        """Lets them end, and checks that nothing was wrong to the last."""
        with open(os.path.join(self.work, "stop"), "wb"):
            pass
        for name, program in self.running.items():
            _, told = program.communicate(timeout=100)
            assert program.returncode == 0, f"{name}: {told}"

    def kill(self):
        for program in self.running.values():
            program.kill()
            program.wait()


@contextlib.contextmanager
def at_work(place, work):
    """Programs at work in a directory of the view; work: an empty one beside it."""
    sh("mkdir $1/source;"
       "for i in $(seq 150); do head -c $((i * 300)) /dev/urandom >$1/source/$i; done;"
       "tar -C $1 -cf $1/source.tar source; git init -q $1/repo; cp $1/source/* $1/repo;"
       "cd $1/repo; git add .; git -c user.name=x -c user.email=x commit -qm x", work)
    programs = Programs(place, work)
    try:
        yield programs
        programs.finish()
    finally:
        programs.kill()


def serving(view, dead=0):
    """The pid of a server that serves, and is not the dead one."""
    def pid():
        try:
            now = view.server_pid()
        except (AssertionError, OSError):  # it has just been started, or has just ended
            return None
        return now if now != dead else None
    return until("a server", pid, 10)
