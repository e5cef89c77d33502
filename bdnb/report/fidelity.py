"""The page on the paper versus the authors' code: its answer, its figure and its table.

Rows of ``compare_settings.settings`` in; ``compare_settings`` has the numbers by setting.
"""

import math
from collections.abc import Mapping

import numpy as np
import pandas as pd
from IPython.display import Markdown
from matplotlib.figure import Figure
from pandas.io.formats.style import Styler

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
"""Parameter of ``tables.departures`` -> the setting that tries it by itself."""
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
KEPT_WITH = "keep the optimiser's state with the checkpoints"


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
    no = "no departure moves mean kept accuracy by more than"
    words.append(f"{no if words else no.capitalize()} {most:.1f} points ({count})")
    place = int(means["accuracy"].abs().argmax())
    setting, objective = means.index[place]
    return Markdown(
        f"**{'; '.join(words)}.** Accuracy before cleaning changes most with `{setting}`, by "
        f"{means['accuracy'].iloc[place]:+.1f} points ({NAMES.get(objective, objective)})."
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
    """Return ``tables.departures`` with the paper's options, and which setting tries each alone."""
    frame: pd.DataFrame = vars(tables.departures())["data"].copy()
    name = frame["parameter"]
    frame["the paper"] = name.map(PAPER).fillna(frame["the paper"])
    frame.loc[name == "optimiser_state", "what"] = KEPT_WITH
    missing, alone = not_run(rows, scale), name.map(SETTINGS)
    late = {one: f"{one} (not run yet)" for one in missing}
    frame["by itself in"] = alone.replace(late)
    return tables.styled(frame)


def not_run(rows: pd.DataFrame, scale: str) -> list[str]:
    """Return the settings that have a parameter file and no rows."""
    files = [name for name in experiments.of_scale(scale) if name.startswith("clean_")]
    return sorted({name.partition("_")[2] for name in files} - set(rows["setting"]))
