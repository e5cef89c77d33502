"""Settings compared: when the paper's contrast shows, and what each changes against one of them.

A setting is a parameter file ``clean_<setting>.yaml``: how a pair of models was poisoned (one by
MMCL, one by MMCL + SSL, all else the same), and how they are cleaned. Rows in, tables out.
"""

import math
from collections.abc import Mapping
from typing import Any

import pandas as pd
from IPython.display import Markdown
from pandas.io.formats.style import Styler

from bdnb.analysis.arena import OBJECTIVES
from bdnb.analysis.arms import BACKDOORED
from bdnb.analysis.conclusions import CONTRAST, rebound
from bdnb.analysis.metrics import before, whole
from bdnb.analysis.price import groups, kept_accuracy, kept_at
from bdnb.config import parameters
from bdnb.report.style import NAMES, some
from bdnb.report.tables import styled
from bdnb.runs import experiments
from bdnb.runtime.errors import ConfigError

TRAINED = ("epochs", "poison_rate", "trigger_size", "batch_size", "model", "lr")
DESCRIBED = ("classes", "scenes", "side", "train_place", *(f"train_{key}" for key in TRAINED))
"""What a setting is described by: its data, and parameters of pre-training."""
CLEANED_BY = ("optimiser", "image_views", "text_views", "batch_size")
"""Parameters of cleaning that a setting is described by as well, where rows have them."""
ATTACKED = 95.0
"""ASR (percent) before cleaning from which on the backdoor of a setting's models took fully."""
SHOWN: Mapping[str, str] = {
    "accuracy_before": "accuracy before, %",
    "asr_before": "ASR before, %",
    "kept": "kept accuracy, %",
    "kept_at_5": "kept at ASR ≤ 5 %",
    "rebound": "ASR at the end above its lowest",
}
CHANGED: Mapping[str, str] = {
    "accuracy": "accuracy before, points",
    "asr": "ASR before, points",
    "kept": "kept accuracy, points",
    "kept_at_5": "kept at ASR ≤ 5 %, points",
}


def settings(rows: pd.DataFrame) -> pd.DataFrame:
    """Return rows of CleanCLIP with columns ``setting``, ``objective`` and what the models are.

    rows: of cleaning runs, as ``results.rows`` gives them. New columns besides: ``DESCRIBED``
    and cleaning ("pairs × epochs"), label. Errors: ConfigError when there are no rows.
    """
    rows = whole(rows[rows["defence"] == "cleanclip"]) if len(rows) else rows
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
    made["label"] = made["setting"] + ", " + made["cleaning"]
    return pd.concat([rows.drop(columns=made.columns, errors="ignore"), made], axis=1)


def about_model(scale: str, name: str) -> dict[str, Any]:
    """Return ``DESCRIBED`` of a backdoored model. Errors: ConfigError."""
    config = experiments.trained(scale, name, 0)
    data = parameters.load(config.data, "data")
    place = config.trigger_options.get("place", "random")
    values = data["classes"], config.pairs or data["pairs"], data["side"], place
    trained = (getattr(config, key) for key in TRAINED)
    return dict(zip(DESCRIBED, (*values, *trained), strict=True))


def compare(rows: pd.DataFrame) -> pd.DataFrame:
    """Return a line a setting and amount of cleaning: both objectives' numbers side by side.

    rows: of ``settings``. Columns: ``DESCRIBED``; ``CLEANED_BY`` behind ``cleaning_``; for each
    objective ``SHOWN`` (percent, means over the seeds of both; rebound over runs); seeds; runs.
    """
    lines = []
    for (setting, cleaning), own in rows.groupby(["setting", "cleaning"], sort=False):
        line: dict[str, Any] = {"setting": setting, "cleaning": cleaning}
        for name in DESCRIBED:  # of both models; "MMCL's / MMCL + SSL's" where they differ
            values = own.sort_values("objective")[name].unique()
            line[name] = values[0] if len(values) == 1 else " / ".join(map(str, values))
        for name in CLEANED_BY:
            if name in own:
                line[f"cleaning_{name}"] = " / ".join(map(str, own[name].unique()))
        if shared := set.intersection(*(set(its["seed"]) for _, its in own.groupby("objective"))):
            own = own[own["seed"].isin(shared)]
        for objective, its in own.groupby("objective"):
            made = groups(its, by=["objective"]).iloc[0]
            line |= {f"{k}_{objective}": made[k].mean for k in SHOWN if k in made}
            line[f"rebound_{objective}"] = rebound(its)
        lines.append(line | {"seeds": own["seed"].nunique(), "runs": own["run"].nunique()})
    return pd.DataFrame(lines)


def table(rows: pd.DataFrame) -> Styler:
    """Return ``compare``'s numbers to read, "MMCL / MMCL + SSL"; a dash for none."""
    made = compare(rows)
    for key, words in SHOWN.items():
        both = made.reindex(columns=[f"{key}_{o}" for o in OBJECTIVES])
        made[words] = [
            " / ".join("–" if math.isnan(x) else f"{x:.1f}" for x in line)
            for line in both.to_numpy()
        ]
    frame = made[["setting", "cleaning", *SHOWN.values(), "seeds", "runs"]]
    return styled(frame.rename(columns={"cleaning": "clean pairs × epochs"}))


def described(rows: pd.DataFrame) -> Styler:
    """Return how models were trained and cleaned: the columns in which settings differ."""
    made = compare(rows)
    cleaned = [f"cleaning_{name}" for name in CLEANED_BY]
    varied = [c for c in (*DESCRIBED, *cleaned) if c in made and made[c].nunique() > 1]
    frame = made[["setting", "cleaning", *varied]].drop_duplicates()
    words = {c: c.removeprefix("train_").replace("_", " ") for c in varied}
    frame = frame.rename(columns=words | {"cleaning": "clean pairs × epochs"})
    return styled(frame, formats=dict.fromkeys(("poison rate", "trigger size", "lr"), "{:g}"))


def answer(rows: pd.DataFrame) -> Markdown:
    """Return in how many settings the contrast shows, and in which: counted from the rows.

    First those whose models both have an ASR of ``ATTACKED`` percent or more; then those whose
    models both had a backdoor at all (``arms.BACKDOORED``).
    """
    all_made = compare(rows).dropna(subset=[f"kept_{o}" for o in OBJECTIVES])
    before_both = all_made[[f"asr_before_{o}" for o in OBJECTIVES]]
    backdoored = (before_both >= BACKDOORED).all(axis=1)
    without = ", ".join(all_made.loc[~backdoored, "setting"].unique())
    if not backdoored.any():
        return Markdown(f"*In no setting had both models a backdoor to clean ({without}).*")
    made, before_both = all_made[backdoored], before_both[backdoored]
    attacked = (before_both >= ATTACKED).all(axis=1)
    gap = made["kept_mmcl"] - made["kept_mmcl_ssl"]
    turned = gap * (made["kept_at_5_mmcl"] - made["kept_at_5_mmcl_ssl"]) < 0
    there = rows[rows["setting"].isin(made["setting"])].groupby("setting")["poisoned"]
    pairs = there.agg(frozenset).nunique()
    back = made["rebound_mmcl_ssl"] - made["rebound_mmcl"]
    most = made[["kept_mmcl", "kept_mmcl_ssl"]].max()
    points = f"{CONTRAST:g} points"
    left_out = f" Left out, since a model had no backdoor to clean: {without}." * bool(without)

    def which(there: pd.Series) -> str:
        names = ", ".join(made["setting"][there].unique())
        return f"{there.sum()} ({names})" if names else "0"

    return Markdown(
        f"**Of {some(attacked.sum(), 'setting')} in which both models have an ASR of "
        f"{ATTACKED:g} % or more before cleaning, the MMCL model keeps at least {points} more of "
        f"its accuracy in {which(attacked & (gap >= CONTRAST))}, the MMCL + SSL model in "
        f"{which(attacked & (gap <= -CONTRAST))}.** Of {some(pairs, 'pair')} of "
        f"models in {some(len(made), 'setting')}, the former does in {which(gap >= CONTRAST)}, the "
        f"latter in {which(gap <= -CONTRAST)}. At ASR ≤ 5 % the difference has the other sign "
        f"than in kept accuracy in {which(turned)}. From its lowest to the last epoch, the ASR of "
        f"the MMCL + SSL model comes back by at least {points} more than the other's in "
        f"{(back >= CONTRAST).sum()}, by as much less in {(back <= -CONTRAST).sum()}. The most "
        f"that any keeps is {most['kept_mmcl']:.1f} % for MMCL and {most['kept_mmcl_ssl']:.1f} % "
        f"for MMCL + SSL.{left_out}"
    )


def changes(rows: pd.DataFrame) -> pd.DataFrame:
    """Return a line a setting, objective and seed: ``CHANGED``, its numbers less those of ``main``.

    rows: of ``settings``. Seeds without that are left out.
    """
    keys = ["setting", "objective", "seed"]
    lines = [
        (*key, *before(own), kept_accuracy(own), kept_at(own))
        for key, own in rows.groupby(keys, sort=False)
    ]
    made = pd.DataFrame(lines, columns=[*keys, *CHANGED])
    plain = made[made["setting"] == "main"].drop(columns="setting")
    both = made[made["setting"] != "main"].merge(plain, on=keys[1:], suffixes=("", "_main"))
    return both[keys].assign(**{name: both[name] - both[f"{name}_main"] for name in CHANGED})


def change_table(rows: pd.DataFrame) -> Styler:
    """Return ``changes`` to read: means over seeds, and from which seed's to which in brackets."""

    def spread(values: pd.Series) -> str:
        # Rounded first: -0.04 is "0.0" to the reader, not "-0.0".
        first, last, mean = (round(x, 1) + 0.0 for x in (values.min(), values.max(), values.mean()))
        between = f" ({first:+.1f} to {last:+.1f})" if len(values) > 1 else ""
        return f"{mean:+.1f}{between}"

    made = changes(rows).groupby(["setting", "objective"])
    frame = made[list(CHANGED)].agg(spread).rename(columns=CHANGED)
    frame = frame.assign(seeds=made.size()).reset_index()
    return styled(frame.assign(objective=frame["objective"].replace(NAMES)))
