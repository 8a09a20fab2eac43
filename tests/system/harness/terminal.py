"""A terminal with somebody who types and reads."""

import fcntl
import os
import pty
import struct
import subprocess
import termios

from .daemon import die_with_parent
from .wait import until

SHELL = {"PS1": "prompt> ", "TERM": "dumb"}
"""The environment of a shell that prints nothing but what is typed and told."""

JOB = """sh -c 'trap "echo resumed" CONT; echo going; while :; do read line; done'"""
"""For the prompt of a shell: says when it has the terminal and when it has it again. It makes no
process: one that vfork(2) is about to start, and that is suspended, would hold its parent."""


class Terminal:
    """Use it as a context; close it after what runs on it has ended."""

    def __init__(self):
        self.master, self.slave = pty.openpty()
        os.set_blocking(self.master, False)
        self.text = ""
        self.resize(24, 200)

    def __enter__(self):
        return self

    def __exit__(self, *error):
        os.close(self.master)
        os.close(self.slave)

    def streams(self):
        """For subprocess.Popen: a session of its own with this terminal."""
        def control():
            os.setsid()
            fcntl.ioctl(0, termios.TIOCSCTTY, 0)

        return {"stdin": self.slave, "stdout": self.slave, "stderr": self.slave,
                "start_new_session": False, "preexec_fn": control}

    def shell(self, **environment):
        """An interactive shell on it; waits for its prompt."""
        streams = self.streams()
        control = streams.pop("preexec_fn")

        def prepare():
            die_with_parent()
            control()

        shell = subprocess.Popen(["bash", "--norc", "--noprofile", "-i"], preexec_fn=prepare,
                                 env={**os.environ, **SHELL, **environment}, **streams)
        self.expect("prompt> ")
        return shell

    def resize(self, rows, columns):
        fcntl.ioctl(self.slave, termios.TIOCSWINSZ, struct.pack("4H", rows, columns, 0, 0))

    def type(self, text):
        """What is printed from now on is looked at by the next expect()."""
        self.read()
        self.text = ""
        os.write(self.master, text.encode())
        return self

    def read(self):
        try:
            while True:
                chunk = os.read(self.master, 4096)
                self.text += chunk.decode(errors="replace").replace("\r", "")
        except OSError:  # nothing there, or nobody has it open any more
            return self.text

    def expect(self, text, deadline_s=15.0):
        try:
            until(f"{text!r} on the terminal", lambda: text in self.read(), deadline_s)
        except AssertionError as error:
            raise AssertionError(f"{error}, but {self.text!r}") from None
        return self
