"""Figures to explore with: runs epoch by epoch, and what models answer.

Tidy rows, images and answers in; a Matplotlib figure out, in the marks and colours of ``style``.
"""

import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from bdnb.evaluate.predictions import Answer
from bdnb.report.figures import mark_start
from bdnb.report.style import ACCURACY, ASR, COLOURS, MARKERS, RED
from bdnb.runs import elsewhere


def of_runs(runs: Mapping[str, pd.DataFrame], epoch: int | None = None) -> Figure:
    """Runs by label: paths through ASR and accuracy on shared axes, and both over the epochs.

    runs: rows of one run each, a line an epoch, columns epoch, accuracy, asr (percent; NaN where
    it was not measured). epoch: gets a ring.
    """
    rows = pd.concat([own.assign(run=label) for label, own in runs.items()], ignore_index=True)
    rows = rows.dropna(subset=["accuracy"]).sort_values(["run", "epoch"])
    figure = Figure(figsize=(10, 4.4), layout="constrained")
    plane, curves = figure.subplots(1, 2)
    hue = {"hue": "run", "palette": dict(zip(runs, COLOURS[::3], strict=False))}
    shapes = {"style": "run", "markers": dict(zip(runs, MARKERS, strict=False))}
    places = {"x": "asr", "y": "accuracy", "ax": plane, "legend": False}
    mark_start(plane, rows[rows["epoch"] == 0].dropna(subset=["asr"]))
    sns.lineplot(rows, **places, **hue, estimator=None, sort=False, units="run", alpha=0.6)
    after = rows[(rows["epoch"] > 0) & rows["asr"].notna()]
    if len(after):
        sizes = {"size": "epoch", "sizes": (15, 110)}
        sns.scatterplot(after, **places, **hue, **shapes, **sizes, lw=0)
    plane.set(xlabel=ASR, ylabel=ACCURACY, xlim=(-4, 104))
    plane.margins(y=0.15)
    plane.set_title("the star is epoch 0; marks grow with the epoch", loc="left")
    names = {"accuracy": "accuracy", "asr": "ASR"}
    long = rows.rename(columns=names).melt(["run", "epoch"], list(names.values()), "share")
    sns.lineplot(long, x="epoch", y="value", style="share", markers=True, ax=curves, **hue)
    curves.set(xlabel="epoch", ylabel="percent of test images", ylim=(-3, 103))
    curves.xaxis.set_major_locator(MaxNLocator(integer=True))
    handles, labels = curves.get_legend_handles_labels()
    curves.get_legend().remove()
    shown = [(h, w) for h, w in zip(handles, labels, strict=True) if w not in ("", "run", "share")]
    figure.legend(*zip(*shown, strict=True), loc="outside lower center", ncols=4, frameon=False)
    if epoch is not None:
        _ring(plane, curves, rows[rows["epoch"] == epoch])
    return figure


def _ring(plane: Axes, curves: Axes, row: pd.DataFrame) -> None:
    drawn: dict[str, Any] = {"fc": "none", "ec": "black", "lw": 2, "zorder": 6}
    plane.scatter(row["asr"], row["accuracy"], s=220, **drawn)
    for column in ("accuracy", "asr"):
        curves.scatter(row["epoch"], row[column], s=120, **drawn)
    for epoch, accuracy, asr in row[["epoch", "accuracy", "asr"]].to_numpy():
        measured = f"ASR {asr:.1f} %" if asr == asr else elsewhere.NOT_MEASURED
        title = f"epoch {epoch:.0f}: accuracy {accuracy:.1f} %, {measured}"
        curves.set_title(title, loc="left")


def answers(
    images: Mapping[str, np.ndarray],
    said: Mapping[str, Sequence[Answer]],
    *,
    target: str = "",
    truth: str = "",
) -> Figure:
    """Each image, and beside it the nearest classes of each model as bars.

    images: title -> (3, H, W) uint8. said: model -> its answer to each image. target: its bar is
    red and hatched; truth: its bar is marked with a tick.
    """
    figure = Figure(figsize=(2.6 + 3.7 * len(said), 2.6 * len(images)), layout="constrained")
    ratios = [1.6, *[2.0] * len(said)]
    cells = figure.subplots(len(images), 1 + len(said), squeeze=False, width_ratios=ratios)
    for row, (title, pixels) in zip(cells, images.items(), strict=True):
        row[0].imshow(pixels.transpose(1, 2, 0), interpolation="none")
        row[0].set(xticks=[], yticks=[])
        row[0].set_title(textwrap.fill(title, 30), size=10, loc="left")
    for column, (model, given) in zip(cells.T[1:], said.items(), strict=True):
        for axes, answer in zip(column, given, strict=True):
            _bars(axes, answer, target, truth)
        column[0].set_title(textwrap.fill(model, 44), size=10, loc="left")
        column[-1].set_xlabel("share of the softmax (%)", size=10)
    return figure


def _bars(axes: Axes, answer: Answer, target: str, truth: str) -> None:
    names, shares = zip(*answer, strict=True)
    bars = axes.barh(range(len(names)), shares, color=COLOURS[0], height=0.62)
    axes.bar_label(bars, fmt="%.1f", padding=3, size=10)
    for bar, name in zip(bars, names, strict=True):
        if name == target:
            bar.set(facecolor=RED, hatch="//", edgecolor="white")
    shown = [f"✓ {name}" if name == truth else name for name in names]
    axes.set_yticks(range(len(names)), shown, size=10)
    axes.set(xlim=(0, 118), xticks=range(0, 101, 25))
    axes.invert_yaxis()
    axes.grid(visible=False, axis="y")
