"""strace(1), which holds the threads of a process at system calls of theirs."""

import os
import subprocess

from .wait import until


def hold(pid, calls, delay):
    """Attaches to all threads of a process; delay: as in inject=CALLS:DELAY. To be killed."""
    strace = subprocess.Popen(["strace", "-f", "-qq", "-e", f"trace={calls}", "-e",
                               f"inject={calls}:{delay}", "-o", "/dev/null", "-p", str(pid)],
                              stderr=subprocess.PIPE, text=True)

    def traced():
        assert strace.poll() is None, strace.stderr.read()
        status = [open(f"/proc/{pid}/task/{task}/status", encoding="ascii").read()
                  for task in os.listdir(f"/proc/{pid}/task")]
        return all(f"TracerPid:\t{strace.pid}\n" in text for text in status)
    try:
        until("strace holds every thread", traced, 15)
    except AssertionError:
        strace.kill()
        strace.wait()
        raise
    return strace
