"""The benchmark program itself: it runs, and says what it measured. Its figures are not judged."""

import json
import os
import signal
import subprocess
import xml.etree.ElementTree

import pytest

from harness.wait import SLOWNESS, until

RUN = os.path.join(os.path.dirname(__file__), "..", "bench", "run")


@pytest.fixture
def command(request):
    """The program with small numbers and the columns that need no other package."""
    binary = request.config.option.hotplugfs
    return [RUN, "--quick", "--build", os.path.dirname(binary), "--hotplugfs", binary,
            "--columns", "native,hotplugfs,empty"]


@pytest.mark.deadline(120)
def test_quick_run(command, work):
    """Figures of every column that was asked for, as text, JSON and a chart."""
    figures, chart = os.path.join(work, "figures.json"), os.path.join(work, "chart.svg")
    result = subprocess.run(
        [*command, "--only", "random-read-1", "--only", "unlink*", "--only", "attach-name",
         "--only", "start-container", "--json", figures, "--svg", chart],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=100 * SLOWNESS)
    assert result.returncode == 0, result.stderr
    with open(figures, encoding="utf-8") as file:
        rows = {row["name"]: row for row in json.load(file)["rows"]}
    assert set(rows) == {"random-read-1", "unlink", "unlink@1cpu", "attach-name",
                         "start-container"}
    for row in rows.values():
        assert row["title"] in result.stdout
        assert all(column["median"] > 0 for column in row["columns"].values())
    assert set(rows["unlink"]["columns"]) == {"native", "hotplugfs", "empty"}
    assert rows["unlink"]["floor"] > rows["unlink"]["columns"]["native"]["median"]
    assert xml.etree.ElementTree.parse(chart).getroot().tag.endswith("svg")


@pytest.mark.slow
@pytest.mark.deadline(150)
def test_stall(command):
    """The row of the disk that stalls: with callers that hang on it, or it would have failed."""
    result = subprocess.run([*command, "--only", "stall*"], stdout=subprocess.PIPE,
                            stderr=subprocess.PIPE, text=True, timeout=120 * SLOWNESS)
    assert result.returncode == 0, result.stderr
    assert "callers hung" in result.stdout and "longest call beside a stall" in result.stdout


def test_interrupted(command):
    """Ctrl-C ends it early, and it removes its mounts and disks, or it would not end with 130."""
    with subprocess.Popen([*command, "--only", "random*", "--rounds", "20"],
                          stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr.readline().startswith("# random-read-1")
        process.send_signal(signal.SIGINT)
        errors = process.communicate(timeout=30 * SLOWNESS)[1]
    assert process.returncode == 130, errors
    until("its directory is gone", lambda: not any(
        name.startswith(f"hotplugfs-bench-{process.pid}-") for name in os.listdir("/tmp")))
