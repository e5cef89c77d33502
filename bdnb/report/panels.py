"""Trajectories of cleaning, and what shrink and perturb leaves: rows in, panels of a figure out."""

from collections.abc import Mapping
from typing import Any

import pandas as pd
import seaborn as sns
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bdnb.analysis.metrics import candidates
from bdnb.report import figures, style
from bdnb.report.style import MARKERS, NAMES, RED, TITLES, Mark, short, some
from bdnb.runs import elsewhere
from bdnb.runtime.errors import ConfigError


def trajectories(rows: pd.DataFrame, before: pd.DataFrame) -> Figure:
    """Each cleaning run's path, epoch after epoch, by learning rate (the paper's Figure 5).

    rows: as for ``figures.scatter``, with lr; markers grow with the epoch. Rows of several
    defences or losses have panels of their own, below one another. before: the backdoored models,
    with pretrain_objective, accuracy, asr. Errors: ConfigError for missing columns.
    """
    figures.need(rows, "run", "seed", "pretrain_objective", "epoch", "lr", "accuracy", "asr")
    figures.need(before, "pretrain_objective", "accuracy", "asr")
    known, palette = style.labelled(rows, "lr")
    known["cleaning"] = style.labelled(rows, "loss")[0]["label"] if "loss" in rows else ""
    given = figures.facets(before, "pretrain_objective")
    if known["cleaning"].nunique() > 1:
        given["row"] = "cleaning"
    grid = _paths(known, palette, given)
    for key, axes in grid.axes_dict.items():
        cleaning, objective = key if "row" in given else ("", key)
        own = known[known["pretrain_objective"] == objective]
        own = own[own["cleaning"] == cleaning] if cleaning else own
        figures.mark_start(axes, before[before["pretrain_objective"] == objective])
        words = f"cleaned with {cleaning}" if cleaning else ""
        words = elsewhere.NOT_MEASURED if elsewhere.unmeasured(own) else words
        figures.title(axes, "pretrain_objective", objective, candidates(own), words)
    return figures.finished(grid, palette, [*figures.start_marks(), *_grows(known)], TITLES["lr"])


def learning_rates(rows: pd.DataFrame, objective: str) -> Figure:
    """The cleaning trajectories of one pre-training objective, a panel a learning rate.

    The paper's Figures 19 (MMCL) and 20 (MMCL + SSL). rows: a line an epoch, epoch 0 included,
    with columns run, seed, pretrain_objective, lr, epoch, accuracy, asr (percent); seeds have
    a shape each. Errors: ConfigError when no row has the objective.
    """
    mine = rows[rows["pretrain_objective"] == objective]
    words = elsewhere.trained(objective, NAMES)
    if mine.empty:
        raise ConfigError(f"no rows of models {words}")
    known, palette = style.labelled(mine, "lr")
    seeds = sorted(pd.unique(known["seed"]))
    columns = min(4, len(palette))
    shapes = {seed: MARKERS[i % len(MARKERS)] for i, seed in enumerate(seeds)}
    given = {"col": "lr", "col_wrap": columns, "height": 2.4}
    given["aspect"] = figures.WIDTH / max(columns, 3) / 2.4
    grid = _paths(known, palette, given, shape="seed", markers=shapes)
    for lr, axes in grid.axes_dict.items():
        figures.mark_start(axes, known[(known["lr"] == lr) & (known["epoch"] == 0)])
        axes.set_title(f"learning rate {short(lr)}", loc="left")
    n = f"n = {some(known['run'].nunique(), 'run')}, {some(len(seeds), 'seed')}"
    n += f", {elsewhere.NOT_MEASURED}" if elsewhere.unmeasured(known) else ""
    seen = {str(seed): Mark("0.3", shape) for seed, shape in shapes.items()}
    made = figures.finished(grid, seen, [*figures.start_marks(), *_grows(known)], TITLES["seed"])
    made.suptitle(f"{words}; {n}", size=12)
    return made


def _paths(
    known: pd.DataFrame,
    palette: dict[str, Mark],
    given: Mapping[str, Any],
    *,
    shape: str = "label",
    markers: Mapping[int, str] | None = None,
) -> sns.FacetGrid:
    """Each run's path through ASR and accuracy, its markers larger with every epoch after 0."""
    plane = figures.appearance(palette)
    own = plane.pop("markers")
    known = known.sort_values(["run", "epoch"])
    line = {"kind": "line", "units": "run", "estimator": None, "sort": False}
    grid = sns.relplot(
        known.fillna({"asr": figures.OUTSIDE}), **plane, **line, **given, lw=1.4, alpha=0.6
    )
    last = max(int(known["epoch"].max()), 1)
    sizes = {"size": "epoch", "sizes": (10, 110), "size_norm": (0, last)}
    for place, data in grid.facet_data():
        after = candidates(data)
        if len(after):
            drawn = {"ax": grid.facet_axis(*place[:2]), "alpha": 0.8, "lw": 0}
            sns.scatterplot(after, **plane, **sizes, **drawn, style=shape, markers=markers or own)
    return grid


def _grows(known: pd.DataFrame) -> list[Artist]:
    last = int(known["epoch"].max())
    words = f"marks grow from epoch 1 to {last}"
    return [figures.mark(words, marker="o", color="0.5", ms=9)] if last > 1 else []


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
        drawn = {"cmap": "cividis", "vmin": 0, "vmax": 100, "fmt": ".0f"}
        annotated = table.size <= 60
        sns.heatmap(table, ax=axes, annot=annotated, cbar_kws={"label": words}, **drawn)
        axes.set(xlabel="shrink λ", ylabel="perturb σ")
        counts = f"n = {some(len(models), 'model')}, {some(models['seed'].nunique(), 'seed')}"
        axes.set_title(f"{words}, {counts}", loc="left")
        _star(axes, table, rows)
    return figure


def _star(axes: Axes, table: pd.DataFrame, rows: pd.DataFrame) -> None:
    if "picked_shrink" not in rows:
        return
    chosen = rows[["picked_shrink", "picked_perturb"]].dropna().drop_duplicates()
    x = table.columns.get_indexer(pd.Index(chosen["picked_shrink"])) + 0.5
    y = table.index.get_indexer(pd.Index(chosen["picked_perturb"])) + 0.2
    axes.scatter(x, y, s=170, c=RED, marker="*", ec="white", zorder=5)
