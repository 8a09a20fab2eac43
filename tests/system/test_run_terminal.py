"""`hotplugfs run` on a terminal: job control, window size, suspending, pipelines."""

import os
import shlex
import signal

import pytest

from harness import processes
from harness.terminal import JOB, SHELL, Terminal
from harness.wait import until
from test_run import print_signals

# As an engine starts process 1 with -it: it leads a session that has the terminal.
LIKE_ENGINE = ["unshare", "--pid", "--fork", "--kill-child", "--mount-proc", "--", "setsid",
               "--ctty"]
leaders = pytest.mark.parametrize("before", [[], LIKE_ENGINE], ids=["leader", "engine"])
CTRL_C, CTRL_D, CTRL_Z, CTRL_BACKSLASH = "\x03", "\x04", "\x1a", "\x1c"


@pytest.fixture
def terminal():
    with Terminal() as one:
        yield one


@leaders
def test_shell(run, terminal, before):
    """run -it ... bash: a shell with job control, which is told the size of the window."""
    one = run("bash", "--norc", "--noprofile", "-i", before=before,
              **terminal.streams(), env={**os.environ, **SHELL})
    terminal.expect("prompt> ")
    assert "job control" not in terminal.text
    terminal.type(f"{JOB}\n").expect("\ngoing\n").type(CTRL_Z).expect("Stopped")
    terminal.type("echo got $((40+2))\n").expect("got 42")
    terminal.type("fg\n").expect("\nresumed\n").type(CTRL_C)
    terminal.expect("prompt> ").type("echo status=$?\n").expect("status=130")
    terminal.resize(33, 111)
    terminal.type("stty size\n").expect("\n33 111\n")
    terminal.type("exit 3\n")
    assert one.wait() == 3


@leaders
def test_keys(run, terminal, before):
    """Keys and the window's size reach COMMAND as signals, once, and nothing else gets them."""
    one = run(*print_signals("SIGQUIT"), before=before, **terminal.streams())
    terminal.expect("ready")
    terminal.resize(40, 100)
    terminal.expect("SIGWINCH").type(CTRL_C).expect("SIGINT").type(CTRL_Z).expect("SIGTSTP")
    terminal.type(CTRL_BACKSLASH).expect("SIGQUIT")
    assert one.wait() == 5
    assert terminal.text.count("SIGINT") == 0


@leaders
def test_interrupt(run, terminal, before):
    """Ctrl-C ends a command that does nothing about it; the status tells the signal."""
    one = run("cat", before=before, **terminal.streams())
    terminal.type("hello\n").expect("hello\nhello\n").type(CTRL_C)
    assert one.wait() == 130


@leaders
def test_suspend_without_a_shell(run, terminal, before):
    """Where nobody could resume it, Ctrl-Z does not leave COMMAND suspended."""
    one = run("cat", before=before, **terminal.streams())
    terminal.type("hello\n").expect("hello\nhello\n")
    terminal.type(CTRL_Z).expect("^Z").type("more\n").expect("more\nmore\n").type(CTRL_D)
    assert one.wait() == 0


@leaders
def test_hangup(run, terminal, before):
    """When the terminal goes, COMMAND gets SIGHUP, and everything ends."""
    with Terminal() as other:
        one = run("sh", "-c", "echo ready; exec sleep 1000", before=before, **other.streams())
        other.expect("ready")
    assert one.wait() == 129


def job(run, command, **parameters):
    """A command line for a shell's prompt, and what it is."""
    one = run(*command, start=False, **parameters)
    return shlex.join(one.command), one


def test_job_of_a_shell(run, terminal):
    """As a job of an interactive shell: Ctrl-Z, fg and bg do what they do with any job, and the
    view is served while COMMAND is suspended."""
    line, one = job(run, ["cat"])
    shell = terminal.shell()
    terminal.type(f"{line}\n").expect("\n").type("hello\n").expect("hello\nhello\n")
    terminal.type(CTRL_Z).expect("Stopped").expect("prompt> ")
    assert os.listdir(one.media) == []
    terminal.type("fg\n").expect("cat\n").type("again\n").expect("again\nagain\n")
    terminal.type(CTRL_Z).expect("Stopped").expect("prompt> ")
    terminal.type("bg\n").expect("cat &\n")  # which stops, since it reads from the terminal
    until("it is suspended again", lambda: "Stopped" in terminal.type("jobs\n").expect(
        "prompt> ").text)
    terminal.type("echo $((40+2))\n").expect("\n42\n")
    terminal.type("fg\n").expect("cat\n").type("third\n").expect("third\nthird\n").type(CTRL_D)
    terminal.expect("prompt> ").type("echo status=$?\n").expect("status=0\n")
    terminal.type("exit\n")
    assert shell.wait(30) == 0


def test_pipeline(run, terminal):
    """In a pipeline nobody takes the terminal from the others, and Ctrl-C comes once."""
    line, one = job(run, print_signals("SIGTERM"))
    shell = terminal.shell()
    reader = "trap '' INT; read line; echo $line; read answer </dev/tty; echo got $answer; cat"
    terminal.type(f"{line} | ({reader})\n").expect("\nready\n")
    terminal.type("an answer\n").expect("got an answer\n").type(CTRL_C).expect("SIGINT")
    broker = [pid for pid in processes.of_session(shell.pid)
              if processes.command_line(pid).startswith(one.command[0])][0]
    os.kill(broker, signal.SIGTERM)
    terminal.expect("SIGTERM")
    assert terminal.text.count("SIGINT") == 1
    terminal.expect("prompt> ").type("exit\n")
    shell.wait(30)


def test_script_goes_on(run, terminal):
    """A script that runs it can read from the terminal afterwards."""
    line, _ = job(run, ["cat"])
    shell = terminal.shell(LINE=line)
    terminal.type("sh -c 'eval \"$LINE\"; read answer; echo got $answer'\n").expect("\n")
    terminal.type("hello\n").expect("hello\nhello\n").type(CTRL_D)
    terminal.type("an answer\n").expect("got an answer\n").expect("prompt> ").type("exit\n")
    assert shell.wait(30) == 0
