"""Figures that are grids: a trajectory a learning rate, and what shrink and perturb leaves.

Tidy rows in, a Matplotlib figure out, as in ``figures``, whose marks and colours these have.
"""

import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bdnb.report import figures
from bdnb.report.figures import ASR, COLOURS, MARKERS, NAMES, RED
from bdnb.runs import elsewhere
from bdnb.runtime.errors import ConfigError


def rates(rows: pd.DataFrame, objective: str, *, columns: int = 4) -> Figure:
    """The cleaning trajectories of one pre-training objective, a panel a learning rate.

    The paper's Figures 19 (MMCL) and 20 (MMCL + SSL). rows: a line an epoch, epoch 0 included,
    with columns run, seed, pretrain_objective, lr, epoch, accuracy, asr (percent); each seed has a
    colour and a shape. Errors: ConfigError when no row has the objective.
    """
    mine = rows[rows["pretrain_objective"] == objective]
    if mine.empty:
        raise ConfigError(f"no rows of models pre-trained with {NAMES.get(objective, objective)}")
    found = sorted(pd.unique(mine["lr"]))
    seeds = sorted(pd.unique(mine["seed"]))
    columns = min(columns, len(found))
    lines = -(-len(found) // columns)
    size = (max(2.9 * columns, 6), 2.7 * lines + 0.6)
    figure = Figure(figsize=size, layout="constrained")
    cells = figure.subplots(lines, columns, sharex=True, sharey=True, squeeze=False).flatten()
    last = max(int(mine["epoch"].max()), 1)
    for axes, rate in zip(cells, found, strict=False):
        some = mine[mine["lr"] == rate]
        figures.mark_start(axes, some[some["epoch"] == 0])
        for _, run in some.groupby("run"):
            i = seeds.index(run["seed"].iloc[0])
            figures.draw_way(axes, run.sort_values("epoch"), COLOURS[i % 9], MARKERS[i % 9], last)
        axes.axvline(5, color="0.25", ls="--", lw=1)
        axes.set_title(figures.short(rate), loc="left")
        axes.set(xlim=(-4, 104))
        axes.margins(y=0.15)
    for axes in cells[len(found) :]:
        axes.set_visible(False)
    figure.supxlabel(ASR, size=11)
    figure.supylabel("accuracy (%)", size=11)
    n = f"n = {figures.some(mine['run'].nunique(), 'run')}, {figures.some(len(seeds), 'seed')}"
    words = f"{elsewhere.trained(objective, NAMES)}, by learning rate; {n}"
    if elsewhere.unmeasured(mine):
        words += f"; {elsewhere.NOT_MEASURED}"
    figure.suptitle(words, size=12)
    return figure


def screening(rows: pd.DataFrame) -> Figure | None:
    """Accuracy and ASR of each shrunk and perturbed model before cleaning, mean over seeds.

    A red star marks what is cleaned (the paper's rule). rows: of the study, a line an epoch, with
    columns defence, epoch, seed, option_shrink, option_perturb, accuracy, asr, and picked_shrink,
    picked_perturb of the runs that clean. None when nothing was screened.
    """
    models = rows[(rows["defence"] == "screen") & (rows["epoch"] > 0)]
    if models.empty:
        return None
    figure = Figure(figsize=(10, 4.2), layout="constrained")
    names = {"accuracy": "accuracy (%)", "asr": "attack success rate (%)"}
    for axes, (column, words) in zip(figure.subplots(1, 2), names.items(), strict=True):
        table = models.pivot_table(
            index="option_perturb", columns="option_shrink", values=column, aggfunc="mean"
        )
        sns.heatmap(
            table,
            ax=axes,
            cmap="viridis",
            vmin=0,
            vmax=100,
            annot=table.size <= 60,
            fmt=".0f",
            cbar_kws={"label": words},
        )
        axes.set(xlabel="shrink λ", ylabel="perturb σ")
        axes.set_title(f"{words}, n = {figures.some(len(models), 'model')}", loc="left")
        _star(axes, table, rows)
    return figure


def _star(axes: Axes, table: pd.DataFrame, rows: pd.DataFrame) -> None:
    if "picked_shrink" not in rows:
        return
    chosen = rows[["picked_shrink", "picked_perturb"]].dropna().drop_duplicates()
    x = table.columns.get_indexer(pd.Index(chosen["picked_shrink"])) + 0.5
    y = table.index.get_indexer(pd.Index(chosen["picked_perturb"])) + 0.2
    axes.scatter(x, y, s=170, c=RED, marker="*", ec="white", zorder=5)
