"""Processes that are not root: a workload as it runs in a container."""

import contextlib
import socket
import subprocess
import sys

NOBODY = 65534


def workload_command(uid, gid, *command):
    """
    Another mount namespace, no capability, no way to get one. The view was there before, so it
    is seen there without any mount of this process.
    """
    return ["unshare", "--mount", "--propagation", "private",
            "setpriv", f"--reuid={uid}", f"--regid={gid}", "--clear-groups",
            "--bounding-set=-all", "--inh-caps=-all", "--no-new-privs", "--", *command]


def as_user(uid, gid, *command, check=False, **options):
    """Runs a command as a workload; returns the CompletedProcess with text output."""
    options.setdefault("timeout", 60)
    result = subprocess.run(workload_command(uid, gid, *command), stdout=subprocess.PIPE,
                            stderr=subprocess.PIPE, text=True, check=False, **options)
    assert not check or result.returncode == 0, f"{command}: {result.stderr}"
    return result


def start_as_user(uid, gid, *command, **options):
    """The same, in the background; end it yourself."""
    return subprocess.Popen(workload_command(uid, gid, *command), **options)


def sh(script, *args, check=True, **options):
    """A shell script as root; args are $1, $2 ... Returns its standard output."""
    options.setdefault("timeout", 120)
    result = subprocess.run(["sh", "-euc", script, "sh", *map(str, args)],
                            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                            check=False, **options)
    assert not check or result.returncode == 0, \
        f"{script}\nexit {result.returncode}\n{result.stdout}{result.stderr}"
    return result.stdout if check else result


@contextlib.contextmanager
def crowd(uid, path, count, kind=socket.SOCK_STREAM):
    """So many connections of one user to a unix socket, which say nothing."""
    code = ("import os, socket, sys\n"
            "path, count, kind = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])\n"
            "held = [socket.socket(socket.AF_UNIX, kind) for _ in range(count)]\n"
            "for one in held:\n    one.connect(path)\n"
            "print('connected', flush=True)\n"
            "sys.stdin.read()\n")
    with start_as_user(uid, uid, sys.executable, "-c", code, path, str(count), str(int(kind)),
                       stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "connected\n"
        try:
            yield
        finally:
            process.stdin.close()
