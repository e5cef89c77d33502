"""The page *How fast is it?*: rows of the benchmarks in, a sentence, figures and tables out.

``python -m tests.benchmarks --out FILE`` and ``python -m tests.benchmarks.growth --out FILE``
append a JSON line a measurement. Of measurements of one thing on one kind of device the latest
counts. Nothing here imports torch.
"""

import json
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from IPython.display import Markdown
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator
from pandas.io.formats.style import Styler

from bdnb.report.style import COLOURS
from bdnb.report.tables import styled
from bdnb.runtime.errors import ConfigError
from bdnb.runtime.project import root

Row = dict[str, Any]

FILE = "book/results/performance.jsonl"
ABOUT = ("model", "row", "device", "cores", "load", "repeats", "commit", "date")
FIELDS = {
    "ratio": ("samples", "target"),
    "growth": ("axis", "size", "multiple"),
    "tried": ("what",),
}
"""Kind of row -> its own fields, besides ``ABOUT`` and, by way, seconds, times and memory_mb.

Ways: bdnb, authors, open_clip (on a GPU also open_clip_amp); of what was tried bdnb and tried, with
the median as the only turn and null for the load. seconds: the median; times: every turn;
memory_mb: the peak in 2^20 bytes. target: times as fast as the authors' way, or null. Rows since
November 2026 also have flops, the operations of a go's products, and peak_flops, the speed of one
large product there.
"""

IDENTITY = ("kind", "model", "row", "axis", "multiple", "what")
PLAIN = {"authors": "plain loop", "open_clip": "open_clip", "open_clip_amp": "open_clip, bf16"}
NOTHING = Markdown(
    f"*Nothing has been measured yet: `python -m tests.benchmarks --out {FILE}` does it.*"
)


def read(file: str = FILE) -> list[Row]:
    """Return the latest row of each measurement; none without the file.

    file: from the project's folder, or absolute. Errors: ConfigError for a line that is no row.
    """
    path = root() / file
    found: dict[tuple, Row] = {}
    lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    for number, line in enumerate(lines, 1):
        try:
            row = json.loads(line)
            named = {*ABOUT, "seconds", "times", "memory_mb", *FIELDS[row["kind"]]}
        except (json.JSONDecodeError, KeyError, TypeError) as error:
            raise ConfigError(f"{file}, line {number}: not a row ({error!r})") from error
        if missing := named - set(row):
            raise ConfigError(f"{file}, line {number}: no {', '.join(sorted(missing))}")
        key = (*(row.get(name) for name in IDENTITY), device(row))
        if key not in found or row["date"] >= found[key]["date"]:
            found[key] = row
    return list(found.values())


def of(rows: list[Row], kind: str) -> list[Row]:
    """Return the rows of a kind, in the order in which they were measured first."""
    return [row for row in rows if row["kind"] == kind]


def device(row: Row) -> str:
    """Return the device without its threads: "cpu, fp32, AVX2", "NVIDIA H100, bf16"."""
    return ", ".join(part for part in row["device"].split(", ") if "thread" not in part)


def times_as_fast(row: Row, way: str = "authors") -> tuple[float, float, float]:
    """Return seconds of a way / seconds of bdnb: of the medians, lowest and highest of turns."""
    turns = np.divide(row["times"][way], row["times"]["bdnb"])
    return row["seconds"][way] / row["seconds"]["bdnb"], float(turns.min()), float(turns.max())


def answer(rows: list[Row]) -> Markdown:
    """Return the page's answer: how many times as fast by model and precision, and as asked."""
    measured = of(rows, "ratio")
    if not measured:
        return NOTHING
    steps: dict[str, list[float]] = {}
    for row in measured:
        if row["row"].startswith("step"):
            what = ", ".join([row["model"], *device(row).split(", ")[1:2]])
            steps.setdefault(what, []).append(times_as_fast(row)[0])
    found = [f"{_range(steps[what])} ({what})" for what in sorted(steps)]
    models = " and ".join([", ".join(found[:-1]), found[-1]] if found[1:] else found)
    asked = [row for row in measured if row["target"] is not None]
    reached = sum(times_as_fast(row)[0] >= row["target"] for row in asked)
    where = " and a ".join(dict.fromkeys(row["device"].split(", ")[0] for row in measured))
    return Markdown(
        f"**A training step is {models} as fast as a plain PyTorch loop in fp32 on a "
        f"{where.replace('cpu', 'CPU')}** (medians of the two objectives' steps). Of {len(asked)} "
        f"measurements, all kinds of work together, {reached} are as fast as the project asks."
    )


def _range(values: list[float]) -> str:
    low, high = f"{min(values):.1f}", f"{max(values):.1f}"
    return f"{low} times" if low == high else f"{low} to {high} times"


def bars(rows: list[Row]) -> Figure | Markdown:
    """Draw times as fast as the plain loop: a panel a model, a bar a row and kind of device.

    Thin lines reach from the lowest to the highest turn; a black mark is what is asked.
    """
    measured = of(rows, "ratio")
    if not measured:
        return NOTHING
    models = list(dict.fromkeys(row["model"] for row in measured))
    works = list(dict.fromkeys(row["row"] for row in measured))
    devices = list(dict.fromkeys(map(device, measured)))
    figure = Figure(figsize=(4.5 * len(models) + 1, 0.5 * len(works) + 1.6), layout="constrained")
    panels = figure.subplots(1, len(models), sharey=True, squeeze=False)[0]
    high = 0.8 / len(devices)
    for axes, model in zip(panels, models, strict=True):
        for row in (row for row in measured if row["model"] == model):
            middle, least, most = times_as_fast(row)
            which = devices.index(device(row))
            y = works.index(row["row"]) + (which - (len(devices) - 1) / 2) * high
            axes.barh(y, middle - 1, high, left=1, color=COLOURS[which])
            axes.hlines(y, least, most, color="0.3", lw=1)
            if row["target"] is not None:
                axes.vlines(row["target"], y - high / 2, y + high / 2, color="k", lw=2.5)
        axes.set(xscale="log", xlabel="times as fast as a plain loop", title=model)
        axes.set_xticks((1, 2, 3, 5, 10, 20, 50), (1, 2, 3, 5, 10, 20, 50))
        axes.xaxis.set_minor_locator(NullLocator())
        axes.axvline(1, color="0.3", lw=1)
    panels[0].set_yticks(range(len(works)), works)
    panels[0].invert_yaxis()
    bars_of = [panels[0].barh(0, 0, color=COLOURS[i], label=n) for i, n in enumerate(devices)]
    figure.legend(handles=bars_of, loc="outside lower center", ncols=2, frameon=False)
    return figure


def ratios(rows: list[Row]) -> Styler | Markdown:
    """Return what the bars show as a table: samples a second, ratios with their range, memory."""
    lines = []
    for row in of(rows, "ratio"):
        line = {"model": row["model"], "device": device(row), "what": row["row"]}
        line["samples/s"] = row["samples"] / row["seconds"]["bdnb"]
        for way, name in PLAIN.items():
            if way in row["times"]:
                middle, least, most = times_as_fast(row, way)
                turns = f" ({least:.2f} to {most:.2f})" if len(row["times"][way]) > 1 else ""
                line[f"times {name}"] = f"{middle:.2f}{turns}"
        line |= {"asked": row["target"], "turns": row["repeats"]}
        line["% of a product's speed"] = share_of_peak(row)
        memory = row["memory_mb"]
        lines.append(line | {"MB": memory["bdnb"], "MB plain loop": memory["authors"]})
    numbers = ("samples/s", "% of a product's speed", "MB", "MB plain loop")
    whole = dict.fromkeys(numbers, "{:,.0f}")
    return styled(pd.DataFrame(lines), 1, whole) if lines else NOTHING


def share_of_peak(row: Row) -> float:
    """Return a row's operations a second in percent of one large product's; NaN if not counted."""
    return 100 * floor(row) / row["seconds"]["bdnb"]


def floor(row: Row) -> float:
    """Return the seconds that a go's products alone take at one large product's speed, or NaN."""
    return row.get("flops") / row["peak_flops"] if row.get("flops") else float("nan")


def tried(rows: list[Row]) -> Styler | Markdown:
    """Return what was tried and gave nothing: its seconds beside those without it."""
    lines = [
        {
            "tried": row["what"],
            "what": row["row"],
            "seconds without": row["seconds"]["bdnb"],
            "with": row["seconds"]["tried"],
            "times as fast": row["seconds"]["bdnb"] / row["seconds"]["tried"],
            "turns": row["repeats"],
        }
        for row in of(rows, "tried")
    ]
    return styled(pd.DataFrame(lines), 2) if lines else NOTHING


def growth_lines(rows: list[Row]) -> Figure | Markdown:
    """Draw seconds (above) and peak memory (below) over what grows, a column each, a line a way.

    A line of its own is what the products alone would take, where they were counted.
    """
    points = []
    for row in of(rows, "growth"):
        about = {"what grows": row["axis"], "size": row["size"], "device": device(row)}
        ways = {"bdnb": "bdnb", "authors": "plain loop"}
        seconds = {name: row["seconds"][way] for way, name in ways.items()}
        found = {"seconds": seconds | {"products alone": floor(row)}}
        found["MB at most"] = {name: row["memory_mb"][way] for way, name in ways.items()}
        for quantity, values in found.items():
            for name, value in values.items():
                points.append(about | {"quantity": quantity, "way": name, "value": value})
    if not points:
        return NOTHING
    drawn = pd.DataFrame(points).dropna()
    several = {"style": "device"} if drawn["device"].nunique() > 1 else {}
    grid = sns.relplot(
        drawn,
        **{"x": "size", "y": "value", "hue": "way", "col": "what grows"} | several,
        **{"row": "quantity", "kind": "line", "marker": "o", "height": 2.3},
        facet_kws={"sharex": "col", "sharey": False, "margin_titles": True},
    )
    grid.set(xlim=(0, None), ylim=(0, None)).set_titles(col_template="{col_name}", row_template="")
    for axes, name in zip(grid.axes[:, 0], grid.row_names, strict=True):
        axes.set_ylabel(name)
    for axes in grid.axes.flat:
        tops = [max(line.get_ydata()) for line in axes.lines if len(line.get_ydata())]
        axes.set_ylim(0, 1.1 * max(tops, default=1))
    plt.close(grid.figure)
    return grid.figure


def growth(rows: list[Row]) -> Styler | Markdown:
    """Return a table a line an axis: seconds from the smallest to the largest size, the exponent.

    The exponent is b of seconds = a * size^b by least squares: 1 is growth in proportion. ms each
    more: the slope of a straight line; products alone: that of its floor.
    """
    found = pd.DataFrame([row | {"device": device(row)} for row in of(rows, "growth")])
    if found.empty:
        return NOTHING
    lines = []
    for (model, on, axis), points in found.groupby(["model", "device", "axis"], sort=False):
        own = points.sort_values("size")
        ends = own.iloc[[0, -1]]
        line = {"model": model, "device": on, "what grows": axis}
        line["sizes"] = " to ".join(f"{size:,}" for size in ends["size"])
        for way, name in (("bdnb", "bdnb"), ("authors", "plain loop")):
            line[f"seconds {name}"] = " to ".join(f"{s[way]:.3g}" for s in ends["seconds"])
            line[f"exponent {name}"] = exponent(own["size"], [s[way] for s in own["seconds"]])
        ours = [s["bdnb"] for s in own["seconds"]]
        line["ms each more"] = 1000 * slope(own["size"], ours)
        alone = [floor(row) for row in own.to_dict("records")]
        line["ms each more, products alone"] = 1000 * slope(own["size"], alone)
        line["MB"] = " to ".join(f"{memory['bdnb']:,.0f}" for memory in ends["memory_mb"])
        lines.append(line)
    made = pd.DataFrame(lines)
    alone = "ms each more, products alone"
    return styled(made.drop(columns=alone) if made[alone].isna().all() else made, 2)


def exponent(sizes: Any, seconds: list[float]) -> float:
    """Return the slope of log seconds over log size; NaN for a single size."""
    if len(set(sizes)) < 2:
        return float("nan")
    return float(np.polyfit(np.log(sizes), np.log(seconds), 1)[0])


def slope(sizes: Any, seconds: list[float]) -> float:
    """Return the seconds that one more takes, by least squares; NaN where that is not known."""
    if len(set(sizes)) < 2 or not np.isfinite(seconds).all():
        return float("nan")
    return float(np.polyfit(sizes, seconds, 1)[0])


def provenance(rows: list[Row]) -> Markdown:
    """Return where the rows come from: how many, when, on what, from which commits."""
    if not rows:
        return NOTHING
    when = sorted(row["date"][:10] for row in rows)
    loads = [row["load"][0] / row["cores"] for row in rows if row["load"]]
    each = {n: "; ".join(sorted({str(row[n]) for row in rows})) for n in ("device", "commit")}
    return Markdown(
        f"*n = {len(rows)} rows, {when[0]} to {when[-1]}; {each['device']}; commits "
        f"{each['commit']}. Load a core when a measurement began: median {np.median(loads):.1f}, "
        f"most {max(loads):.1f}.*"
    )
