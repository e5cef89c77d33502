"""How well poison is found with a backdoored model: rows of ``detect`` in, a table out."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
from IPython.display import Markdown
from matplotlib.figure import Figure
from pandas.io.formats.style import Styler

from bdnb.analysis.arena import CELL
from bdnb.analysis.metrics import over_seeds
from bdnb.config.defence_facts import DETECTORS, DetectorFacts
from bdnb.report import style, tables
from bdnb.report.style import NAMES, some

CHANCE = 50.0
"""AUROC (percent) of a coin."""
NUMBERS = {"auroc": "AUROC, %", "fpr95": "FPR at 95 % TPR, %", "f1": "F1, %"}
OURS = DetectorFacts("", "not said", "yours")
NOTHING = Markdown("*No detector has been run yet.*")


def found(rows: pd.DataFrame) -> pd.DataFrame:
    """Return a line for each detector in each cell: ``CELL``, detector, ``NUMBERS``, seeds.

    rows: of the arena's measurements, a line an epoch. Numbers are ``Spread`` over seeds, percent.
    """
    mine = rows[(rows["defence"] == "detect") & (rows["epoch"] > 0)] if len(rows) else rows
    lines = []
    for cell, own in mine.groupby(CELL, sort=False) if len(mine) else ():
        for name in _detectors(own):
            columns = {key: f"{name}_{key}" for key in NUMBERS}
            seeds = own.groupby("seed")[[one for one in columns.values() if one in own]].mean()
            by = {key: over_seeds(seeds[one]) for key, one in columns.items() if one in seeds}
            if by["auroc"].n:
                lines.append(dict(zip(CELL, cell, strict=True)) | {"detector": name} | by)
    return pd.DataFrame(lines)


def _detectors(rows: pd.DataFrame) -> Iterator[str]:
    for column in rows:
        if str(column).endswith("_auroc"):
            yield str(column).removesuffix("_auroc")


def table(made: pd.DataFrame) -> Styler | Markdown:
    """Return a line a detector and cell, the best first. made: of ``found``."""
    if made.empty:
        return NOTHING
    lines = []
    for line in made.to_dict("records"):
        facts = DETECTORS.get(line["detector"], OURS)
        lines.append(
            {
                "detector": _words(line["detector"]),
                "judges": facts.of,
                "attack": line["attack"],
                "objective": NAMES.get(line["objective"], line["objective"]),
            }
            | {words: line[key].mean for key, words in NUMBERS.items() if key in line}
            | {"seeds": line["auroc"].n, "paper": facts.paper}
        )
    return tables.styled(
        pd.DataFrame(lines).sort_values(
            ["judges", "attack", "objective", NUMBERS["auroc"]],
            ascending=[False, True, True, False],
            ignore_index=True,
        )
    )


def figure(made: pd.DataFrame) -> Figure | Markdown:
    """Draw each detector's AUROC on models of each objective, means over attacks and seeds."""
    if made.empty:
        return NOTHING
    mean = _mean(made)
    drawn = Figure(figsize=(7.5, 0.36 * len(mean) + 1.4), layout="constrained")
    axes, places = drawn.subplots(), np.arange(len(mean))
    axes.hlines(places, mean.min(axis=1), mean.max(axis=1), color="0.7", lw=2, zorder=1)
    for objective, mark in style.palette("pretrain_objective", mean).items():
        label = f"pre-trained with {NAMES.get(str(objective), objective)}"
        look: Any = {"color": mark.colour, "marker": mark.marker, "label": label}
        axes.scatter(mean[objective], places, s=60, zorder=2, **look)
    axes.axvline(CHANCE, color="0.3", ls="--", lw=1, label="chance")
    axes.set(yticks=places, yticklabels=[_words(str(name)) for name in mean.index])
    axes.set(xlim=(0, 100), xlabel="AUROC (%)")
    axes.invert_yaxis()
    drawn.legend(loc="outside lower center", ncols=3, frameon=False)
    return drawn


def _mean(made: pd.DataFrame) -> pd.DataFrame:
    """AUROC by detector and objective, mean over attacks."""
    numbers = made.assign(auroc=[one.mean for one in made["auroc"]])
    return numbers.pivot_table(index="detector", columns="objective", values="auroc", sort=False)


def _words(name: str) -> str:
    return DETECTORS.get(name, OURS).words or name


def answer(made: pd.DataFrame) -> Markdown:
    """Say which detector finds most on each objective, and which scores point the wrong way."""
    if made.empty:
        return NOTHING
    mean = _mean(made)
    said = [
        f"{_words(str(own.idxmax()))} on {NAMES.get(str(objective), objective)} "
        f"(AUROC {own.max():.0f} %)"
        for objective, own in mean.items()
    ]
    gap = (mean.max(axis=1) - mean.min(axis=1))[mean.notna().all(axis=1)]
    wrong = [_words(str(name)) for name in mean.index[(mean < CHANCE).all(axis=1)]]
    attacks = some(made["attack"].nunique(), "attack")
    text = f"**Poison is found best by {'; '.join(said)}**, over {attacks}."
    if len(said) > 1 and len(gap):
        name = str(gap.idxmax())
        ends = ", ".join(
            f"{value:.0f} % on {NAMES.get(str(objective), objective)}"
            for objective, value in mean.loc[name].items()
        )
        text += f" It depends on the pre-training objective most for {_words(name)}: {ends}."
    if wrong:
        text += (
            f" An AUROC below 50 % says that clean samples look the more suspicious: so it is "
            f"with {', '.join(wrong)} on every model."
        )
    return Markdown(text)
