"""Daemons and workloads that the examples start, and what they have in common with the others."""

import contextlib
import json
import os
import subprocess

import yaml

from . import processes
from .daemon import die_with_parent
from .guests import IDLE, Guest, Nspawn, Podman
from .wait import until

HOST = "/run/hotplugfs"
"""Where the examples have the view, in `media`, and the control socket."""
LOOPS = ["--device-cgroup-rule", "b 7:* rw"]
"""What an example does not give the daemon: its disks are real ones."""


class Contained:
    """A daemon in a container that runs already."""

    def __init__(self, engine, name, client, directory=HOST):
        """client: the fixture `hotplugfs`; directory: where its control socket is, here."""
        self.engine, self.name, self.client, self.directory = engine, name, client, directory

    def wait_ready(self):
        def answers():
            return self.client("list", "--socket", f"{self.directory}/control.sock").returncode == 0
        until(lambda: f"the daemon answers; its log:\n{self.log()}", answers, 20)
        return self

    def log(self):
        return self.engine.call("logs", self.name, check=False).stderr

    def pid(self):
        """Of its process 1, here."""
        return int(self.engine.call("inspect", "--format", "{{.State.Pid}}", self.name).stdout)

    def stop(self):
        self.engine.call("stop", "--time", "60", self.name)

    def kill(self):
        self.engine.call("kill", "--signal", "KILL", self.name)
        self.engine.call("wait", self.name)

    def start(self):
        self.engine.call("start", self.name)
        return self.wait_ready()


class Workload(Podman):
    """A workload that an example has started."""

    def __init__(self, engine, name):
        super().__init__(engine, None)
        self.name, self.pid = name, Contained(engine, name, None).pid()


class Command(Guest):
    """The command of `hotplugfs run` in a container, which is to be IDLE."""

    def __init__(self, container):
        super().__init__(None, None)
        self.container = container
        self.pid = until("the command runs", self._look, 60)

    def _look(self):
        assert self.container.process.poll() is None, self.container.err()
        with contextlib.suppress(AssertionError, ValueError):  # podman does not know it yet
            for pid in processes.tree(self.container.pid())[1:]:
                if processes.command_line(pid) == " ".join(IDLE):
                    return pid
        return None


class Settings(Nspawn):
    """systemd-nspawn with the settings that the machine has for this name."""

    def __init__(self, root, work, name):
        super().__init__(None, work)
        self.root, self.name = root, name

    def command(self):
        return [self.PROGRAM, "-q", "-D", self.root, "--register=no", "--keep-unit",
                "--settings=override", "--machine", self.name, *IDLE]


class Watcher:
    """inotifywait in a workload."""

    def __init__(self, workload, directory, log):
        command = workload.inside("exec inotifywait -m -e create -e delete --format '%e %f' \"$1\"",
                                  directory)
        self.path = log
        with open(log, "wb") as file:
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=file,
                                            stderr=file, cwd="/", preexec_fn=die_with_parent)
        self.wait_for("Watches established")

    def saw(self, text):
        with open(self.path, encoding="utf-8", errors="replace") as file:
            return text in file.read()

    def wait_for(self, text):
        until(f"inotifywait: {text}", lambda: self.saw(text), 20)

    def close(self):
        self.process.kill()
        self.process.wait()


COMPOSE_PODMAN = """#!/usr/bin/python3
import os, sys
engine, words = {engine}, sys.argv[1:]
if words[:1] == ["run"]:
    if "--network" in words and "--net" in words:
        index = words.index("--net")  # and "--network-alias"
        del words[index:index + 4]
    if "/dev/fuse" in words:
        words[1:1] = {more}
os.execvp(engine[0], engine + words)
"""


def compose_podman(engine, path, rules):
    """
    A podman for podman-compose 1.0.3, of Debian 12, which joins every container to a network, also
    with "network_mode: none", and does not know "device_cgroup_rules". rules: of the service that
    has /dev/fuse, which gets disks to test with, too.
    """
    more = LOOPS + [word for rule in rules for word in ("--device-cgroup-rule", rule)]
    with open(path, "w", encoding="utf-8") as file:
        file.write(COMPOSE_PODMAN.format(engine=engine.command, more=more))
    os.chmod(path, 0o755)
    return path


def play(engine, work, path, kind):
    """
    `podman kube play` of a file with objects of one kind that runs. A DaemonSet, of which podman
    4.3 does not know, becomes what its controller makes of it on a node: a Pod of its template.
    """
    with open(path, encoding="utf-8") as file:
        objects = [one for one in yaml.safe_load_all(file) if one["kind"] == kind]
    if kind == "DaemonSet":
        path = os.path.join(work, "pod.json")
        with open(path, "w", encoding="utf-8") as file:
            json.dump({"apiVersion": "v1", "kind": "Pod", **objects[0]["spec"]["template"]}, file)
    engine.call("kube", "play", "--network", "none", path)
    return objects
