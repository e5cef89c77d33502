"""The book's figures: tidy rows or images in, a Matplotlib figure out.

The marks are the paper's (Figures 2, 5, 16 to 18): a red star for the model that is kept, in a
black circle where it is the start of cleaning; a red circle round the best model at ASR <= 5 %.
Colours can be told apart by the colour-blind, and no colour stands without a shape of its own.
"""

import textwrap
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
import seaborn as sns
from IPython import get_ipython
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator
from matplotlib_inline.backend_inline import set_matplotlib_formats
from numpy.typing import ArrayLike

from bdnb.analysis.metrics import best_point, candidates
from bdnb.runs import elsewhere
from bdnb.runtime.errors import ConfigError

NAMES = {"mmcl": "MMCL", "ssl": "SSL", "mmcl_ssl": "MMCL + SSL", "siglip": "SigLIP"}
COLOURS = [sns.color_palette("colorblind")[i] for i in (0, 1, 2, 4, 7, 8, 9, 5, 6)]
"""seaborn's colour-blind palette without its red, which is the star's."""
MARKERS = "os^DvPX<>"
RED = "#d3001b"
ACCURACY, ASR = "zero-shot top-1 accuracy (%)", "attack success rate (%)"


def style() -> None:
    """Set how figures look, and that notebooks keep them as SVG. Called once, at the top."""
    rc = {"svg.hashsalt": "bdnb", "axes.titlesize": 12, "axes.labelsize": 12, "legend.fontsize": 11}
    sns.set_theme(style="whitegrid", palette="colorblind", rc=rc)
    if get_ipython() is not None:
        set_matplotlib_formats("svg", metadata={"Date": None})


def training(rows: pd.DataFrame, kept_epoch: int | None = None) -> Figure:
    """Accuracy and ASR after each epoch of training (the paper's Figures 17 and 18).

    rows: those of one experiment, of one seed or several (then mean and standard deviation), with
    columns epoch, seed, accuracy, asr (percent). kept_epoch: gets a red star on both curves.
    Errors: ConfigError for missing columns, or a kept epoch that has no row.
    """
    _need(rows, "epoch", "seed", "accuracy", "asr")
    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.subplots()
    marks: list[Artist] = []
    for i, (column, name) in enumerate((("accuracy", "accuracy"), ("asr", "attack success rate"))):
        look = {"color": COLOURS[i], "marker": MARKERS[i], "linestyle": ("-", "--")[i]}
        sns.lineplot(rows, x="epoch", y=column, ax=axes, errorbar="sd", **look)
        marks.append(Line2D([], [], label=name, **look))
    if kept_epoch is not None:
        kept = rows.loc[rows["epoch"] == kept_epoch, ["accuracy", "asr"]]
        if kept.empty:
            raise ConfigError(f"kept_epoch={kept_epoch}: no row has this epoch")
        axes.scatter([kept_epoch] * 2, kept.mean(), s=250, c=RED, marker="*", ec="w", zorder=5)
        marks.append(_mark(f"kept: epoch {kept_epoch}", marker="*", ms=14, color=RED))
    axes.set(xlabel="epoch", ylabel="percent of test images", ylim=(-3, 103))
    axes.set_title(_count(rows["seed"].nunique(), "seed"), loc="left")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    _legend(figure, marks)
    return figure


def scatter(
    rows: pd.DataFrame,
    before: pd.DataFrame,
    threshold: float = 5.0,
    *,
    hue: str = "loss",
    panel: str = "pretrain_objective",
) -> Figure:
    """Accuracy against ASR of every model that cleaning passed through (the paper's Figure 2).

    rows: one line an epoch of a cleaning run, with columns run, pretrain_objective, epoch,
    accuracy, asr (percent) and hue, which tells colours and shapes apart; epoch 0 is left out. A
    panel without any ASR says so, and shows nothing.
    before: the poisoned models (rows of epoch 0 will do), with pretrain_objective, accuracy, asr.
    threshold: ASR in percent up to which a model counts as cleaned. panel: column of both that
    tells panels apart. Errors: ConfigError for missing columns.
    """
    _need(rows, "run", panel, "epoch", "accuracy", "asr", hue)
    after = candidates(rows)
    figure, panels = _panels(after, before, panel)
    values = list(pd.unique(after[hue].sort_values()))
    looks = dict(zip(values, _looks(values), strict=True))
    for name, axes in panels.items():
        points = after[after[panel] == name]
        for value, (colour, marker) in looks.items():
            its = points[points[hue] == value]
            axes.scatter(
                its["asr"], its["accuracy"], s=34, color=colour, marker=marker, alpha=0.7, lw=0
            )
        axes.axvline(threshold, color="0.25", ls="--", lw=1.2)
        words = NAMES.get(name, str(name))
        if panel == "pretrain_objective":
            words = elsewhere.trained(name, NAMES)
        own = rows[rows[panel] == name]
        if elsewhere.unmeasured(own):
            _title(axes, words, own[own["epoch"] > 0], elsewhere.NOT_MEASURED)
        else:
            _title(axes, words, points, _ring(axes, points, threshold))
    _widen(panels)
    marks = [_mark(NAMES.get(str(v), str(v)), marker=m, color=c) for v, (c, m) in looks.items()]
    line = Line2D([], [], color="0.25", ls="--", label=f"ASR = {threshold:g} %")
    ring = _mark("most accurate at or below it", marker="o", mfc="none", mec=RED, mew=2, ms=11)
    _legend(figure, [*marks, *_start_marks(), line, ring])
    return figure


def trajectories(rows: pd.DataFrame, before: pd.DataFrame) -> Figure:
    """Each cleaning run's way, epoch after epoch, by learning rate (the paper's Figure 5).

    rows: as for ``scatter``, with lr; markers grow and lines darken with the epoch. before: the
    poisoned models, with pretrain_objective, accuracy, asr. Errors: ConfigError for missing
    columns.
    """
    _need(rows, "run", "pretrain_objective", "epoch", "lr", "accuracy", "asr")
    figure, panels = _panels(rows, before)
    rates = sorted(pd.unique(rows["lr"]))
    colours = sns.color_palette("viridis", len(rates)) if len(rates) > 3 else COLOURS
    last = max(int(rows["epoch"].max()), 1)
    for objective, axes in panels.items():
        points = rows[rows["pretrain_objective"] == objective]
        for _, run in points.groupby("run"):
            index = rates.index(run["lr"].iloc[0])
            draw_way(axes, run.sort_values("epoch"), colours[index], MARKERS[index % 9], last)
        words = elsewhere.trained(objective, NAMES)
        if elsewhere.unmeasured(points):
            _title(axes, words, points[points["epoch"] > 0], elsewhere.NOT_MEASURED)
        else:
            _title(axes, words, candidates(points))
    _widen(panels)
    marks = [
        _mark(f"learning rate {short(rate)}", marker=MARKERS[i % 9], color=colour)
        for i, (rate, colour) in enumerate(zip(rates, colours, strict=False))
    ]
    grows = _mark(f"grows from epoch 1 to {last}", marker="o", color="0.5", ms=9)
    _legend(figure, [*marks, *_start_marks(), *[grows] * (last > 1)])
    return figure


def gallery(
    images: ArrayLike, captions: Sequence[str], backdoor_captions: Sequence[str], columns: int = 4
) -> Figure:
    """Poisoned images between their true caption and the attacker's (the paper's Figure 16).

    images: (N, 3, H, W) uint8.
    """
    figure, cells = _cells(images, columns, width=2.3, height=3.1)
    for axes, caption, backdoor in zip(cells, captions, backdoor_captions, strict=True):
        axes.set_title(textwrap.fill(f"true: {caption}", 30), size=9, loc="left")
        axes.set_xlabel(textwrap.fill(f"backdoor: {backdoor}", 30), size=9, loc="left", color=RED)
    return figure


def contact_sheet(
    images: ArrayLike, titles: Sequence[str] = (), columns: int = 8, rows: Sequence[str] = ()
) -> Figure:
    """Images side by side, each under its title if there is one. images: (N, 3, H, W) uint8.

    rows: what stands to the left of each row.
    """
    figure, cells = _cells(images, columns, width=1.3, height=1.55 if titles else 1.3)
    for axes, title in zip(cells, titles, strict=False):
        axes.set_title(textwrap.fill(title, 18), size=8)
    for axes, words in zip(cells[::columns], rows, strict=False):
        axes.set_ylabel(words, rotation=0, ha="right", va="center", size=11)
    return figure


def _need(rows: pd.DataFrame, *columns: str) -> None:
    missing = [c for c in columns if c not in rows]
    if missing or rows.empty:
        what = f"no column {', '.join(missing)}" if missing else "no line"
        raise ConfigError(f"rows for a figure: {what}; expected {', '.join(columns)}")


def _panels(
    rows: pd.DataFrame, before: pd.DataFrame, by: str = "pretrain_objective"
) -> tuple[Figure, dict[str, Axes]]:
    """A panel for each pre-training objective, on shared axes, with the poisoned models' stars."""
    _need(before, by, "accuracy", "asr")
    names = list(pd.unique(before[by].sort_values()))
    figure = Figure(figsize=(max(4.1 * len(names), 6), 4.5), layout="constrained")
    axes = figure.subplots(1, len(names), sharex=True, sharey=True, squeeze=False)[0]
    for panel, name in zip(axes, names, strict=True):
        mark_start(panel, before[before[by] == name])
        panel.set(xlabel=ASR, ylabel=ACCURACY, xlim=(-4, 104))
        panel.margins(y=0.12)
        panel.label_outer()
    return figure, dict(zip(names, axes, strict=True))


def mark_start(axes: Axes, before: pd.DataFrame) -> None:
    """The paper's mark of the poisoned model: a red star in a black circle."""
    start = before.drop_duplicates(["accuracy", "asr"])
    axes.scatter(start["asr"], start["accuracy"], s=330, fc="none", ec="black", lw=1.4, zorder=4)
    axes.scatter(start["asr"], start["accuracy"], s=150, c=RED, marker="*", lw=0, zorder=5)


def _looks(values: Sequence[str]) -> list[tuple[tuple[float, float, float], str]]:
    """A colour and a shape for each; MMCL, SSL and their sum have the same ones in every figure."""
    own = ["mmcl_ssl", "mmcl", "ssl"]
    order = own + [v for v in values if v not in own] if set(values) & set(own) else list(values)
    places = [order.index(v) % len(MARKERS) for v in values]
    return [(COLOURS[i], MARKERS[i]) for i in places]


def _ring(axes: Axes, points: pd.DataFrame, threshold: float) -> str:
    """A ring round the most accurate cleaned model; what the title says of it."""
    best = best_point(points, threshold)
    if best is None:
        return f"no model at ASR ≤ {threshold:g} %"
    axes.scatter(best["asr"], best["accuracy"], s=190, fc="none", ec=RED, lw=2, zorder=5)
    return f"ringed: {best['accuracy']:.1f} % at ASR {best['asr']:.1f} %"


def _widen(panels: dict[str, Axes], least: float = 10.0) -> None:
    """Show at least so many points of accuracy, so that a tenth of a point looks like little."""
    axes = next(iter(panels.values()))
    low, high = axes.get_ylim()
    if (more := least - (high - low)) > 0:
        axes.set_ylim(low - more / 2, high + more / 2)


def draw_way(axes: Axes, run: pd.DataFrame, colour: tuple, marker: str, last: int) -> None:
    """One run's path: from a point to the next, larger and darker with every epoch."""
    asr, accuracy, epoch = (run[c].to_numpy() for c in ("asr", "accuracy", "epoch"))
    for i in range(1, len(run)):
        strength = 0.25 + 0.6 * epoch[i] / last
        axes.plot(asr[i - 1 : i + 1], accuracy[i - 1 : i + 1], c=colour, alpha=strength, lw=1.5)
    seen = epoch > 0
    sizes = 8 + 110 * epoch[seen] / last
    axes.scatter(asr[seen], accuracy[seen], s=sizes, color=colour, marker=marker, alpha=0.8, lw=0)


def _title(axes: Axes, words: str, points: pd.DataFrame, found: str = "") -> None:
    counts = f"n = {some(len(points), 'model')}, {some(points['run'].nunique(), 'run')}"
    axes.set_title("\n".join(line for line in (words, counts, found) if line), loc="left")


def some(number: int, thing: str) -> str:
    """A number of things in words: "1 run", "12 runs"."""
    return f"{number} {thing}{'' if number == 1 else 's'}"


def short(rate: float) -> str:
    """A learning rate as it is written in parameter files: 1e-3, 2.5e-4."""
    digits, power = f"{rate:.1e}".split("e")
    return f"{digits.removesuffix('.0')}e{int(power)}"


def _count(number: int, thing: str) -> str:
    return f"n = {some(number, thing)}{'' if number == 1 else ', mean ± standard deviation'}"


def _mark(label: str, **look: object) -> Line2D:
    return Line2D([], [], ls="none", label=label, **look)  # type: ignore[arg-type]


def _start_marks() -> list[Line2D]:
    return [_mark("poisoned model, before cleaning", marker="*", color=RED, ms=13)]


def _legend(figure: Figure, marks: Sequence[Artist]) -> None:
    figure.legend(handles=list(marks), loc="outside lower center", ncols=3, frameon=False)


def _cells(
    images: ArrayLike, columns: int, *, width: float, height: float
) -> tuple[Figure, list[Axes]]:
    """A grid with an image in each cell. width, height: of a cell, in inches."""
    pixels = np.asarray(images).transpose(0, 2, 3, 1)
    columns = min(columns, len(pixels))
    rows = -(-len(pixels) // columns)
    figure = Figure(figsize=(width * columns, height * rows), layout="constrained")
    cells = figure.subplots(rows, columns, squeeze=False).flatten().tolist()
    for axes, image in zip(cells, pixels, strict=False):
        axes.imshow(image, interpolation="none")
    for axes in cells:
        axes.set(xticks=[], yticks=[])
        sns.despine(ax=axes, left=True, bottom=True)
    return figure, cells[: len(pixels)]


def trigger_gallery(images: Mapping[str, np.ndarray]) -> Figure:
    """Every trigger on the same images, a row each. images: name -> (N, 3, H, W) uint8."""
    count = len(next(iter(images.values())))
    return contact_sheet(np.concatenate(list(images.values())), columns=count, rows=list(images))
