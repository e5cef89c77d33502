"""How time and memory grow with the work: rows of ``tests.benchmarks.growth`` in, a figure out.

The exponents are fitted here, from the rows, each time.
"""

from typing import Any

import numpy as np
import pandas as pd
from IPython.display import Markdown
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator
from pandas.io.formats.style import Styler

from bdnb.report.speed import WAYS, Row, nothing, of, where
from bdnb.report.style import COLOURS, MARKERS
from bdnb.report.tables import styled
from bdnb.runtime.errors import ConfigError


def _points(rows: list[Row]) -> pd.DataFrame:
    """Rows of growth, a line a size and way: on, axis, size, way, seconds, memory, repeats."""
    return pd.DataFrame(
        [
            {name: row[name] for name in ("axis", "size", "repeats")}
            | {"on": where(row), "way": way}
            | {"seconds": row["seconds"][way], "memory": row["memory_mb"][way]}
            for row in of(rows, "growth")
            for way in row["seconds"]
        ]
    )


NAMES = {"bdnb": "bdnb", "authors": "plain loop (a)", "open_clip": "open_clip (b)"}
QUANTITIES = {"seconds": "seconds", "memory": "peak memory (MB)"}


def growth(rows: list[Row], quantity: str = "seconds") -> Figure | Markdown:
    """What a go takes as each thing grows, on two logarithmic axes, ours and the plain loop.

    quantity: seconds, beside what grows in proportion from our first point, or memory, in MB.
    Errors: ConfigError for another quantity.
    """
    if quantity not in QUANTITIES:
        raise ConfigError(f"quantity={quantity!r}: expected one of {', '.join(QUANTITIES)}")
    points = _points(rows)
    if points.empty:
        return nothing("growth")
    panels = list(points.groupby(["on", "axis"], sort=False))
    columns = min(3, len(panels))
    deep = -(-len(panels) // columns)
    figure = Figure(figsize=(max(3.3 * columns, 5.5), 2.9 * deep + 0.7), layout="constrained")
    cells = figure.subplots(deep, columns, squeeze=False).flatten()
    several = points["on"].nunique() > 1
    for axes, ((on, axis), own) in zip(cells, panels, strict=False):
        for i, way in enumerate(WAYS):
            line = own[own["way"] == way].sort_values("size")
            if line.empty:
                continue
            axes.plot(line["size"], line[quantity], **_look(i))
        first = own[own["way"] == "bdnb"].sort_values("size")
        if quantity == "seconds":
            start, least = first["size"].iloc[0], first["seconds"].iloc[0]
            axes.plot(first["size"], least * first["size"] / start, color="0.55", lw=1, ls="-.")
        axes.set(xscale="log", yscale="log", xlabel=axis, ylabel=QUANTITIES[quantity])
        axes.set_xticks(sorted(own["size"].unique()))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
        axes.xaxis.set_minor_locator(NullLocator())
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axes.yaxis.set_minor_locator(NullLocator())
        axes.set_ylim(own[quantity].min() / 2.2, own[quantity].max() * 2.2)
        above = f"{on}\n" if several else ""
        taken = "/".join(str(n) for n in sorted(own["repeats"].unique()))
        axes.set_title(f"{above}n = {taken} goes a point", loc="left")
    for axes in cells[len(panels) :]:
        axes.set_axis_off()
    _growth_legend(figure, list(points["way"].unique()), ideal=quantity == "seconds")
    return figure


def _look(i: int) -> dict[str, Any]:
    return {"color": COLOURS[i], "marker": MARKERS[i], "ls": ("-", "--", ":")[i]}


def _growth_legend(figure: Figure, ways: list[str], *, ideal: bool) -> None:
    marks = [
        Line2D([], [], label=NAMES[way], **_look(i)) for i, way in enumerate(WAYS) if way in ways
    ]
    if ideal:
        marks.append(Line2D([], [], color="0.55", lw=1, ls="-.", label="in proportion"))
    figure.legend(handles=marks, loc="outside lower center", ncols=3, frameon=False)


def exponents(rows: list[Row]) -> Styler | Markdown:
    """The exponent b of seconds = a * size^b by least squares, and memory at both ends."""
    points = _points(rows)
    if points.empty:
        return nothing("growth")
    lines = []
    for (on, axis), own in points.groupby(["on", "axis"], sort=False):
        line = {"on": on, "what grows": axis}
        line["from, to"] = f"{own['size'].min():,} to {own['size'].max():,}"
        for way, some in own.groupby("way", sort=False):
            ends = some.sort_values("size").iloc[[0, -1]]
            name = WAYS[str(way)]
            line[f"exponent {name}"] = exponent(some)
            line[f"seconds {name}"] = " to ".join(f"{s:.3g}" for s in ends["seconds"])
            line[f"MB {name}"] = " to ".join(f"{mb:,.0f}" for mb in ends["memory"])
        lines.append(line | {"sizes": own["size"].nunique()})
    return styled(pd.DataFrame(lines), 2)


def exponent(points: pd.DataFrame) -> float:
    """The slope of log seconds over log size; NaN for a single size."""
    if points["size"].nunique() < 2:
        return float("nan")
    return float(np.polyfit(np.log(points["size"]), np.log(points["seconds"]), 1)[0])
