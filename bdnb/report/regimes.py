"""When does the paper's contrast show? Rows of many settings in, a table and a figure out.

A setting is a parameter file ``clean_<setting>.yaml``: how a pair of models was poisoned (one by
MMCL, one by MMCL + SSL, all else the same), and how they are cleaned.
"""

import math
from collections.abc import Mapping
from typing import Any

import pandas as pd
import seaborn as sns
from IPython.display import Markdown
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from pandas.io.formats.style import Styler

from bdnb.analysis.conclusions import CONTRAST, rebound
from bdnb.analysis.metrics import last_epoch
from bdnb.analysis.price import groups
from bdnb.config import parameters
from bdnb.report import style
from bdnb.report.style import NAMES, some
from bdnb.report.tables import styled
from bdnb.runs import experiments
from bdnb.runtime.errors import ConfigError

OBJECTIVES = ("mmcl", "mmcl_ssl")
TRAINED = ("epochs", "poison_rate", "trigger_size", "batch_size", "model", "lr")
"""Parameters of pre-training that a setting is told by."""


def settings(rows: pd.DataFrame) -> pd.DataFrame:
    """Rows of cleaning runs with columns ``setting``, ``objective`` and what the models are.

    rows: with columns scale, experiment, poisoned, pretrain_objective, pairs, epochs, seed, as
    ``results.rows`` gives them. New columns: classes, scenes, side, ``train_<parameter>``,
    cleaning ("pairs × epochs"). Rows of other defences than CleanCLIP are left out. Errors:
    ConfigError when there are no rows.
    """
    rows = rows[rows["defence"] == "cleanclip"] if len(rows) else rows
    if rows.empty:
        raise ConfigError("no cleaning run of this scale is recorded yet: see `Run it` above")
    models = rows[["scale", "poisoned"]].drop_duplicates().itertuples(index=False)
    about = {(scale, name): about_model(scale, name) for scale, name in models}
    keys = zip(rows["scale"], rows["poisoned"], strict=True)
    made = pd.DataFrame([about[key] for key in keys], index=rows.index)
    made["setting"] = rows["experiment"].str.partition("_")[2].replace("", "main")
    made["objective"] = rows["pretrain_objective"]
    pairs = rows.get("cleaning_pairs", rows["pairs"])
    made["cleaning"] = [f"{p:,} × {e}" for p, e in zip(pairs, rows["epochs"], strict=True)]
    return pd.concat([rows.drop(columns=[c for c in made if c in rows]), made], axis=1)


def about_model(scale: str, name: str) -> dict[str, Any]:
    """Data, poison and training of a poisoned model. Errors: ConfigError."""
    config = experiments.trained(scale, name, 0)
    drawn = parameters.load(config.data, "data")
    values: dict[str, Any] = {"classes": drawn["classes"], "side": drawn["side"]}
    values |= {"scenes": config.pairs or drawn["pairs"]}
    values |= {"train_place": config.trigger_options.get("place", "random")}
    return values | {f"train_{key}": getattr(config, key) for key in TRAINED}


def compare(rows: pd.DataFrame) -> pd.DataFrame:
    """A line a setting and amount of cleaning: both objectives' numbers side by side.

    rows: as ``settings`` returns them. Columns: what the setting is; for each objective
    accuracy_before, asr_before, kept (kept accuracy), kept_at_5 (at ASR <= 5 % alone) and rebound
    (ASR at the end above its lowest, mean over runs), percent, means over all seeds; seeds; runs.
    """
    told = ["classes", "scenes", "side", *(f"train_{key}" for key in ("place", *TRAINED))]
    lines = []
    for (setting, cleaning), own in rows.groupby(["setting", "cleaning"], sort=False):
        line: dict[str, Any] = {"setting": setting, "cleaning": cleaning}
        line |= {name: _both(own, name) for name in told}
        for objective, its in own.groupby("objective"):
            made = groups(its, by=["objective"]).iloc[0]
            numbers = {k: made[k].mean for k in SHOWN if k in made} | {"rebound": rebound(its)}
            line |= {f"{k}_{objective}": numbers[k] for k in SHOWN}
        line |= {"seeds": own["seed"].nunique(), "runs": own["run"].nunique()}
        lines.append(line)
    return pd.DataFrame(lines)


def _both(rows: pd.DataFrame, name: str) -> object:
    """A parameter of both models; "MMCL's / MMCL + SSL's" where they differ."""
    values = rows.sort_values("objective")[name].unique()
    return values[0] if len(values) == 1 else " / ".join(map(str, values))


SHOWN: Mapping[str, str] = {
    "accuracy_before": "accuracy before, %",
    "asr_before": "ASR before, %",
    "kept": "kept accuracy, %",
    "kept_at_5": "kept at ASR ≤ 5 %",
    "rebound": "ASR at the end above its lowest",
}


def table(rows: pd.DataFrame) -> Styler:
    """``compare``'s numbers as a table to read, "MMCL / MMCL + SSL"; a dash for none."""
    made = compare(rows)
    for key, words in SHOWN.items():
        both = made.reindex(columns=[f"{key}_{o}" for o in OBJECTIVES])
        made[words] = [" / ".join(map(_number, line)) for line in both.to_numpy()]
    frame = made[["setting", "cleaning", *SHOWN.values(), "seeds", "runs"]]
    return styled(frame.rename(columns={"cleaning": "clean pairs × epochs"}))


def told(rows: pd.DataFrame) -> Styler:
    """What each setting's models were trained on and how: the columns in which settings differ."""
    made = compare(rows)
    told = [c for c in made.columns if c.startswith("train_") or c in ("classes", "scenes", "side")]
    varied = [c for c in told if made[c].nunique() > 1]
    frame = made[["setting", *varied]].drop_duplicates()
    frame = frame.rename(columns={c: c.removeprefix("train_").replace("_", " ") for c in varied})
    numbers = ("poison rate", "trigger size", "lr")
    return styled(frame, formats=dict.fromkeys(numbers, "{:g}"))


def _number(value: float) -> str:
    return "–" if math.isnan(value) else f"{value:.1f}"


def models(train: pd.DataFrame) -> Styler:
    """Every poisoned model after its last epoch: how much poison there was, and whether it took.

    train: rows of training runs, as ``results.rows`` gives them; means over seeds. Models that
    were not cleaned, for want of a backdoor, are among them.
    """
    last = last_epoch(train)
    last = last.assign(model=last["experiment"].str.removeprefix("train_"))
    told = {"attack": "attack", "poisoned_pairs": "poisoned pairs", "trigger_size": "patch, pixels"}
    numbers = {"accuracy": "accuracy, %", "asr": "ASR, %"}
    made = last.groupby("model", sort=False).agg(
        dict.fromkeys(told, "first") | dict.fromkeys(numbers, "mean") | {"seed": "nunique"}
    )
    made = made.rename(columns=told | numbers | {"seed": "seeds"}).reset_index()
    return styled(made, formats=dict.fromkeys(("poisoned pairs", "patch, pixels"), "{:,.0f}"))


def contrast(rows: pd.DataFrame) -> Figure:
    """Kept accuracy of both objectives, by setting."""
    made = compare(rows)
    figure = Figure(figsize=(8, 0.42 * len(made) + 1.6), layout="constrained")
    axes = figure.subplots()
    places = range(len(made))
    looks = style.looks("pretrain_objective", OBJECTIVES)
    for objective, (colour, marker) in looks.items():
        if f"kept_{objective}" in made:
            axes.scatter(made[f"kept_{objective}"], places, color=colour, marker=marker, s=60)
    lows, highs = (made.filter(regex="^kept_mmcl").agg(how, axis=1) for how in ("min", "max"))
    axes.hlines(places, lows, highs, color="0.6", lw=1, zorder=0)
    axes.axvline(100, color="0.25", ls="--", lw=1.2)
    words = made["setting"] + ", " + made["cleaning"] + " (n = " + made["seeds"].astype(str) + ")"
    axes.set(yticks=places, yticklabels=words, xlim=(-3, None))
    axes.set_xlabel("kept accuracy (% of that before cleaning)")
    axes.invert_yaxis()
    sns.despine(ax=axes, left=True)
    marks = [
        Line2D([], [], ls="none", marker=marker, color=colour, ms=8)
        for colour, marker in looks.values()
    ]
    labels = [f"pre-trained with {NAMES[o]}" for o in OBJECTIVES]
    figure.legend(marks, labels, loc="outside lower center", ncols=2, frameon=False)
    return figure


def answer(rows: pd.DataFrame) -> Markdown:
    """In how many settings the contrast shows, and in which: counted from the rows."""
    made = compare(rows).dropna(subset=[f"kept_{o}" for o in OBJECTIVES])
    fit = made[(made["asr_before_mmcl"] >= 95) & (made["asr_before_mmcl_ssl"] >= 95)]
    gap = made["kept_mmcl"] - made["kept_mmcl_ssl"]
    back = made["rebound_mmcl_ssl"] - made["rebound_mmcl"]
    most = made[["kept_mmcl", "kept_mmcl_ssl"]].max()
    points = f"{CONTRAST:g} points"
    more, less = int((back >= CONTRAST).sum()), int((back <= -CONTRAST).sum())
    return Markdown(
        f"Of {some(made['setting'].nunique(), 'setting')} with both models recorded, cleaned in "
        f"{some(len(made), 'way')}, both start at an ASR of 95 % or more in {len(fit)}. "
        f"The model trained with MMCL keeps more of its accuracy, by {points} or more, in "
        f"{_which(made, gap >= CONTRAST)}; the one trained with MMCL + SSL in "
        f"{_which(made, gap <= -CONTRAST)}. From its lowest to the last epoch the latter's ASR "
        f"comes back by at least {points} more than the other's in {more}, by at least as much "
        f"less in {less}. The most that any keeps is {most['kept_mmcl']:.1f} % for MMCL and "
        f"{most['kept_mmcl_ssl']:.1f} % for MMCL + SSL."
    )


def _which(made: pd.DataFrame, there: pd.Series) -> str:
    """How many lines, and of which settings."""
    names = ", ".join(made["setting"][there].unique())
    return f"{int(there.sum())} ({names})" if names else "0"
