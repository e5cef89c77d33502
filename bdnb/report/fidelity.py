"""The page on the paper versus the authors' code: its answer, its figure and its table.

Rows of ``compare_settings.settings`` in; ``compare_settings`` has the numbers by setting.
"""

import math
from collections.abc import Mapping
from dataclasses import fields
from typing import Any

import numpy as np
import pandas as pd
from IPython.display import Markdown
from matplotlib.figure import Figure
from pandas.io.formats.style import Styler

from bdnb.config import authors
from bdnb.config.recipes import CleanConfig, TrainConfig
from bdnb.report import price, tables
from bdnb.report.compare_settings import changes
from bdnb.report.style import NAMES, some
from bdnb.runs import experiments

PATCH, NO_DEPARTURES = "trigger", ("fixed", "negatives")
"""The setting with the authors' patch; those that are here for other reasons."""
SETTINGS: Mapping[str, str] = {
    "text_views": "views",
    "last_batch": "last",
    "decay": "decay",
    "schedule": "schedule",
    "optimiser_state": "optimiser",
    "optimiser": "optimiser",
    "overlap": "overlap",
    "badnet: center": PATCH,
    "badnet: overflow": PATCH,
    "badnet: place_range": PATCH,
    "model": "gelu",
}
"""Parameter of ``departures`` -> the setting that tries it by itself."""
PAPER: Mapping[str, str] = {
    "badnet: center": "zero",
    "badnet: overflow": "clip",
    "badnet: place_range": "full",
    "yellow: place_range": "full",
    "blended: pattern": "fixed",
    "warped: grid": "4",
    "warped: strength": "0.5",
    "heavy_regularisation: by": "penalty",
    "shrink_perturb: noise": "gaussian",
    "screen: noise": "gaussian",
    "deep_cluster: lookup": "epoch",
    "deep_cluster: features": "eval",
    "deep_cluster: head_bias": "False",
    "deep_cluster: head_decay": "that of the encoder",
}
"""Option of a trigger or a defence -> its default: data, so that the page needs no torch."""
NOT_BY_FIDELITY = (
    (
        "training",
        "model",
        "not said; here GELU (RN50)",
        "QuickGELU, in both towers and from scratch, too (RN50-quickgelu, rn_tiny32-quickgelu)",
        "activation: a model's name stands for it, so fidelity leaves it alone",
    ),
    (
        "cleaning",
        "checkpoints of label-consistent poison (no parameter)",
        "each objective's own",
        "run_cleaning_experiments2.py: the run called mmcl loads a checkpoint named mmcl_ssl, and "
        "the one called mmcl_ssl a checkpoint named mmcl",
        "what the script says; whether published numbers came from it, the repository does not say",
    ),
)
"""Departures that ``fidelity: authors`` does not switch: as the lines of ``departures``."""


def answer(rows: pd.DataFrame) -> Markdown:
    """Return what the authors' patch does to ASR, and the most that any departure changes."""
    made = changes(rows)
    made = made[~made["setting"].isin(NO_DEPARTURES)]
    if made.empty:
        return Markdown("*No departure of the authors' code has been run yet.*")
    means = made.groupby(["setting", "objective"])[["accuracy", "asr", "kept"]].mean()
    words = []
    patch = made[made["setting"] == PATCH].groupby("objective")["asr"].mean()
    asr = {str(one): float(x) for one, x in patch.items()}
    if asr:
        verb, sign = ("lowers", -1) if max(asr.values()) < 0 else ("changes", 1)
        each = " and ".join(f"{sign * x:.1f} ({NAMES.get(o, o)})" for o, x in asr.items())
        words.append(f"The authors' patch {verb} the ASR before cleaning by {each} points")
    most = math.ceil(10 * means["kept"].abs().max()) / 10
    count = some(made["seed"].nunique(), "seed")
    no = "no departure that was run moves mean kept accuracy by more than"
    words.append(f"{no if words else no.capitalize()} {most:.1f} points ({count})")
    place = int(means["accuracy"].abs().argmax())
    setting, objective = means.index[place]
    return Markdown(
        f"**{'; '.join(words)}.** Accuracy before cleaning changes most with `{setting}`, by "
        f"{means['accuracy'].iloc[place]:+.1f} points ({NAMES.get(objective, objective)})."
        f"{_batches(changes(rows))}"
    )


def _batches(made: pd.DataFrame) -> str:
    """What a batch twice as large for MMCL does to the contrast; nothing where it was not run."""
    kept = made[made["setting"] == "negatives"].pivot(
        index="seed", columns="objective", values="kept"
    )
    if "mmcl" not in kept:
        return ""
    # The other model's batch is the same in both.
    gap = (kept["mmcl"] - kept.get("mmcl_ssl", 0.0)).dropna()
    return (
        f" With twice the batch for MMCL, as in the paper (`negatives`), what MMCL keeps beyond "
        f"MMCL + SSL changes by {gap.mean():+.1f} points ({some(len(gap), 'seed')})."
    )


def figure(rows: pd.DataFrame) -> Figure | Markdown:
    """Return ``price.settings`` of the settings, with an axis that starts near the data."""
    drawn = price.settings(rows, "setting")
    if isinstance(drawn, Markdown):
        return drawn
    (axes,) = drawn.axes
    least = min(float(np.asarray(dots.get_offsets())[:, 0].min()) for dots in axes.collections)
    axes.set_xlim(5 * math.floor((least - 1) / 5), None)
    return drawn


def departures(rows: pd.DataFrame, scale: str) -> Styler:
    """Where the authors' code departs from the paper: as parameters with their value, and others.

    What the code says, and not what the published numbers were made with. Beside each the setting
    that tries it by itself, and whether that is run.
    """
    lines: list[tuple[Any, ...]] = []
    for cls, stage in ((TrainConfig, "training"), (CleanConfig, "cleaning")):
        for spec in fields(cls):
            theirs = spec.metadata.get("authors")
            if theirs is not None:
                lines.append((stage, spec.name, spec.default, theirs, spec.metadata["doc"]))
    for of, options in (("trigger", authors.TRIGGERS), ("defence", authors.DEFENCES)):
        for name, values in options.items():
            for key, value in values.items():
                option = f"{name}: {key}"
                lines.append((of, option, PAPER[option], value, f"option of the {of} {name}"))
    lines += NOT_BY_FIDELITY
    frame = pd.DataFrame(lines, columns=["where", "parameter", "the paper", "the authors", "what"])
    both = frame.groupby(["parameter", "what"], sort=False, as_index=False).agg(
        {"where": ", ".join, "the paper": "first", "the authors": "first"}
    )
    shown = both[["where", "parameter", "the paper", "the authors", "what"]].astype(str)
    late = {one: f"{one} (not run yet)" for one in not_run(rows, scale)}
    return tables.styled(
        shown.assign(**{"by itself in": shown["parameter"].map(SETTINGS).replace(late)})
    )


def not_run(rows: pd.DataFrame, scale: str) -> list[str]:
    """Return the settings that have a parameter file and no rows."""
    files = [name for name in experiments.of_scale(scale) if name.startswith("clean_")]
    return sorted({name.partition("_")[2] for name in files} - set(rows["setting"]))
