"""How the runs of each study are labelled in its figure and tables (Sections 4 and 5).

Rows of a study in, the same with readable settings out.
"""

from collections.abc import Collection
from dataclasses import dataclass, field

import pandas as pd

from bdnb.analysis.metrics import last_epoch
from bdnb.report.style import NAMES, short
from bdnb.runs import elsewhere, experiments, results
from bdnb.runtime.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class Study:
    """The columns of a study's figure, and the conclusion that it is about."""

    conclusion: str
    """Its id in ``conclusions.CONCLUSIONS``."""
    label: str = ""
    """What it adds to CleanCLIP, in a word or two."""
    colour: str = "lr"
    """Column that colours and shapes stand for."""
    panel: str = "pretrain_objective"
    words: dict[str, str] = field(default_factory=dict)
    """Column -> how a value of it reads."""
    beside_main: bool = False
    """Whether plain CleanCLIP on the same model is shown beside it."""


STUDIES = {
    "deep_cluster": Study(
        conclusion="C10",
        label="deep clustering",
        colour="option_weight",
        panel="option_labels",
        words={"option_labels": "labels by {}", "option_weight": "weight {:g}"},
    ),
    "heavy_regularisation": Study(
        conclusion="C11",
        label="L2 penalty",
        colour="option_weight",
        panel="loss",
        words={"option_weight": "L2 weight {:g}"},
    ),
    "shrink_perturb": Study(
        conclusion="C12", label="shrink and perturb", words={"lr": "learning rate {}"}
    ),
    "twice_data": Study(
        conclusion="C13",
        label="twice the clean pairs",
        colour="cleaning_pairs",
        words={"cleaning_pairs": "{:,} pairs"},
        beside_main=True,
    ),
    "more_epochs": Study(
        conclusion="C14",
        label="up to five times the epochs",
        colour="epochs",
        words={"epochs": "{} epochs"},
        beside_main=True,
    ),
    "ssl_weight": Study(
        conclusion="C15",
        label="larger weight of SSL",
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

PLAIN = "CleanCLIP alone"


def additions(clean: pd.DataFrame) -> pd.DataFrame:
    """Return rows of the studies that add to CleanCLIP, and of CleanCLIP alone, labelled.

    clean: of a scale's cleaning runs. New column: addition.
    """
    if clean.empty:
        return clean
    names = {f"ablations_{name}": study.label for name, study in STUDIES.items() if study.label}
    plain = (clean["experiment"] == "clean") & (clean["loss"] == "mmcl_ssl")
    made = clean.assign(addition=clean["experiment"].map(names).mask(plain, PLAIN))
    made = made[made["addition"].notna() & (made["defence"] != "screen")]
    order = [PLAIN, *names.values()]
    return made.sort_values("addition", key=lambda own: own.map(order.index), kind="stable")


def last_alone(rows: pd.DataFrame) -> pd.DataFrame:
    """Return all rows, and once more those of epoch 0 and of last epochs, told apart by ``which``.

    rows: of cleaning runs.
    """
    if rows.empty:
        return rows
    last = pd.concat([rows[rows["epoch"] == 0], last_epoch(rows[rows["epoch"] > 0])])
    both = {"every epoch": rows, "last epochs alone": last}
    return pd.concat([own.assign(which=words) for words, own in both.items()], ignore_index=True)


def of(name: str) -> Study:
    """A study by name. Errors: ConfigError that lists those there are."""
    if name not in STUDIES:
        raise ConfigError(f"study={name!r}: unknown; there are {', '.join(STUDIES)}")
    return STUDIES[name]


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
    configs = [
        c
        for c in experiments.of_file(scale, "clean")
        if c.loss == "mmcl_ssl"
        and ((c.poisoned, c.seed) in others if poisoned else (c.poisoned, c.seed, c.lr) in alike)
    ]
    return results.rows(configs)


def _words(column: pd.Series, how: str | None) -> pd.Series:
    """Values as words, ordered as the values are."""
    values = sorted(column.dropna().unique())
    read = {v: short(v) if column.name == "lr" else v for v in values}
    names = NAMES | {elsewhere.ELSEWHERE: elsewhere.WORDS}
    shown = {v: how.format(read[v]) if how else names.get(str(v), str(v)) for v in values}
    kind = pd.CategoricalDtype(list(shown.values()), ordered=True)
    return column.map(shown).astype(kind)
