"""From `podman run` of the all-in-one container to the first `ls` of its command."""

import os
import subprocess
import time

from harness.podman import Engine
from results import Row, more_than_native

ROWS = [Row("start-container", "podman run to ls /media", "ms", (more_than_native(150),))]

COMMAND = ["/bin/sh", "-c", "ls /media && date +%s%N"]


def once(command):
    """Milliseconds until the command has seen its /media."""
    start = time.time_ns()
    result = subprocess.run(command, cwd="/", stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                            stderr=subprocess.PIPE, text=True, check=False)
    if result.returncode:
        raise RuntimeError(f"{' '.join(command)}: {result.stderr.strip()}")
    return (int(result.stdout) - start) / 1e6


def commands(engine):
    """The same root filesystem and the same user, with and without the daemon."""
    plain = engine.run("--rm", "--cap-drop=all", "--security-opt=no-new-privileges",
                       "--user=1000:1000", "--read-only")
    served = [*engine.run("--rm", "--read-only", *engine.rights), "/opt/hotplugfs", "run", "--dev",
              "/host/dev", "--exclude", "*", "--user", "1000:1000", "--"]
    return {"native": [*plain, *COMMAND], "hotplugfs": [*served, *COMMAND]}


def measure(run):
    if not run.wants("start-container"):
        return
    engine = Engine(os.path.join(run.work, "pod"), run.binary)  # podman wants a short path
    try:
        reason = engine.refuses()
        if reason:
            run.note("start-container", reason)
            return
        for _ in run.rounds("start-container", 3 if run.quick else 20):
            for column, command in commands(engine).items():
                if column in run.columns:
                    run.record("start-container", column, once(command))
    finally:
        engine.remove()
