"""The map of settings: the contrast against what it may hang on. Rows of several scales in.

A setting is a pair of models, trained with MMCL and with MMCL + SSL, and how much clean data it was
cleaned with. Its contrast is the first's kept accuracy less the second's, mean over seeds.
"""

import ast
import math
from collections.abc import Sequence
from typing import Any

import pandas as pd
from IPython.display import Markdown
from matplotlib.figure import Figure
from pandas.io.formats.style import Styler

from bdnb.analysis import arms, price
from bdnb.analysis.arena import OBJECTIVES
from bdnb.analysis.effect import FEWEST, relation
from bdnb.analysis.metrics import before, by_seed, last_epoch, whole
from bdnb.analysis.regime_criteria import retraining_ratio
from bdnb.report import compare_settings, style
from bdnb.report.pages import NOTHING
from bdnb.report.style import some
from bdnb.report.tables import styled
from bdnb.runs import experiments, shipped

AXES = {
    "ssl": ("SSL loss after pre-training, % of chance", "the SSL loss after pre-training"),
    "ratio": ("retraining ratio", "the retraining ratio"),
    "share": ("clean pairs, % of those trained on", "the share of clean pairs"),
}
"""What the contrast may hang on: column -> its label, and how a sentence calls it."""
PAPER = {"CC6M": 100 * 100_000 / 6_000_000, "CC3M": 100 * 100_000 / 3_000_000}
"""The paper's clean pairs in percent of those trained on; its other places were not published."""
LEVEL = 0.05 / len(AXES)
"""p at which a correlation counts, with as many asked about."""


def settings(scales: Sequence[str]) -> pd.DataFrame:
    """Return a line a setting of these scales: contrast (points), seeds, and its place on ``AXES``.

    apart: ASR of the last epoch, MMCL + SSL minus MMCL (points), at the lowest rate of both. NaN
    where a place is not known. Settings without a backdoor in both models are left out.
    """
    lines: list[dict[str, Any]] = []
    for scale in scales:
        train, clean = shipped.rows_anywhere(scale)
        if len(train) and len(clean):
            lines += _of_scale(scale, train, clean)
    return pd.DataFrame(lines, columns=["scale", "setting", "contrast", "apart", "seeds", *AXES])


def _of_scale(scale: str, train: pd.DataFrame, clean: pd.DataFrame) -> list[dict[str, Any]]:
    clean = whole(clean)
    first = clean["experiment"].str.partition("_")[0] == "clean"
    plain = (clean["defence"] == "cleanclip") & (clean["loss"] == "mmcl_ssl")
    names = {n for n in clean["poisoned"].unique() if experiments.is_experiment(scale, n)}
    mine = clean[first & plain & clean["poisoned"].isin(names)]
    lines = []
    rows = compare_settings.settings(mine) if len(mine) else mine.assign(setting="", cleaning="")
    for (name, cleaning), own in rows.groupby(["setting", "cleaning"], sort=False):
        if not set(OBJECTIVES) <= set(own["objective"]) or arms.no_backdoor(own):
            continue
        weak, strong = (own[own["objective"] == objective] for objective in OBJECTIVES)
        gap = (by_seed(weak, price.kept_accuracy) - by_seed(strong, price.kept_accuracy)).dropna()
        pairs = own.get("cleaning_pairs", own["pairs"]).iloc[0]
        line: dict[str, Any] = {"scale": scale, "setting": f"{name}, {cleaning}"}
        line |= {"contrast": gap.mean(), "apart": _apart(weak, strong), "seeds": len(gap)}
        line |= {"ssl": _ssl(train, strong)}
        line |= {"ratio": _ratio(scale, clean, weak), "share": 100 * pairs / own["scenes"].iloc[0]}
        lines.append(line)
    return [line for line in lines if line["seeds"]]


def _apart(weak: pd.DataFrame, strong: pd.DataFrame) -> float:
    ends = (last_epoch(own).groupby(["lr", "seed"])["asr"].mean() for own in (strong, weak))
    gap = next(ends).sub(next(ends)).dropna().groupby("lr").mean()
    return float(gap.iloc[0]) if len(gap) else math.nan


def _ssl(train: pd.DataFrame, strong: pd.DataFrame) -> float:
    """SSL loss of the epoch that is cleaned, in percent of what chance gives, mean over seeds."""
    if "loss_ssl" not in train or "from" not in strong:
        return math.nan
    cleaned = strong[["poisoned", "seed", "from"]].dropna().drop_duplicates()
    cleaned["epoch"] = [ast.literal_eval(source)["epoch"] for source in cleaned["from"]]
    cleaned = cleaned.rename(columns={"poisoned": "experiment"})
    own = train.merge(cleaned, on=["experiment", "seed", "epoch"])
    return float((100 * own["loss_ssl"] / own["batch_size"].map(math.log)).mean())


def _ratio(scale: str, clean: pd.DataFrame, weak: pd.DataFrame) -> float:
    """Retraining ratio where a fresh model of the kind was trained on that data and budget."""
    kinds = {name: _data_and_model(scale, name) for name in clean["poisoned"].unique()}
    budget = weak[["pairs", "epochs", "batch_size"]].iloc[0]
    alike = (clean[list(budget.index)] == budget).all(axis=1)
    fresh = clean[alike & (clean["defence"] == "retrain")]
    mine = kinds[weak["poisoned"].iloc[0]]
    fresh = fresh[[kinds[name] == mine for name in fresh["poisoned"]]]
    return retraining_ratio(fresh, before(weak).accuracy) if len(fresh) else math.nan


def _data_and_model(scale: str, name: str) -> tuple[str, str]:
    if not experiments.is_experiment(scale, name):
        return "", ""
    config = experiments.trained(scale, name, 0)
    return config.data, config.model


def figure(made: pd.DataFrame) -> Figure | Markdown:
    """Draw the contrast against each of ``AXES``, a dot a setting, the paper's contrast beside it.

    made: of ``settings``.
    """
    if made.empty:
        return NOTHING
    drawn = Figure(figsize=(10, 4.2), layout="constrained")
    panels = drawn.subplots(1, len(AXES), sharey=True)
    kept = price.authors_kept()
    theirs = {
        data: kept[data, "mmcl", "mmcl_ssl"] - kept[data, "mmcl_ssl", "mmcl_ssl"] for data in PAPER
    }
    for axes, (key, (words, _)) in zip(panels, AXES.items(), strict=True):
        for i, (scale, own) in enumerate(made.groupby("scale", sort=False)):
            look = {"color": style.COLOURS[i], "marker": style.MARKERS[i], "alpha": 0.85}
            axes.scatter(own[key], own["contrast"], s=45, label=scale, **look)
        for data, contrast in theirs.items():
            axes.axhline(contrast, color=style.RED, ls="--" if data == "CC6M" else ":", lw=1.2)
            if key == "share":
                axes.scatter(
                    [PAPER[data]], [contrast], marker="*", s=170, color=style.RED, zorder=5
                )
        axes.axhline(0, color="0.25", lw=0.8)
        axes.set(xlabel=words, title=f"n = {some(made[key].notna().sum(), 'setting')}")
    panels[-1].set_xscale("log")
    panels[-1].set_xticks([1, 2, 5, 10, 20, 50], labels=["1", "2", "5", "10", "20", "50"])
    panels[-1].minorticks_off()
    panels[1].set_xlim(0, max(1.0, 1.05 * made["ratio"].max()))
    panels[0].set_ylabel("contrast: kept accuracy,\nMMCL minus MMCL + SSL (points)")
    handles, labels = panels[0].get_legend_handles_labels()
    drawn.legend(handles, labels, loc="outside lower center", ncols=6, frameon=False)
    return drawn


def answer(made: pd.DataFrame) -> Markdown:
    """Say whether the contrast goes with each of ``AXES`` over these settings."""
    if made.empty:
        return NOTHING
    words = [_related(key, name, made) for key, (_, name) in AXES.items()]
    ordered = made.sort_values("contrast")
    least, most = ordered.iloc[0], ordered.iloc[-1]
    words.append(
        f"The contrast runs from {least['contrast']:+.1f} points ({least['scale']}: "
        f"{least['setting']}, {some(least['seeds'], 'seed')}) to {most['contrast']:+.1f} "
        f"({most['scale']}: {most['setting']}, {some(most['seeds'], 'seed')})."
    )
    apart = made["apart"].dropna()
    words.append(
        "Cleaned at the lowest learning rate that both were cleaned at, the MMCL + SSL model ends "
        f"with the higher ASR in {int((apart > 0).sum())} of {some(len(apart), 'setting')} "
        f"(median difference {apart.median():+.1f} points)."
    )
    words.append(
        f"{len(AXES)} quantities are asked about at once: a p of {LEVEL:.4f} or less counts. "
        f"Several settings share their models, and {(made['seeds'] == 1).sum()} of "
        f"{some(len(made), 'setting')} have one seed: leads, not findings."
    )
    return Markdown("\n".join(f"- {line}" for line in words))


def _related(key: str, name: str, made: pd.DataFrame) -> str:
    found = relation(made[key], made["contrast"])
    if math.isnan(found.rho):
        known = f"known of {some(found.n, 'setting')}, and it takes {FEWEST}"
        return f"**Whether the contrast goes with {name} is not decided**: {known}."
    numbers = f"rank correlation {found.rho:+.2f}, {found.chance}, {found.n} settings"
    if found.p > LEVEL:
        return f"**The contrast is not seen to go with {name}** ({numbers})."
    side = "larger" if found.rho > 0 else "smaller"
    return f"**The contrast is {side} where {name} is larger** ({numbers})."


def table(made: pd.DataFrame) -> Styler | Markdown:
    """Return every setting with its contrast and its places."""
    if made.empty:
        return NOTHING
    frame = made.sort_values("contrast", ascending=False)
    words = {key: label for key, (label, _) in AXES.items()} | {"contrast": "contrast, points"}
    words |= {"apart": "ASR at the lowest rate, MMCL + SSL minus MMCL, points"}
    return styled(frame.rename(columns=words), precision=2)
