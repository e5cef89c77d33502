"""What notebooks show besides figures: tables of parameters, models and verdicts, and provenance.

All is computed from rows and manifests; the paper's numbers are ``bdnb.analysis.published``.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from IPython.display import Markdown
from pandas.io.formats.style import Styler

from bdnb.analysis import price, published
from bdnb.analysis.metrics import last_epoch
from bdnb.config import parameters
from bdnb.config.recipes import TrainConfig
from bdnb.report import style, tables
from bdnb.report.answers import NOTHING
from bdnb.runs import elsewhere, experiments, results
from bdnb.runtime.errors import ConfigError

BOOKS = ("quick", "laptop", "gpu", "effect", "paper")
"""Scales that ``make book`` makes a book of; others are sweeps for a page."""


def known(namespace: Mapping[str, Any], *names: str) -> dict[str, Any]:
    """The parameters of a notebook that takes only these. Errors: ConfigError for others."""
    given = parameters.from_notebook(namespace)
    for name in given:
        if name not in names:
            raise ConfigError(f"{name!r} is not a parameter of this notebook: {', '.join(names)}")
    return given


def only(namespace: Mapping[str, Any], *names: str) -> dict[str, str]:
    """The parameters of a notebook that takes only these words. Errors: ConfigError for others."""
    given = known(namespace, *names)
    for name in names:
        if not isinstance(value := given.get(name), str):
            raise ConfigError(f"{name}={value!r}: expected a word")
    several = given.get("scales", "").split()
    for scale in (*given["scale"].split("+"), *several) if "scale" in given else ():
        experiments.of_scale(scale)
    return given


def attack(config: TrainConfig) -> Styler:
    """What the attacker of a training run does, each parameter with its meaning."""
    about = parameters.describe(TrainConfig)
    names = ("data", "attack", "target", "trigger", "trigger_size", "poison_rate", "seed")
    lines = [(name, str(getattr(config, name)), about[name]) for name in names]
    return tables.styled(pd.DataFrame(lines, columns=["parameter", "value", "meaning"]))


def runs(table: pd.DataFrame) -> Styler:
    """The runs that a notebook is about to make, and which of them are recorded already.

    table: of a ``Sweep``.
    """
    return tables.styled(table, formats={"lr": style.short})


def command(scale: str) -> str:
    """What makes a scale's runs again."""
    runs = f"snakemake -s notebooks/Snakefile --cores all runs --config scale={scale}"
    return f"make book SCALE={scale}" if scale in BOOKS else runs


def provenance(*frames: pd.DataFrame) -> Markdown:
    """Where rows come from: runs, seeds, dates, devices, commits; and whose ASR is not known."""
    rows = together(*frames)
    if rows.empty:
        return NOTHING
    seeds = sorted(rows["seed"].unique())
    dates = sorted({str(when)[:10] for when in rows["finished"].dropna()})
    when = " to ".join(dict.fromkeys([dates[0], dates[-1]])) if dates else "not finished"
    devices = "; ".join(sorted(rows["device"].dropna().unique()))
    commits = ", ".join(sorted(rows["commit"].dropna().unique()))
    known = rows
    if "pretrain_objective" in rows:  # the book makes no runs on models from elsewhere
        known = rows[rows["pretrain_objective"] != elsewhere.ELSEWHERE]
    scales = sorted(known["scale"].dropna().unique()) if "scale" in rows else []
    make = ", ".join(f"`{command(scale)}`" for scale in scales)
    note = elsewhere.note(rows)
    counts = f"{style.some(rows['run'].nunique(), 'run')}, {style.some(len(rows), 'row')}"
    if "test_images" in rows and len(images := sorted({*rows["test_images"].dropna()})):
        counts += f"; accuracy and ASR on {' or '.join(f'{n:,.0f}' for n in images)} images"
    also = ""
    if again := _trained_again(rows):
        also += f". Models of {_listed(again)} were trained more than once, alike: each run is "
        also += "measured against the one it started from"
    if mixed := _on_other_devices(rows):
        also += f". Device or precision is not the same for all models of {_listed(mixed)}"
    return Markdown(
        f"*n = {counts}; {_listed(seeds)}; {when}; "
        f"{devices}; commit{'s' * (', ' in commits)} {commits}{also}"
        f"{'. Reproduce with ' if make else ''}{make}.*" + (f"\n\n**{note}**" if note else "")
    )


def _trained_again(rows: pd.DataFrame) -> list[int]:
    """The seeds of which some runs of cleaning start from another training of the same model."""
    if not {"from", "poisoned"} <= set(rows):
        return []
    plain = rows.dropna(subset="from")
    if "cleaned_experiment" in rows:  # those start from a model that is cleaned already
        plain = plain[plain["cleaned_experiment"].isna()]
    return _with_several(plain.groupby(["scale", "poisoned", "seed"])["from"].nunique())


def _on_other_devices(rows: pd.DataFrame) -> list[int]:
    """The seeds of which one model's runs were made on other kinds of device than another's."""
    if not {"scale", "experiment"} <= set(rows):
        return []
    model = rows.get("poisoned", rows["experiment"]).fillna(rows["experiment"])
    own = rows.dropna(subset="device").groupby(["scale", "seed", model])["device"].agg(frozenset)
    return _with_several(own.groupby(level=["scale", "seed"]).nunique())


def _with_several(counts: pd.Series) -> list[int]:
    return sorted(set(counts[counts > 1].index.get_level_values("seed")))


def _listed(seeds: list[int]) -> str:
    return f"seed{'s' * (len(seeds) > 1)} {', '.join(map(str, seeds))}"


def trained(scale: str) -> list[TrainConfig]:
    """Return the training runs of a scale."""
    return [run for run in experiments.runs_of(scale) if isinstance(run, TrainConfig)]


def both_objectives(experiment: str, scale: str) -> list[TrainConfig]:
    """Return the runs of a training experiment, of its other objective, and without poison."""
    stem = experiment.removesuffix("_ssl").removesuffix("_mmcl")
    mine = {experiment, f"{stem}_mmcl", f"{stem}_mmcl_ssl", "train_clean"}
    return [config for config in trained(scale) if config.experiment in mine]


def together(*frames: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of several sets of runs, each row once."""
    made = pd.concat([frame for frame in frames if len(frame)] or [pd.DataFrame()])
    return made.drop_duplicates(["run", "epoch"]) if len(made) else made


def kept_models(configs: Sequence[TrainConfig]) -> Styler | Markdown:
    """Return accuracy and ASR of the models that are cleaned, means over seeds, beside the paper's.

    A line an experiment: those that only show that something runs have theirs here, too.
    """
    kept = results.kept_rows(configs)
    if kept.empty:
        return NOTHING
    paper = published.paper().set_index("poisoned")
    lines = []
    for name, own in kept.groupby("experiment", sort=False):
        unseen = own.get("unseen_accuracy", pd.Series(dtype=float))
        lines.append(
            {
                "model": name,
                "objective": style.name("objective", own["objective"].iloc[0]),
                "accuracy, %": own["accuracy"].mean(),
                "unseen styles, %": unseen.mean(),
                "ASR, %": own["asr"].mean(),
                "paper's accuracy, %": paper["accuracy"].get(name, np.nan),
                "paper's ASR, %": paper["asr"].get(name, np.nan),
                "seeds": own["seed"].nunique(),
            }
        )
    return tables.styled(pd.DataFrame(lines))


def best_models(rows: pd.DataFrame) -> Styler | Markdown:
    """Return what each model keeps after each defence and loss, the paper's beside it.

    Where no ASR was measured at all: ``accuracy_alone``.
    """
    if rows.empty:
        return NOTHING
    if elsewhere.unmeasured(rows):
        return accuracy_alone(rows)
    # A run that two studies ask for is there twice.
    once = rows.drop_duplicates(["run", "epoch", "poisoned"])
    made = price.groups(once, by=["poisoned", "defence", "loss"])
    paper = published.paper().set_index("poisoned")
    ours = made["defence"] == "cleanclip"  # the paper's numbers are CleanCLIP's
    whole = ours & (made["loss"] == "mmcl_ssl")
    frame = pd.DataFrame(
        {"backdoored model": made["poisoned"], "cleaned with": style.cleanings(made)}
        | tables.measured(made)
        | {
            "kept accuracy, last epochs, %": made["kept_last"].map(tables.MEAN),
            "the authors' points, %": pd.Series(_authors_kept(made)).where(ours),
            "paper's best accuracy": made["poisoned"].map(paper["cleaned_accuracy"]).where(whole),
            "paper's change, %": made["poisoned"].map(paper["change"]).where(whole),
            "seeds": made["seeds"],
        }
    )
    return tables.styled(frame)


def accuracy_alone(rows: pd.DataFrame) -> Styler:
    """Accuracy before cleaning and after it, by model, defence and loss, where there is no ASR."""
    lines = []
    named = rows.assign(cleaning=style.cleanings(rows))
    for (name, cleaning), own in named.groupby(["poisoned", "cleaning"], sort=False):
        after, last = own[own["epoch"] > 0], last_epoch(own)
        lines.append(
            {
                "model": name,
                "cleaned with": cleaning,
                "accuracy before, %": own.loc[own["epoch"] == 0, "accuracy"].mean(),
                "best accuracy after, %": after["accuracy"].max(),
                "last epoch, %": last["accuracy"].mean(),
                "ASR": elsewhere.NOT_MEASURED.removeprefix("ASR "),
                "runs": own["run"].nunique(),
            }
        )
    return tables.styled(pd.DataFrame(lines))


def _authors_kept(made: pd.DataFrame) -> list[float]:
    """Kept accuracy of the authors' model of the same name and cleaning loss; NaN without one."""
    named = {"CC3M": "train_cc3m_", "CC6M": "train_"}
    kept = {
        (named[data] + objective, loss): value
        for (data, objective, loss), value in price.authors_kept().items()
    }
    return [kept.get(key, np.nan) for key in zip(made["poisoned"], made["loss"], strict=True)]
