"""The table of a run."""

WIDTH = 38
COLUMNS = ("native", "hotplugfs", "no-passthrough", "bindfs", "mergerfs", "udev", "empty",
           "empty-ring")


def number(value):
    if value is None:
        return "-"
    if value >= 1000:
        return f"{value:.0f}"
    return f"{value:.3g}"


def cell(columns, name):
    column = columns.get(name)
    if not column:
        return "-"
    text = number(column["median"])
    if name != "native" and column["to_native"]:
        text += f" ({column['to_native']:.2f}×)"
    return text


def verdict(goal):
    if goal["met"] is None:
        return f"? {goal['goal']}"
    figure = number(goal["value"])
    return f"{'reached' if goal['met'] else 'MISSED '} {figure} {goal['goal']}"


def used_columns(facts):
    return [name for name in COLUMNS if any(name in row["columns"] for row in facts["rows"])]


def markdown(facts):
    """The same for README.md: lines of a table, without the goals."""
    used = used_columns(facts)
    yield f"| | unit | {' | '.join(used)} | floor |"
    yield f"|---|---|{'---|' * len(used)}---|"
    for row in facts["rows"]:
        cells = " | ".join(cell(row["columns"], name) for name in used)
        yield f"| {row['title']} | {row['unit']} | {cells} | {number(row['floor'])} |"


def table(facts):
    """Lines of text: medians, ratios to native, goals."""
    used = used_columns(facts)
    widths = {name: max(16, len(name) + 2) for name in used}
    yield " " * WIDTH + "unit " + "".join(f"{name:>{widths[name]}}" for name in used) + "   floor"
    for row in facts["rows"]:
        cells = "".join(f"{cell(row['columns'], name):>{widths[name]}}" for name in used)
        floor = number(row["floor"]) if row["floor"] else ""
        yield f"{row['title']:{WIDTH}}{row['unit']:5}{cells}{floor:>8}"
        for goal in row["goals"]:
            yield f"    {verdict(goal)}"
        for note in row["notes"]:
            yield f"    ({note})"
    for where, trip in facts["round_trip_us"].items():
        yield f"round trip of an empty server, {where}: {trip:.1f} µs"
    for column, reason in facts["left_out"].items():
        yield f"{column} is left out: {reason}"
