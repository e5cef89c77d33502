"""What each study asks, and how its runs are told apart in its figure (Sections 4 and 5).

A study's name in, text out; its rows in, the same with readable settings out.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

import pandas as pd
from IPython.display import Markdown, Math

from bdnb.config.recipes import CleanConfig
from bdnb.report.style import NAMES, short
from bdnb.runs import elsewhere, experiments, results
from bdnb.runtime.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class Study:
    """A study's question, its method and equation, and the columns of its figure."""

    conclusion: str
    """Its id in ``conclusions.CONCLUSIONS``."""
    question: str = ""
    method: str = ""
    equation: str = ""
    compare: str = ""
    """Figure of the paper that shows the same."""
    colour: str = "lr"
    """Column that colours and shapes stand for."""
    panel: str = "pretrain_objective"
    words: dict[str, str] = field(default_factory=dict)
    """Column -> how a value of it reads."""
    beside_main: bool = False
    """Whether plain CleanCLIP on the same model is shown beside it."""


CLEANCLIP = r"\mathcal{L}_{\text{MMCL}} + \mathcal{L}_{\text{SSL}}"

STUDIES = {
    "deep_cluster": Study(
        conclusion="C10",
        question="Does CleanCLIP fail only because it cleans with the loss of pre-training?",
        method="A loss that was no part of pre-training is added: a linear head *W* on the image "
        "features learns pseudo-labels, by k-means on the model's own features before every "
        "epoch, or, as an upper bound, by a strong zero-shot classifier. The head is drawn afresh "
        "with the labels.",
        equation=rf"{CLEANCLIP} + w\,\mathcal{{L}}_{{\text{{Xent}}}}(W^\top f_I(I_j);\,\hat y_j)",
        compare="Figure 7",
        colour="option_weight",
        panel="option_labels",
        words={"option_labels": "labels by {}", "option_weight": "weight {:g}"},
    ),
    "heavy_regularisation": Study(
        conclusion="C11",
        question="Does a heavy L2 penalty take the backdoor out?",
        method="The penalty is added to MMCL, SSL and both; several weights and learning rates.",
        equation=r"\mathcal{L} + w\,\lVert \theta \rVert_2^2",
        compare="Figure 8",
        colour="option_weight",
        panel="loss",
        words={"option_weight": "L2 weight {:g}"},
    ),
    "shrink_perturb": Study(
        conclusion="C12",
        question="Does CleanCLIP clean a model whose weights were shrunk and perturbed first?",
        method="Every pair of a shrink and a perturbation is measured without cleaning. Of those "
        "with an ASR below 15 % the most accurate is cleaned (Section 5 of the paper).",
        equation=r"\theta \leftarrow \lambda\,\theta + p, \qquad p \sim \mathcal{N}(0, \sigma^2)",
        compare="Figure 9",
        words={"lr": "learning rate {}"},
    ),
    "twice_data": Study(
        conclusion="C13",
        question="Do twice as many clean pairs clean the model?",
        method="CleanCLIP as before, with twice the pairs; beside it, where recorded, CleanCLIP "
        "with the usual number.",
        equation=CLEANCLIP,
        compare="Figure 13",
        colour="cleaning_pairs",
        words={"cleaning_pairs": "{:,} pairs"},
        beside_main=True,
    ),
    "more_epochs": Study(
        conclusion="C14",
        question="Do more epochs clean the model?",
        method="CleanCLIP as before, for up to five times the epochs; beside it, where recorded, "
        "CleanCLIP with the usual number.",
        equation=CLEANCLIP,
        compare="Figure 14",
        colour="epochs",
        words={"epochs": "{} epochs"},
        beside_main=True,
    ),
    "ssl_weight": Study(
        conclusion="C15",
        question="Does a larger weight of SSL clean the model?",
        method="CleanCLIP as before, with larger weights; beside it, where recorded, weight 1.",
        equation=r"\mathcal{L}_{\text{MMCL}} + \lambda_2\,\mathcal{L}_{\text{SSL}}",
        compare="Figure 15",
        colour="ssl_weight",
        words={"ssl_weight": "SSL weight {:g}"},
        beside_main=True,
    ),
    "nonideal": Study(
        conclusion="C9",
        colour="poisons",
        words={"poisons": "{} poisons left"},
        beside_main=True,
    ),
    "stopping": Study(conclusion="C8", words={"lr": "learning rate {}"}),
}


SCRATCH = "Poisoned while they were trained from scratch, by a patch and the attacker's captions"
MODELS = {
    "clean": f"{SCRATCH}.",
    "clean_cc3m": f"{SCRATCH}, on CC3M.",
    "clean_finetune": "Trained on clean pairs first, then poisoned by a short fine-tuning.",
    "clean_vit": f"ViTs in place of ResNets. {SCRATCH}.",
    "clean_label": "Poisoned while they were trained from scratch, label-consistently: the patch "
    "only on images of the target, no caption changed.",
}
"""Experiment of cleaning -> what its poisoned models are."""


def of(name: str) -> Study:
    """A study by name. Errors: ConfigError that lists those there are."""
    if name not in STUDIES:
        raise ConfigError(f"study={name!r}: unknown; there are {', '.join(STUDIES)}")
    return STUDIES[name]


def about(name: str, scale: str) -> Markdown:
    """Question and method of a study, and what the scale is good for."""
    study = of(name)
    quick = " At this scale the runs are so short that they decide nothing." * (scale == "quick")
    run = f"papermill notebooks/ablations.ipynb OUT.ipynb -p scale {scale} -p study {name}"
    return Markdown(
        f"**Question.** {study.question}\n\n**Method.** {study.method} Compare {study.compare} of "
        f"the paper. Scale: `{scale}`.{quick}\n\nRun it: `{run}`"
    )


def models(experiment: str, asked: Sequence[CleanConfig]) -> Markdown:
    """Which models a cleaning page cleans, for pages that the same notebook makes.

    asked: its runs. Only of the models of the parameter file it is known how they were poisoned.
    """
    of_file = {one.poisoned for one in experiments.of_file(asked[0].scale, experiment)}
    given = list(dict.fromkeys(one.poisoned for one in asked))
    files = [n for n in given if not experiments.is_experiment(asked[0].scale, n)]
    if not files and set(given) <= of_file and experiment in MODELS:
        return Markdown(f"**Models.** {MODELS[experiment]}")
    told = "".join(f" `{n}` is {_which(n, asked)}." for n in files)
    return Markdown(f"**Models.** Those that the parameters name.{told}")


def _which(name: str, asked: Sequence[CleanConfig]) -> str:
    """What is known of a file: bdnb's own say what they are, and need no ``model``."""
    mine = [one for one in asked if one.poisoned == name]
    foreign = any(one.model or elsewhere.published(name) for one in mine)
    return elsewhere.WORDS if foreign else "a checkpoint that bdnb wrote"


def equation(name: str) -> Math:
    """What the study descends, or does to the weights, as a formula."""
    return Math(of(name).equation)


def settings(rows: pd.DataFrame, name: str) -> pd.DataFrame:
    """Cleaned runs of a study with columns ``panel`` and ``setting`` in words, in their order.

    Beside them, where recorded and wanted, plain CleanCLIP on the same models. Errors: ConfigError
    for rows without a column that the study needs.
    """
    study = of(name)
    cleaned = rows[rows["defence"] != "screen"]
    if study.beside_main:
        cleaned = pd.concat([main_rows(cleaned), cleaned], ignore_index=True)
    missing = [column for column in (study.panel, study.colour) if column not in cleaned]
    if missing:
        raise ConfigError(f"study {name}: rows without {', '.join(missing)}")
    return cleaned.assign(
        panel=_words(cleaned[study.panel], study.words.get(study.panel)),
        setting=_words(cleaned[study.colour], study.words.get(study.colour)),
    )


def main_rows(rows: pd.DataFrame, poisoned: Collection[str] = ()) -> pd.DataFrame:
    """Recorded rows of plain CleanCLIP (experiment ``clean``) on the models of these rows.

    Of their seeds and learning rates only: more rates would find a better model by themselves.
    poisoned: on these models instead, at all rates.
    """
    scale = rows["scale"].iloc[0]
    if not experiments.is_experiment(scale, "clean"):
        return pd.DataFrame()
    alike = set(zip(rows["poisoned"], rows["seed"], rows["lr"], strict=True))
    others = {(name, seed) for name in poisoned for seed in rows["seed"].unique()}
    asked = [
        c
        for c in experiments.of_file(scale, "clean")
        if c.loss == "mmcl_ssl"
        and ((c.poisoned, c.seed) in others if poisoned else (c.poisoned, c.seed, c.lr) in alike)
    ]
    return results.rows(asked)


def _words(column: pd.Series, how: str | None) -> pd.Series:
    """Values as words, ordered as the values are."""
    values = sorted(column.dropna().unique())
    told = {v: short(v) if column.name == "lr" else v for v in values}
    names = NAMES | {elsewhere.ELSEWHERE: elsewhere.WORDS}
    shown = {v: how.format(told[v]) if how else names.get(str(v), str(v)) for v in values}
    kind = pd.CategoricalDtype(list(shown.values()), ordered=True)
    return column.map(shown).astype(kind)
