"""Rows, what they shall reach, and the samples of a run."""

import dataclasses
import statistics
from collections.abc import Callable


@dataclasses.dataclass
class Goal:
    """A figure to reach: `value(result)` is compared with `limit`; None where it cannot be said."""
    text: str
    limit: float
    value: Callable
    at_least: bool = False

    def met(self, result):
        value = self.value(result)
        if value is None:
            return None
        return value >= self.limit if self.at_least else value <= self.limit


def times_native(limit, column="hotplugfs"):
    return Goal(f"{column} ≤ {limit:g} × native", limit, lambda r: r.ratio(column, "native"))


def times_floor(limit):
    return Goal(f"≤ {limit:g} × floor", limit,
                lambda r: r.median("hotplugfs") / r.floor if r.floor else None)


def times_other(limit, other, column="hotplugfs"):
    return Goal(f"{column} ≤ {limit:g} × {other}", limit, lambda r: r.ratio(column, other))


def at_most(limit, unit, column="hotplugfs"):
    name = "" if column == "hotplugfs" else column + " "
    return Goal(f"{name}≤ {limit:g} {unit}".rstrip(), limit, lambda r: r.median(column))


def more_than_native(limit):
    """The median of the differences within each round."""
    def difference(result):
        pairs = list(zip(*(result.samples.get(name, []) for name in ("hotplugfs", "native"))))
        return statistics.median(ours - theirs for ours, theirs in pairs) if pairs else None
    return Goal(f"≤ {limit:g} ms more than native", limit, difference)


@dataclasses.dataclass
class Row:
    """name: for --only; title: for people; unit: of the samples."""
    name: str
    title: str
    unit: str
    goals: tuple = ()
    difference: bool = False

    @property
    def compared(self):
        """Whether times native says anything: not of shares, mere numbers and differences."""
        return self.unit not in ("%", "") and not self.difference


class Result:
    """The samples of a row, by column; those with the same index were taken in the same round."""

    def __init__(self, row):
        self.row = row
        self.samples = {}
        self.floor = None
        self.notes = []

    def add(self, column, value):
        self.samples.setdefault(column, []).append(value)

    def median(self, column):
        samples = self.samples.get(column)
        return statistics.median(samples) if samples else None

    def ratio(self, column, other):
        """The median of the ratios within each round, which a noisy round disturbs least."""
        ours, theirs = self.samples.get(column), self.samples.get(other)
        if not ours or not theirs:
            return None
        pairs = [a / b for a, b in zip(ours, theirs) if b]
        return statistics.median(pairs) if pairs else None

    def as_json(self):
        columns = {name: {"median": self.median(name), "samples": samples,
                          "to_native": self.ratio(name, "native") if self.row.compared else None}
                   for name, samples in self.samples.items()}
        goals = [{"goal": goal.text, "limit": goal.limit, "value": goal.value(self),
                  "met": goal.met(self)} for goal in self.row.goals]
        return {"name": self.row.name, "title": self.row.title, "unit": self.row.unit,
                "columns": columns, "floor": self.floor, "goals": goals, "notes": self.notes}
