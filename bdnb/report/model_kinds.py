"""The kinds of backdoored model that are cleaned (Section 4, Appendix F): rows in, words out."""

from collections.abc import Sequence

import pandas as pd
from IPython.display import Markdown

from bdnb import plan
from bdnb.config import parameters
from bdnb.config.recipes import CleanConfig
from bdnb.report.style import some
from bdnb.runs import elsewhere, experiments, results

FEW_RATES = 2
"""Learning rates of which any best one is at an edge."""
SCRATCH = "Poisoned while they were trained from scratch, by a patch and the attacker's captions"
MODELS = {
    "clean": ("from scratch", f"{SCRATCH}."),
    "clean_cc3m": ("from scratch, CC3M", f"{SCRATCH}, on CC3M."),
    "clean_finetune": (
        "by fine-tuning",
        "Trained on clean pairs first, then poisoned by a short fine-tuning.",
    ),
    "clean_vit": ("vision transformers", f"Vision transformers in place of ResNets. {SCRATCH}."),
    "clean_label": (
        "label-consistent poison",
        "Poisoned while they were trained from scratch, label-consistently: the patch only on "
        "images of the target, no caption changed.",
    ),
    "clean_siglip": ("trained with SigLIP's loss", "Trained with SigLIP's sigmoid loss."),
}
"""Experiment of cleaning -> what its backdoored models are, in two words and in a sentence."""


def kinds(scales: Sequence[str]) -> pd.DataFrame:
    """Return rows of CleanCLIP on each kind of backdoored model, of the first scale that has some.

    Beside them those of models from scratch of the same scale, to compare with. New column: kind,
    in words, with the scale where there are several.
    """
    found: dict[tuple[str, str], pd.DataFrame] = {}
    for scale in scales:
        _, clean = results.rows_of_scale(scale)
        if clean.empty:
            continue
        mine = clean[(clean["defence"] == "cleanclip") & (clean["loss"] == "mmcl_ssl")]
        there, before = set(mine["experiment"]) & set(MODELS), {name for name, _ in found}
        if new := there - before:
            for name in new | ({"clean"} & there):
                found[name, scale] = mine[mine["experiment"] == name].assign(scale=scale)
    several = len({scale for _, scale in found}) > 1
    ordered = [
        own.assign(kind=words + f", {scale}" * several)
        for experiment, (words, _) in MODELS.items()
        for (name, scale), own in found.items()
        if name == experiment
    ]
    return pd.concat(ordered, ignore_index=True) if ordered else pd.DataFrame()


def comparable(rows: pd.DataFrame) -> Markdown:
    """Say of which scale each kind of model is, at how many learning rates, and what compares.

    rows: of ``kinds``.
    """
    if rows.empty:
        return Markdown("")
    said, few = [], []
    for scale, own in rows.groupby("scale", sort=False):
        train = experiments.trained(str(scale), own["poisoned"].iloc[0], 0)
        rates = own.groupby("kind", sort=False)["lr"].nunique()
        few += [str(kind) for kind in rates.index[rates <= FEW_RATES]]
        listed = ", ".join(
            f"{str(kind).removesuffix(f', {scale}')} ({some(n, 'learning rate')})"
            for kind, n in rates.items()
        )
        web = train.data in plan.WEB
        classes = "" if web else f" ({parameters.load(train.data, 'data')['classes']} classes)"
        said.append(f"Of scale `{scale}`{classes}: {listed}.")
    if len(said) > 1:
        said.append(
            "**Only kinds of the same scale compare**: another has other data and other steps."
        )
    if few:
        said.append(
            f"Tried at {FEW_RATES} learning rates or fewer: {'; '.join(few)}. The best of these is "
            "at an edge of the learning rates tried, and a better one may lie outside."
        )
    return Markdown(" ".join(said))


def models(experiment: str, configs: Sequence[CleanConfig]) -> Markdown:
    """Return which models a cleaning page cleans, for pages that the same notebook makes.

    configs: its runs. Only of the models of the parameter file it is known how they were poisoned.
    """
    of_file = {one.poisoned for one in experiments.of_file(configs[0].scale, experiment)}
    given = {one.poisoned: one.model for one in configs}
    files = [n for n in given if not experiments.is_experiment(configs[0].scale, n)]
    if not files and set(given) <= of_file and experiment in MODELS:
        return Markdown(f"**Models.** {MODELS[experiment][1]}")
    foreign = {n: given[n] or elsewhere.published(n) for n in files}
    words = {n: elsewhere.WORDS if foreign[n] else "a checkpoint that bdnb wrote" for n in files}
    said = "".join(f" `{name}` is {what}." for name, what in words.items())
    return Markdown(f"**Models.** Those that the parameters name.{said}")
