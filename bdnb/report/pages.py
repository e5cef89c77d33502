"""What notebooks show besides figures: tables of parameters, models and verdicts, and provenance.

All is computed from rows and manifests; the paper's numbers are ``bdnb.analysis.published``.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from IPython.display import Markdown
from matplotlib.figure import Figure
from pandas.io.formats.style import Styler

from bdnb.analysis import conclusions, price, published
from bdnb.analysis.metrics import last_epoch
from bdnb.config import parameters
from bdnb.config.recipes import TrainConfig
from bdnb.report import images, style, tables
from bdnb.runs import elsewhere, experiments, results
from bdnb.runtime.errors import ConfigError

BOOKS = ("quick", "laptop", "paper")
"""Scales that ``make book`` makes a book of; others are sweeps for a page."""

NOTHING = Markdown("*Nothing is recorded yet: `make book`, `train.ipynb` or `clean.ipynb` do it.*")


def only(namespace: Mapping[str, Any], *names: str) -> dict[str, str]:
    """The parameters of a notebook that takes only these words. Errors: ConfigError for others."""
    given = parameters.from_notebook(namespace)
    for name, value in given.items():
        if name not in names:
            raise ConfigError(f"{name!r} is not a parameter of this notebook: {', '.join(names)}")
        if not isinstance(value, str):
            raise ConfigError(f"{name}={value!r}: expected a word")
    if "scale" in given:
        experiments.of_scale(given["scale"])
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
    runs = f"snakemake -s notebooks/Snakefile --cores all runs --config scale={scale} every=1"
    return f"make book SCALE={scale}" if scale in BOOKS else runs


def provenance(*frames: pd.DataFrame) -> Markdown:
    """Where rows come from: runs, seeds, dates, devices, commits; and whose ASR is not known."""
    made = [frame for frame in frames if len(frame)]
    if not made:
        return NOTHING
    rows = pd.concat(made, ignore_index=True).drop_duplicates(["run", "epoch"])
    seeds = sorted(rows["seed"].unique())
    dates = sorted({str(when)[:10] for when in rows["finished"].dropna()})
    when = " to ".join(dict.fromkeys([dates[0], dates[-1]])) if dates else "not finished"
    devices = "; ".join(sorted(rows["device"].dropna().unique()))
    commits = ", ".join(sorted(rows["commit"].dropna().unique()))
    known = rows
    if "pretrain_objective" in rows:  # the book makes no runs on models from elsewhere
        known = rows[rows["pretrain_objective"] != elsewhere.ELSEWHERE]
    scales = sorted(known["scale"].dropna().unique()) if "scale" in rows else []
    again = ", ".join(f"`{command(scale)}`" for scale in scales)
    note = elsewhere.note(rows)
    counts = f"{style.some(rows['run'].nunique(), 'run')}, {style.some(len(rows), 'row')}"
    if "test_images" in rows and len(images := sorted({*rows["test_images"].dropna()})):
        counts += f"; accuracy and ASR on {' or '.join(f'{n:,.0f}' for n in images)} images"
    return Markdown(
        f"*n = {counts}; seed{'s' * (len(seeds) > 1)} {', '.join(map(str, seeds))}; {when}; "
        f"{devices}; commit{'s' * (', ' in commits)} {commits}"
        f"{'. Reproduce with ' if again else ''}{again}.*" + (f"\n\n**{note}**" if note else "")
    )


def trained(scale: str) -> list[TrainConfig]:
    """Return the training runs of a scale."""
    listed = (config for made in experiments.of_scale(scale).values() for config in made)
    return [config for config in listed if isinstance(config, TrainConfig)]


def kept_models(requested: Sequence[TrainConfig]) -> Styler | Markdown:
    """Accuracy and ASR of the kept epochs beside the paper's Table 3."""
    kept = results.kept_rows(requested)
    if kept.empty:
        return NOTHING
    paper = published.paper().set_index("poisoned")
    names = kept["experiment"]
    frame = pd.DataFrame(
        {
            "model": names,
            "objective": kept["objective"].replace(style.NAMES),
            "seed": kept["seed"],
            "kept epoch": kept["epoch"],
            "accuracy, %": kept["accuracy"],
            "top-5, %": kept["accuracy_top5"],
            "unseen styles, %": kept.get("unseen_accuracy", np.nan),
            "ASR, %": kept["asr"],
            "paper's accuracy, %": names.map(paper["accuracy"]),
            "paper's ASR, %": names.map(paper["asr"]),
        }
    )
    return tables.styled(frame)


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
        {"poisoned model": made["poisoned"], "cleaned with": style.cleaned_with(made)}
        | tables.measured(made)
        | {
            "kept accuracy of last epochs, %": made["kept_last"].map(tables.mean),
            "kept accuracy, the authors' points, %": pd.Series(_authors_kept(made)).where(ours),
            "paper's best accuracy": made["poisoned"].map(paper["cleaned_accuracy"]).where(whole),
            "paper's change, %": made["poisoned"].map(paper["change"]).where(whole),
            "seeds": made["seeds"],
        }
    )
    return tables.styled(frame)


def accuracy_alone(rows: pd.DataFrame) -> Styler:
    """Accuracy before cleaning and after it, by model, defence and loss, where there is no ASR."""
    lines = []
    told = rows.assign(cleaned_with=style.cleaned_with(rows))
    for (name, ways), own in told.groupby(["poisoned", "cleaned_with"], sort=False):
        after, last = own[own["epoch"] > 0], last_epoch(own)
        lines.append(
            {
                "model": name,
                "cleaned with": ways,
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
    named = {"train_cc3m_": "CC3M", "train_": "CC6M"}
    kept = {
        (f"{prefix}{objective}", loss): value
        for (data, objective, loss), value in price.authors_kept().items()
        for prefix, source in named.items()
        if source == data
    }
    return [kept.get(key, np.nan) for key in zip(made["poisoned"], made["loss"], strict=True)]


def headline(rows: pd.DataFrame) -> Markdown:
    """What CleanCLIP did to the two models from scratch, and their contrast, for the front page.

    rows: of cleaning runs, a line an epoch.
    """
    mine = main_study(rows)
    mine = mine[mine["loss"] == "mmcl_ssl"] if len(mine) else mine
    lines = []
    for poisoned, name in (("train_mmcl", "MMCL"), ("train_mmcl_ssl", "MMCL + SSL")):
        own = mine[mine["poisoned"] == poisoned] if len(mine) else mine
        if own.empty:
            continue
        made = price.groups(own, by=["poisoned"]).iloc[0]
        kept = made["kept"]
        between = "" if pd.isna(kept.low) else f" (95 % interval {kept.low:.1f} to {kept.high:.1f})"
        lines.append(
            f"- pre-trained with **{name}**: {made['accuracy_before'].mean:.1f} % accurate at an "
            f"ASR of {made['asr_before'].mean:.1f} %; cleaned, it keeps {kept.mean:.1f} %{between} "
            f"of that accuracy, and {made['kept_at_5'].mean:.1f} % at an ASR of 5 % or less "
            f"(n = {style.some(made['seeds'], 'seed')}, "
            f"{style.some(own['run'].nunique(), 'cleaning run')})."
        )
    if not lines:
        return NOTHING
    first = conclusions.verdicts(mine).iloc[0]
    if first["n"]:
        between = "" if pd.isna(first["low"]) else f" ({first['low']:.1f} to {first['high']:.1f})"
        lines.append(
            f"- the first less the second: **{first['ours']:.1f} points**{between}; that cleaning "
            f"costs the second more: **{first['verdict']}**. In the paper: {first['paper']}."
        )
    words = "Kept accuracy is a mean over the ASRs allowed, " + ", ".join(map(str, price.KEPT_AT))
    lines.append(f"\n{words} %: the grey band of the figure.")
    return Markdown("\n".join(lines))


def main_study(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows of CleanCLIP under the paper's main conditions: those that Table 2 is made of."""
    if rows.empty:
        return rows
    return rows[(rows["study"] == "main") & (rows["defence"] == "cleanclip")]


def data_set(data: Any) -> Styler:
    """What a data set holds: pairs, images, classes."""
    about = data.about
    counts = data.counts
    classes = len(about.get("classes") or data.labelled(data.side)[0].classnames)
    lines = [*counts.items(), ("classes", classes)]
    return tables.styled(pd.DataFrame(lines, columns=["part", "number"]))


def labelled_examples(data: Any, name: str, *, count: int = 16) -> Figure | Markdown:
    """Images of a labelled set, each of another class, spread over the classes."""
    found = next((s for s in data.labelled(data.side) if s.name == name), None)
    if found is None:
        return Markdown(f"*This data set has no labelled set `{name}`.*")
    classes, first = np.unique(found.labels, return_index=True)
    chosen = np.linspace(0, len(classes) - 1, min(count, len(classes))).astype(int)
    index, titles = first[chosen], [found.classnames[label] for label in classes[chosen]]
    return images.contact_sheet(found.images[index], titles)


def caption_examples(data: Any, *, count: int = 10) -> Styler:
    """Captions of the pairs to pre-train on, spread over them, with their keys."""
    pairs = data.pairs("train", data.side)
    index = np.linspace(0, len(pairs.keys) - 1, count).astype(int)
    lines = [(pairs.keys[i], pairs.captions[i]) for i in index]
    return tables.styled(pd.DataFrame(lines, columns=["key", "caption"]))


def art_licences() -> Styler:
    """The drawing styles of the emoji scenes: package, licence, author, what they serve for."""
    from bdnb.data import art
    from bdnb.runtime import npm

    trained = set(art.TRAINING_STYLES)
    lines = [
        (
            style.package,
            npm.PINNED[style.package][0],
            style.licence,
            style.author,
            "yes" if name in trained else "no",
        )
        for name, style in art.STYLES.items()
    ]
    columns = ["package", "version", "licence", "author", "trained on"]
    return tables.styled(pd.DataFrame(lines, columns=columns))
