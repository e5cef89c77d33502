"""Accuracy against ASR: tidy rows in, a Matplotlib figure out, panels by seaborn's ``relplot``.

The marks are the paper's (Figures 2, 5, 17 and 18): a red star in a black circle for the model that
is cleaned; a red ring round the most accurate model of each seed at ASR <= 5 %. The red bar is
their mean, with its 95 % interval. Colours and shapes are those of ``style``.
"""

from collections.abc import Hashable, Sequence
from typing import Any

import matplotlib.pyplot as plt
import pandas as pd
import seaborn as sns
from IPython import get_ipython
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator
from matplotlib_inline.backend_inline import set_matplotlib_formats

from bdnb.analysis.metrics import (
    CLEANED,
    best_accuracy_at,
    best_point,
    by_seed,
    candidates,
    over_seeds,
)
from bdnb.report.style import (
    ACCURACY,
    ASR,
    NAMES,
    RED,
    TITLES,
    Mark,
    between,
    cleaning,
    labelled,
    name,
    some,
)
from bdnb.runs import elsewhere
from bdnb.runtime.errors import ConfigError

WIDTH = 10.0
"""Inches: the widest figure. In a page 700 pixels wide its letters of 10 points are 9 pixels."""

OUTSIDE = -100.0
"""Where a model without ASR is put, as seaborn needs a place for each: left of all panels."""


def style() -> None:
    """Set the style of figures, and that notebooks keep them as SVG. Called once, at the top."""
    rc = {"svg.hashsalt": "bdnb", "axes.titlesize": 11, "axes.labelsize": 12, "legend.fontsize": 11}
    sns.set_theme(style="whitegrid", palette="colorblind", rc=rc)
    if get_ipython() is not None:
        set_matplotlib_formats("svg", metadata={"Date": None})


def training(rows: pd.DataFrame, kept: pd.DataFrame | None = None) -> Figure:
    """Return accuracy and ASR after each epoch of training (the paper's Figures 17 and 18).

    rows: of training runs, a panel an objective, of one seed or several (then mean and standard
    deviation), with columns objective, epoch, seed, accuracy, asr (percent). kept: rows of the
    models that are cleaned later, of which those of these runs get a red star. Errors: ConfigError
    for missing columns.
    """
    need(rows, "objective", "epoch", "seed", "accuracy", "asr")
    if kept is not None and "run" in kept:
        kept = kept[kept["run"].isin(rows["run"])]
    objectives = list(pd.unique(rows["objective"]))
    figure = Figure(figsize=(max(6.5, 4.5 * len(objectives)), 3.8), layout="constrained")
    panels = figure.subplots(1, len(objectives), sharey=True, squeeze=False)[0]
    marks: list[Artist] = []
    for objective, axes in zip(objectives, panels, strict=True):
        own = rows[rows["objective"] == objective]
        for column, words, line, colour, marker in (
            ("accuracy", "accuracy", "-", "0.15", "o"),
            ("asr", "attack success rate", "--", "#8a5a00", "s"),
        ):
            drawn = {"color": colour, "marker": marker, "linestyle": line}
            sns.lineplot(own, x="epoch", y=column, ax=axes, errorbar="sd", **drawn)
            marks.append(Line2D([], [], label=words, **drawn))  # type: ignore[arg-type]
            if kept is not None and len(kept):
                mine = kept[kept["objective"] == objective]
                axes.scatter(
                    mine["epoch"], mine[column], s=150, c=RED, marker="*", ec="w", zorder=5
                )
        axes.set(xlabel="epoch", ylabel="percent of test images", ylim=(-3, 103))
        seeds = own["seed"].nunique()
        spread = "" if seeds == 1 else ", mean ± standard deviation"
        words = NAMES.get(objective, objective)
        axes.set_title(f"{words}; n = {some(seeds, 'seed')}{spread}", loc="left")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    del marks[2:]
    if kept is not None and len(kept):
        marks.append(mark("the epoch that is cleaned later", marker="*", ms=14, color=RED))
    figure.legend(handles=marks, loc="outside lower center", ncols=3, frameon=False)
    return figure


def scatter(
    rows: pd.DataFrame,
    before: pd.DataFrame,
    *,
    hue: str = "loss",
    panel: str = "pretrain_objective",
) -> Figure:
    """Accuracy against ASR of every model that cleaning passed through (the paper's Figure 2).

    rows: one line an epoch of a cleaning run, with columns run, seed, pretrain_objective, epoch,
    accuracy, asr (percent) and hue, which tells colours and shapes apart; epoch 0 is left out.
    With hue "loss", several defences are labelled by defence and loss, and the rings are those
    of CleanCLIP with MMCL + SSL where it is there. before: the backdoored models (rows of epoch 0
    will do), with accuracy, asr. panel: column of both that tells panels apart. Errors:
    ConfigError for missing columns.
    """
    need(rows, "run", "seed", panel, "epoch", "accuracy", "asr", hue)
    need(before, panel, "accuracy", "asr")
    known, palette = labelled(rows, hue)
    after = known[known["epoch"] > 0].fillna({"asr": OUTSIDE})
    plane = appearance(palette) | facets(before, panel)
    # Of a line's points an SVG holds the marker once, of a scatter's each point's own.
    dots = {"kind": "line", "estimator": None, "dashes": False, "ls": "none", "ms": 6.3, "mew": 0}
    grid = sns.relplot(after, **plane, **dots, style="label", alpha=0.7)
    whole, ringed = _ringed(known, palette)
    for value, axes in grid.axes_dict.items():
        own, mine = (candidates(part[part[panel] == value]) for part in (known, ringed))
        mark_start(axes, before[before[panel] == value])
        found = _ring(axes, mine)
        title(axes, panel, value, own, found if len(own) else elsewhere.NOT_MEASURED)
    words = "each seed's best at or below it" + (f"\nwith {whole}" if whole else "")
    best = mark(words, marker="o", mfc="none", mec=RED, mew=2, ms=11)
    mean = Line2D([], [], color=RED, lw=3, label="their mean, 95 % interval")
    words = TITLES["cleaning" if " · " in "".join(palette) else hue]
    return finished(grid, palette, [*start_marks(), best, mean], words)


def _ringed(known: pd.DataFrame, palette: dict[str, Mark]) -> tuple[str, pd.DataFrame]:
    """The rows whose best models are ringed: CleanCLIP's whole loss, where there is that choice."""
    main = (
        name("loss", "mmcl_ssl"),
        cleaning("cleanclip", "mmcl_ssl"),
        name("defence", "cleanclip"),
    )
    for whole in main:
        if len(palette) > 1 and whole in palette:
            return whole, known[known["label"] == whole]
    return "", known


def _ring(axes: Axes, points: pd.DataFrame) -> str:
    """Ring each seed's best cleaned model, a bar at their mean; what the title says of it."""
    found = over_seeds(by_seed(points, best_accuracy_at), limits=(0.0, 100.0))
    if not found.n:
        return f"no model at ASR ≤ {CLEANED:g} %"
    for _, own in points.groupby("seed"):
        if (best := best_point(own)) is not None:
            place = best["asr"], best["accuracy"]
            axes.scatter(*place, s=170, fc="none", ec=RED, lw=1.6, zorder=5)
    if found.n > 1:
        x, y = CLEANED / 2 - 2, found.mean
        bars = [[(-4, y), (CLEANED, y)], [(x, found.low), (x, found.high)]]
        drawn = LineCollection(bars, colors=RED, linewidths=(4, 1.5), zorder=6)
        axes.add_collection(drawn, autolim=False)  # an interval of two seeds may be wide
    none = f", {some(found.missing, 'seed')} without" if found.missing else ""
    return f"best at ASR ≤ {CLEANED:g} %: {found.mean:.1f} %{between(found)}{none}"


def need(rows: pd.DataFrame, *columns: str) -> None:
    """Errors: ConfigError that names the columns that rows lack, or says that there are none."""
    missing = [c for c in columns if c not in rows]
    if missing or rows.empty:
        what = f"no column {', '.join(missing)}" if missing else "no line"
        raise ConfigError(f"rows for a figure: {what}; expected {', '.join(columns)}")


def facets(before: pd.DataFrame, panel: str) -> dict[str, Any]:
    """Return ``relplot``'s options of panels: one for each value that backdoored models have."""
    order = list(pd.unique(before[panel].sort_values()))
    wide = min(WIDTH, max(6.5, 4.2 * len(order))) / max(len(order), 1)
    return {"col": panel, "col_order": order, "height": 3.4, "aspect": wide / 3.4}


def appearance(palette: dict[str, Mark]) -> dict[str, Any]:
    """Return ``relplot``'s options of the plane of ASR and accuracy, its colours and shapes."""
    colours = {words: one.colour for words, one in palette.items()}
    shapes = {words: one.marker for words, one in palette.items()}
    plane = {"x": "asr", "y": "accuracy", "hue": "label", "legend": False}
    return plane | {"palette": colours, "markers": shapes}


def mark_start(axes: Axes, before: pd.DataFrame) -> None:
    """The paper's mark of the backdoored model, a star in a black circle, and its line at 5 %."""
    start = before.drop_duplicates(["accuracy", "asr"])
    axes.scatter(start["asr"], start["accuracy"], s=330, fc="none", ec="black", lw=1.4, zorder=4)
    axes.scatter(start["asr"], start["accuracy"], s=150, c=RED, marker="*", lw=0, zorder=5)
    axes.axvline(CLEANED, color="0.25", ls="--", lw=1.2)


def title(axes: Axes, column: str, value: Hashable, points: pd.DataFrame, found: str = "") -> None:
    """A panel's title: whose models, how many, and what is found of them."""
    objective = column == "pretrain_objective"
    words = elsewhere.trained(str(value), NAMES) if objective else name(column, value)
    counts = [some(len(points), "model"), some(points["run"].nunique(), "run")]
    counts.append(some(points["seed"].nunique(), "seed"))
    lines = (words, "n = " + ", ".join(counts), found)
    axes.set_title("\n".join(line for line in lines if line), loc="left")


def mark(label: str, **style: object) -> Line2D:
    """A legend's entry without a line."""
    return Line2D([], [], ls="none", label=label, **style)  # type: ignore[arg-type]


def start_marks() -> list[Artist]:
    """The legend's entries of what ``mark_start`` draws."""
    line = Line2D([], [], color="0.25", ls="--", label=f"ASR = {CLEANED:g} %")
    return [mark("backdoored model, before cleaning", marker="*", color=RED, ms=13), line]


def finished(
    grid: sns.FacetGrid, palette: dict[str, Mark], marks: Sequence[Artist], words: str
) -> Figure:
    """The figure with axes' labels, at least ten points of accuracy high, and its legends.

    words: title of the legend of the palette.
    """
    figure: Figure = grid.figure
    grid.set_titles("")  # seaborn's own, in the middle; ours are on the left
    grid.set_axis_labels(ASR, ACCURACY)
    grid.set(xlim=(-4, 104))
    axes = grid.axes.flat[0]
    axes.margins(y=0.12)
    low, high = axes.get_ylim()
    if (more := 10.0 - (high - low)) > 0:
        axes.set_ylim(low - more / 2, high + more / 2)
    own = [mark(label, marker=m, color=colour) for label, (colour, m) in palette.items()]
    columns = 1 if max(map(len, palette), default=0) > 12 else 2
    lines = max(len(marks) + 1, 1 + -(-len(own) // columns))
    figure.set_size_inches(figure.get_figwidth(), figure.get_figheight() + 0.8 + 0.24 * lines)
    figure.set_layout_engine("constrained")
    figure.legend(handles=own, title=words, loc="outside lower left", ncols=columns, frameon=False)
    figure.legend(handles=list(marks), loc="outside lower right", ncols=1, frameon=False)
    plt.close(figure)  # shown where it is returned, not where it was drawn
    return figure
