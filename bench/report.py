"""What was measured, as a table of Markdown, as JSON and as charts."""
import html
import os
import re
import statistics

PROXIES = ("nginx", "haproxy", "varnish", "squid", "ats", "mgw")
# A proxy has one colour in all charts; ours stands out.
COLOURS = {"nginx": "#7fa37f", "haproxy": "#c98f7c", "varnish": "#b9a1c9", "squid": "#c9b17c", "ats": "#a9a9a9", "mgw": "#1f6fb2"}


def median(row, name):
    values = row.figures.get(name)
    return statistics.median(values) if values else None


def spread(values):
    """Between the smallest and the largest, as a part of the median."""
    middle = statistics.median(values)
    return (max(values) - min(values)) / middle if middle else 0


def best_peer(row):
    peers = [m for m in (median(row, name) for name in PROXIES if name != "mgw") if m is not None]
    return min(peers) if peers else None


def table(rows):
    """Lines of Markdown: medians, ratios to nginx and to the best of the others (below 1 the gateway needs less), and how far the
    gateway's figures and the others' lie apart."""
    shown = [name for name in PROXIES if any(name in row.figures for row in rows)]
    cells = [("", "unit", *shown, "mgw/nginx", "mgw/best", "spread")]
    for row in rows:
        figure = lambda name: "" if (m := median(row, name)) is None else f"{m:.{row.digits}f}"
        ours = median(row, "mgw")
        ratio = lambda other: f"{ours / other:.2f}" if ours is not None and other else ""
        apart = max((spread(values) for values in row.figures.values() if len(values) > 1), default=None)
        name = ("– " + row.name.strip()) if row.name.startswith(" ") else row.name
        cells.append((name, row.unit, *map(figure, shown), ratio(median(row, "nginx")), ratio(best_peer(row)),
                      "" if apart is None else f"{apart:.0%}"))
    return lines(cells)


def memory_table(rows):
    """Lines of Markdown: MiB that each proxy had at the end of a row."""
    rows = [row for row in rows if row.memory]
    shown = [name for name in PROXIES if any(name in row.memory for row in rows)]
    return lines([("resident at the end of", *shown)] + [
        (row.name, *(f"{statistics.median(row.memory[name]):.1f}" if name in row.memory else "" for name in shown)) for row in rows])


def lines(cells):
    widths = [max(len(c[i]) for c in cells) for i in range(len(cells[0]))]
    line = lambda c: "| " + " | ".join(x.ljust(w) if i == 0 else x.rjust(w) for i, (x, w) in enumerate(zip(c, widths))) + " |"
    return [line(cells[0]), "|" + "|".join("-" * (w + 2) for w in widths) + "|", *map(line, cells[1:])]


def as_json(rows, machine, failures, steps):
    return {"machine": machine, "went wrong": failures, "steps": steps,
            "rows": [{"name": row.name, "unit": row.unit, "medians": {name: median(row, name) for name in row.figures}, "figures": row.figures,
                      "resident MiB": row.memory, "took": row.seconds} for row in rows]}


# ---- charts ---------------------------------------------------------------------------------------------------------------

def write_charts(rows, directory):
    """An SVG file for each group of rows: those with a common beginning of their names and a common unit."""
    os.makedirs(directory, exist_ok=True)
    for name, group in groups(rows).items():
        with open(os.path.join(directory, f"bench-{name}.svg"), "w") as out:
            out.write(chart(group))
            out.write("\n")


def groups(rows):
    out = {}
    for row in rows:
        kind = "hits" if row.name.startswith("cache hits") else "calls" if "µs" in row.unit or row.unit == "KiB" else None
        if kind == "hits":
            kind += ("-tls" if "TLS" in row.name else "-plain") + ("-small" if "µs" in row.unit else "-large")
        if kind and row.figures:
            out.setdefault(kind, []).append(row)
    return out


def chart(rows):
    """Bars beside each other, a block for each row; each block has a scale of its own, and the figures stand at the bars."""
    left, bar, gap, width = 70, 16, 26, 640
    parts, y = ['<text x="8" y="16" class="unit">less is better</text>'], 26
    for row in rows:
        names = [name for name in PROXIES if name in row.figures]
        most = max(median(row, name) for name in names) or 1
        y += 14
        parts.append(f'<text x="8" y="{y}" class="row">{html.escape(row.name.strip())} <tspan class="unit">{html.escape(row.unit)}</tspan></text>')
        y += 6
        for name in names:
            value = median(row, name)
            size = (width - left - 90) * value / most
            parts.append(f'<text x="{left - 6}" y="{y + 12}" class="name">{name}</text>'
                         f'<rect x="{left}" y="{y + 2}" width="{size:.1f}" height="{bar - 3}" fill="{COLOURS[name]}"/>'
                         f'<text x="{left + size + 5:.1f}" y="{y + 12}">{value:.{row.digits}f}</text>')
            y += bar
        y += gap - 14
    style = ("text{font:12px sans-serif;fill:#222}.row{font-weight:bold}.unit{font-weight:normal;fill:#666}.name{text-anchor:end}"
             "@media(prefers-color-scheme:dark){text{fill:#ddd}.unit{fill:#999}}")
    return (f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {y}" width="{width}" role="img">'
            f'<style>{style}</style>\n' + "\n".join(parts) + "\n</svg>")
