"""Copy tools on a tree of many small files."""

import os
import random
import shutil

import columns
from results import Row, times_native, times_other

TITLES = {"cp": "cp -a", "tar": "tar x", "rsync": "rsync -a", "rm": "rm -r"}
SUFFIXES = {"": ("", (times_other(0.5, "bindfs"),)), "@1cpu": (", one CPU", (times_native(2.5),))}
ROWS = [Row(name + suffix, title + where, "s", goals)
        for suffix, (where, goals) in SUFFIXES.items() for name, title in TITLES.items()]


def make_source(directory, files):
    """A tree with a hundred files in each directory, of 0 to 8 KiB."""
    rng = random.Random(3)
    content = rng.randbytes(8192)
    source = os.path.join(directory, "source")
    for number in range(files):
        parent = os.path.join(source, f"{number // 1000:02}", f"{number // 100 % 10}")
        if number % 100 == 0:
            os.makedirs(parent)
        with open(os.path.join(parent, f"file{number:05}"), "wb") as file:
            file.write(content[:rng.randrange(len(content))])
    return source


def commands(source, archive, target):
    os.mkdir(target)
    return {
        "cp": ["cp", "-a", source, target],
        "tar": ["tar", "-xf", archive, "-C", target],
        "rsync": ["rsync", "-a", source, target],
    }


def measure_one(run, column, place, suffix, source, archive):
    """Each tool makes a copy that is then removed; the time of the first removal counts."""
    target = os.path.join(place, "copies")
    for name, command in commands(source, archive, target).items():
        took = run.timed(command)
        run.record(name + suffix, column, took)
        took = run.timed(["rm", "-r", os.path.join(target, "source")])
        if name == "cp":
            run.record("rm" + suffix, column, took)
    os.rmdir(target)


def measure_all(run, suffix, source, archive):
    if not any(run.wants(name + suffix) for name in TITLES):
        return
    with columns.all_of(run, columns.COLUMNS) as places:
        for _ in run.rounds("trees" + suffix, max(1, run.repeat // 2)):
            for column, place in places.items():
                measure_one(run, column, place, suffix, source, archive)


def measure(run):
    if not any(run.wants(row.name) for row in ROWS):
        return
    with run.directory() as directory:
        source = make_source(directory, run.files)
        archive = shutil.make_archive(os.path.join(directory, "archive"), "tar", directory,
                                      "source")
        measure_all(run, "", source, archive)
        with run.one_cpu():
            measure_all(run, "@1cpu", source, archive)
