"""Defences in pre-training: what a model comes to whose objective is to keep a backdoor out."""

import pandas as pd
from IPython.display import Markdown

from bdnb.analysis.arena import GATE, OBJECTIVES
from bdnb.analysis.arms import BROKEN
from bdnb.analysis.price import KEPT_AT
from bdnb.report import style

SAME = ["data", "model", "init", "pairs", "epochs", "trigger", "trigger_size", "attack", "seed"]
"""What a model's neighbour is alike in, but for its objective."""


def answer(kept: pd.DataFrame, rows: pd.DataFrame) -> Markdown:
    """Say what each such objective comes to, beside MMCL and MMCL + SSL of like models and seeds.

    kept: rows of the epochs that are kept, as ``results.kept_rows`` returns them. Nothing is left
    to clean at an ASR of at most the highest of ``KEPT_AT``, in each seed; from ``GATE`` on in each
    the objective kept nothing out. Neither is said where it left less than ``BROKEN`` of the
    accuracy that MMCL has, in the mean over the seeds of both; then MMCL's ASR stands there of the
    first epoch in which it was as accurate. rows: of all epochs of these models.
    """
    if kept.empty or "objective" not in kept:
        return Markdown("")
    usual = kept["objective"].isin(OBJECTIVES)
    return Markdown(
        "\n\n".join(
            _said(str(name), own, _beside(kept, own), _beside(rows, own))
            for name, own in kept[~usual].groupby("objective", sort=False)
        )
    )


def _beside(rows: pd.DataFrame, own: pd.DataFrame) -> pd.DataFrame:
    """Rows of the usual objectives' models that are like those of one objective."""
    usual = rows[rows["objective"].isin(OBJECTIVES)]
    return usual.merge(own[SAME].drop_duplicates(), on=SAME)


def _said(name: str, own: pd.DataFrame, beside: pd.DataFrame, epochs: pd.DataFrame) -> str:
    seeds, others, early = own["seed"].nunique(), [], ""
    for other in OBJECTIVES:
        theirs = beside[beside["objective"] == other]
        if there := theirs["seed"].nunique():
            few = f" ({there} of these seeds)" * (there < seeds)
            others.append(f"{style.name('objective', other)} {_numbers(theirs)}{few}")
    mmcl = beside[beside["objective"] == "mmcl"]
    alike = own.merge(mmcl[SAME].drop_duplicates(), on=SAME)
    if alike["accuracy"].mean() < BROKEN * mmcl["accuracy"].mean():
        verdict, early = "it left no model that an ASR says anything of", _early(own, epochs)
    elif own["asr"].max() <= max(KEPT_AT):
        verdict = "it kept the backdoor out"
    elif own["asr"].min() >= GATE:
        verdict = "it did not keep the backdoor out"
    else:
        verdict = "neither kept out nor in whole"
    return (
        f"**{style.name('objective', name)}: {verdict}.** Its kept epoch is at {_numbers(own)} "
        f"({style.some(seeds, 'seed')})"
        + (f"; of the same attack and seeds, {' and '.join(others)}." if others else ".")
        + early
    )


def _early(own: pd.DataFrame, epochs: pd.DataFrame) -> str:
    """What MMCL was at in the first epoch in which it was as accurate, means over models."""
    mmcl = epochs[epochs["objective"] == "mmcl"].merge(own[[*SAME, "accuracy"]], on=SAME)
    enough = mmcl[mmcl["accuracy_x"] >= mmcl["accuracy_y"]].sort_values("epoch")
    first = enough.drop_duplicates(SAME).rename(columns={"accuracy_x": "accuracy"})
    if first.empty:
        return ""
    return f" In the first epoch in which MMCL was as accurate it was at {_numbers(first)}."


def _numbers(rows: pd.DataFrame) -> str:
    """Means over seeds."""
    accuracy, asr = rows["accuracy"].mean(), rows["asr"].mean()
    return f"an ASR of {asr:.0f} % and an accuracy of {accuracy:.0f} %"
