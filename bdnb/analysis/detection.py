"""How well poison is found with a backdoored model: rows of ``detect`` in, numbers out.

A detector that looks for neighbours is two: by groups of the set itself, and by clean pairs.
"""

import ast
import math
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import pandas as pd

from bdnb.analysis.arena import CELL, GATE, OBJECTIVES
from bdnb.analysis.metrics import over_seeds
from bdnb.config.defence_facts import DETECTORS
from bdnb.runs import experiments

CHANCE = 50.0
"""AUROC (percent) of a coin."""
MARGIN = 10.0
"""Points of AUROC by which every model lies beyond chance where a detector is said to: in the
simulation that gives ``null``, the place of a cluster alone moves it by as much."""
NUMBERS = ("auroc", "fpr95", "f1")


class Compared(NamedTuple):
    """A detector on models of both objectives, over the attacks that it was run on in both.

    mean: objective -> AUROC (percent), each attack once. models: objective -> that of each model.
    """

    name: str
    reference: str
    attacks: int
    mean: dict[str, float]
    models: dict[str, list[float]]

    @property
    def null(self) -> float:
        """AUROC (percent) of poison that lies close together and is no outlier."""
        known = self.reference == "group" and self.name in DETECTORS
        return DETECTORS[self.name].null if known else CHANCE

    @property
    def sides(self) -> tuple[int, int]:
        """1 or -1 for each objective on which all models lie above or below ``null``, else 0."""
        first, second = (np.array(self.models[one]) - self.null for one in OBJECTIVES)
        return _side(first), _side(second)


def _side(beyond: np.ndarray) -> int:
    return int((beyond > MARGIN).all()) - int((beyond < -MARGIN).all())


def found(rows: pd.DataFrame) -> pd.DataFrame:
    """Return a line for each detector and reference in each cell.

    rows: of the arena's measurements, a line an epoch; a model counts if its attack did not fail
    (``GATE``). Out: ``CELL``, detector, reference ("group", "clean"); ``NUMBERS`` as ``Spread``
    over seeds, percent; models: AUROC of each; poison: share of the pairs, NaN where rows do not
    say.
    """
    lines = []
    mine = _measured(rows) if len(rows) else rows
    for cell, own in mine.groupby(CELL, sort=False) if len(mine) else ():
        for name in _detectors(own):
            for reference, part in own.groupby(_references(own, name), sort=False):
                columns = {key: f"{name}_{key}" for key in NUMBERS if f"{name}_{key}" in own}
                seeds = part.groupby("seed")[[*columns.values()]].mean()
                line: dict[str, object] = dict(zip(CELL, cell, strict=True))
                line |= {"detector": name, "reference": reference, "poison": _poison(part)}
                line |= {key: over_seeds(seeds[column]) for key, column in columns.items()}
                line |= {"models": seeds[columns["auroc"]].dropna().tolist()}
                lines += [line] if line["models"] else []
    return pd.DataFrame(lines)


def _measured(rows: pd.DataFrame) -> pd.DataFrame:
    mine = rows[rows["defence"] == "detect"]
    took = mine.loc[(mine["epoch"] == 0) & (mine["asr"] >= GATE), "run"]
    return mine[(mine["epoch"] > 0) & mine["run"].isin(took)]


def _detectors(rows: pd.DataFrame) -> Iterator[str]:
    for column in rows:
        if str(column).endswith("_auroc"):
            yield str(column).removesuffix("_auroc")


def _references(rows: pd.DataFrame, name: str) -> pd.Series:
    """A detector's option of that name in each row, which has all options as a mapping in words."""

    def reference(options: object) -> str:
        given = ast.literal_eval(options) if isinstance(options, str) else {}
        return str(given.get(name, {}).get("reference", "group"))

    nothing = pd.Series(None, index=rows.index, dtype=object)
    return rows.get("option_options", nothing).map(reference)


def _poison(rows: pd.DataFrame) -> float:
    if not {"scale", "poisoned"} <= {*rows}:
        return math.nan
    model = experiments.trained(rows["scale"].iloc[0], rows["poisoned"].iloc[0], 0)
    return math.nan if model.poison_count else model.poison_rate


def compared(made: pd.DataFrame) -> list[Compared]:
    """Return each detector and reference that was run on both objectives. made: of ``found``."""
    there = []
    for (name, reference), own in _by_detector(made):
        parts = [own[own["objective"] == one].set_index(["attack", "route"]) for one in OBJECTIVES]
        shared = parts[0].index.intersection(parts[1].index)
        if len(shared):
            of = dict(zip(OBJECTIVES, (part.loc[shared] for part in parts), strict=True))
            mean = {key: float(np.mean([o.mean for o in p["auroc"]])) for key, p in of.items()}
            models = {key: [*map(float, p["models"].explode())] for key, p in of.items()}
            there.append(Compared(name, reference, len(shared), mean, models))
    return there


def _by_detector(made: pd.DataFrame) -> Iterator[tuple[tuple[str, str], pd.DataFrame]]:
    """The lines of each detector and reference: a detector's two after each other."""
    for name, own in made.groupby("detector", sort=False) if len(made) else ():
        for reference, part in own.groupby("reference", sort=False):
            yield (str(name), str(reference)), part


def flags_all(share: pd.Series) -> pd.Series:
    """Return the F1 (percent) of flagging every sample, a share of which is poisoned."""
    return 100 * 2 * share / (1 + share)
