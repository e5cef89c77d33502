"""Figures of what cleaning costs: the price curve, and the kept accuracy of settings side by side.

Rows of cleaning runs in, a Matplotlib figure out.
"""

from collections.abc import Collection
from itertools import product
from typing import Any

import numpy as np
import pandas as pd
from IPython.display import Markdown
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from bdnb.analysis import price
from bdnb.analysis.arena import OBJECTIVES
from bdnb.analysis.metrics import CLEANED, before, by_seed
from bdnb.report import style
from bdnb.report.answers import NOTHING
from bdnb.report.style import NAMES, some
from bdnb.runs import elsewhere

MAIN_LOSS = "mmcl_ssl"
TITLE = 9.5
"""Size of a panel's title, points: three stand side by side."""


def curves(
    rows: pd.DataFrame, poisoned: Collection[str] = (), *, label: str = ""
) -> Figure | Markdown:
    """The share of accuracy that a cleaned model keeps, by the ASR allowed: ours, the authors'.

    rows: a line an epoch of a cleaning run, epoch 0 included, with columns poisoned,
    pretrain_objective, loss, seed, epoch, accuracy, asr (percent); those of CleanCLIP's own loss
    are drawn where there are some, each seed thin and their mean thick; each defence has its own
    curves. poisoned: only these. label: a column that tells settings apart; each has a panel of its
    own, in order, and there whatever its rows were cleaned with is one way.
    """
    if rows.empty:
        return NOTHING
    if elsewhere.unmeasured(rows):
        return Markdown(f"*{elsewhere.NOT_MEASURED}: nothing to draw against it.*")
    mine = rows[rows["poisoned"].isin(poisoned)] if poisoned else rows
    if elsewhere.unmeasured(mine):
        return Markdown(f"*{elsewhere.NOT_MEASURED}, so there is no price to draw.*")
    mine = mine[mine["asr"].notna()]
    loss = MAIN_LOSS if (mine["loss"] == MAIN_LOSS).any() else mine["loss"].iloc[0]
    mine = mine[mine["loss"] == loss]
    there = set(mine["pretrain_objective"])
    known = [] if there == {elsewhere.ELSEWHERE} else list(OBJECTIVES)
    mine = mine.assign(panel=mine[label] if label else "here")
    names = list(pd.unique(mine["panel"].dropna()))
    figure, (ours, theirs) = _panels(len(names), bool(known))
    mine = mine.assign(by="" if label else style.cleanings(mine))
    ways = list(product([*known, *sorted(there - set(OBJECTIVES))], mine["by"].unique()))
    marks = []
    for i, (objective, by) in enumerate(ways):
        colour = style.objective(objective).colour
        line: dict[str, Any] = {"color": colour, "ls": ("-", "--", ":", "-.")[i % 4]}
        own = mine[(mine["pretrain_objective"] == objective) & (mine["by"] == by)]
        for axes, title in zip(ours, names, strict=True):
            _ours(axes, own[own["panel"] == title], line)
        several = mine["by"].nunique() > 1
        words = elsewhere.trained(objective, NAMES) + f", cleaned with {by}" * several
        marks.append(Line2D([], [], lw=2.5, label=words, **line))
    for axes, title in zip(ours, names, strict=True):
        seeds = some(mine.loc[mine["panel"] == title, "seed"].nunique(), "seed")
        words = f"{title} ({seeds})" if label else f"{title}: mean of {seeds} (thick), each (thin)"
        axes.set_title(words, loc="left", size=TITLE)
    for axes in theirs:
        _authors(axes)
    for axes in (*ours, *theirs):
        axes.set(xscale="log", xlim=(1, 100), ylim=(-3, None))
        axes.xaxis.set_major_formatter("{x:g}")
        axes.axvline(CLEANED, color="0.25", ls=":", lw=1.2)
        axes.axvspan(price.KEPT_AT[0], price.KEPT_AT[-1], color="0.92", zorder=0)
    figure.legend(handles=marks, loc="outside lower center", ncols=2, frameon=False)
    return figure


def _panels(count: int, authors: bool) -> tuple[Figure, tuple[list[Axes], list[Axes]]]:
    """A figure with panels for ours, and one for the authors' points: at most three in a row."""
    whole = count + authors
    columns = min(whole, 2 if count == 1 else 3)
    lines = -(-whole // columns)
    figure = Figure(figsize=(9, 4.2 if lines == 1 else 2.8 * lines + 0.8), layout="constrained")
    cells = figure.subplots(lines, columns, sharex=True, sharey=True, squeeze=False).flatten()
    for axes in cells[whole:]:
        axes.remove()
    for place, axes in enumerate(cells[:whole]):
        if place + columns >= whole:  # nothing is below it
            axes.xaxis.set_tick_params(labelbottom=True)
            axes.set_xlabel("ASR allowed (%)")
        if place % columns == 0:
            axes.set_ylabel("accuracy kept (% of before)")
    return figure, (list(cells[:count]), list(cells[count:whole]))


def _ours(axes: Axes, own: pd.DataFrame, line: dict[str, Any]) -> None:
    """The curves of one way of cleaning models of one objective: each seed thin, the mean thick."""
    made = [price.curve(one) for _, one in own.groupby("seed")]
    for one in made:
        axes.step(price.THRESHOLDS, one, where="post", lw=0.8, alpha=0.5, **line)
    if made:
        axes.step(price.THRESHOLDS, np.mean(made, axis=0), where="post", lw=2.5, **line)


def _authors(axes: Axes) -> None:
    """The curves of the authors' points, CC6M thick and CC3M thin."""
    theirs = price.authors_curves()
    for (data, named), own in theirs[theirs["loss"] == MAIN_LOSS].groupby(["data", "objective"]):
        colour = style.objective(str(named)).colour
        dashes = ("-", "--")[OBJECTIVES.index(str(named))]
        width = 2.5 if data == "CC6M" else 1.0
        axes.step(own["threshold"], own["kept"], where="post", color=colour, ls=dashes, lw=width)
    axes.set_title("authors: CC6M (thick), CC3M (thin)", loc="left", size=TITLE)


def settings(rows: pd.DataFrame, label: str) -> Figure | Markdown:
    """Return the kept accuracy of settings, a line each: a dot a seed, a bar at their mean.

    rows: as ``curves`` takes them, with a column that labels settings, which are drawn in order.
    """
    if rows.empty or elsewhere.unmeasured(rows):
        return NOTHING
    names = list(pd.unique(rows[label].dropna()))
    figure = Figure(figsize=(9, 0.42 * len(names) + 1.6), layout="constrained")
    axes, drawn = figure.subplots(), dict[str, Line2D]()
    objectives = sorted(rows["pretrain_objective"].unique())
    for place, name in enumerate(names):
        for number, objective in enumerate(objectives):
            own = rows[(rows[label] == name) & (rows["pretrain_objective"] == objective)]
            if own.empty:
                continue
            kept = by_seed(own, price.kept_accuracy)
            y = place + 0.28 * (number - (len(objectives) - 1) / 2)
            mark = style.objective(objective)
            drawn_as: dict[str, Any] = {"color": mark.colour, "marker": mark.marker}
            axes.scatter(kept, [y] * len(kept), s=30, alpha=0.75, lw=0, **drawn_as)
            axes.scatter([kept.mean()], [y], s=150, marker="|", lw=2.5, color=mark.colour)
            words = elsewhere.trained(objective, NAMES)
            drawn[objective] = Line2D([], [], ls="none", label=words, **drawn_as)
    axes.axvline(100, color="0.25", ls="--", lw=1.2)
    axes.set(xlim=(-3, None), ylim=(len(names) - 0.5, -0.5))
    axes.set_yticks(range(len(names)), names)
    axes.set_xlabel("kept accuracy (% of that before cleaning): a dot a seed, a bar their mean")
    figure.legend(handles=list(drawn.values()), loc="outside lower center", ncols=2, frameon=False)
    return figure


def noise(rows: pd.DataFrame) -> Markdown:
    """How much each measure would move if the test images were drawn again: a simulation.

    rows: as ``curves`` takes them; those of CleanCLIP's own loss count.
    """
    if rows.empty:
        return NOTHING
    rows = rows[rows["loss"] == MAIN_LOSS]
    images = int(rows["test_images"].max())
    models = [own for _, own in rows.groupby(["poisoned", "seed"]) if (own["epoch"] == 0).any()]
    made = pd.DataFrame([price.sampling_error(own, images=images) for own in models])
    mean, most = made.mean(), made.max()
    accuracy = np.mean([before(own).accuracy for own in models])
    return Markdown(
        f"Were the {images:,} test images drawn again, kept accuracy would move by "
        f"{mean['kept']:.1f} points (standard deviation, mean of {some(len(made), 'model')}; at "
        f"most {most['kept']:.1f}), that kept at an ASR of 5 % by {mean['kept_at_5']:.1f} (at most "
        f"{most['kept_at_5']:.1f}), of a model that has {accuracy:.0f} % before cleaning."
    )
