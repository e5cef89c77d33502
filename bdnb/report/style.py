"""One colour and one shape for each thing, in the whole book; names and labels of what is shown.

Objectives, cleaning losses, defences and learning rates have a palette each, so that no colour of
one stands for another. The colours are safe for the colour-blind, and no colour stands
without a shape. Red is kept for the paper's marks: the star of the backdoored model, the rings.
"""

import math
from collections.abc import Hashable, Iterable
from itertools import cycle
from typing import NamedTuple

import pandas as pd

from bdnb.analysis.metrics import Spread
from bdnb.runs import elsewhere

NAMES = {
    "mmcl": "MMCL",
    "ssl": "SSL",
    "mmcl_ssl": "MMCL + SSL",
    "siglip": "SigLIP",
    "mmcl_ssl_image": "MMCL + SSL of images",
    "mmcl_ssl_text": "MMCL + SSL of captions",
    "mmcl_barlow": "MMCL + Barlow Twins",
    "roclip": "RoCLIP",
    "safeclip": "SafeCLIP",
}
"""Pre-training objectives and cleaning losses in words."""
DEFENCE_NAMES = {
    "cleanclip": "CleanCLIP",
    "heavy_regularisation": "heavy L2",
    "shrink_perturb": "shrink and perturb",
    "screen": "only shrunk and perturbed",
    "deep_cluster": "deep clustering",
    "par": "PAR",
    "retrain": "a fresh model",
    "interpolate": "weight interpolation",
    "clp": "CLP",
    "fine_pruning": "fine-pruning",
    "invertune": "InverTune",
    "detect": "only looked at",
    "drop": "trained anew without suspects",
}
TITLES = {
    "pretrain_objective": "pre-trained with",
    "loss": "cleaned with",
    "defence": "defence",
    "cleaning": "defence and loss",
    "lr": "learning rate",
    "seed": "seed",
    "setting": "setting",
}
"""Column of rows -> title of its legend."""
ACCURACY, ASR = "zero-shot top-1 accuracy (%)", "attack success rate (%)"
RED = "#d3001b"
MARKERS = "os^DvPX<>"
COLOURS = ("#4477aa", "#ccbb44", "#66ccee", "#aa3377", "#228833", "#999999", "#222255", "#ee8866")
"""Colours of what has none of its own (a study's settings), in order."""


class Mark(NamedTuple):
    """Colour (hexadecimal) and Matplotlib marker."""

    colour: str
    marker: str


OBJECTIVES = {
    "mmcl": Mark("#0173b2", "o"),
    "mmcl_ssl": Mark("#de8f05", "s"),
    "siglip": Mark("#56b4e9", "D"),
    "ssl": Mark("#555555", "^"),
}
LOSSES = {
    "mmcl_ssl": Mark("#029e73", "o"),
    "mmcl": Mark("#cc78bc", "^"),
    "ssl": Mark("#a0522d", "s"),
}
DEFENCES = {
    "cleanclip": Mark("#332288", "o"),
    "heavy_regularisation": Mark("#88ccee", "s"),
    "shrink_perturb": Mark("#117733", "^"),
    "screen": Mark("#999933", "D"),
    "deep_cluster": Mark("#aa4499", "v"),
}
PALETTES: dict[str, dict[str, Mark]] = {
    "pretrain_objective": OBJECTIVES,
    "loss": LOSSES,
    "defence": DEFENCES,
}
VIRIDIS = (
    "#440154", "#46327e", "#365c8d", "#277f8e", "#1fa187", "#4ac16d", "#9fbf20", "#e0a500",
)  # fmt: skip
"""Eight steps of viridis, a quarter of a decade each, the last darkened to show on white."""


def palette(column: str, values: Iterable[Hashable]) -> dict[Hashable, Mark]:
    """Return the colour and shape of each value of a column of rows.

    A value that has its own keeps it whichever others are there. The rest get one in order.
    """
    if column == "lr":
        return {value: of_learning_rate(float(str(value))) for value in values}
    found: dict[Hashable, Mark] = {}
    mine = PALETTES.get(column, {})
    taken = {own.colour for own in mine.values()}
    free = (one for one in map(Mark, cycle(COLOURS), cycle(MARKERS)) if one.colour not in taken)
    for value in values:
        found[value] = mine[str(value)] if str(value) in mine else next(free)
    return found


def objective(name: str) -> Mark:
    """Return the colour and shape of a pre-training objective; grey for one of the user's."""
    return OBJECTIVES.get(name, Mark("0.5", "o"))


def of_learning_rate(lr: float) -> Mark:
    """Return a learning rate's colour and shape: the same one in every figure.

    Quarters of a decade are counted: eight colours are two decades, and nine shapes differ, too.
    """
    step = round(4 * math.log10(lr))
    return Mark(VIRIDIS[(step + 18) % len(VIRIDIS)], MARKERS[(step + 18) % len(MARKERS)])


def name(column: str, value: Hashable) -> str:
    """Return how a value of a column of rows reads in a legend or title."""
    if column == "lr":
        return short(float(str(value)))
    if value == elsewhere.ELSEWHERE:
        return elsewhere.WORDS
    names = DEFENCE_NAMES if column == "defence" else NAMES
    return names.get(str(value), str(value))


def labelled(rows: pd.DataFrame, hue: str) -> tuple[pd.DataFrame, dict[str, Mark]]:
    """Return rows with a column ``label``, in words, and the colour and shape of each value.

    Rows of several defences are labelled by defence and loss.
    """
    rows = rows.reset_index(drop=True)  # seaborn joins by index: one that is there twice multiplies
    values = list(pd.unique(rows[hue].sort_values()))
    if hue == "loss":
        values = [v for v in LOSSES if v in values] + [v for v in values if v not in LOSSES]
    shapes = palette(hue, values)
    if hue != "loss" or "defence" not in rows or rows["defence"].nunique() < 2:
        found = {name(hue, value): mark for value, mark in shapes.items()}
        return rows.assign(label=[name(hue, value) for value in rows[hue]]), found
    colours = palette("defence", pd.unique(rows["defence"]))
    pairs = rows[["defence", "loss"]].drop_duplicates().itertuples(index=False)
    found = {cleaning(d, v): Mark(colours[d].colour, shapes[v].marker) for d, v in pairs}
    return rows.assign(label=list(map(cleaning, rows["defence"], rows["loss"]))), found


def cleaning(defence: str, loss: str) -> str:
    """Return how a model was cleaned, in words: defence and loss."""
    return f"{name('defence', defence)} · {name('loss', loss)}"


def cleanings(rows: pd.DataFrame) -> pd.Series:
    """Return how each row's model was cleaned, in words; one defence alone is not named."""
    if "defence" not in rows or set(rows["defence"]) <= {"cleanclip"}:
        return rows["loss"].map(lambda loss: name("loss", loss))
    return pd.Series(
        list(map(cleaning, rows["defence"], rows["loss"])), index=rows.index, dtype=object
    )


def some(number: int, thing: str) -> str:
    """Return a number of things in words: "1 run", "12 runs"."""
    return f"{number} {thing}{'' if number == 1 else 's'}"


def between(spread: Spread, how: str = ".1f", few: int = 2) -> str:
    """Return an interval to stand behind its mean, " (48.0 to 52.2)"; "" below ``few`` seeds.

    "", too, where the interval was taken away.
    """
    there = spread.n >= few and not math.isnan(spread.low)
    return f" ({spread.low:{how}} to {spread.high:{how}})" if there else ""


def short(rate: float) -> str:
    """Return a learning rate as it is written in parameter files: 1e-3, 2.5e-4."""
    digits, power = f"{rate:.1e}".split("e")
    return f"{digits.removesuffix('.0')}e{int(power)}"
