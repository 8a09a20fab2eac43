"""The chart of a run: how many times as long as native, on a logarithmic scale."""

import math
from xml.sax.saxutils import escape

COLOURS = {"hotplugfs": "#1f77b4", "no-passthrough": "#9ecae1", "bindfs": "#ff7f0e",
           "mergerfs": "#8c6d31"}
BAR, GAP, LEFT, RIGHT, TOP = 9, 10, 270, 70, 50
SCALE = 620 / 3  # pixels for a factor of ten
FROM, TO = 0.5, 500


def position(ratio):
    return LEFT + SCALE * (math.log10(min(max(ratio, FROM), TO)) - math.log10(FROM))


def text(x, y, content, anchor="start", size=11):
    return (f'<text x="{x:.0f}" y="{y:.0f}" font-size="{size}" text-anchor="{anchor}">'
            f"{escape(content)}</text>")


def bar(y, ratio, colour):
    begin, end = sorted((position(1), position(ratio)))
    return (f'<rect x="{begin:.1f}" y="{y:.1f}" width="{max(end - begin, 1):.1f}" '
            f'height="{BAR - 1}" fill="{colour}"/>' + text(end + 4, y + BAR - 1, f"{ratio:.2f}",
                                                          size=9))


def grid(height):
    for ratio in (0.5, 1, 2, 5, 10, 20, 50, 100, 200, 500):
        x = position(ratio)
        yield f'<line x1="{x:.1f}" y1="{TOP}" x2="{x:.1f}" y2="{height - 20}" stroke="#ddd"/>'
        yield text(x, height - 6, f"{ratio:g}×", "middle", 9)


def legend():
    x = LEFT
    for name, colour in COLOURS.items():
        yield f'<rect x="{x}" y="26" width="10" height="10" fill="{colour}"/>'
        yield text(x + 14, 35, name)
        x += 30 + 8 * len(name)


def bars(rows):
    y = TOP + GAP / 2
    for row in rows:
        shown = {name: row["columns"][name]["to_native"] for name in COLOURS
                 if row["columns"].get(name, {}).get("to_native")}
        yield text(LEFT - 8, y + BAR * len(shown) / 2 + 4, row["title"], "end")
        if row["floor"]:
            x = position(row["floor"] / row["columns"]["native"]["median"])
            yield (f'<line x1="{x:.1f}" y1="{y - 2:.1f}" x2="{x:.1f}" '
                   f'y2="{y + BAR * len(shown) + 1:.1f}" stroke="black" stroke-width="2"/>')
        for name, ratio in shown.items():
            yield bar(y, ratio, COLOURS[name])
            y += BAR
        y += GAP


def svg(facts):
    """The text of the file."""
    rows = [row for row in facts["rows"]
            if row["columns"].get("native", {}).get("median") and len(row["columns"]) > 1]
    count = sum(sum(name in row["columns"] for name in COLOURS) for row in rows)
    width, height = LEFT + 620 + RIGHT, TOP + BAR * count + GAP * len(rows) + 30
    parts = [f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" '
             f'viewBox="0 0 {width} {height}" font-family="sans-serif">',
             f'<rect width="{width}" height="{height}" fill="white"/>',
             text(LEFT, 16, "Time relative to a native mount (1×); black: the floor of any FUSE "
                  "server", size=12),
             *grid(height), *legend(), *bars(rows), "</svg>"]
    return "\n".join(parts) + "\n"
